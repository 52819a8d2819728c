package taxii

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// A Shelf is what an API root serves. It is safe for concurrent use.
//
// Everything it says is for one caller: what the caller may not see, by the ceiling of
// the token, must make no difference to any answer, counts and versions included.
//
// What was given under an added stamp stays as it is. A change, a revocation among them, is
// another version under a stamp of its own, for clients that poll see nothing else. An
// object may leave (deleted, expired, hidden); its stamp is never given again.
//
// An error that is an *Error goes to the client as it is. Any other is logged, and the
// client gets 500 and no details. Once ctx is done a Shelf returns soon, with any error.
type Shelf interface {
	// Collections returns those that the caller may know of, at most CollectionsMax, in
	// an order that stays. It is asked with every request and answers from memory.
	Collections(ctx context.Context, who Caller) ([]Collection, error)

	// Objects gives the objects of a collection that the caller may read and that q takes
	// (see Query.Match), in ascending order of Added, each stamp greater than q.After and
	// than the one before. The server goes through it once for a page and stops when the
	// page is full, so it must cost what is looked at, never what the collection holds.
	// Nothing may be locked while an object is with the server. An object added while this
	// runs may be left out only if its stamp is greater than all that were given: so a
	// stamp is drawn and made visible in one step. The first error ends the sequence. q is
	// only read.
	Objects(ctx context.Context, who Caller, collection string, q *Query) iter.Seq2[Object, error]

	// Add takes objects into a collection that the caller may write, and says of each, in
	// the same order, what became of it: taken only once it is durable. One that is there
	// already, in the same version, is taken. It judges each alone; an error is for what
	// stops all of them, and then the client sends all again, so what was taken before
	// it must do no harm. The JSON may be kept, but not changed.
	Add(ctx context.Context, who Caller, collection string, offers []Offer) ([]Outcome, error)

	// Delete takes the versions of an object out of a collection whose CanDelete is true,
	// all that q takes, and returns how many there were. q names the id alone in IDs.
	Delete(ctx context.Context, who Caller, collection string, q *Query) (int, error)
}

// CollectionsMax bounds the collections of an API root.
const CollectionsMax = 100

// A Caller is who asks.
type Caller struct {
	Name    string     // of the token
	Role    token.Role // what it may do
	Ceiling notice.TLP // the strictest marking that it sees
}

// A Collection is one of an API root, as one caller has it.
type Collection struct {
	ID          string // a UUID; it never changes
	Alias       string // stands for the id in paths; "" = none
	Title       string // required
	Description string // "" = none

	CanRead, CanWrite bool
	CanDelete         bool // needs the other two

	// Generation is another text once stamps given out before no longer stand for the
	// same objects, such as after a restore. A next of another generation is refused.
	Generation string
}

// An Object is one version of one object in a collection.
type Object struct {
	ID      string // type--UUID
	Version string // its modified, else its created, else its added date; RFC 3339 in UTC
	Spec    string // of STIX; "" = 2.1

	// Added is when it came into the collection, in µs since 1970, greater than 0. No two
	// objects of a collection have the same, and a later one has a greater: see Stamps.
	Added int64

	// First and Last report that the collection has no earlier and no later version of
	// this id that the caller may see and the query's spec versions take.
	First, Last bool

	// JSON is the object, valid and in one line. The server has copied it when it asks
	// for the next. It may be nil if the query's Bodies is false.
	JSON []byte
}

// An Offer is an object that somebody wants to add. Its form was checked: JSON is one
// valid object of at most ObjectBytesMax in UTF-8, no deeper than DepthMax, no key of its
// own twice, ID is type--UUID, spec_version is 2.1 or absent, created and modified are
// timestamps. What it means, and whether it may be told here, is for the Shelf.
type Offer struct {
	ID, Type string
	Version  string // modified, else created, else the time of the request
	JSON     []byte
}

// An Outcome is what became of an Offer.
type Outcome struct {
	Taken   bool
	Message string // if it was not taken, why and what to do; else anything worth saying
}

// A Query says which objects of a collection are asked for.
type Query struct {
	After  int64 // only what was added later, in µs since 1970; 0 = everything
	Bodies bool  // whether Object.JSON is needed

	// One of these, sorted; nil = any.
	IDs, Types, Specs []string

	// Which versions of an object: any of the following.
	First, Last, All bool
	Versions         []time.Time // these
}

// Match reports whether the query takes an object. It looks at neither After nor JSON, so
// that a Shelf can ask before it fetches a text.
func (q *Query) Match(o *Object) bool {
	return anyOf(q.IDs, o.ID) && anyOf(q.Types, o.Type()) && anyOf(q.Specs, o.spec()) && q.takesVersion(o)
}

func anyOf(sorted []string, s string) bool {
	if sorted == nil {
		return true
	}
	_, found := slices.BinarySearch(sorted, s)
	return found
}

func (q *Query) takesVersion(o *Object) bool {
	if q.All || q.Last && o.Last || q.First && o.First {
		return true
	}
	if len(q.Versions) == 0 {
		return false
	}
	at, err := time.Parse(time.RFC3339Nano, o.Version)
	return err == nil && slices.ContainsFunc(q.Versions, at.Equal)
}

// Type returns the STIX type, which every id starts with.
func (o *Object) Type() string {
	kind, _, _ := strings.Cut(o.ID, "--")
	return kind
}

const stixVersion = "2.1"

func (o *Object) spec() string {
	if o.Spec == "" {
		return stixVersion
	}
	return o.Spec
}

// Stamps draws added stamps. It is not safe for concurrent use: who draws one must also
// make its object visible before the next is drawn.
type Stamps struct{ last int64 }

// After makes a Stamps that goes on behind the last stamp that a collection has.
func After(last int64) Stamps { return Stamps{last} }

// Next returns the time in µs, or one more than the last stamp if that is not later.
func (s *Stamps) Next(now time.Time) int64 {
	s.last = max(s.last+1, now.UnixMicro())
	return s.last
}

// stampLayout writes added stamps: always six digits, so that clients that compare them
// as text are right too.
const stampLayout = "2006-01-02T15:04:05.000000Z"

func stampText(micros int64) string { return time.UnixMicro(micros).UTC().Format(stampLayout) }
