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

// A Coordinator is one of those who decide about a region. Its key is an
// admission key that is kept offline, never a daemon's key.
type Coordinator struct {
	Name string `cbor:"1,keyasint"`
	Key  []byte `cbor:"2,keyasint"` // composite public key, 1984 bytes
}

// A Charter is a region's constitution. The hash of the first, the genesis, is
// the region's name, which members pin; each later one replaces the one before
// with the consent of both. The field numbers are wire format.
type Charter struct {
	Version      uint8             `cbor:"1,keyasint"`
	Name         string            `cbor:"2,keyasint"`
	Number       uint64            `cbor:"3,keyasint"`            // 1 is the genesis
	Prev         crypto.Hash       `cbor:"4,keyasint"`            // hash of the charter before, zero for the genesis
	Coordinators []Coordinator     `cbor:"5,keyasint"`            // 1 to CoordinatorsMax, sorted by key
	Threshold    uint8             `cbor:"6,keyasint"`            // how many of them must agree
	MinVersion   uint8             `cbor:"7,keyasint"`            // lowest protocol version that writers may use
	Created      int64             `cbor:"8,keyasint"`            // ms since 1970
	Voters       []crypto.MemberID `cbor:"9,keyasint,omitempty"`  // who keeps the ledger: 1 to VotersMax, sorted; most of them must agree
	RegionRoles  []Role            `cbor:"10,keyasint,omitempty"` // of bridge, supplier: those that may take part in the region audience
	Genesis      crypto.Region     `cbor:"11,keyasint"`           // the region's name, zero in the genesis itself
	Distrusts    []crypto.Hash     `cbor:"12,keyasint,omitempty"` // admission keys, as SignerOf names them: for good, in later charters too
	Witnesses    []crypto.MemberID `cbor:"13,keyasint,omitempty"` // who cosigns the ledger's checkpoints and keeps none of it in order: up to WitnessesMax, sorted
	Ledger       uint32            `cbor:"14,keyasint,omitempty"` // epoch of the ledger, 0 where there is none

	raw    []byte
	hash   crypto.Hash
	before *Charter // that it follows, nil for the genesis and until follow has seen it
}

// Found returns the statement that founds a region, and its charter. Version,
// Number, Prev and Genesis of c are filled in and its lists sorted; everything
// else is the caller's. All coordinators must sign it: nobody is made one
// without knowing.
func Found(c Charter) (Statement, *Charter, error) {
	c.Number, c.Prev, c.Genesis = 1, crypto.Hash{}, crypto.Region{}
	return c.state()
}

// Amend returns the statement that replaces the charter before, and the new
// charter. It needs the threshold of the old coordinators and that of the new
// ones, as root metadata of TUF does.
func Amend(before *Charter, c Charter) (Statement, *Charter, error) {
	c.Number, c.Prev, c.Genesis = before.Number+1, before.hash, before.Region()
	st, charter, err := c.state()
	if err != nil {
		return Statement{}, nil, err
	}
	return st, charter, charter.follow(before)
}

func (c Charter) state() (Statement, *Charter, error) {
	c.Version = Version
	c.Coordinators, c.Voters, c.Witnesses = slices.Clone(c.Coordinators), slices.Clone(c.Voters), slices.Clone(c.Witnesses)
	c.RegionRoles, c.Distrusts = slices.Clone(c.RegionRoles), slices.Clone(c.Distrusts)
	slices.SortFunc(c.Coordinators, compareCoordinators)
	for i := 1; i < len(c.Coordinators); i++ {
		if a, b := c.Coordinators[i-1], c.Coordinators[i]; bytes.Equal(a.Key, b.Key) {
			return Statement{}, nil, fmt.Errorf("charter: %q and %q have the same key: each coordinator is named once, with a key of its own", a.Name, b.Name)
		}
	}
	slices.SortFunc(c.Voters, compareMembers)
	slices.SortFunc(c.Witnesses, compareMembers)
	slices.Sort(c.RegionRoles)
	slices.SortFunc(c.Distrusts, compareHashes)
	raw, err := canon.Marshal(c)
	if err != nil {
		return Statement{}, nil, fmt.Errorf("encode charter: %w", err)
	}
	charter, err := parseCharter(raw)
	if err != nil {
		return Statement{}, nil, err
	}
	return Statement{Type: typeCharter, Body: raw}, charter, nil
}

// Region returns the name of the region: the hash of its genesis charter.
func (c *Charter) Region() crypto.Region {
	if c.Number == 1 {
		return crypto.Region(c.hash)
	}
	return c.Genesis
}

// follow sets the charter that this one replaces, nil if it is not known. Whom any
// charter before distrusts is no coordinator again.
func (c *Charter) follow(before *Charter) error {
	if before == nil || before.Number != c.Number-1 {
		return fmt.Errorf("charter %d: %w", c.Number, ErrCharterMissing)
	}
	for b := before; b != nil; b = b.before {
		for _, o := range c.Coordinators {
			if len(b.Distrusts) > 0 && slices.Contains(b.Distrusts, SignerOf(o.Key)) {
				return fmt.Errorf("charter: coordinator %q is distrusted since charter %d", o.Name, b.Number)
			}
		}
	}
	if err := c.followLedger(before); err != nil {
		return fmt.Errorf("charter: %w", err)
	}
	c.before = before
	return nil
}

// quorums says who must sign the charter. It is asked when follow has been.
func (c *Charter) quorums() []quorum {
	if c.before == nil {
		return []quorum{{c.Coordinators, len(c.Coordinators)}}
	}
	return []quorum{c.before.quorum(), c.quorum()}
}

func (c *Charter) quorum() quorum { return quorum{c.Coordinators, int(c.Threshold)} }

// context is what a charter is signed under. A genesis has the zero region:
// the region's name does not exist before it.
func (c *Charter) context() []byte { return crypto.Context("charter", c.Genesis) }

// Hash returns the charter's hash. That of a genesis is the region's name.
func (c *Charter) Hash() crypto.Hash { return c.hash }

// RecordID returns the id of the record that proves the charter, by which
// Roster.Record finds the bytes to show to others.
func (c *Charter) RecordID() crypto.Hash { return recordID(c.Region(), typeCharter, c.raw, nil) }

// Allows reports whether members of a role may take part in an audience.
// Bridges and suppliers get the region audience only where the charter says so.
func (c *Charter) Allows(role Role, audience crypto.Audience) bool {
	if !role.known() || audience < crypto.AudienceNamed || audience > crypto.AudienceCommunity {
		return false
	}
	return audience != crypto.AudienceRegion || role == RoleHospital || role == RoleCoordinator || slices.Contains(c.RegionRoles, role)
}

type charterRecord struct {
	Charter    []byte      `cbor:"1,keyasint"`
	Signatures []signature `cbor:"2,keyasint"`
}

// parseCharter decodes and checks a charter, but not who signed it.
func parseCharter(raw []byte) (*Charter, error) {
	c := &Charter{}
	if err := canon.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("charter: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("charter: %w", err)
	}
	c.raw, c.hash = raw, charterHash(raw)
	return c, nil
}

func charterHash(raw []byte) crypto.Hash { return crypto.SumContext("charter", crypto.Region{}, raw) }

func (c *Charter) check() error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	switch n := len(c.Coordinators); {
	case c.Version != Version:
		return fmt.Errorf("version %d, this build knows %d", c.Version, Version)
	case c.Number == 0:
		return errors.New("numbers start at 1")
	case (c.Number == 1) != (c.Prev == crypto.Hash{}) || (c.Number == 1) != (c.Genesis == crypto.Region{}):
		return errors.New("the first charter, and no other, has neither predecessor nor region")
	case n < 1 || n > CoordinatorsMax:
		return fmt.Errorf("%d coordinators, want 1 to %d", n, CoordinatorsMax)
	case c.Threshold < 1 || int(c.Threshold) > n:
		return fmt.Errorf("a threshold of %d: there are %d coordinators, so choose 1 to %d", c.Threshold, n, n)
	case c.MinVersion > crypto.Version:
		return fmt.Errorf("minimal protocol version %d, this build knows %d", c.MinVersion, crypto.Version)
	case c.Created < 0:
		return errors.New("created before 1970")
	case !ascending(c.Coordinators, compareCoordinators):
		return errors.New("coordinators are not sorted by distinct keys")
	case !ascending(c.RegionRoles, cmp.Compare[Role]):
		return errors.New("roles are not sorted and distinct")
	case len(c.Distrusts) > DistrustsMax:
		return fmt.Errorf("%d distrusted keys, at most %d", len(c.Distrusts), DistrustsMax)
	case !ascending(c.Distrusts, compareHashes):
		return errors.New("distrusted keys are not sorted and distinct")
	}
	for _, r := range c.RegionRoles {
		if r != RoleBridge && r != RoleSupplier {
			return fmt.Errorf("%v needs no leave for the region audience", r)
		}
	}
	names := map[string]bool{}
	for _, o := range c.Coordinators {
		if err := checkName(o.Name); err != nil {
			return fmt.Errorf("coordinator: %w", err)
		}
		if names[o.Name] {
			return fmt.Errorf("two coordinators are called %q", o.Name)
		}
		names[o.Name] = true
		if _, err := crypto.ParsePublicKey(o.Key); err != nil {
			return fmt.Errorf("coordinator %q: %w", o.Name, err)
		}
		if slices.Contains(c.Distrusts, SignerOf(o.Key)) {
			return fmt.Errorf("coordinator %q is distrusted", o.Name)
		}
	}
	return c.checkLedger()
}

func compareCoordinators(a, b Coordinator) int { return bytes.Compare(a.Key, b.Key) }

func compareMembers(a, b crypto.MemberID) int { return bytes.Compare(a[:], b[:]) }

func compareHashes(a, b crypto.Hash) int { return bytes.Compare(a[:], b[:]) }

// ascending reports whether each element is strictly greater than the one
// before, so that a set has one encoding.
func ascending[T any](list []T, compare func(a, b T) int) bool {
	for i := 1; i < len(list); i++ {
		if compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}
