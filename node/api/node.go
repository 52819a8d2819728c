package api

import (
	"context"
	"errors"
	"io"
	"math"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// Node is what the API serves. Every method must be safe for concurrent use and
// return promptly when ctx ends.
//
// A ceiling is the strictest marking the caller may see. What is marked
// stricter does not exist for that caller: it is not found, not listed and not
// counted. A notice without a marking never left this node; nobody has said how
// far it may travel, so it counts as AMBER+STRICT.
//
// Errors that the caller can put right are a *notice.FieldError (422) or an
// *Unavailable (503). Every other error is logged and answered as a plain 500,
// so an error text never carries the node's insides to a client.
type Node interface {
	// Ready returns nil when the store is open and the identity is loaded.
	// Having no peers is not a failure: local lookup must go on.
	Ready(ctx context.Context) error
	// Status returns the node's own state; its counts keep to the ceiling.
	Status(ctx context.Context, ceiling notice.TLP) (Status, error)
	// Submit states notices. One bad submission never stops the others. It
	// returns when everything taken is durable here.
	Submit(ctx context.Context, items []Submission, o SubmitOptions) (SubmitResult, error)
	// Notice returns one notice by its id of 40 hexadecimal digits. The proof
	// is nil as long as no envelope carries the notice.
	Notice(ctx context.Context, id string, ceiling notice.TLP) (NoticeView, *Proof, bool, error)
	// ProofFile returns a notice in a file that proves itself (package proof). For
	// what is not signed, or never leaves in a file, the error is a *NoProof.
	ProofFile(ctx context.Context, id string, ceiling notice.TLP) (file []byte, found bool, err error)
	// RegionFile returns what a verifier needs to know of this node's region, with
	// members also who they are.
	RegionFile(ctx context.Context, members bool) ([]byte, error)
	// Notices returns a page, newest first, and the cursor of the next page, ""
	// when there is none.
	Notices(ctx context.Context, q Query) ([]NoticeView, string, error)
	// Lookup answers each value in its place.
	Lookup(ctx context.Context, values []string, o LookupOptions) ([]LookupAnswer, error)
	// Hunt answers for each value, in its place, when it was in the hospital's own logs.
	Hunt(ctx context.Context, values []string, hosts bool) (HuntAnswers, error)
	// Indicator returns what is known of one value; an empty type is detected.
	Indicator(ctx context.Context, typ, value string, ceiling notice.TLP) (IndicatorView, bool, error)
	// Policies returns a page of what is allowed and denied here, by type and value,
	// and the cursor of the next page, "" when there is none.
	Policies(ctx context.Context, q PolicyQuery) ([]PolicyView, string, error)
	// Decide allows and denies values for a caller of that name, or takes it back, all
	// or none, and answers in the order asked. It returns when that is durable.
	Decide(ctx context.Context, by string, asked []PolicyRequest) ([]PolicyView, error)
	// Members returns every member this node knows of, by name, with its state as far
	// as the ceiling lets it be known.
	Members(ctx context.Context, ceiling notice.TLP) ([]MemberView, error)
	// Situation returns the regional picture, with what changed since a time (ms; 0 =
	// that is not asked).
	Situation(ctx context.Context, since int64, ceiling notice.TLP) (Situation, error)
	// Report returns the situation with what stands on a report: its marking is the
	// ceiling.
	Report(ctx context.Context, since int64, ceiling notice.TLP) (Report, error)
	// PrintReport writes a report in a format, html or md, and a language, "" = the
	// node's. It changes nothing of r.
	PrintReport(r *Report, format, language string) ([]byte, error)
	// Pack returns what writes the offline pack as an archive: its marking is the ceiling.
	Pack(ctx context.Context, language string, ceiling notice.TLP) (func(io.Writer) error, error)
	// MakePack writes the offline pack into the node's own place for it now. Only admins
	// ask.
	MakePack(ctx context.Context) (PackAnswer, error)
	// Questions returns the open questions of others that this hospital has not
	// answered, with what it has seen itself.
	Questions(ctx context.Context, ceiling notice.TLP) (QuestionsAnswer, error)
	// Cuts returns how far this node holds the chains of a member's serial, 0 for
	// its latest. Only admins ask.
	Cuts(ctx context.Context, member string, serial uint32) (CutsAnswer, error)
	// Export yields what a query selects, as the writers of formats are given
	// it, until yield returns an error, which it returns. A slow yield must
	// hold no lock and no transaction.
	Export(ctx context.Context, q ExportQuery, yield func(intel.Stated) error) (ExportCount, error)
	// Logs returns how this hospital's own logs are read. Only who may see everything
	// asks.
	Logs(ctx context.Context) ([]LogView, error)
	AlertsNode
	ExerciseNode
	AdvisoriesNode
	DocumentsNode
	IncidentsNode
	// Follow yields what arrived after the local sequence after, then what
	// arrives, until ctx ends or yield returns an error, which it returns.
	// FromNow skips what is stored; the first event then has the present Seq and
	// no notices, so that a client cut off before anything arrives knows where to
	// go on. Events come in order of Seq; a slow yield must hold no lock and no
	// transaction.
	Follow(ctx context.Context, after uint64, ceiling notice.TLP, yield func(Event) error) error
	// ExportBundle writes one part of a bundle to w, and nothing when nothing is
	// selected. It holds no lock and no transaction while w is slow.
	ExportBundle(ctx context.Context, w io.Writer, q BundleQuery) (BundlePart, error)
	// ImportBundle takes in the parts of a bundle. It returns when what was taken
	// is durable. An error means that nothing could be read.
	ImportBundle(ctx context.Context, r io.Reader) (BundleAnswer, error)
	// CheckBundle answers what ImportBundle would, and keeps nothing. Authors and
	// Contents hold what is within the ceiling.
	CheckBundle(ctx context.Context, r io.Reader, ceiling notice.TLP) (BundleAnswer, error)
	// Records returns the trust records of the region in a file, with those of the
	// members that are named, or of all.
	Records(ctx context.Context, members []string, all bool) ([]byte, error)
	// Invite makes an invitation to join that is good for so long.
	Invite(ctx context.Context, life time.Duration) (Invitation, error)
	// JoinRequests returns the requests to join that came by invitations of this
	// node, the oldest first.
	JoinRequests(ctx context.Context) ([]JoinRequest, error)
	// AddRecords takes in the trust records of an admission, all of which must be
	// good, and returns how many were new.
	AddRecords(ctx context.Context, admission []byte) (added int, err error)
	// LedgerStatus returns how the region's ledger is. Its errors, as those of all
	// that follow, may also be *NoLedger, *NotYet and *NoQuorum.
	LedgerStatus(ctx context.Context) (LedgerView, error)
	// LedgerEntry returns where a notice (an id of 40 hexadecimal digits) or what
	// has an id of 64 stands in the ledger: by the leader's word if strong. What is
	// known and not in it is a *NotYet.
	LedgerEntry(ctx context.Context, id string, strong bool, ceiling notice.TLP) (LedgerEntry, bool, error)
	// LedgerReceipt returns a notice in a file that also proves its place in the
	// ledger, under a checkpoint that enough voters signed.
	LedgerReceipt(ctx context.Context, id string, ceiling notice.TLP) (file []byte, found bool, err error)
	// LedgerTransfer lets another voter lead, by its name or id, "" for any. Only
	// admins ask.
	LedgerTransfer(ctx context.Context, to string) (LedgerTransfer, error)
	// LedgerTile returns a part of a ledger that this node holds: checkpoint, or
	// tile/… as C2SP tlog-tiles names it.
	LedgerTile(ctx context.Context, region crypto.Region, epoch uint32, path string) (LedgerTile, bool, error)
}

// FromNow makes Follow start with what arrives next.
const FromNow = math.MaxUint64

// SubmitOptions hold for all submissions of a request.
type SubmitOptions struct {
	TLP          notice.TLP // marking of items that have none; 0 = the node's default
	Idempotency  string     // the same key within 7 days returns the same ids; "" = none
	DryRun       bool       // check everything, store nothing
	AllowSpecial bool       // take private and special-use addresses
	Local        bool       // keep on this node, share with nobody
	Again        bool       // take imports again that were retracted
	Exercise     string     // ExerciseNo, ExerciseYes or "", which is ExerciseAuto
	// KnownElsewhere says that the caller has it from somebody else too, so that
	// what is held under a stricter marking does not bind.
	KnownElsewhere bool
	Ceiling        notice.TLP // a reference above it is not found
	Caller         string     // name of the token, for the security log
}

// SubmitResult says what became of each submission: it is in Notices, in the
// order of submission, in Refused or in Absent. A withdrawal may be in Notices
// more than once.
type SubmitResult struct {
	Notices []NoticeView
	Refused []Refused
	Absent  []int    // withdrawals of what was never stated here, by Submission.Index
	Notes   []string // what whoever said it should know
}

// Query selects notices.
type Query struct {
	Kind    notice.Kind // 0 = all
	Mine    bool        // only this node's own
	Search  string      // part of a value
	Since   int64       // ms of local arrival; 0 = everything
	Limit   int         // 1 … 1,000
	Next    string      // cursor of the previous page
	Ceiling notice.TLP
}

// ExportQuery selects what an export holds. What its author took back is in it,
// marked; drills and what has expired are not.
type ExportQuery struct {
	Kind     notice.Kind // 0 = all
	Mine     bool        // only this node's own
	Since    int64       // ms of local arrival; 0 = everything
	Ceiling  notice.TLP  // of the notice's marking and of its origin's
	Sees     notice.TLP  // the caller's own ceiling: what is left out is counted up to it
	Unmarked bool        // also what has no marking
	// Advisories says that the format has a form for them.
	Advisories bool
}

// ExportCount says what is in an export and what its ceiling left out, as far as
// the caller may see it.
type ExportCount struct {
	Notices  int64 `json:"notices"`
	Stricter int64 `json:"stricter"` // a higher ceiling takes them along
	Never    int64 `json:"never"`    // for named people: in no export
	Unmarked int64 `json:"unmarked"` // without a marking
	Local    int64 `json:"local"`    // of Notices: kept on this node, and shared with nobody
}

// LookupOptions hold for all values of a lookup.
type LookupOptions struct {
	Ceiling notice.TLP
	Hosts   bool // a URL or an e-mail address also matches by its host
	Reasons bool // verdicts with their reasons
}

// AlertQuery selects alerts.
type AlertQuery struct {
	Since   int64 // ms
	Limit   int   // 1 … 1,000
	Next    string
	Ceiling notice.TLP
}

// Event is what one durable write added. Seq is the local sequence, which rises
// without being dense. An event without notices only moves the position.
type Event struct {
	Seq     uint64
	Notices []NoticeView
}

// Unavailable says that the node cannot do this now, and what helps. The API
// answers 503.
type Unavailable struct {
	Reason, Fix string
}

func (e *Unavailable) Error() string { return e.Reason + ": " + e.Fix }

// NoProof says why there is no proof of a notice to hand out.
type NoProof struct {
	Reason, Fix string
}

func (e *NoProof) Error() string { return e.Reason + ": " + e.Fix }

// problemOf turns an error of the node into what the client is told. The second
// result is an error to be logged, nil when the client has been told everything.
func problemOf(err error) (*Problem, error) {
	var p *Problem
	var field *notice.FieldError
	var unavailable *Unavailable
	var unproven *NoProof
	var told interface{ problem() *Problem }
	switch {
	case errors.As(err, &p):
		return p, nil
	case errors.As(err, &told):
		return told.problem(), nil
	case errors.As(err, &field):
		p := problem(422, "bad-value", "A value is refused", field.Reason, field.Fix)
		p.Errors = []Detail{{Location: field.Field, Message: field.Reason}}
		return p, nil
	case errors.As(err, &unproven):
		return problem(409, "no-proof", "There is no proof of this notice", unproven.Reason, unproven.Fix), nil
	case errors.As(err, &unavailable):
		return problem(503, "unavailable", "The node cannot do this now", unavailable.Reason, unavailable.Fix), nil
	case errors.Is(err, context.DeadlineExceeded):
		return problem(503, "too-slow", "The node took too long", "the request ran into its time limit", "ask for less at once, or try again"), nil
	case errors.Is(err, context.Canceled):
		return problem(503, "stopping", "The request was cut off", "the client went away or the node is stopping", "try again"), nil
	}
	return internalProblem(), err
}

func internalProblem() *Problem {
	return problem(500, "internal", "Internal error", "the node could not answer", "the node's log says why")
}
