package verify

import (
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
)

// chartered returns the latest charter of an epoch, nil if none is known, and whom any
// charter of that epoch names: those of the latest first.
func chartered(roster *trust.Roster, region crypto.Region, epoch uint32) (latest *trust.Charter, members []crypto.MemberID) {
	all := roster.Charters(region)
	slices.Reverse(all)
	for _, c := range all {
		if epoch == 0 || c.Ledger != epoch {
			continue
		}
		if latest == nil {
			latest = c
		}
		for _, m := range slices.Concat(c.Voters, c.Witnesses) {
			if !slices.Contains(members, m) {
				members = append(members, m)
			}
		}
	}
	return latest, members
}

// Members returns whom the latest charter of an epoch names as voters and witnesses:
// those whose credentials a receipt needs beside it. It is empty if no such charter is
// known.
func Members(roster *trust.Roster, region crypto.Region, epoch uint32) []crypto.MemberID {
	charter, _ := chartered(roster, region, epoch)
	if charter == nil {
		return nil
	}
	return slices.Concat(charter.Voters, charter.Witnesses)
}

// signersOf returns a member's serials that have ledger keys, the latest first. Those
// that are revoked, and members that the charter names no more, count for nothing, but
// their lines are known.
func signersOf(roster *trust.Roster, charter *trust.Charter, member crypto.MemberID) (signers []Signer) {
	voter, witness := slices.Contains(charter.Voters, member), slices.Contains(charter.Witnesses, member)
	for _, c := range roster.Serials(charter.Region(), member) {
		public, err := c.LedgerKeys()
		if err != nil {
			continue // from before there were ledgers, or of no use
		}
		_, revoked := roster.Revoked(c)
		signers = append(signers, Signer{
			Member: member, Name: c.Name, Ledger: public, Voter: voter && !revoked, Witness: witness && !revoked,
			Until: c.NotAfter + trust.Grace.Milliseconds(),
		})
	}
	return signers
}
