package proof

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/node/notice"
)

// A Step is one of the checks, in their order.
type Step string

// The steps of Verify.
const (
	StepRegion     Step = "region"     // it is the region that is trusted, or one that it endorses
	StepCharter    Step = "charter"    // coordinators founded and amended the region
	StepAuthor     Step = "author"     // they admitted the author, by the key that signs here
	StepRecords    Step = "records"    // every other trust record is good
	StepCredential Step = "credential" // the author was a member when it signed
	StepMarking    Step = "marking"    // the audience fits the marking
	StepSignature  Step = "signature"  // the author signed
	StepItem       Step = "item"       // the notice is among what was signed
	StepNotice     Step = "notice"     // it is a notice
	StepRevocation Step = "revocation" // the author's key was not revoked before it
	StepLedger     Step = "ledger"     // its receipt, if there is one, shows it in the region's ledger
)

// A Failure says which step did not hold, and why.
type Failure struct {
	Step Step
	Err  error
}

func (f *Failure) Error() string { return string(f.Step) + ": " + f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// Known is what a verifier knows beside the file.
type Known struct {
	// Region is the one that is trusted. Nil is that of the file: whoever asks must
	// then compare its name by other means.
	Region *crypto.Region
	// Records are further trust records of that region, such as those that came later.
	Records [][]byte
}

// A Proven notice was said by its author as it is.
type Proven struct {
	Notice   *notice.Notice
	ID       crypto.ItemID
	Envelope crypto.EnvelopeID
	Header   crypto.Header
	Author   *trust.Credential
	Charter  *trust.Charter // the latest that is known of the author's region
	Trusted  crypto.Region  // the author's, or one that endorses it
	Endorser *trust.Charter // of the trusted region that endorses the author's; nil if they are one
	Grace    bool           // signed in the Grace after the credential's end
	Revoked  bool           // the author's key was revoked; the notice lies before the cut
	Fork     *trust.Fork    // the proof that the author used a number of a chain twice; nil if none is known
	Ledger   *Ledger        // where it is in the region's ledger; nil if the file has no receipt
}

// A Ledger says where a notice is in its region's ledger, and who says so.
type Ledger struct {
	Index       uint64    // of the envelope's entry, from 0
	Size        uint64    // entries of the ledger at the checkpoint
	Origin      string    // the ledger's name, with its epoch
	Time        time.Time // of the checkpoint: the oldest of its signatures, by the signers' clocks
	Voters      []string  // names of those who signed, sorted
	VotersOf    int       // that the charter names
	Quorum      int       // so many are needed
	Witnesses   []string  // names of those who signed, sorted
	WitnessesOf int       // that the charter names
	Witnessed   bool      // all of them signed, and there are any
}

// InFork reports whether the notice is in one of the two envelopes that have one number.
func (p *Proven) InFork() bool { return p.Fork != nil && slices.Contains(p.Fork.IDs[:], p.Envelope) }

// Verify checks what the file claims, by its own records and what else is known. The
// error is a *Failure. Who trusts no more than a region's name, and compares it,
// needs to trust nobody who touched the file.
func Verify(f *File, known Known) (*Proven, error) {
	h := &f.Envelope.Header
	p := &Proven{Header: *h, Envelope: f.Envelope.ID, Trusted: h.Region}
	if known.Region != nil {
		p.Trusted = *known.Region
	}
	roster := trust.NewRoster(p.Trusted)
	if err := p.trust(roster, f.Records, known.Records); err != nil {
		return nil, err
	}
	switch tlp := notice.TLP(h.TLP); {
	case !p.Author.ValidAt(h.Time) && !p.Author.GraceAt(h.Time):
		return nil, &Failure{StepCredential, errors.New("the author signed outside the validity of its credential")}
	case !notice.Leaves(tlp, h.Audience, notice.ExitProof, 0):
		return nil, &Failure{StepMarking, fmt.Errorf("TLP:%s does not fit the %s audience", tlp, h.Audience)}
	}
	key, err := roster.Key(p.Author)
	if err != nil {
		return nil, &Failure{StepSignature, err}
	}
	if err := f.Envelope.Verify(key); err != nil {
		return nil, &Failure{StepSignature, err}
	}
	leaf := crypto.LeafHash(f.Item)
	if err := crypto.CheckProof(f.Path, int(h.Count), f.Index, h.Root, leaf); err != nil {
		return nil, &Failure{StepItem, err}
	}
	if p.Notice, err = notice.Decode(f.Item); err != nil {
		return nil, &Failure{StepNotice, err}
	}
	p.ID, p.Grace = crypto.NewItemID(h.Author, leaf), p.Author.GraceAt(h.Time)
	var cuts []trust.Cut
	if cuts, p.Revoked = roster.Revoked(p.Author); p.Revoked {
		if err := f.before(trust.CutAt(cuts, h.Audience, h.Epoch)); err != nil {
			return nil, &Failure{StepRevocation, err}
		}
	}
	if f.Receipt != nil {
		if p.Ledger, err = p.ledger(roster, f.Receipt); err != nil {
			return nil, &Failure{StepLedger, err}
		}
	}
	return p, nil
}

// ledger checks the receipt by the charter of the epoch that it names.
func (p *Proven) ledger(roster *trust.Roster, r *verify.Receipt) (*Ledger, error) {
	if !bytes.Equal(r.Entry, entry.Encode(entry.Envelope, crypto.Hash(p.Envelope))) {
		return nil, errors.New("the receipt is for something else than this notice")
	}
	cp, err := r.Checkpoint()
	if err != nil {
		return nil, err
	}
	region, epoch, err := tlog.ParseOrigin(cp.Origin)
	if err != nil {
		return nil, err
	}
	if region != p.Header.Region {
		return nil, fmt.Errorf("the receipt is from the ledger of region %s, and the notice of another", region)
	}
	policy, err := verify.PolicyOf(roster, region, epoch)
	if err != nil {
		return nil, err
	}
	c, err := r.Verify(policy)
	if err != nil {
		return nil, err
	}
	return &Ledger{
		Index: r.Index, Size: c.Size, Origin: c.Origin, Time: c.Time, Voters: names(c.Voters), VotersOf: c.VotersOf, Quorum: c.Quorum,
		Witnesses: names(c.Witnesses), WitnessesOf: c.WitnessesOf, Witnessed: c.Witnessed,
	}, nil
}

func names(signatures []verify.Signature) []string {
	out := make([]string, len(signatures))
	for i, s := range signatures {
		out[i] = s.Name
	}
	slices.Sort(out)
	return out
}

// before returns nil only if the notice's envelope is the one at the cut, or the
// links lead from it to that.
func (f *File) before(cut trust.Cut) error {
	h, id := &f.Envelope.Header, f.Envelope.ID
	if h.Seq > cut.Seq {
		return fmt.Errorf("the author's key was revoked, and this word lies after the cut: it is number %d of its chain, of which %d count", h.Seq, cut.Seq)
	}
	seq := h.Seq
	for _, raw := range f.Links {
		if seq == cut.Seq {
			break
		}
		var link crypto.Header
		if err := canon.Unmarshal(raw, &link); err != nil {
			return fmt.Errorf("a link to the cut is damaged: %w", err)
		}
		if link.Chain() != h.Chain() || link.Seq != seq+1 || link.Prev != id {
			return fmt.Errorf("the author's key was revoked, and number %d, which should lead to the cut, does not follow the one before", seq+1)
		}
		seq, id = link.Seq, crypto.EnvelopeID(crypto.SumContext("envelope-id", h.Region, raw))
	}
	switch {
	case seq < cut.Seq:
		return errors.New("the author's key was revoked, and nothing here shows that this word lies before the cut: have the file written anew by a member that has it")
	case id != cut.ID:
		return errors.New("the author's key was revoked, and this word is not among those that the coordinators let stand: somebody else may have signed it")
	}
	return nil
}

// trust goes from the name of the trusted region to the author's credential.
func (p *Proven) trust(roster *trust.Roster, records, more [][]byte) error {
	h := &p.Header
	_, err := roster.AddAll(slices.Concat(more, records))
	if h.Region != roster.Region() {
		p.Endorser = roster.Charter()
		if list := roster.Endorsements(roster.Region()); list == nil || !slices.Contains(list.Regions, h.Region) {
			return &Failure{StepRegion, fmt.Errorf("the notice is of region %s, which is not %s and, as far as is known here, not endorsed by it", h.Region, roster.Region())}
		}
	}
	because := func(text string) error {
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		return errors.New(text)
	}
	if p.Charter = roster.CharterOf(h.Region); p.Charter == nil {
		return &Failure{StepCharter, because("no charter here is the one whose hash is the region's name")}
	}
	var ok bool
	if p.Author, ok = roster.Member(h.Region, h.Author, h.Serial); !ok {
		return &Failure{StepAuthor, because(fmt.Sprintf("no credential of member %s, serial %d, is signed by enough coordinators", h.Author, h.Serial))}
	}
	if err != nil {
		return &Failure{StepRecords, err}
	}
	for _, fork := range roster.Forks() {
		if fork.Chain.Region == h.Region && fork.Chain.Author == h.Author && fork.Chain.Serial == h.Serial {
			p.Fork = &fork
		}
	}
	return nil
}
