package store

import (
	"context"
	"fmt"

	"github.com/watchward/watchward/crypto/canon"
)

// RewordAlert gives the alert that is kept with a Dedup another text: what is counted
// goes on after the alert was raised. Nothing else of it changes, and nobody is told
// again. It reports false if there is none.
func (s *Store) RewordAlert(ctx context.Context, dedup, text string) (found bool, err error) {
	if len(text) > AlertTextMax {
		return false, fmt.Errorf("alert is too large: at most %d bytes of text", AlertTextMax)
	}
	err = s.do(ctx, 1, func(b *batch) error {
		v, err := b.read(alertOnceKey(dedup))
		if found = v != nil; err != nil || !found {
			return err
		}
		r := reader{b: v}
		key := key8(tableAlert, r.uvarint())
		if err := r.done("alert's number"); err != nil {
			return err
		}
		if v, err = b.read(key); err != nil || v == nil {
			found = false
			return err
		}
		var a Alert
		if err := canon.Unmarshal(v, &a); err != nil {
			return err
		}
		a.Text = text
		if v, err = canon.Marshal(a); err != nil {
			return err
		}
		return b.put(key, v)
	})
	if err != nil {
		return false, fmt.Errorf("reword alert: %w", err)
	}
	return found, nil
}
