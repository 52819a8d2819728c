package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// FileSizeMax bounds a file of trust records, in bytes.
const FileSizeMax = 256 << 20

// ReadRecords reads a file of trust records without verifying any of them: a draft
// of a charter, proposals, an admission or what region show wrote.
func ReadRecords(raw []byte) (*Admission, error) {
	var a Admission
	if err := canon.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("this is no file of a region, or a damaged one (%w)", err)
	}
	return &a, nil
}

// Draft returns the file in which a region waits for the signatures of all its
// coordinators: the charter, and the admission of those nodes whose requests come
// with their cards, whose addresses become its seeds. key is that of its first
// signer.
func Draft(terms trust.Charter, cards []*trust.Card, key *crypto.PrivateKey, seeds []string, now time.Time) (*Admission, error) {
	terms.Created, terms.MinVersion = now.UnixMilli(), crypto.Version
	terms.Coordinators = nil
	var grants []trust.Grant
	for _, c := range cards {
		terms.Coordinators = append(terms.Coordinators, c.Coordinator())
		if c.Request == nil {
			continue
		}
		r, err := trust.ParseRequest(c.Request)
		if err != nil {
			return nil, err
		}
		grants = append(grants, grant(r, trust.RoleCoordinator, now))
		id, err := peer.IDFromBytes(r.Peer)
		if err != nil {
			return nil, err
		}
		for _, addr := range r.Addrs {
			seeds = append(seeds, addr+"/p2p/"+id.String())
		}
	}
	found, charter, err := trust.Found(terms)
	if err != nil {
		return nil, err
	}
	a := &Admission{Region: charter.Region(), Seeds: seeds}
	if err := a.propose(nil, key, now, found); err != nil {
		return nil, err
	}
	if len(grants) == 0 {
		return a, nil
	}
	admission, err := trust.Admission(charter, grants, now.UnixMilli())
	if err != nil {
		return nil, err
	}
	return a, a.propose(charter, key, now, admission)
}

// propose adds a proposal, or what becomes of it when one signature is enough.
func (a *Admission) propose(charter *trust.Charter, key *crypto.PrivateKey, now time.Time, statements ...trust.Statement) error {
	p, err := trust.Propose(charter, key, now.UnixMilli(), statements...)
	if err != nil {
		return err
	}
	return a.put(p)
}

func (a *Admission) put(p *trust.Proposal) error {
	records, err := p.Act()
	if errors.Is(err, trust.ErrThreshold) {
		records, err = p.Records()
	}
	if err != nil {
		return err
	}
	a.Records = append(a.Records, records...)
	return nil
}

// Proposals returns the proposals in the file. of knows further charters; it may
// be nil.
func (a *Admission) Proposals(of *trust.Roster) ([]*trust.Proposal, error) {
	roster := trust.NewRoster(a.Region)
	_, _ = roster.AddAll(a.Records) // only for its charters; what is wrong with the rest is said below
	return trust.ReadProposals(a.Records, func(hash crypto.Hash) *trust.Charter {
		if c := roster.CharterBy(a.Region, hash); c != nil || of == nil {
			return c
		}
		return of.CharterBy(of.Region(), hash)
	})
}

// Sign adds a coordinator's signature to all proposals in the file that want it,
// which it returns. Those that enough have signed become records.
func (a *Admission) Sign(key *crypto.PrivateKey, of *trust.Roster) (signed []*trust.Proposal, err error) {
	proposals, err := a.Proposals(of)
	if err != nil {
		return nil, err
	}
	if len(proposals) == 0 {
		return nil, errors.New("nothing in it waits for a signature")
	}
	var refused error
	for _, p := range proposals {
		if e := p.Sign(key); e != nil {
			refused = e
			continue
		}
		signed = append(signed, p)
	}
	if len(signed) == 0 {
		return nil, refused
	}
	a.Records = slices.DeleteFunc(a.Records, isProposal)
	for _, p := range proposals {
		if err := a.put(p); err != nil {
			return nil, err
		}
	}
	return signed, nil
}

func tooLarge(raw []byte) bool { return len(raw) > trust.RecordSizeMax }

func isProposal(raw []byte) bool {
	kind, _ := trust.KindOf(raw)
	return kind.Undecided()
}

// Encode returns the file.
func (a *Admission) Encode() ([]byte, error) { return canon.Marshal(a) }

// Roster returns the roster that the file proves. Where a proposal is too large for
// one, proposals are left out: see Proposals.
func (a *Admission) Roster() (*trust.Roster, error) {
	roster := trust.NewRoster(a.Region)
	records := a.Records
	if slices.ContainsFunc(records, tooLarge) {
		records = slices.DeleteFunc(slices.Clone(records), isProposal)
	}
	_, err := roster.AddAll(records)
	if roster.Charter() != nil {
		return roster, err
	}
	if proposals, e := a.Proposals(nil); e == nil && len(proposals) > 0 && proposals[0].Region() == (crypto.Region{}) {
		return nil, fmt.Errorf("the charter is a draft until all its coordinators have signed it: %d more must (watchward region sign)", proposals[0].Lacking())
	}
	return nil, errors.Join(errors.New("the region's charter is missing"), err)
}

// RosterOf returns what the node in dir knows of its region while it does not run:
// by its admission, and by what came to its store since. It also returns whom it
// dials first.
func RosterOf(dir string) (*trust.Roster, []string, error) {
	a, roster, st, err := openOffline(dir)
	if err != nil {
		return nil, nil, err
	}
	if st != nil {
		err = st.Close()
	}
	return roster, a.Seeds, err
}

// openOffline reads the admission of the node in dir and opens its store, nil if it
// has never run. The caller closes it.
func openOffline(dir string) (*Admission, *trust.Roster, *store.Store, error) {
	raw, err := os.ReadFile(filepath.Join(dir, admissionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, fmt.Errorf("%s belongs to no region: found one with watchward region init, or join one", dir)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	a, roster, err := ParseAdmission(raw)
	if err != nil {
		return nil, nil, nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, storeDir)); err != nil {
		return a, roster, nil, nil
	}
	st, err := store.Open(store.Options{Dir: filepath.Join(dir, storeDir)})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: its store cannot be read: does a node run there that does not answer? %w", dir, err)
	}
	stored, err := st.Trust()
	if err != nil {
		return nil, nil, nil, errors.Join(err, st.Close())
	}
	_, _ = roster.AddAll(stored) // what does not count any more is refused
	return a, roster, st, nil
}

// Records implements api.Node: what Extract returns, and what the regions are that
// this one endorses.
func (n *Node) Records(_ context.Context, members []string, all bool) ([]byte, error) {
	if n.roster == nil {
		return nil, &api.Unavailable{Reason: "this node belongs to no region yet", Fix: "found one with watchward region init, or join one; then restart the node"}
	}
	a, err := Extract(n.roster, members, all)
	if err != nil {
		return nil, err
	}
	if list := n.roster.Endorsements(a.Region); list != nil {
		for _, region := range list.Regions {
			a.Records = append(a.Records, n.roster.Standing(region, false)...)
		}
	}
	a.Seeds = n.MeshAddrs()
	return a.Encode()
}

// keeps reports whether a member is a voter or a witness of the ledger.
func keeps(charter *trust.Charter, m crypto.MemberID) bool {
	return charter != nil && (slices.Contains(charter.Voters, m) || slices.Contains(charter.Witnesses, m))
}

// Extract returns those records of a roster that commands need: what the region is,
// open proposals, the credentials of coordinators' nodes and of who keeps or witnesses the ledger, and those of the members
// that are named, or of all. An unknown name is an error.
func Extract(roster *trust.Roster, members []string, all bool) (*Admission, error) {
	region := roster.Region()
	a := &Admission{Region: region, Records: roster.Standing(region, all), Seeds: []string{}}
	wanted := map[crypto.Hash]bool{}
	listed := roster.Members(region)
	for _, c := range listed {
		wanted[c.RecordID()] = (c.Role == trust.RoleCoordinator || keeps(roster.Charter(), c.Member)) && !all
	}
	for _, name := range members {
		c, err := FindMember(listed, name)
		if err != nil {
			return nil, err
		}
		for serial := uint32(1); serial <= c.Serial && !all; serial++ {
			if o, ok := roster.Member(region, c.Member, serial); ok {
				wanted[o.RecordID()] = true
			}
		}
	}
	for _, id := range roster.IDs() {
		r, ok := roster.Find(id)
		if ok && (wanted[id] || r.Kind.Undecided()) {
			a.Records = append(a.Records, r.Raw)
		}
	}
	return a, nil
}

// FindMember returns the member with a name, an id or the beginning of one.
func FindMember(members []*trust.Credential, name string) (*trust.Credential, error) {
	var found []*trust.Credential
	for _, c := range members {
		if c.Name == name || len(name) >= 8 && strings.HasPrefix(c.Member.String(), strings.ToLower(name)) {
			found = append(found, c)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, &notice.FieldError{Field: "member", Reason: fmt.Sprintf("no member is called %q", name), Fix: "watchward members lists names and ids"}
	}
	var ids []string
	for _, c := range found {
		ids = append(ids, c.Member.String()[:16])
	}
	return nil, &notice.FieldError{Field: "member", Reason: fmt.Sprintf("%d members are called %q", len(found), name), Fix: "say the beginning of an id: " + strings.Join(ids, ", ")}
}

// Admitting returns the statement that admits the authors of requests, under the
// charter in force. A member whose serial is superseded is named in supersedes; its
// request then gets the next serial.
func Admitting(roster *trust.Roster, requests [][]byte, role trust.Role, supersedes *trust.Credential, now time.Time) (trust.Statement, error) {
	var grants []trust.Grant
	for _, raw := range requests {
		r, err := trust.ParseRequest(raw)
		if err != nil {
			return trust.Statement{}, err
		}
		g := grant(r, role, now)
		if supersedes != nil {
			if bytes.Equal(r.Key, supersedes.Key) || bytes.Equal(r.Peer, supersedes.Peer) || bytes.Equal(r.SealKey, supersedes.SealKey) || len(r.Ledger) > 0 && bytes.Equal(r.Ledger, supersedes.Ledger) {
				return trust.Statement{}, fmt.Errorf("this request is of the keys that are to be replaced: make new ones with watchward init in another directory, on a clean machine, and use its %s", RequestFile)
			}
			g.Member, g.Serial, g.Role = supersedes.Member, supersedes.Serial+1, supersedes.Role
			r.Name = supersedes.Name
		}
		grants = append(grants, g)
	}
	return trust.Admission(roster.Charter(), grants, now.UnixMilli())
}

// Renewing returns the statement that gives members' credentials a new end.
func Renewing(roster *trust.Roster, members []*trust.Credential, now time.Time) (trust.Statement, error) {
	grants := make([]trust.Grant, len(members))
	for i, c := range members {
		grants[i] = trust.Grant{Renews: c, NotBefore: c.NotBefore, NotAfter: now.Add(CredentialLife).UnixMilli()}
	}
	return trust.Admission(roster.Charter(), grants, now.UnixMilli())
}

// Restating returns the statements, under the next charter, of what changes with it:
// the nodes of coordinators who come, by their cards, and of those who leave, by
// their names, change their roles; and what those that it distrusts have admitted and
// endorsed, which would count no longer, is stated again.
func Restating(roster *trust.Roster, next *trust.Charter, come []*trust.Card, leave []string, now time.Time) ([]trust.Statement, error) {
	region := roster.Region()
	var grants []trust.Grant
	for _, c := range roster.Members(region) {
		role := c.Role
		switch {
		case slices.ContainsFunc(come, func(card *trust.Card) bool { return card.Asks(c) }):
			role = trust.RoleCoordinator
		case c.Role == trust.RoleCoordinator && slices.Contains(leave, c.Name):
			role = trust.RoleHospital
		}
		if _, revoked := roster.Revoked(c); !revoked && (role != c.Role || !roster.Upholds(next, c.Charter())) {
			grants = append(grants, trust.Grant{Renews: c, Role: role, NotBefore: c.NotBefore, NotAfter: c.NotAfter})
		}
	}
	var out []trust.Statement
	if list := roster.Endorsements(region); list != nil && len(list.Regions) > 0 && !roster.Upholds(next, list.Charter) {
		st, err := trust.Endorsing(next, nil, list.Regions, now.UnixMilli())
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	if len(grants) == 0 {
		return out, nil
	}
	st, err := trust.Admission(next, grants, now.UnixMilli())
	return append(out, st), err
}

// Endorsing returns the statement of the regions that are endorsed when add join
// and drop leave. It fails if nothing would change.
func Endorsing(roster *trust.Roster, add, drop []crypto.Region, now time.Time) (trust.Statement, error) {
	before := roster.Endorsements(roster.Region())
	var regions []crypto.Region
	if before != nil {
		regions = slices.Clone(before.Regions)
	}
	for _, r := range add {
		if !slices.Contains(regions, r) {
			regions = append(regions, r)
		}
	}
	regions = slices.DeleteFunc(regions, func(r crypto.Region) bool { return slices.Contains(drop, r) })
	slices.SortFunc(regions, func(a, b crypto.Region) int { return bytes.Compare(a[:], b[:]) })
	if before == nil && len(regions) == 0 || before != nil && slices.Equal(before.Regions, regions) {
		return trust.Statement{}, errors.New("nothing would change: watchward region show lists the regions that are endorsed")
	}
	return trust.Endorsing(roster.Charter(), before, regions, now.UnixMilli())
}
