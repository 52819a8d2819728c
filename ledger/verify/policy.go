// Package verify checks what a ledger claims with no node and no cluster: signed
// checkpoints, receipts, proofs that a ledger told two stories, and whole ledgers in a
// directory or behind a URL.
package verify

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/tlog"
)

// What a checkpoint can lack.
var (
	ErrOrigin   = errors.New("the checkpoint is of another ledger")
	ErrUnsigned = errors.New("no coordinator signed the checkpoint that may sign it")
	ErrQuorum   = errors.New("too few coordinators signed the checkpoint")
)

// A Signer is one serial of a member that has or had a part in an epoch's checkpoints.
type Signer struct {
	Member  crypto.MemberID
	Name    string
	Ledger  crypto.LedgerPublic
	Voter   bool  // its word counts for the quorum
	Witness bool  // its word counts for witnessed
	Until   int64 // a signature of a later time does not count; ms since 1970, 0 = never ends
}

// A Policy says whose signatures make a checkpoint of one ledger good. It is immutable
// and safe for concurrent use. Making one parses every key, which takes as long as
// some verifications, so keep it as long as the roster is the same.
type Policy struct {
	origin    string
	voters    int // that the charter names
	witnesses int
	quorum    int
	signers   []signer
	outside   []*tlog.Key // cosigners that the region does not name
}

type signer struct {
	Signer
	log, cosignature, mldsa *tlog.Key
}

// NewPolicy returns the policy of an origin with so many voters and witnesses, whether
// their keys are known or not; a majority of the voters is a quorum. A member may be
// named several times, once a serial; it counts once. Signers that are neither voter
// nor witness count for nothing, but what is signed in their name must hold.
func NewPolicy(origin string, voters, witnesses int, signers []Signer) (*Policy, error) {
	region, _, err := tlog.ParseOrigin(origin)
	if err != nil {
		return nil, err
	}
	if voters < 1 {
		return nil, fmt.Errorf("the charter names no voters for %s: watchward region amend --voter NAME names them", origin)
	}
	p := &Policy{origin: origin, voters: voters, witnesses: witnesses, quorum: voters/2 + 1}
	seen := map[string]bool{} // by key: one that two members claim counts for the first
	for _, s := range signers {
		key := string(s.Ledger.MLDSA44)
		if seen[key] {
			continue
		}
		seen[key] = true
		out := signer{Signer: s}
		name := tlog.Cosigner(region, s.Member)
		if out.log, err = tlog.KeyOf(origin, tlog.KindLog, s.Ledger); err != nil {
			return nil, fmt.Errorf("ledger key of %q: %w", s.Name, err)
		}
		if out.cosignature, err = tlog.KeyOf(name, tlog.KindCosignature, s.Ledger); err != nil {
			return nil, fmt.Errorf("ledger key of %q: %w", s.Name, err)
		}
		if out.mldsa, err = tlog.KeyOf(name, tlog.KindMLDSA44, s.Ledger); err != nil {
			return nil, fmt.Errorf("ledger key of %q: %w", s.Name, err)
		}
		p.signers = append(p.signers, out)
	}
	return p, nil
}

// PolicyOf returns the policy of a region's ledger in an epoch, by its latest charter
// of that epoch: a majority of its voters, and all its witnesses. Revoked credentials
// do not count, nor do signatures of a time beyond a credential's end and its grace.
func PolicyOf(roster *trust.Roster, region crypto.Region, epoch uint32) (*Policy, error) {
	charter, members := chartered(roster, region, epoch)
	if charter == nil {
		return nil, fmt.Errorf("no charter of region %s that is known here has epoch %d of its ledger", region, epoch)
	}
	var signers []Signer
	for _, m := range members {
		signers = append(signers, signersOf(roster, charter, m)...)
	}
	return NewPolicy(tlog.Origin(region, epoch), len(charter.Voters), len(charter.Witnesses), signers)
}

// WithCosigners returns the policy that knows witnesses from outside the region too, by
// their keys. They count for nothing, but what is signed in their name must hold. A key
// must be of a cosignature: a log's own is an error. Those that p knows are left out.
func (p *Policy) WithCosigners(keys ...*tlog.Key) (*Policy, error) {
	out := *p
	out.outside = slices.Clone(p.outside)
	for _, k := range keys {
		if k.Kind() == tlog.KindLog {
			return nil, fmt.Errorf("the key of %q is for the notes of a log, not for cosignatures: a cosigner's key has the type 0x04 or 0x06", k.Name())
		}
		if !slices.Contains(p.Keys(), k.String()) {
			out.outside = append(out.outside, k)
		}
	}
	return &out, nil
}

// Origin returns the origin of the policy's ledger.
func (p *Policy) Origin() string { return p.origin }

// Quorum returns how many voters there are, and how many of them make a checkpoint good.
func (p *Policy) Quorum() (voters, quorum int) { return p.voters, p.quorum }

// Keys returns the verifier keys of all who count, in the form that the tools of
// others read: of a voter the log key and the ML-DSA-44 one, of a witness both
// cosignatures' keys.
func (p *Policy) Keys() (vkeys []string) {
	for _, s := range p.signers {
		switch {
		case s.Voter:
			vkeys = append(vkeys, s.log.String(), s.mldsa.String())
		case s.Witness:
			vkeys = append(vkeys, s.cosignature.String(), s.mldsa.String())
		}
	}
	return vkeys
}

// A Signature is that of one member which counts.
type Signature struct {
	Member crypto.MemberID
	Name   string
	Time   time.Time // of its ML-DSA-44 line, in whole seconds, by its clock
}

// Checked is what a checkpoint's signatures say. Its lists are sorted as the policy is.
type Checked struct {
	tlog.Checkpoint
	Voters      []Signature // each with a line that verified
	VotersOf    int         // that the charter names
	Quorum      int         // so many voters are needed
	Witnesses   []Signature
	WitnessesOf int       // that the charter names
	Time        time.Time // the oldest among the lines of voters and witnesses
	Good        bool      // a quorum of voters signed
	Witnessed   bool      // it is good, and all the charter's witnesses signed; false if it names none
	Cosigners   []string  // names of the WithCosigners that signed, each once
	Foreign     []string  // names of keys with a line that the policy does not know, unverified
}

// Check verifies a checkpoint's signatures. Lines of keys that the policy does not know
// are ignored, as signed-note wants it. A false line of one that it knows refuses the
// whole note. A member counts only with its ML-DSA-44 line. The error wraps
// tlog.ErrNote, tlog.ErrLine, ErrOrigin or ErrUnsigned; that there is no quorum is no
// error here.
func (p *Policy) Check(note []byte) (*Checked, error) {
	n, err := tlog.ParseNote(note)
	if err != nil {
		return nil, err
	}
	c := &Checked{VotersOf: p.voters, Quorum: p.quorum, WitnessesOf: p.witnesses}
	if c.Checkpoint, err = n.Checkpoint(); err != nil {
		return nil, err
	}
	if c.Origin != p.origin {
		return nil, fmt.Errorf("%w: its origin is %q, want %q", ErrOrigin, c.Origin, p.origin)
	}
	signed, err := p.signed(n)
	if err != nil {
		return nil, err
	}
	if c.Cosigners, err = p.cosigned(n); err != nil {
		return nil, err
	}
	voted, witnessed := map[crypto.MemberID]bool{}, map[crypto.MemberID]bool{}
	for _, s := range signed {
		if s.by.Until != 0 && s.at.UnixMilli() > s.by.Until {
			continue
		}
		sig := Signature{s.by.Member, s.by.Name, s.at}
		switch {
		case s.by.Voter && !voted[sig.Member]:
			voted[sig.Member], c.Voters = true, append(c.Voters, sig)
		case s.by.Witness && !witnessed[sig.Member]:
			witnessed[sig.Member], c.Witnesses = true, append(c.Witnesses, sig)
		default:
			continue
		}
		if c.Time.IsZero() || sig.Time.Before(c.Time) {
			c.Time = sig.Time
		}
	}
	if len(c.Voters) == 0 {
		return nil, ErrUnsigned
	}
	c.Good = len(c.Voters) >= p.quorum
	c.Witnessed = c.Good && p.witnesses > 0 && len(c.Witnesses) >= p.witnesses
	c.Foreign = p.foreign(n)
	return c, nil
}

type signedBy struct {
	by *signer
	at time.Time
}

// signed verifies every line that names a known key, and returns whose ML-DSA-44 lines
// there are. The error wraps tlog.ErrLine or tlog.ErrNote.
func (p *Policy) signed(n *tlog.Note) (out []signedBy, err error) {
	for i := range p.signers {
		s := &p.signers[i]
		for _, k := range []*tlog.Key{s.log, s.cosignature} {
			if _, err := k.Verify(n); err != nil && !errors.Is(err, tlog.ErrNoLine) {
				return nil, fmt.Errorf("signature of %q: %w", s.Name, err)
			}
		}
		at, err := s.mldsa.Verify(n)
		switch {
		case err == nil:
			out = append(out, signedBy{s, at})
		case !errors.Is(err, tlog.ErrNoLine):
			return nil, fmt.Errorf("signature of %q: %w", s.Name, err)
		}
	}
	return out, nil
}

// cosigned verifies every line of a cosigner from outside. The error wraps tlog.ErrLine.
func (p *Policy) cosigned(n *tlog.Note) (names []string, err error) {
	for _, k := range p.outside {
		switch _, err := k.Verify(n); {
		case errors.Is(err, tlog.ErrNoLine):
		case err != nil:
			return nil, fmt.Errorf("signature of %q: %w", k.Name(), err)
		case !slices.Contains(names, k.Name()):
			names = append(names, k.Name())
		}
	}
	return names, nil
}

func (p *Policy) foreign(n *tlog.Note) (names []string) {
	for _, l := range n.Lines {
		if !p.knows(l) {
			names = append(names, l.Name)
		}
	}
	return names
}

// knows reports whether a line names a key of the policy.
func (p *Policy) knows(l tlog.Line) bool {
	return slices.ContainsFunc(p.outside, func(k *tlog.Key) bool { return k.Made(l) }) || slices.ContainsFunc(p.signers, func(s signer) bool {
		return s.log.Made(l) || s.cosignature.Made(l) || s.mldsa.Made(l)
	})
}

// Trim returns a note without the lines that the policy does not know: whoever passes it
// on would have no room for others' lines. A note without such is returned as it is.
func (p *Policy) Trim(note []byte) []byte {
	n, err := tlog.ParseNote(note)
	if err != nil || len(p.foreign(n)) == 0 {
		return note
	}
	n.Lines = slices.DeleteFunc(n.Lines, func(l tlog.Line) bool { return !p.knows(l) })
	return n.Bytes()
}
