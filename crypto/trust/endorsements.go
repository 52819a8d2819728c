package trust

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// EndorsedMax is how many regions one region may endorse.
const EndorsedMax = 1024

// Endorsements is a region's word which other regions it trusts, each in its own
// name only: that their coordinators say who their members are. Regions hear
// each other where both endorse the other. A later list replaces the one before,
// so that leaving a region out withdraws it. The field numbers are wire format.
type Endorsements struct {
	Version uint8           `cbor:"1,keyasint"`
	Region  crypto.Region   `cbor:"2,keyasint"` // who endorses
	Charter crypto.Hash     `cbor:"3,keyasint"` // under whose coordinators and threshold
	Number  uint64          `cbor:"4,keyasint"` // from 1 under each charter; the highest counts
	Time    int64           `cbor:"5,keyasint"` // ms since 1970
	Regions []crypto.Region `cbor:"6,keyasint"` // up to EndorsedMax, sorted; none withdraws all

	id crypto.Hash // of the record
}

type endorsementsRecord struct {
	List       []byte      `cbor:"1,keyasint"`
	Signatures []signature `cbor:"2,keyasint"`
}

// Endorsing returns the statement of a region's list, under a charter. before is
// the list that this one replaces, nil if there is none; now is in ms since 1970.
func Endorsing(charter *Charter, before *Endorsements, regions []crypto.Region, now int64) (Statement, error) {
	list := Endorsements{Version: Version, Region: charter.Region(), Charter: charter.Hash(), Number: 1, Time: now, Regions: slices.Clone(regions)}
	if before != nil && before.Charter == list.Charter { // of another charter the later list counts, whatever its number
		list.Number = before.Number + 1
	}
	slices.SortFunc(list.Regions, compareRegions)
	if err := list.check(); err != nil {
		return Statement{}, err
	}
	raw, err := canon.Marshal(list)
	if err != nil {
		return Statement{}, fmt.Errorf("encode endorsements: %w", err)
	}
	return Statement{Type: typeEndorsements, Body: raw}, nil
}

// Endorse is the act of Endorsing, by the keys of enough coordinators.
func Endorse(charter *Charter, keys []*crypto.PrivateKey, before *Endorsements, regions []crypto.Region, now int64) ([]byte, error) {
	st, err := Endorsing(charter, before, regions, now)
	if err != nil {
		return nil, err
	}
	records, err := Act(charter, keys, now, st)
	if err != nil {
		return nil, err
	}
	return records[0], nil
}

func parseEndorsements(raw []byte) (*Endorsements, error) {
	list := &Endorsements{}
	if err := canon.Unmarshal(raw, list); err != nil {
		return nil, fmt.Errorf("endorsements: %w", err)
	}
	if err := list.check(); err != nil {
		return nil, err
	}
	list.id = recordID(list.Region, typeEndorsements, raw, nil)
	return list, nil
}

func endorsementsContext(region crypto.Region) []byte { return crypto.Context("endorsements", region) }

func (l *Endorsements) check() error {
	switch {
	case l.Version != Version:
		return fmt.Errorf("endorsements: version %d, this build knows %d", l.Version, Version)
	case l.Number == 0:
		return errors.New("endorsements: numbers start at 1")
	case l.Time < 0:
		return errors.New("endorsements: signed before 1970")
	case len(l.Regions) > EndorsedMax:
		return fmt.Errorf("endorsements: %d regions, at most %d", len(l.Regions), EndorsedMax)
	case !ascending(l.Regions, compareRegions):
		return errors.New("endorsements: regions are not sorted and distinct")
	case l.has(l.Region):
		return errors.New("endorsements: a region does not endorse itself")
	}
	return nil
}

func (l *Endorsements) has(region crypto.Region) bool {
	if l == nil {
		return false
	}
	_, found := slices.BinarySearchFunc(l.Regions, region, compareRegions)
	return found
}

func compareRegions(a, b crypto.Region) int { return bytes.Compare(a[:], b[:]) }

// addEndorsements keeps of each charter the list with the highest number; of two
// with one number the one with the higher id, so that rosters agree.
func (r *Roster) addEndorsements(raw, payload []byte) (bool, error) {
	var rec endorsementsRecord
	if err := canon.Unmarshal(payload, &rec); err != nil {
		return false, fmt.Errorf("endorsements record: %w", err)
	}
	list, err := parseEndorsements(rec.List)
	if err != nil {
		return false, err
	}
	g, charter := r.under(list.Region, list.Charter)
	switch {
	case g == nil:
		return false, fmt.Errorf("endorsements of %s: %w, which %s does not endorse", list.Region, ErrRegion, r.region)
	case charter == nil:
		return false, fmt.Errorf("endorsements of %s: %w", list.Region, ErrCharterMissing)
	case !r.isLater(g, list):
		return false, nil
	}
	if err := checkSignatures(rec.Signatures, []quorum{charter.quorum()}, endorsementsContext(list.Region), rec.List); err != nil {
		return false, fmt.Errorf("endorsements of %s: %w", list.Region, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := g.lists[list.Charter]
	if r.regions[list.Region] != g || !list.after(before) {
		return false, nil
	}
	if before != nil {
		r.remove(g, before.id)
	}
	r.noteAdded(raw)
	g.lists[list.Charter] = list
	g.records[list.id] = held{kind: typeEndorsements, whole: bytes.Clone(raw)}
	r.endorse(g)
	r.decided(g)
	r.noteChange()
	return true, nil
}

func (r *Roster) isLater(g *regional, list *Endorsements) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return list.after(g.lists[list.Charter])
}

// endorse finds the list that counts: of the latest charter that has one and is
// trusted.
func (r *Roster) endorse(g *regional) {
	g.endorsing = nil
	for _, c := range g.chain {
		if list := g.lists[c.hash]; list != nil && g.counts[c.hash] {
			g.endorsing = list
		}
	}
	if g.region == r.region {
		r.follow(g.endorsing)
	}
}

// follow makes room for the regions that this one endorses now, and forgets
// those that it does so no longer.
func (r *Roster) follow(list *Endorsements) {
	gone := false
	for region := range r.regions {
		if region != r.region && !list.has(region) {
			delete(r.regions, region)
			r.forgets++
			gone = true
		}
	}
	if list != nil {
		for _, region := range list.Regions {
			if r.regions[region] == nil {
				r.regions[region] = newRegional(region)
			}
		}
	}
	if gone {
		r.rebind()
	}
}

// rebind finds anew which region binds each peer id.
func (r *Roster) rebind() {
	clear(r.peers)
	for _, g := range r.regions {
		for peer := range g.peers {
			r.prefer(g, peer)
		}
	}
}

func (l *Endorsements) after(before *Endorsements) bool {
	return before == nil || cmp.Or(cmp.Compare(l.Number, before.Number), bytes.Compare(l.id[:], before.id[:])) > 0
}

// Endorsements returns the list of this region or of one that it endorses, nil
// if there is none. It is shared and must not be changed.
func (r *Roster) Endorsements(region crypto.Region) *Endorsements {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.regions[region]; g != nil {
		return g.endorsing
	}
	return nil
}

// Endorses reports whether members of a region are heard here: it is this one,
// or each of the two endorses the other.
func (r *Roster) Endorses(region crypto.Region) bool { return r.Mutual(r.region, region) }

// Mutual reports whether members of two regions hear each other, as far as their
// lists are known here. A region is mutual with itself.
func (r *Roster) Mutual(a, b crypto.Region) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mutual(a, b)
}

func (r *Roster) mutual(a, b crypto.Region) bool {
	if a == b {
		return true
	}
	x, y := r.regions[a], r.regions[b]
	return x != nil && y != nil && x.endorsing.has(b) && y.endorsing.has(a)
}

// Regions returns this region and those that are mutual with it, this one first
// and the others in order.
func (r *Roster) Regions() []crypto.Region {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.DeleteFunc(r.sorted(), func(region crypto.Region) bool { return !r.mutual(r.region, region) })
}
