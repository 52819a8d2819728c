package trust

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
)

// checkLedger checks what a charter says of the region's ledger.
func (c *Charter) checkLedger() error {
	switch voters, witnesses := len(c.Voters), len(c.Witnesses); {
	case voters > VotersMax:
		return fmt.Errorf("%d voters, at most %d", voters, VotersMax)
	case witnesses > WitnessesMax:
		return fmt.Errorf("%d witnesses, at most %d", witnesses, WitnessesMax)
	case !ascending(c.Voters, compareMembers):
		return errors.New("voters are not sorted and distinct")
	case !ascending(c.Witnesses, compareMembers):
		return errors.New("witnesses are not sorted and distinct")
	case voters > 0 && c.Ledger == 0:
		return errors.New("it names voters and no epoch of the ledger: epochs start at 1")
	case voters == 0 && c.Ledger > 0:
		return errors.New("it has a ledger that nobody keeps: name one voter at least")
	case voters == 0 && witnesses > 0:
		return errors.New("it names witnesses and no voters: there is no ledger to witness")
	case c.Number == 1 && c.Ledger > 1:
		return fmt.Errorf("its ledger begins with epoch %d: the first is 1", c.Ledger)
	}
	for _, w := range c.Witnesses {
		if slices.Contains(c.Voters, w) {
			return fmt.Errorf("member %s is a voter and a witness: a witness is to look at what others keep", w)
		}
	}
	return nil
}

// followLedger checks that the ledger goes on from one charter to the next, or
// begins anew as the next epoch: a number that was used once must not come again
// with another history.
func (c *Charter) followLedger(before *Charter) error {
	switch {
	case c.Ledger < before.Ledger:
		return fmt.Errorf("the ledger is in epoch %d, and cannot go back to %d or be given up", before.Ledger, c.Ledger)
	case c.Ledger-before.Ledger > 1:
		return fmt.Errorf("the ledger is in epoch %d: the next is %d, not %d", before.Ledger, before.Ledger+1, c.Ledger)
	}
	return nil
}

// LedgerKeys returns the keys with which a member signs checkpoints. The error says
// that it has none that anybody could use.
func (c *Credential) LedgerKeys() (crypto.LedgerPublic, error) {
	if c.Ledger == nil {
		return crypto.LedgerPublic{}, fmt.Errorf("%q has no ledger keys: it was admitted by an older version; give it new keys (watchward region supersede)", c.Name)
	}
	keys, err := crypto.ParseLedgerPublic(c.Ledger)
	if err != nil {
		return crypto.LedgerPublic{}, fmt.Errorf("%q: %w", c.Name, err)
	}
	return keys, nil
}

// MayVote returns nil if the member can be one of the ledger's voters: a
// coordinator's node with ledger keys.
func (c *Credential) MayVote() error {
	if c.Role != RoleCoordinator {
		return fmt.Errorf("%q is a %v: coordinators' nodes alone keep the ledger (watchward region amend --voter names them)", c.Name, c.Role)
	}
	_, err := c.LedgerKeys()
	return err
}

// MayWitness returns nil if the member can cosign the ledger's checkpoints: a
// hospital or a coordinator's node with ledger keys.
func (c *Credential) MayWitness() error {
	if c.Role != RoleHospital && c.Role != RoleCoordinator {
		return fmt.Errorf("%q is a %v: a hospital can be a witness", c.Name, c.Role)
	}
	_, err := c.LedgerKeys()
	return err
}

var ledgerContext = crypto.Context("ledger-possession", crypto.Region{})

// ledgerMessage is what both ledger keys sign. No checkpoint begins like it.
func ledgerMessage(body []byte) []byte {
	sum := crypto.SumContext("ledger-possession", crypto.Region{}, body)
	return append(slices.Clone(ledgerContext), sum[:]...)
}

// proveLedger signs a join request with both ledger keys, Ed25519 first.
func proveLedger(key *crypto.LedgerKey, body []byte) ([]byte, error) {
	message := ledgerMessage(body)
	sig, err := key.SignMLDSA44(message, ledgerContext)
	if err != nil {
		return nil, err
	}
	return append(key.SignEd25519(message), sig...), nil
}

// checkLedgerProof verifies what proveLedger made. A request without ledger keys
// has none.
func (r *Request) checkLedgerProof(body, proof []byte) error {
	if len(r.Ledger) == 0 {
		if len(proof) > 0 {
			return errors.New("it names none")
		}
		return nil
	}
	if len(proof) < ed25519.SignatureSize {
		return fmt.Errorf("%w: there is none", crypto.ErrSignature)
	}
	keys, err := crypto.ParseLedgerPublic(r.Ledger)
	if err != nil {
		return err
	}
	message := ledgerMessage(body)
	if err := keys.VerifyEd25519(message, proof[:ed25519.SignatureSize]); err != nil {
		return err
	}
	return keys.VerifyMLDSA44(message, ledgerContext, proof[ed25519.SignatureSize:])
}

// doubtLedger says what speaks against those whom a charter makes voters or
// witnesses, as far as they were not before or the proposal changes them.
func (r *Roster) doubtLedger(p *Proposal, c *Charter) (doubts []string) {
	if c.before == nil {
		return nil
	}
	with := map[string]*Credential{} // by ledger key
	check := func(members, before []crypto.MemberID, may func(*Credential) error) {
		for _, m := range members {
			cred, changed := r.becomes(p, c.Region(), m)
			fresh := changed || !slices.Contains(before, m)
			switch {
			case !fresh:
			case cred == nil:
				doubts = append(doubts, fmt.Sprintf("%s is to keep or witness the ledger, and is no member that is known here", m))
			case r.isRevoked(cred):
				doubts = append(doubts, fmt.Sprintf("%q is to keep or witness the ledger, and its key is revoked", cred.Name))
			default:
				if err := may(cred); err != nil {
					doubts = append(doubts, err.Error())
				}
			}
			if cred == nil || cred.Ledger == nil {
				continue
			}
			if other := with[string(cred.Ledger)]; other != nil {
				doubts = append(doubts, fmt.Sprintf("%q and %q have the same ledger keys: they are one", other.Name, cred.Name))
			}
			with[string(cred.Ledger)] = cred
		}
	}
	check(c.Voters, c.before.Voters, (*Credential).MayVote)
	check(c.Witnesses, c.before.Witnesses, (*Credential).MayWitness)
	return doubts
}

// becomes returns the credential that a member has once a proposal is decided, nil
// if none is known, and whether the proposal brings it.
func (r *Roster) becomes(p *Proposal, region crypto.Region, member crypto.MemberID) (*Credential, bool) {
	for _, a := range p.acts {
		for _, c := range a.credentials {
			if c.Member == member {
				return c, true
			}
		}
	}
	return r.latest(&Credential{Region: region, Member: member}), false
}
