package store

import (
	"context"
	"fmt"

	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/incident"
)

func incidentKey(number string) []byte { return append([]byte{tableIncident}, number...) }

// Incidents returns all incidents of this house, in no particular order.
func (s *Store) Incidents() ([]*incident.Incident, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var out []*incident.Incident
	err := scan(txn, []byte{tableIncident}, func(_, v []byte) error {
		i := &incident.Incident{}
		out = append(out, i)
		return canon.Unmarshal(v, i)
	})
	if err != nil {
		return nil, fmt.Errorf("incidents: %w", err)
	}
	return out, nil
}

// KeepIncident keeps an incident in place of the one with its number, and returns when
// that is durable.
func (s *Store) KeepIncident(ctx context.Context, i *incident.Incident) error {
	raw, err := canon.Marshal(i)
	if err != nil {
		return fmt.Errorf("encode incident: %w", err)
	}
	if err := s.do(ctx, 1, func(b *batch) error { return b.put(incidentKey(i.Number), raw) }); err != nil {
		return fmt.Errorf("keep incident: %w", err)
	}
	return nil
}
