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
	Number  uint64          `cbor:"4,keyasint"` // from 1; the highest counts
	Time    int64           `cbor:"5,keyasint"` // ms since 1970
	Regions []crypto.Region `cbor:"6,keyasint"` // up to EndorsedMax, sorted; none withdraws all

	id crypto.Hash // of the record
}

type endorsementsRecord struct {
	List       []byte      `cbor:"1,keyasint"`
	Signatures []signature `cbor:"2,keyasint"`
}

// Endorse returns the record of a region's list, signed with the admission keys
// of at least as many of its coordinators as the charter wants. before is the
// list that this one replaces, nil if there is none; now is in ms since 1970.
func Endorse(charter *Charter, keys []*crypto.PrivateKey, before *Endorsements, regions []crypto.Region, now int64) ([]byte, error) {
	list := Endorsements{Version: Version, Region: charter.Region(), Charter: charter.Hash(), Number: 1, Time: now, Regions: slices.Clone(regions)}
	if before != nil {
		list.Number = before.Number + 1
	}
	slices.SortFunc(list.Regions, compareRegions)
	if err := list.check(); err != nil {
		return nil, err
	}
	raw, err := canon.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encode endorsements: %w", err)
	}
	var signatures []signature
	for _, key := range keys {
		if signatures, err = addSignature(signatures, charter.Coordinators, endorsementsContext(list.Region), raw, key); err != nil {
			return nil, fmt.Errorf("sign endorsements: %w", err)
		}
	}
	if len(signatures) < int(charter.Threshold) {
		return nil, fmt.Errorf("endorsements: %w: %d, the charter wants %d", ErrThreshold, len(signatures), charter.Threshold)
	}
	return encodeRecord(typeEndorsements, endorsementsRecord{List: raw, Signatures: signatures})
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

// addEndorsements keeps the list with the highest number. Of two with one number
// the one with the higher id counts, so that rosters agree.
func (r *Roster) addEndorsements(raw, payload []byte) (bool, error) {
	var rec endorsementsRecord
	if err := canon.Unmarshal(payload, &rec); err != nil {
		return false, fmt.Errorf("endorsements record: %w", err)
	}
	list := &Endorsements{}
	if err := canon.Unmarshal(rec.List, list); err != nil {
		return false, fmt.Errorf("endorsements: %w", err)
	}
	if err := list.check(); err != nil {
		return false, err
	}
	list.id = recordID(list.Region, typeEndorsements, rec.List, nil)
	g, charter := r.of(list.Region)
	switch {
	case g == nil:
		return false, fmt.Errorf("endorsements of %s: %w, which %s does not endorse", list.Region, ErrRegion, r.region)
	case charter == nil || charter.hash != list.Charter:
		return false, fmt.Errorf("endorsements of %s: %w", list.Region, ErrCharterMissing)
	case !list.after(r.Endorsements(list.Region)):
		return false, nil
	}
	if err := checkSignatures(rec.Signatures, charter.Coordinators, int(charter.Threshold), endorsementsContext(list.Region), rec.List); err != nil {
		return false, fmt.Errorf("endorsements of %s: %w", list.Region, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.regions[list.Region] != g || !list.after(g.endorsing) {
		return false, nil
	}
	if g.endorsing != nil {
		delete(g.records, g.endorsing.id)
	}
	g.endorsing = list
	g.records[list.id] = held{kind: typeEndorsements, whole: bytes.Clone(raw)}
	if list.Region == r.region {
		r.follow(list)
	}
	r.noteChange()
	return true, nil
}

// follow makes room for the regions that this one endorses now, and forgets
// those that it does so no longer.
func (r *Roster) follow(list *Endorsements) {
	gone := false
	for region := range r.regions {
		if region != r.region && !list.has(region) {
			delete(r.regions, region)
			gone = true
		}
	}
	for _, region := range list.Regions {
		if r.regions[region] == nil {
			r.regions[region] = newRegional(region)
		}
	}
	if !gone {
		return
	}
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
