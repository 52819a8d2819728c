package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/proof"
)

// handling says to whom a file of a marking may be given (TLP 2.0), in few words.
var handling = map[notice.TLP]string{
	notice.TLPClear: "for anybody",
	notice.TLPGreen: "for the community, not for the public",
	notice.TLPAmber: "for members of its region and those whom they protect, where they need it",
}

func writeProof(cmd *cobra.Command, c *client.Client, id, to string) error {
	raw, err := c.ProofFile(cmd.Context(), id)
	if err != nil {
		return err
	}
	f, err := saveProof(to, raw)
	if err != nil {
		return err
	}
	tlp := notice.TLP(f.Envelope.Header.TLP)
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]any{"file": to, "id": id, "tlp": tlp.String(), "bytes": len(raw)})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s. It is TLP:%s: %s.\nTo check it, anywhere: watchward verify %s\n", to, tlp, handling[tlp], to)
	return nil
}

// saveProof writes a proof that a node has answered, if it is one.
func saveProof(to string, raw []byte) (*proof.File, error) {
	f, err := proof.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("the node's answer: %w", err)
	}
	return f, writeNew(to, raw)
}

// writeRegion asks the node, which knows what came later; the admission in its
// directory says what it joined.
func writeRegion(cmd *cobra.Command, dir, to string, members bool) error {
	raw, err := runningRegion(cmd, members)
	if answered := (*client.Error)(nil); err != nil && errors.As(err, &answered) && answered.Unreachable {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: the node in %s does not run, so the file says what it knew when it stopped\n", dir)
		raw, err = node.RegionFile(dir, members)
	}
	if err != nil {
		return err
	}
	r, err := proof.ParseRegion(raw)
	if err != nil {
		return fmt.Errorf("the node's answer: %w", err)
	}
	if err := writeNew(to, raw); err != nil {
		return err
	}
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]any{"file": to, "region": r.Region.String(), "records": len(r.Records), "bytes": len(raw)})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s: region %s, %s.\n", to, r.Region, plural(int64(len(r.Records)), "record"))
	return nil
}

func runningRegion(cmd *cobra.Command, members bool) ([]byte, error) {
	c, err := connect(cmd)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.RegionFile(cmd.Context(), members)
}

func newVerify() *cobra.Command {
	var region string
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a notice in a file, with no node and no network",
		Long: `Check a notice that watchward show ID --out wrote: who said it, when, in which
region, and that nothing of the notice was changed since. It needs no node, no network
and no directory, and trusts nobody who kept or carried the file. What the proof does not
need, such as one signature more than enough, may be damaged in the file. A receipt, which
watchward ledger receipt wrote, is such a file too: it says also where the notice is
in the region's ledger, and which coordinators and witnesses signed that.

It checks the proof that somebody signed two ledgers which contradict each other, too:
watchward ledger status names the file on a node that has one. That takes --region
with the file that watchward region show --out FILE --members wrote.

A receipt says how the ledger stood when it was written, and nothing offline says what was
signed since. If voters have signed another ledger too, their receipts check well here and
count as unwitnessed all the same: ask a node of the region, whose ledger status says
so, or whoever gave you the receipt for that proof.

A region is named by the hash of its first charter. Without --region that name must
be compared by other means, such as a phone call to somebody whose voice you know.
With --region it is compared here: with 64 hexadecimal digits, or with the file that
watchward region show --out wrote, whose records count as well.`,
		Example: "  watchward verify evil.wwproof --region north.wwregion",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			known, err := readKnown(region)
			if err != nil {
				return err
			}
			raw, err := readBounded(args[0], proof.SizeMax)
			if err != nil {
				return err
			}
			f, err := proof.Parse(raw)
			if split, bad := verify.ParseEquivocation(raw); bad == nil {
				return verifySplit(cmd, split, region)
			}
			var p *proof.Proven
			if err == nil {
				p, err = proof.Verify(f, known)
			}
			if err != nil {
				return notProven(cmd, err)
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), provenView(p, region != ""))
			}
			showProven(cmd.OutOrStdout(), p, region != "")
			return nil
		},
	}
	c.Flags().StringVar(&region, "region", "", "the region that is trusted: its 64 digits, or its file")
	return c
}

// readBounded reads a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, limit+1)) // who parses it refuses what is longer
	if err != nil {
		return nil, fileError(path, err)
	}
	return raw, nil
}

// readKnown reads --region.
func readKnown(region string) (known proof.Known, err error) {
	if region == "" {
		return known, nil
	}
	if name, err := hex.DecodeString(region); err == nil && len(name) == len(crypto.Region{}) {
		id := crypto.Region(name)
		return proof.Known{Region: &id}, nil
	}
	raw, err := readBounded(region, proof.RegionSizeMax)
	if err != nil {
		return known, usage("--region: %w (or give the region's 64 hexadecimal digits)", err)
	}
	r, err := proof.ParseRegion(raw)
	if err != nil {
		return known, usage("--region: %s: %w", region, err)
	}
	return proof.Known{Region: &r.Region, Records: r.Records}, nil
}

const (
	stepFile  = proof.Step("file")  // no proof could be read
	stepSplit = proof.Step("split") // it is of two ledgers, and shows no contradiction
)

// unproven is what a step that failed means.
var unproven = map[proof.Step]string{
	stepFile:             "the file cannot be read",
	proof.StepRegion:     "it is of another region",
	proof.StepCharter:    "no charter proves the region",
	proof.StepAuthor:     "the coordinators did not admit the author",
	proof.StepRecords:    "a trust record is not what it claims",
	proof.StepCredential: "the author was no member at that time",
	proof.StepMarking:    "the marking does not allow it",
	proof.StepSignature:  "the author did not sign this",
	proof.StepItem:       "this is not what the author signed",
	proof.StepNotice:     "what was signed is no notice",
	proof.StepRevocation: "the author's key was revoked",
	stepSplit:            "nobody is shown to have signed two ledgers",
	proof.StepLedger:     "the region's ledger does not show it",
}

func notProven(cmd *cobra.Command, err error) error {
	step, reason := stepFile, err
	if failed := (*proof.Failure)(nil); errors.As(err, &failed) {
		step, reason = failed.Step, failed.Err
	}
	if jsonFlag(cmd) {
		if err := printJSON(cmd.OutOrStdout(), map[string]any{"proven": false, "step": step, "reason": reason.Error()}); err != nil {
			return err
		}
		return differs()
	}
	return &failure{code: client.ExitNo, err: fmt.Errorf("NOT PROVEN: %s (step %s): %w", unproven[step], step, reason)}
}

// showProven says what is proven in plain words.
func showProven(out io.Writer, p *proof.Proven, compared bool) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-12s %s\n", name, plain(value))
		}
	}
	v, h := noticeOf(p), &p.Header
	fmt.Fprintf(out, "%s: %s said this, and nothing of this notice was changed since.\n\n", paint(out, "32", "PROVEN"), plain(p.Author.Name))
	showSubject(line, v)
	showContent(line, v)
	line("said", v.Created.String()+", by its author's clock")
	line("signed", api.Time(h.Time).String()+", by its author's clock")
	line("marking", "TLP:"+v.TLP+": "+handling[notice.TLP(h.TLP)])
	if h.Exercise {
		line("exercise", "yes: it is part of a drill")
	}
	line("by", fmt.Sprintf("%s, %s", p.Author.Name, p.Author.Role))
	line("member", v.Author)
	line("credential", fmt.Sprintf("serial %d, valid from %s to %s", p.Author.Serial, api.Time(p.Author.NotBefore), api.Time(p.Author.NotAfter)))
	if p.Grace {
		line("", "It had ended when this was signed, and counts for 90 days more.")
	}
	line("region", p.Charter.Name)
	line("its name", h.Region.String())
	names := coordinators(p.Charter)
	line("admits", fmt.Sprintf("%d of %d coordinators (charter %d of %s): %s", p.Charter.Threshold, len(names),
		p.Charter.Number, api.Time(p.Charter.Created), strings.Join(names, ", ")))
	if p.Endorser != nil {
		line("endorsed by", p.Endorser.Name)
	}
	revoked := "no, as far as is known here"
	if p.Revoked {
		revoked = "yes; this word lies before the cut, so it stands"
	}
	line("revoked", revoked)
	switch {
	case p.InFork():
		line("forked", "yes: its author signed another word with the same number")
	case p.Fork != nil:
		line("forked", "yes, elsewhere: its author signed two words with one number, so its key may be in other hands")
	default:
		line("forked", "no, as far as is known here")
	}
	if p.Ledger != nil {
		line("ledger", ledgerText(p.Ledger))
		line("its origin", p.Ledger.Origin)
	}
	if !compared {
		fmt.Fprintf(out, "\nThat this is the region you mean is not checked: compare its name, all 64 digits,\nby other means, or give --region.\n")
	}
}

// ledgerText says in one line where a notice is in the ledger and who says so.
func ledgerText(l *proof.Ledger) string {
	text := fmt.Sprintf("in the ledger at %s of %s, checkpoint of %s, signed by %d of %d coordinators (%s)", thousands(int64(l.Index)), thousands(int64(l.Size)),
		api.Time(l.Time.UnixMilli()), len(l.Voters), l.VotersOf, strings.Join(l.Voters, ", "))
	switch {
	case l.Witnessed:
		text += ", witnessed by " + strings.Join(l.Witnesses, ", ")
	case len(l.Witnesses) > 0:
		text += fmt.Sprintf(", witnessed by %d of %d (%s)", len(l.Witnesses), l.WitnessesOf, strings.Join(l.Witnesses, ", "))
	case l.WitnessesOf > 0:
		text += ", not witnessed"
	}
	return text
}

func noticeOf(p *proof.Proven) api.NoticeView {
	v := node.WordView(p.Notice)
	v.ID, v.TLP, v.Audience = p.ID.String(), notice.TLP(p.Header.TLP).String(), p.Header.Audience.String()
	v.Author, v.AuthorName, v.Exercise = p.Header.Author.String(), p.Author.Name, p.Header.Exercise
	return v
}

// proven is the answer of verify --json. A verifier knows nothing of when a notice
// arrived where.
type proven struct {
	Proven bool `json:"proven"`
	Notice struct {
		api.NoticeView
		Received *api.Time `json:"received,omitempty"`
		State    string    `json:"state,omitempty"`
	} `json:"notice"`
	Signed     api.Time         `json:"signed"`
	Credential provenCredential `json:"credential"`
	Region     provenRegion     `json:"region"`
	Grace      bool             `json:"grace"` // its credential had ended, within 90 days
	Revoked    bool             `json:"revoked"`
	Forked     bool             `json:"forked"`
	InFork     bool             `json:"in_fork"`
	Ledger     *provenLedger    `json:"ledger,omitempty"` // of a receipt
}

type provenLedger struct {
	Index       uint64   `json:"index"` // from 0
	Size        uint64   `json:"size"`
	Origin      string   `json:"origin"`
	Time        api.Time `json:"time"`   // of the checkpoint: its oldest signature
	Voters      []string `json:"voters"` // who signed
	VotersOf    int      `json:"voters_of"`
	Quorum      int      `json:"quorum"`
	Witnesses   []string `json:"witnesses"` // who signed
	WitnessesOf int      `json:"witnesses_of"`
	Witnessed   bool     `json:"witnessed"` // by all of them
}

type provenCredential struct {
	Serial    uint32   `json:"serial"`
	Role      string   `json:"role"`
	NotBefore api.Time `json:"not_before"`
	NotAfter  api.Time `json:"not_after"`
}

type provenRegion struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Compared     bool     `json:"compared"` // with --region
	EndorsedBy   string   `json:"endorsed_by,omitempty"`
	Charter      uint64   `json:"charter"`
	Threshold    uint8    `json:"threshold"`
	Coordinators []string `json:"coordinators"`
}

func provenView(p *proof.Proven, compared bool) proven {
	out := proven{
		Proven: true, Signed: api.Time(p.Header.Time), Grace: p.Grace, Revoked: p.Revoked, Forked: p.Fork != nil, InFork: p.InFork(),
		Credential: provenCredential{p.Author.Serial, p.Author.Role.String(), api.Time(p.Author.NotBefore), api.Time(p.Author.NotAfter)},
		Region: provenRegion{ID: p.Header.Region.String(), Name: p.Charter.Name, Compared: compared,
			Charter: p.Charter.Number, Threshold: p.Charter.Threshold},
	}
	out.Notice.NoticeView = noticeOf(p)
	if p.Endorser != nil {
		out.Region.EndorsedBy = p.Trusted.String()
	}
	out.Region.Coordinators = coordinators(p.Charter)
	if l := p.Ledger; l != nil {
		out.Ledger = &provenLedger{l.Index, l.Size, l.Origin, api.Time(l.Time.UnixMilli()), l.Voters, l.VotersOf, l.Quorum, l.Witnesses, l.WitnessesOf, l.Witnessed}
	}
	return out
}
