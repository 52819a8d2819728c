package store

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// DrillsMax is how many drills are kept; the oldest go first.
const DrillsMax = 100

// DrillReportMax bounds what a drill keeps of what came of it, in bytes.
const DrillReportMax = 512 << 10

// A Drill is an exercise that this house held, or holds. The field numbers are disk format.
type Drill struct {
	Number  uint64  `cbor:"1,keyasint"` // from 1 on
	Name    string  `cbor:"2,keyasint"`
	By      string  `cbor:"3,keyasint"`  // the token that began it
	Started int64   `cbor:"4,keyasint"`  // ms
	Until   int64   `cbor:"5,keyasint"`  // ms, by the clock of its beginning
	Ended   int64   `cbor:"6,keyasint"`  // ms; 0 = it runs
	Itself  bool    `cbor:"7,keyasint"`  // nobody ended it
	Spent   int64   `cbor:"8,keyasint"`  // ms that it has run while the node did, whatever the clock said
	Reached []Reach `cbor:"9,keyasint"`  // in the order in which it became known
	After   uint64  `cbor:"11,keyasint"` // the last local number before it
	Low     int64   `cbor:"12,keyasint"` // ms: the lowest that the clock was while it ran
	Report  []byte  `cbor:"10,keyasint"` // what came of it, once it is over
}

// A Reach says since when a member is known to hold the first word of a drill.
type Reach struct {
	Member crypto.MemberID `cbor:"1,keyasint"`
	At     int64           `cbor:"2,keyasint"` // ms
}

// DrillContent is the content key of what has the key c, said in a drill: the drill's
// word and the real one are two.
func DrillContent(c [20]byte) [20]byte {
	sum := sha256.Sum256(append([]byte("exercise"), c[:]...))
	return [20]byte(sum[:])
}

func drillKey(number uint64) []byte { return key8(tableDrill, number) }

// Drills returns all drills that are kept, the oldest first.
func (s *Store) Drills() ([]*Drill, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var out []*Drill
	err := scan(txn, []byte{tableDrill}, func(_, v []byte) error {
		d := &Drill{}
		out = append(out, d)
		return canon.Unmarshal(v, d)
	})
	if err != nil {
		return nil, fmt.Errorf("exercises: %w", err)
	}
	return out, nil
}

// KeepDrill keeps a drill in place of the one with its number, and forgets the one that
// is DrillsMax before it. It returns when that is durable.
func (s *Store) KeepDrill(ctx context.Context, d *Drill) error {
	if len(d.Report) > DrillReportMax {
		return fmt.Errorf("exercise %d has %d bytes of report: at most %d", d.Number, len(d.Report), DrillReportMax)
	}
	raw, err := canon.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode exercise: %w", err)
	}
	err = s.do(ctx, 2, func(b *batch) error {
		if d.Number > DrillsMax {
			if err := b.remove(drillKey(d.Number - DrillsMax)); err != nil {
				return err
			}
		}
		return b.put(drillKey(d.Number), raw)
	})
	if err != nil {
		return fmt.Errorf("keep exercise: %w", err)
	}
	return nil
}
