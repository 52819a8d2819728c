package store

import (
	"context"
	"fmt"

	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/notice"
)

// PolicyTextMax bounds Why and By of a policy, in bytes.
const PolicyTextMax = 1_000

// PoliciesMax is how many policies one ChangePolicies may set and remove.
const PoliciesMax = 10_000

// A Policy is what this house decided about a value: it is allowed here, or denied.
// Of one value there is one. The field numbers are disk format.
type Policy struct {
	Indicator notice.Indicator `cbor:"-"`
	Denied    bool             `cbor:"3,keyasint"` // else allowed
	Time      int64            `cbor:"4,keyasint"` // ms
	By        string           `cbor:"5,keyasint"` // the token that asked for it
	Why       string           `cbor:"6,keyasint"`
}

// storedPolicy is a policy on disk.
type storedPolicy struct {
	Type  notice.Type `cbor:"1,keyasint"`
	Value string      `cbor:"2,keyasint"`
	Policy
}

func policyKey(k notice.Key) []byte { return append([]byte{tablePolicy}, k[:]...) }

// Policies returns all policies, in no particular order.
func (s *Store) Policies() ([]Policy, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var out []Policy
	err := scan(txn, []byte{tablePolicy}, func(_, v []byte) error {
		var p storedPolicy
		if err := canon.Unmarshal(v, &p); err != nil {
			return err
		}
		p.Indicator = notice.Indicator{Type: p.Type, Value: p.Value}
		out = append(out, p.Policy)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	return out, nil
}

// ChangePolicies sets some policies, in place of those of the same values, and removes
// others, all or none, and returns when that is durable. Up to PoliciesMax.
func (s *Store) ChangePolicies(ctx context.Context, set []Policy, gone []notice.Indicator) error {
	if n := len(set) + len(gone); n > PoliciesMax {
		return fmt.Errorf("%d policies at once: at most %d", n, PoliciesMax)
	}
	values := make([][]byte, len(set))
	for i, p := range set {
		if len(p.Why)+len(p.By) > PolicyTextMax {
			return fmt.Errorf("policy of %s has %d bytes of text: at most %d", p.Indicator, len(p.Why)+len(p.By), PolicyTextMax)
		}
		var err error
		if values[i], err = canon.Marshal(storedPolicy{p.Indicator.Type, p.Indicator.Value, p}); err != nil {
			return fmt.Errorf("encode policy: %w", err)
		}
	}
	err := s.do(ctx, len(set)+len(gone), func(b *batch) error {
		for _, i := range gone {
			if err := b.remove(policyKey(i.Key())); err != nil {
				return err
			}
		}
		for i, p := range set {
			if err := b.put(policyKey(p.Indicator.Key()), values[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep policies: %w", err)
	}
	return nil
}
