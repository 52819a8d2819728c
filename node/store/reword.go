package store

import (
	"context"
	"fmt"

	"github.com/watchward/watchward/crypto/canon"
)

// RewordMax is how many alerts RewordAlerts takes.
const RewordMax = 256

// A Reworded is another text for the alert that is kept with a Dedup.
type Reworded struct{ Dedup, Text string }

// RewordAlerts gives alerts other texts in one write: what is counted goes on after an
// alert was raised. Nothing else of them changes, and nobody is told again. It returns how
// many of them there are; the others are passed over. After an error nothing has changed.
func (s *Store) RewordAlerts(ctx context.Context, all []Reworded) (found int, err error) {
	if len(all) > RewordMax {
		return 0, fmt.Errorf("reword %d alerts: at most %d at once", len(all), RewordMax)
	}
	for _, r := range all {
		if len(r.Text) > AlertTextMax {
			return 0, fmt.Errorf("alert is too large: at most %d bytes of text", AlertTextMax)
		}
	}
	if len(all) == 0 {
		return 0, nil
	}
	err = s.do(ctx, len(all), func(b *batch) error {
		found = 0
		for _, r := range all {
			here, err := b.reword(r)
			if err != nil {
				return err
			}
			if here {
				found++
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("reword alerts: %w", err)
	}
	return found, nil
}

func (b *batch) reword(to Reworded) (found bool, err error) {
	v, err := b.read(alertOnceKey(to.Dedup))
	if err != nil || v == nil {
		return false, err
	}
	r := reader{b: v}
	key := key8(tableAlert, r.uvarint())
	if err := r.done("alert's number"); err != nil {
		return false, err
	}
	if v, err = b.read(key); err != nil || v == nil {
		return false, err
	}
	var a Alert
	if err := canon.Unmarshal(v, &a); err != nil {
		return false, err
	}
	a.Text = to.Text
	if v, err = canon.Marshal(a); err != nil {
		return false, err
	}
	return true, b.put(key, v)
}
