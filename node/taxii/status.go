package taxii

import (
	"encoding/json"
	"sync"
	"time"
)

// Limits of the statuses that are kept: beyond them the oldest goes. Everything was told
// in the answer to the POST already, so a restart loses nothing that matters.
const (
	StatusAge      = 24 * time.Hour
	statusBytesMax = 16 << 20 // of all
)

// A status is a status resource, section 4.3.1.
type status struct {
	ID        string   `json:"id"`
	Status    string   `json:"status"`
	Requested string   `json:"request_timestamp"`
	Total     int      `json:"total_count"`
	Successes int      `json:"success_count"`
	Success   []detail `json:"successes,omitempty"`
	Failures  int      `json:"failure_count"`
	Failure   []detail `json:"failures,omitempty"`
	Pendings  int      `json:"pending_count"`
}

type detail struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Message string `json:"message,omitempty"`
}

func (s *status) add(id, version string, o Outcome) {
	d := detail{id, version, o.Message}
	if o.Taken {
		s.Successes++
		s.Success = append(s.Success, d)
		return
	}
	s.Failures++
	s.Failure = append(s.Failure, d)
}

// statuses keeps status resources as they were answered.
type statuses struct {
	mu    sync.Mutex // guards all below
	kept  map[string]*keptStatus
	order []*keptStatus // the oldest first
	bytes int
}

type keptStatus struct {
	id, root, caller string
	at               time.Time
	body             []byte
}

func newStatuses() *statuses { return &statuses{kept: map[string]*keptStatus{}} }

// keep returns the resource's JSON.
func (k *statuses) keep(s *status, root, caller string, now time.Time) []byte {
	body, err := json.Marshal(s)
	if err != nil {
		panic(err) // plain texts and numbers
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	one := &keptStatus{s.ID, root, caller, now, body}
	k.kept[s.ID] = one
	k.order = append(k.order, one)
	k.bytes += len(body)
	k.forget(now)
	return body
}

// get returns nil if there is none for this caller.
func (k *statuses) get(id, root, caller string, now time.Time) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(now)
	one := k.kept[id]
	if one == nil || one.root != root || one.caller != caller {
		return nil
	}
	return one.body
}

func (k *statuses) forget(now time.Time) {
	for len(k.order) > 0 && (k.bytes > statusBytesMax || now.Sub(k.order[0].at) > StatusAge) {
		oldest := k.order[0]
		delete(k.kept, oldest.id)
		k.bytes -= len(oldest.body)
		k.order[0] = nil
		k.order = k.order[1:]
	}
}
