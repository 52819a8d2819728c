package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/crypto/words"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api/client"
)

// A council is where an act of the region is prepared and signed: at a running
// node, in the directory of one that does not run, or in a file that goes from
// coordinator to coordinator.
type council struct {
	cmd    *cobra.Command
	client *client.Client // nil: the node does not run, or there is none
	dir    string
	seeds  []string
	roster *trust.Roster
}

// councilFlags are those of every command that signs.
type councilFlags struct {
	keys    []string
	in, out string
	despite bool
}

func (f *councilFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.keys, "key", nil, "file of a coordinator's admission key; repeat it where several are at hand")
	c.Flags().StringVar(&f.in, "in", "", "work on a file of the region instead of a node's directory")
	c.Flags().StringVar(&f.out, "out", "", "also write a file, to be passed on where no network is")
	_ = c.MarkFlagRequired("key")
}

// openCouncil reads what is known of the region. Members whose credentials are
// needed are named, or all.
func openCouncil(cmd *cobra.Command, in string, members []string, all bool) (*council, error) {
	if in != "" {
		a, err := readRegionFile(in)
		if err != nil {
			return nil, err
		}
		roster, err := a.Roster()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", in, err)
		}
		return &council{cmd: cmd, seeds: a.Seeds, roster: roster}, nil
	}
	c, err := connect(cmd)
	if err != nil {
		return offline(cmd, err)
	}
	raw, err := c.Records(cmd.Context(), members, all)
	if err != nil {
		c.Close()
		return offline(cmd, err)
	}
	a, err := node.ReadRecords(raw)
	if err != nil {
		c.Close()
		return nil, err
	}
	roster := trust.NewRoster(a.Region)
	if _, err := roster.AddAll(a.Records); err != nil {
		c.Close()
		return nil, err
	}
	return &council{cmd: cmd, client: c, seeds: a.Seeds, roster: roster}, nil
}

// offline goes by what a node knew that does not run.
func offline(cmd *cobra.Command, cause error) (*council, error) {
	dir, _ := cmd.Flags().GetString("dir")
	var asked *client.Error
	if dir == "" || !errors.As(cause, &asked) || !asked.Unreachable && (asked.Problem == nil || asked.Problem.Word() != "unavailable") {
		return nil, cause
	}
	roster, seeds, err := node.RosterOf(dir)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "note: the node does not run, so this goes by what it knew when it stopped; what changes takes effect when it starts.")
	return &council{cmd: cmd, dir: dir, seeds: seeds, roster: roster}, nil
}

func (c *council) close() {
	if c.client != nil {
		c.client.Close()
	}
}

func readRegionFile(path string) (*node.Admission, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	if len(raw) > node.FileSizeMax {
		return nil, fmt.Errorf("%s has %d bytes: this is no file of a region", path, len(raw))
	}
	a, err := node.ReadRecords(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// loadKeys reads admission keys, and asks for their passphrases.
func loadKeys(cmd *cobra.Command, paths []string) ([]*crypto.PrivateKey, error) {
	var keys []*crypto.PrivateKey
	for _, path := range paths {
		if raw, err := os.ReadFile(path); err == nil && len(raw) <= trust.CardSizeMax {
			if _, err := trust.ParseCard(raw); err == nil {
				return nil, fmt.Errorf("%s is a card, which everybody may have: give the key itself, the file without %s", path, cardSuffix)
			}
		}
		key, err := keyfile.LoadAdmission(path, func() ([]byte, error) {
			return askPassphrase(cmd, "Passphrase of "+path+": ")
		})
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, usage("--key: name a coordinator's admission key")
	}
	return keys, nil
}

// An outcome is what became of an act. It is what --json prints.
type outcome struct {
	ID      string   `json:"id"`
	Does    []string `json:"does"`
	Signed  []string `json:"signed"`
	Lacking int      `json:"lacking"`
	Done    bool     `json:"done"`
	File    string   `json:"file,omitempty"`
}

// decide opens a proposal and signs it with the keys at hand. extra is what the act
// needs beside its own records, once it is decided; it may be nil.
func (c *council) decide(f councilFlags, extra *node.Admission, statements ...trust.Statement) (outcome, error) {
	keys, err := loadKeys(c.cmd, f.keys)
	if err != nil {
		return outcome{}, err
	}
	p, err := trust.Propose(c.roster.Charter(), keys[0], now().UnixMilli(), statements...)
	if err != nil {
		return outcome{}, err
	}
	does := strings.Join(describe(p, c.roster), "; ")
	for _, o := range c.roster.Proposals() {
		if !c.roster.Moot(o) && strings.Join(describe(o, c.roster), "; ") == does {
			return outcome{}, fmt.Errorf("this is proposed already, as %s, signed by %s: sign that one (watchward region sign %s)", o.ID().String()[:12], strings.Join(o.Signed(), ", "), o.ID().String()[:12])
		}
	}
	return c.sign(p, keys[1:], f, extra)
}

// sign adds signatures to a proposal, and hands on what becomes of it.
func (c *council) sign(p *trust.Proposal, keys []*crypto.PrivateKey, f councilFlags, extra *node.Admission) (outcome, error) {
	if doubts := c.roster.Doubts(p); len(doubts) > 0 && !f.despite {
		return outcome{}, fmt.Errorf("this should not be signed: %s", strings.Join(doubts, "; "))
	}
	for _, key := range keys {
		if err := p.Sign(key); err != nil {
			return outcome{}, err
		}
	}
	if extra == nil || p.Lacking() > 0 {
		extra = &node.Admission{} // nobody takes it before it is decided
	}
	o := outcome{ID: p.ID().String(), Does: describe(p, c.roster), Signed: p.Signed(), Lacking: p.Lacking(), Done: p.Lacking() == 0}
	records, err := p.Act()
	if !o.Done {
		records, err = p.Records()
	}
	if err != nil {
		return o, err
	}
	if len(records[0]) > trust.RecordSizeMax && f.out == "" {
		return o, fmt.Errorf("the proposal has %d bytes, and the mesh carries %d: name a file with --out, and let the others sign that", len(records[0]), trust.RecordSizeMax)
	}
	if f.out != "" || f.in != "" {
		if o.File = f.out; o.File == "" {
			o.File = f.in
		}
		if err := c.write(o.File, f.out != "", slices.Concat(records, extra.Records), c.concerned(p)); err != nil {
			return o, err
		}
	}
	if f.in != "" || len(records[0]) > trust.RecordSizeMax {
		return o, nil
	}
	return o, c.deliver(slices.Concat(records, extra.Records), extra.Seeds...)
}

// concerned returns the credentials that who signs a proposal must see.
func (c *council) concerned(p *trust.Proposal) (out []*trust.Credential) {
	for _, change := range p.Changes() {
		out = append(out, change.Credentials...)
		if next := change.Charter; next != nil {
			for _, m := range c.roster.Members(next.Region()) {
				if slices.Contains(next.Voters, m.Member) || slices.Contains(next.Witnesses, m.Member) {
					out = append(out, m)
				}
			}
		}
		if r := change.Revocation; r != nil {
			if m, ok := c.roster.Member(r.Region, r.Member, r.Serial); ok {
				out = append(out, m)
			}
		}
	}
	return out
}

// write makes a file of what is known of the region and of records.
func (c *council) write(path string, fresh bool, records [][]byte, members []*trust.Credential) error {
	roster := trust.NewRoster(c.roster.Region())
	var all [][]byte
	for _, id := range c.roster.IDs() {
		raw, _ := c.roster.Record(id)
		all = append(all, raw)
	}
	all = slices.Concat(all, records)
	large := slices.DeleteFunc(slices.Clone(all), func(raw []byte) bool { return len(raw) <= trust.RecordSizeMax })
	_, err := roster.AddAll(slices.DeleteFunc(all, func(raw []byte) bool { return len(raw) > trust.RecordSizeMax }))
	if err != nil && len(large) == 0 && !trust.IsEarly(err) {
		return err
	}
	var names []string
	for _, m := range members {
		if _, ok := roster.Member(m.Region, m.Member, m.Serial); ok {
			names = append(names, m.Member.String())
		}
	}
	a, err := node.Extract(roster, names, false)
	if err != nil {
		return err
	}
	// What else waits has no place in it: who signs a file signs all that waits there.
	a.Records = slices.DeleteFunc(a.Records, func(raw []byte) bool {
		kind, _ := trust.KindOf(raw)
		return kind.Undecided() && !slices.ContainsFunc(records, func(own []byte) bool { return bytes.Equal(own, raw) })
	})
	a.Records, a.Seeds = append(a.Records, large...), c.seeds
	if len(large) > 0 { // their approvals are no use to a roster
		a.Records = append(a.Records, slices.DeleteFunc(records, func(raw []byte) bool { return len(raw) > trust.RecordSizeMax })...)
	}
	raw, err := a.Encode()
	if err != nil {
		return err
	}
	if fresh {
		return writeNew(path, raw)
	}
	return replaceFile(path, raw)
}

// replaceFile exchanges a file's content in one step.
func replaceFile(path string, content []byte) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fileError(temporary, err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fileError(temporary, err), os.Remove(temporary))
	}
	return os.Rename(temporary, path)
}

// deliver hands records to the node, in parts that one request takes, and addresses
// to dial.
func (c *council) deliver(records [][]byte, seeds ...string) error {
	if c.client == nil {
		return node.AddRecords(c.dir, records, seeds...)
	}
	const part = 512 << 10
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && (n == 0 || size+len(records[n]) <= part) {
			size += len(records[n])
			n++
		}
		raw, err := (&node.Admission{Region: c.roster.Region(), Records: records[:n], Seeds: seeds}).Encode()
		if err != nil {
			return err
		}
		if _, err := c.client.AddRecords(c.cmd.Context(), raw); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// describe says in words what a proposal would do. Those beside it name the members
// of a region that is only being founded.
func describe(p *trust.Proposal, roster *trust.Roster, beside ...*trust.Proposal) (out []string) {
	for _, change := range p.Changes() {
		switch {
		case change.Charter != nil:
			out = append(out, describeCharter(change.Charter, roster, slices.Concat([]*trust.Proposal{p}, beside)...))
		case change.Revocation != nil:
			out = append(out, fmt.Sprintf("revoke %s (serial %d), keeping %s", memberCalled(roster, change.Revocation.Region, change.Revocation.Member),
				change.Revocation.Serial, plural(int64(len(change.Revocation.Cuts)), "chain")))
		case change.Endorsements != nil:
			out = append(out, describeEndorsements(change.Endorsements, roster))
		}
		for _, c := range change.Credentials {
			out = append(out, describeCredential(c, roster))
		}
	}
	return out
}

func describeCharter(c *trust.Charter, roster *trust.Roster, beside ...*trust.Proposal) string {
	names := coordinators(c)
	called := func(m crypto.MemberID) string {
		for _, p := range beside {
			for _, change := range p.Changes() {
				for _, o := range change.Credentials {
					if o.Member == m {
						return o.Name
					}
				}
			}
		}
		return memberCalled(roster, c.Region(), m)
	}
	text := fmt.Sprintf("charter %d of %s: %d of %d coordinators decide: %s", c.Number, c.Name, c.Threshold, len(names), strings.Join(names, ", "))
	if c.Number == 1 {
		plainest := *c
		plainest.RegionRoles, plainest.Voters, plainest.Witnesses, plainest.Ledger = nil, nil, nil, 0
		return "found " + text + amended(&plainest, c, called)
	}
	var before *trust.Charter
	if roster != nil {
		before = roster.CharterBy(c.Region(), c.Prev)
	}
	if before == nil {
		return text
	}
	text += amended(before, c, called)
	for _, o := range c.Coordinators {
		if !slices.ContainsFunc(before.Coordinators, func(b trust.Coordinator) bool { return string(b.Key) == string(o.Key) }) {
			text += fmt.Sprintf("; new: %s (%s)", o.Name, words.Of(o.Key, nil, nil))
		}
	}
	for _, b := range before.Coordinators {
		if !slices.ContainsFunc(c.Coordinators, func(o trust.Coordinator) bool { return string(o.Key) == string(b.Key) }) {
			text += "; leaves: " + b.Name
			if slices.Contains(c.Distrusts, trust.SignerOf(b.Key)) {
				text += ", distrusted"
			}
		}
	}
	for _, signer := range c.Distrusts {
		if !slices.ContainsFunc(before.Coordinators, func(o trust.Coordinator) bool { return trust.SignerOf(o.Key) == signer }) {
			text += fmt.Sprintf("; distrusts the former key %x", signer[:8])
		}
	}
	return text
}

// amended says what a charter changes beside its coordinators: whoever signs is to
// see all of it.
func amended(before, c *trust.Charter, called func(crypto.MemberID) string) (text string) {
	if c.Name != before.Name {
		text += "; until now it is called " + before.Name
	}
	if c.Threshold != before.Threshold || len(c.Coordinators) != len(before.Coordinators) {
		text += fmt.Sprintf("; until now %d of %d decide", before.Threshold, len(before.Coordinators))
	}
	for _, role := range c.RegionRoles {
		if !slices.Contains(before.RegionRoles, role) {
			text += fmt.Sprintf("; a %s may hear what is for the region alone", role)
		}
	}
	for _, role := range before.RegionRoles {
		if !slices.Contains(c.RegionRoles, role) {
			text += fmt.Sprintf("; a %s may not hear any more what is for the region alone", role)
		}
	}
	if c.MinVersion != before.MinVersion {
		text += fmt.Sprintf("; protocol version %d at least", c.MinVersion)
	}
	return text + describeLedger(before, c, called)
}

// coordinators returns their names, sorted.
func coordinators(c *trust.Charter) []string {
	names := make([]string, len(c.Coordinators))
	for i, o := range c.Coordinators {
		names[i] = o.Name
	}
	slices.Sort(names)
	return names
}

func describeCredential(c *trust.Credential, roster *trust.Roster) string {
	until := time.UnixMilli(c.NotAfter).UTC().Format("2006-01-02")
	if roster != nil {
		if old, ok := roster.Member(c.Region, c.Member, c.Serial); ok && string(old.Key) == string(c.Key) {
			return fmt.Sprintf("renew %s until %s", c.Name, until) + renewed(old, c)
		}
	}
	what := "admit"
	if c.Serial > 1 {
		what = fmt.Sprintf("give new keys (serial %d) to", c.Serial)
	}
	return fmt.Sprintf("%s %s as %s until %s, words: %s", what, c.Name, c.Role, until, words.Of(c.Key, c.SealKey, c.Peer))
}

// renewed says what else than its end a credential with the same key changes.
func renewed(old, c *trust.Credential) (text string) {
	if old.Name != c.Name {
		text += ", called " + old.Name + " until now"
	}
	if old.Role != c.Role {
		text += fmt.Sprintf(", as %s instead of %s", c.Role, old.Role)
	}
	if string(old.SealKey) != string(c.SealKey) || string(old.Peer) != string(c.Peer) {
		text += ", with another seal key or peer id, words: " + words.Of(c.Key, c.SealKey, c.Peer)
	}
	if string(old.Ledger) != string(c.Ledger) {
		text += ", with other ledger keys"
	}
	return text
}

func describeEndorsements(l *trust.Endorsements, roster *trust.Roster) string {
	var before []crypto.Region
	if roster != nil {
		if old := roster.Endorsements(l.Region); old != nil {
			before = old.Regions
		}
	}
	var parts []string
	for _, r := range l.Regions {
		if !slices.Contains(before, r) {
			parts = append(parts, "endorse "+regionCalled(roster, r))
		}
	}
	for _, r := range before {
		if !slices.Contains(l.Regions, r) {
			parts = append(parts, "endorse no longer "+regionCalled(roster, r))
		}
	}
	return strings.Join(parts, "; ")
}

func memberCalled(roster *trust.Roster, region crypto.Region, member crypto.MemberID) string {
	if roster != nil {
		for _, c := range roster.Members(region) {
			if c.Member == member {
				return c.Name
			}
		}
	}
	return member.String()[:16] + "…"
}

func regionCalled(roster *trust.Roster, region crypto.Region) string {
	if roster != nil {
		if c := roster.CharterOf(region); c != nil {
			return c.Name + " (" + region.String()[:16] + "…)"
		}
	}
	return "region " + region.String()[:16] + "…"
}

// print says what became of an act, and what to do next.
func (o outcome) print(cmd *cobra.Command, out io.Writer) error {
	if jsonFlag(cmd) {
		return printJSON(out, o)
	}
	for _, does := range o.Does {
		fmt.Fprintln(out, plain(does))
	}
	if o.Done {
		fmt.Fprintf(out, "Done: signed by %s.\n", plain(strings.Join(o.Signed, ", ")))
		if o.File != "" {
			fmt.Fprintf(out, "%s has the records.\n", o.File)
		}
		return nil
	}
	fmt.Fprintf(out, "Proposal %s: signed by %s; %s must sign as well:\n  watchward region sign %s --key KEY --dir DIRECTORY\n",
		o.ID[:12], plain(strings.Join(o.Signed, ", ")), plural(int64(o.Lacking), "more coordinator"), o.ID[:12])
	if o.File != "" {
		fmt.Fprintf(out, "or, with the file: watchward region sign %s --key KEY\n", o.File)
	}
	return nil
}
