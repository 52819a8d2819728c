package api

import (
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/watchward/watchward/node/notice"
)

// Time is an instant in milliseconds since 1970. In JSON it is RFC 3339 in UTC
// with exactly three decimals, and 0 is left out.
type Time int64

const timeFormat = "2006-01-02T15:04:05.000Z"

// String returns the JSON form without quotes.
func (t Time) String() string { return time.UnixMilli(int64(t)).UTC().Format(timeFormat) }

// MarshalText returns the JSON form without quotes.
func (t Time) MarshalText() ([]byte, error) { return t.appendTo(nil), nil }

func (t Time) appendTo(b []byte) []byte {
	return time.UnixMilli(int64(t)).UTC().AppendFormat(b, timeFormat)
}

// UnmarshalText reads any RFC 3339 time and keeps the milliseconds.
func (t *Time) UnmarshalText(text []byte) error {
	parsed, err := parseTime(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

// Schema describes the JSON form to OpenAPI.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Description: "RFC 3339, UTC, milliseconds"}
}

func parseTime(s string) (Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a time: write it as 2026-01-31T12:00:00Z (RFC 3339)", shorten(s))
	}
	if y := t.UTC().Year(); y < 1970 || y > 9999 {
		return 0, fmt.Errorf("%q is outside the years 1970 to 9999", shorten(s))
	}
	return Time(t.UnixMilli()), nil
}

// Indicator is a canonical value with its type.
type Indicator struct {
	Type  string `json:"type" doc:"ipv4, ipv6, cidr, domain, url, email, md5, sha1, sha256, sha512, ja3, ja4, cert-sha256, asn, filename, mutex, registry-key or btc"`
	Value string `json:"value" doc:"The canonical value"`
}

// Context says what an indicator belongs to.
type Context struct {
	Family    string `json:"family,omitempty" doc:"Malware family"`
	Tool      string `json:"tool,omitempty" doc:"Tool of the attacker"`
	Technique string `json:"technique,omitempty" doc:"ATT&CK technique: T1059 or T1059.001"`
	CVE       string `json:"cve,omitempty" doc:"CVE-2021-44228"`
}

// Origin says where an imported notice comes from.
type Origin struct {
	Source string `json:"source" doc:"Who said it first: misp:ESET"`
	ID     string `json:"id,omitempty" doc:"The origin's own id; makes repeated imports harmless"`
	TLP    string `json:"tlp,omitempty" doc:"The origin's marking"`
}

// States of a notice.
const (
	StateLocal   = "local"   // stays on this node
	StateWaiting = "waiting" // durable here, to be signed and sent in a moment
	StateSigned  = "signed"  // in an envelope under its author's signature
	StateSent    = "sent"    // own and signed, and a peer has said since the start that it holds it
)

// MarkReplaced is among the marks of a profile or mayday after which its author said
// a later one.
const MarkReplaced = "replaced by a later one"

// NoticeView is a notice as the API and every command show it.
type NoticeView struct {
	ID         string     `json:"id" doc:"40 hexadecimal digits"`
	Kind       string     `json:"kind" doc:"indicator, sighting, retraction, dispute, question, profile, mayday, service, assistance, link, advisory, response or filing"`
	Indicator  *Indicator `json:"indicator,omitempty"`
	TLP        string     `json:"tlp" doc:"CLEAR, GREEN, AMBER, AMBER+STRICT, RED; empty: unmarked, local"`
	Audience   string     `json:"audience" doc:"local, named, region or community"`
	Author     string     `json:"author" doc:"Member id of the author"`
	AuthorName string     `json:"author_name,omitempty"`
	Created    Time       `json:"created" doc:"By the author's clock"`
	Received   Time       `json:"received" doc:"By this node's clock"`
	FirstSeen  Time       `json:"first_seen,omitempty"`
	LastSeen   Time       `json:"last_seen,omitempty"`
	Count      uint64     `json:"count,omitempty" doc:"How often it was seen"`
	ValidUntil Time       `json:"valid_until,omitempty"`
	Context    *Context   `json:"context,omitempty"`
	Origin     *Origin    `json:"origin,omitempty"`
	Ref        string     `json:"ref,omitempty" doc:"Id of the notice this one is about"`
	Reason     string     `json:"reason,omitempty"`
	Parts
	State    string          `json:"state" doc:"local, waiting, signed or, of this node's own, sent: signed, and another member has said that it holds it"`
	Marks    []string        `json:"marks,omitempty" doc:"What a reader should know: retracted, disputed, clock off …"`
	To       []RecipientView `json:"to,omitempty" doc:"Of the named audience: whom it is for"`
	Exercise bool            `json:"exercise,omitempty" doc:"Part of a drill"`
	Known    bool            `json:"known,omitempty" doc:"In the answer to a POST: was stated before, nothing was added"`
	Promoted bool            `json:"promoted,omitempty" doc:"In the answer to a POST: was known and local, and is shared from now on"`
	Leaves   *Leaving        `json:"leaves,omitempty" doc:"In the answer to a dry run: what would leave this node; missing if nothing would"`
}

// States of a delivery.
const (
	DeliveryWaiting  = "waiting"   // it is tried again
	DeliveryDone     = "delivered" // durable there, by the member's own word
	DeliveryDeclined = "declined"  // the member cannot open it or does not take it
	DeliveryLapsed   = "lapsed"    // not delivered: it expired first
)

// RecipientView is a member that a named notice is for.
type RecipientView struct {
	Member string `json:"member"`
	Name   string `json:"name,omitempty"`
	Region string `json:"region,omitempty" doc:"The member's region, if it is another than this node's"`
	State  string `json:"state,omitempty" doc:"Of this node's own, once signed: waiting, delivered, declined or lapsed"`
	At     Time   `json:"at,omitempty" doc:"Since when it waits, or when that ended"`
}

// Leaving is the content of the bytes that would leave with a notice if it went
// alone: every field of them. Values are written for people: numbers with their
// meaning, times in RFC 3339, bytes in hexadecimal.
type Leaving struct {
	Item      []LeavingField `json:"item" doc:"The notice itself"`
	ItemBytes int            `json:"item_bytes" doc:"Size of the encoded item"`
	Header    []LeavingField `json:"header" doc:"What stands around it, under the author's signature"`
}

// LeavingField is one field of an encoded item or header.
type LeavingField struct {
	Key   string `json:"key" doc:"Its key in the encoding: 5, or 11.1 inside the map under 11"`
	Field string `json:"field"`
	Value string `json:"value,omitempty" doc:"Empty: known only when it is signed"`
	Note  string `json:"note,omitempty"`
}

// Proof shows that an author signed a notice. Whoever has the author's
// credential can check it without this node: the leaf is SHA-256(0x00 ‖ item),
// its path (RFC 6962) leads to root, root is in header, and the signature is
// over header. Bytes are base64 in JSON.
type Proof struct {
	Item      []byte   `json:"item" doc:"The item, canonical CBOR"`
	Index     int      `json:"index" doc:"Place of the item in its envelope, from 0"`
	Count     int      `json:"count" doc:"Items in the envelope"`
	Path      [][]byte `json:"path" doc:"RFC 6962 inclusion path, leaf to root, 32 bytes each"`
	Root      []byte   `json:"root" doc:"Root of the envelope's items, 32 bytes"`
	Header    []byte   `json:"header" doc:"The envelope's header, canonical CBOR"`
	Signature []byte   `json:"signature" doc:"Composite signature over the header"`
}

// Submission is one notice to be stated. The server fills in Index; it is the
// place in the request and not part of the JSON.
type Submission struct {
	Index int `json:"-"`

	Report *notice.Filing `json:"-"` // of a filing: this node's own desk alone makes one

	Kind       string   `json:"kind,omitempty" enum:"indicator,sighting,retraction,dispute,question,profile,mayday,service,assistance,link,advisory,response" default:"sighting" doc:"sighting: seen here; indicator: known bad, told by others; the kinds from question on have a field of their name"`
	Value      string   `json:"value,omitempty" maxLength:"2048" doc:"What was seen; defanged is fine (hxxp://evil[.]example)"`
	Type       string   `json:"type,omitempty" doc:"Type of value; detected when left out"`
	TLP        string   `json:"tlp,omitempty" doc:"Marking; needed to share"`
	FirstSeen  Time     `json:"first_seen,omitempty"`
	LastSeen   Time     `json:"last_seen,omitempty"`
	Count      uint64   `json:"count,omitempty" maximum:"999999999" doc:"How often it was seen"`
	ValidUntil Time     `json:"valid_until,omitempty"`
	Context    *Context `json:"context,omitempty"`
	Origin     *Origin  `json:"origin,omitempty"`
	Ref        string   `json:"ref,omitempty" pattern:"^[0-9a-f]{40}$" doc:"Id of the notice to retract, dispute or answer, of the request or offer that an assistance speaks of, or of the claim that it confirms; a retraction with a value and an origin instead takes back what this node stated of the value from there"`
	Reason     string   `json:"reason,omitempty" maxLength:"500" doc:"Why it is retracted or disputed"`
	Parts
	To     []string `json:"to,omitempty" maxItems:"32" doc:"Members that alone get it, sealed for them: names, ids or the beginnings of ids. Needed to share AMBER+STRICT and RED"`
	Notice string   `json:"notice,omitempty" pattern:"^[0-9a-f]{40}$" doc:"Id by which an export of this mesh names what is stated; where that notice of the same value is held and visible to the caller, it is the answer, marked known, and nothing is stored"`
	Urgent bool     `json:"urgent,omitempty" doc:"Overtakes everything; three within ten minutes, and one mayday beside them; the rest is ordinary. A mayday always asks for it"`
}

// Refused names one thing that was not taken.
type Refused struct {
	At     string `json:"at" doc:"Where: notices[3]; for files line 12 or the like"`
	Index  int    `json:"index" doc:"Place in the request, from 0"`
	Value  string `json:"value" doc:"What was given, shortened"`
	Field  string `json:"field,omitempty"`
	Reason string `json:"reason"`
	Fix    string `json:"fix,omitempty"`
}

// Summary is what is known of an indicator within the caller's ceiling.
// Members and Sightings count only what was observed, per author once;
// imported knowledge is in Reports.
type Summary struct {
	FirstSeen Time   `json:"first_seen,omitempty"`
	LastSeen  Time   `json:"last_seen,omitempty"`
	Sightings uint64 `json:"sightings" doc:"Sum of the counts of all sightings"`
	Members   int    `json:"members" doc:"Distinct members who saw it"`
	Reports   int    `json:"reports" doc:"Indicator notices: knowledge from elsewhere"`
	Disputes  int    `json:"disputes" doc:"Members who call it a false positive"`
	TLP       string `json:"tlp,omitempty" doc:"The strictest marking among what is counted here"`
}

// LookupAnswer answers one value.
type LookupAnswer struct {
	Value   string     `json:"value" doc:"As asked"`
	Type    string     `json:"type,omitempty" doc:"Type the value was read as"`
	Known   bool       `json:"known"`
	Matched *Indicator `json:"matched,omitempty" doc:"What it matched, when that is not the value itself: a parent domain, a network"`
	Summary *Summary   `json:"summary,omitempty"`
	// Verdict is of known values, and of those that are allowed or denied here.
	Verdict *VerdictView `json:"verdict,omitempty" doc:"What the value is worth here; of what is not known only where it is allowed or denied here"`
	Reason  string       `json:"reason,omitempty" doc:"Why the value could not be looked up"`

	History *HuntAnswer `json:"-"` // never in an answer: a client that hunts too keeps it here
}

// VerdictView says what a value is worth to this node, within the caller's ceiling.
type VerdictView struct {
	Level   string          `json:"level" enum:"none,detect,block" doc:"What this node does about it; block only by its own policy"`
	Score   int             `json:"score" doc:"0 to 100: what the words of members are worth now, by number, kind, age and disputes"`
	Guarded bool            `json:"guarded,omitempty" doc:"It is in no feed: never blocked here, or on a warninglist"`
	Listed  bool            `json:"listed,omitempty" doc:"It is on a warninglist itself: seeing it in a log is no hit"`
	Expires Time            `json:"expires,omitempty" doc:"With reasons: when the level falls if nobody says anything more"`
	Matched *Indicator      `json:"matched,omitempty" doc:"With reasons: what the words speak of, when that is not the value itself"`
	Reasons []VerdictReason `json:"reasons,omitempty" doc:"What raised it, then what lowered it"`
}

// VerdictReason is one thing that raised or lowered a verdict.
type VerdictReason struct {
	Cause  string   `json:"cause" doc:"A stable word: seen, reported, block-members, block-family, block-origin, denied raise; age, disputed, retracted, expired, drill, allowed, warninglist, special-use, own, supplier, clinical lower"`
	Raised bool     `json:"raised" doc:"Else lowered"`
	Text   string   `json:"text"`
	IDs    []string `json:"ids,omitempty" doc:"The notices behind it, the latest first, up to 50"`
	More   int      `json:"more,omitempty" doc:"Notices that ids leaves out"`
}

// IndicatorView is one indicator with its evidence, newest first.
type IndicatorView struct {
	Indicator Indicator    `json:"indicator"`
	Matched   *Indicator   `json:"matched,omitempty" doc:"What it matched, when that is not the value itself"`
	Summary   Summary      `json:"summary"`
	Verdict   *VerdictView `json:"verdict,omitempty" doc:"What it is worth here, with reasons"`
	Evidence  []NoticeView `json:"evidence" doc:"The notices behind it, at most 100"`
	More      bool         `json:"more,omitempty" doc:"There is more evidence than shown"`
}

// MemberView is one member of the region, or of an endorsed one.
type MemberView struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Region    string   `json:"region"`
	Roles     []string `json:"roles" doc:"hospital, coordinator, bridge, supplier"`
	Self      bool     `json:"self,omitempty" doc:"This node"`
	State     string   `json:"state,omitempty" enum:"UNDER-ATTACK,DECLARED-DOWN,SILENT,OK" doc:"Silence is no attack. Of other regions' members nothing is known but what they say, so it is left out if that is nothing"`
	Since     Time     `json:"since,omitempty" doc:"Of SILENT when it was heard last, missing if never; of UNDER-ATTACK and DECLARED-DOWN when it said so"`
	HeardBy   string   `json:"heard_by,omitempty" doc:"Of SILENT: who heard it then"`
	Connected bool     `json:"connected" doc:"A connection is open now"`
	Hub       bool     `json:"hub,omitempty" doc:"Others can dial it"`
	PeerID    string   `json:"peer_id,omitempty"`
	Address   string   `json:"address,omitempty"`
	LatencyMS float64  `json:"latency_ms,omitempty"`
	LastWord  Time     `json:"last_word,omitempty" doc:"When its last notice arrived here"`
	LastSync  Time     `json:"last_sync,omitempty"`
	Until     Time     `json:"valid_until,omitempty" doc:"When its credential ends; its words count for 90 days more, marked"`
	Marks     []string `json:"marks,omitempty" doc:"What a reader should know: credential expired, contradicts itself …"`
}

// CutsAnswer is how far a node holds what a member said, for a revocation that
// lets it stand.
type CutsAnswer struct {
	Member string    `json:"member"`
	Name   string    `json:"name"`
	Serial uint32    `json:"serial" doc:"Of the credential; each new key has the next"`
	Cuts   []CutView `json:"cuts"`
}

// CutView is the last that is held of one chain.
type CutView struct {
	Audience string `json:"audience" doc:"region or community"`
	Epoch    uint32 `json:"epoch"`
	Seq      uint64 `json:"seq"`
	ID       string `json:"id" doc:"Of the envelope, in hexadecimal"`
}

// AlertView is something a person should know.
type AlertView struct {
	ID       string     `json:"id"`
	Time     Time       `json:"time"`
	Kind     string     `json:"kind"`
	Severity string     `json:"severity" doc:"info, warning or critical"`
	TLP      string     `json:"tlp,omitempty" doc:"The strictest marking among its sources"`
	Text     string     `json:"text"`
	About    *Indicator `json:"about,omitempty" doc:"The value that it is about, if it is about one"`
	Line     string     `json:"line,omitempty" doc:"The first line of the hospital's own log that names it; only who sees AMBER+STRICT is shown it"`
	Refs     []string   `json:"refs,omitempty" doc:"Ids of the notices behind it"`
	State    string     `json:"state,omitempty" enum:"open,acknowledged,silenced,over" doc:"Of what paged somebody; left out: it is for the daily digest, or was only sent"`
	Group    string     `json:"group,omitempty" doc:"Id of the first alert of those that are one to people"`
	AckBy    string     `json:"acknowledged_by,omitempty" doc:"Name of the token"`
	AckTime  Time       `json:"acknowledged,omitempty"`
}

// Status answers "am I well?".
type Status struct {
	Name       string         `json:"name"`
	Version    string         `json:"version"`
	Member     string         `json:"member" doc:"This node's member id"`
	Region     string         `json:"region"`
	PeerID     string         `json:"peer_id"`
	Ready      bool           `json:"ready"`
	Started    Time           `json:"started"`
	Now        Time           `json:"now" doc:"This node's clock"`
	Peers      int            `json:"peers" doc:"Open connections to members"`
	Members    int            `json:"members" doc:"Members known, this node included"`
	State      string         `json:"state,omitempty" enum:"UNDER-ATTACK,DECLARED-DOWN,OK" doc:"Of this hospital, by its own words; left out once it is revoked"`
	States     StateCounts    `json:"states" doc:"Members of this region by state, this node included"`
	LastIn     Time           `json:"last_in,omitempty" doc:"When the last word of another member arrived"`
	LastOut    Time           `json:"last_out,omitempty" doc:"When this node's last word was sent"`
	Waiting    int            `json:"waiting" doc:"Notices to be signed and sent"`
	Awaited    int            `json:"awaited,omitempty" doc:"Named notices on their way, counted once a recipient"`
	Awaiting   int            `json:"awaiting,omitempty" doc:"Members that they wait for"`
	Questions  int            `json:"questions,omitempty" doc:"Open questions of others that this hospital has not answered, see GET /v1/questions"`
	Advisories int            `json:"advisories,omitempty" doc:"Advisories of others in the last 30 days that this hospital has not answered with done or na, 200 at most, see GET /v1/advisories?open=true"`
	Notices    int64          `json:"notices" doc:"Notices within the caller's ceiling"`
	Exercise   *ExerciseBrief `json:"exercise,omitempty" doc:"The exercise that runs here; left out while none does"`
	Ledger     *LedgerBrief   `json:"ledger,omitempty" doc:"The region's ledger in short, see GET /v1/ledger/status; left out where the region has none"`
	Disk       DiskStatus     `json:"disk"`
	Clock      ClockStatus    `json:"clock"`
	Until      Time           `json:"valid_until,omitempty" doc:"When this node's credential ends; its words count for 90 days more, marked"`
	Listen     []string       `json:"listen" doc:"Addresses of the mesh, with the peer id"`
	Warnings   []string       `json:"warnings" doc:"What a person should look at; empty when all is well"`
}

// DiskStatus is the room the store takes and has, in bytes.
type DiskStatus struct {
	Used int64 `json:"used_bytes"`
	Free int64 `json:"free_bytes"`
}

// ClockStatus compares this node's clock with the members'.
type ClockStatus struct {
	OffsetMS int64 `json:"offset_ms" doc:"How far the median of the members is ahead of this clock"`
	Members  int   `json:"members" doc:"How many members the median is taken from"`
	OK       bool  `json:"ok"`
}
