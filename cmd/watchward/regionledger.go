package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
)

// ledgerFlags name those who keep the region's ledger, and who cosign it.
type ledgerFlags struct {
	voters, witnesses []string
}

func (f *ledgerFlags) add(c *cobra.Command, whose string) {
	c.Flags().StringArrayVar(&f.voters, "voter", nil, whose+" that keeps the ledger: name all of them, three or five; most of them must run, of two both")
	c.Flags().StringArrayVar(&f.witnesses, "witness", nil, whose+" that cosigns the ledger: name all of them, three at most; none: --witness none")
}

// apply enters the members that the flags name into a charter. The first voters
// begin the ledger.
func (f *ledgerFlags) apply(cmd *cobra.Command, next *trust.Charter, find func(name string) (crypto.MemberID, error)) (err error) {
	if cmd.Flags().Changed("voter") {
		if next.Voters, err = named("--voter", f.voters, find); err != nil {
			return err
		}
	}
	if cmd.Flags().Changed("witness") {
		if next.Witnesses, err = named("--witness", f.witnesses, find); err != nil {
			return err
		}
	}
	if cmd.Flags().Changed("voter") {
		warnFew(cmd.ErrOrStderr(), len(next.Voters))
	}
	if len(next.Voters) > 0 {
		next.Ledger = max(next.Ledger, 1)
	}
	for _, name := range slices.Concat(f.voters, f.witnesses) {
		member, err := find(name)
		if err == nil && slices.Contains(next.Voters, member) && slices.Contains(next.Witnesses, member) {
			return usage("%s cannot be a voter and a witness: a witness looks at what others keep; say --voter and --witness with all who are to be one", name)
		}
	}
	return nil
}

// warnFew says what it means that one or two keep the ledger.
func warnFew(errOut io.Writer, voters int) {
	switch voters {
	case 1:
		fmt.Fprintln(errOut, "note: one node alone then decides what is in the ledger, and nothing of it goes on without that node: three or five voters are safer")
	case 2:
		fmt.Fprintln(errOut, "note: of two voters both must be there: the ledger stands still while either is away; three or five voters are safer")
	}
}

func named(flag string, names []string, find func(name string) (crypto.MemberID, error)) (out []crypto.MemberID, err error) {
	for _, name := range names {
		if name == "none" {
			continue
		}
		member, err := find(name)
		if err != nil {
			return nil, usage("%s: %w", flag, err)
		}
		if slices.Contains(out, member) {
			return nil, usage("%s: %s is named twice", flag, name)
		}
		out = append(out, member)
	}
	return out, nil
}

// successor returns the terms of a charter that changes nothing.
func successor(before *trust.Charter) trust.Charter {
	return trust.Charter{
		Name: before.Name, Coordinators: before.Coordinators, Threshold: before.Threshold, MinVersion: before.MinVersion, Created: now().UnixMilli(),
		RegionRoles: before.RegionRoles, Voters: before.Voters, Witnesses: before.Witnesses, Ledger: before.Ledger,
	}
}

// among finds members of the region by their names.
func (c *council) among() func(name string) (crypto.MemberID, error) {
	listed := slices.DeleteFunc(c.roster.Members(c.roster.Region()), func(m *trust.Credential) bool {
		_, revoked := c.roster.Revoked(m)
		return revoked
	})
	return func(name string) (crypto.MemberID, error) {
		m, err := node.FindMember(listed, name)
		if err != nil {
			return crypto.MemberID{}, err
		}
		return m.Member, nil
	}
}

// amongFounders finds those whose nodes are admitted with the charter. All are
// coordinators' nodes.
func amongFounders(cards []*trust.Card) (func(name string) (crypto.MemberID, error), error) {
	var names []string
	members := map[string]crypto.MemberID{}
	for _, card := range cards {
		if card.Request == nil {
			continue
		}
		r, err := trust.ParseRequest(card.Request)
		if err != nil {
			return nil, err
		}
		if len(r.Ledger) > 0 {
			names = append(names, r.Name)
			members[r.Name] = r.Member()
		}
	}
	return func(name string) (crypto.MemberID, error) {
		member, ok := members[name]
		if !ok {
			return member, fmt.Errorf("no node called %q is admitted with the charter that has keys for the ledger: say %s; others can be named later (watchward region amend)", name, strings.Join(names, ", "))
		}
		return member, nil
	}, nil
}

// describeLedger says what a charter changes of the ledger.
func describeLedger(before, c *trust.Charter, called func(crypto.MemberID) string) (text string) {
	switch {
	case before.Ledger == 0 && c.Ledger > 0:
		text += "; it begins a ledger"
	case before.Ledger != c.Ledger:
		text += fmt.Sprintf("; the ledger begins anew, as epoch %d", c.Ledger)
	}
	return text + describeChange("kept", before.Voters, c.Voters, called) + describeChange("witnessed", before.Witnesses, c.Witnesses, called)
}

func describeChange(done string, before, now []crypto.MemberID, called func(crypto.MemberID) string) string {
	if slices.Equal(before, now) {
		return ""
	}
	text := fmt.Sprintf("; the ledger is %s by nobody", done)
	if len(now) > 0 {
		text = fmt.Sprintf("; the ledger is %s by %s", done, strings.Join(memberNames(now, called), ", "))
	}
	gone := slices.DeleteFunc(slices.Clone(before), func(m crypto.MemberID) bool { return slices.Contains(now, m) })
	if len(gone) > 0 {
		text += ", no longer by " + strings.Join(memberNames(gone, called), ", ")
	}
	return text
}

// memberNames returns members' names, sorted.
func memberNames(members []crypto.MemberID, called func(crypto.MemberID) string) []string {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = called(m)
	}
	slices.Sort(names)
	return names
}
