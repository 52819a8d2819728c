package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/feed"
	"github.com/watchward/watchward/node/notice"
)

// FeedGrace is how long a token still fetches a feed after it expired, if it fetched
// that before: an authentication failure stops what PAN-OS enforces. Alerts say so
// from 30 days before until it is over. A revoked token is refused at once.
const FeedGrace = 14 * 24 * time.Hour

// Headers of a feed.
const (
	FeedEntries   = "Watchward-Entries"   // how many
	FeedTruncated = "Watchward-Truncated" // what was left out, if anything was
	FeedWaits     = "Watchward-Waits"     // what waits for a person's word, if anything does
)

// feedPaths begin the paths that enforcement points fetch.
var feedPaths = []string{"/feeds/", "/crowdsec/"}

func isFeedPath(path string) bool {
	return slices.ContainsFunc(feedPaths, func(p string) bool { return strings.HasPrefix(path, p) })
}

// A FeedSource has the feeds that are served. It is safe for concurrent use, and
// answers at once.
type FeedSource interface {
	// Feed returns a feed as it is now; the snapshot is nil while it is being made.
	Feed(name string) (s *feed.Snapshot, p *feed.Policy, ok bool)
	// FeedFor returns the name of the only feed of a format, "" if there is none or more.
	FeedFor(format feed.Format) string
	// MayFetch reports whether a consumer is one of those configured, and whether it
	// has fetched the feed before.
	MayFetch(name, consumer string) (may, before bool)
	// Pulled returns the serial that a consumer of deltas has, if any.
	Pulled(name, consumer string) (serial uint32, ok bool)
	// Fetched notes that a consumer has a feed now, in a state.
	Fetched(f Fetch)
}

// A Fetch is one fetch of a feed.
type Fetch struct {
	Feed, Consumer, Addr string
	Serial               uint32
	Expires              time.Time // of its token; zero = never
	Refused              string    // why it was refused although the token is known; "" = it was not
}

// feedServer serves what enforcement points fetch. They know no better than a header,
// a password or a secret in the path.
type feedServer struct {
	source FeedSource
	tokens *token.Tokens
	log    *slog.Logger
	now    func() time.Time
	denied rate.Sometimes
}

func newFeedServer(c *Config) *feedServer {
	return &feedServer{source: c.Feeds, tokens: c.Tokens, log: c.Log, now: time.Now, denied: rate.Sometimes{First: 20, Interval: time.Second}}
}

// feedRequest is what a path asks for.
type feedRequest struct {
	name, secret string
	decisions    bool
}

func (f *feedServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-cache")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		problem(http.StatusMethodNotAllowed, "wrong-method", "Method not allowed", shorten(r.Method)+" is not for this path", "use GET").with("Allow", "GET, HEAD").write(w)
		return
	}
	q, ok := f.parse(r.URL.Path)
	if !ok {
		noSuchFeed().write(w)
		return
	}
	who, p := f.identify(r, q)
	if p != nil {
		f.deny(w, r, p)
		return
	}
	f.serve(w, r, q, who)
}

func noSuchFeed() *Problem {
	return problem(http.StatusNotFound, "no-such-feed", "No such feed", "no feed has this name", "see which there are: watchward feed list")
}

// parse reads /feeds/NAME, /feeds/TOKEN/NAME, /crowdsec/v1/decisions/stream and
// /crowdsec/NAME/v1/decisions/stream.
func (f *feedServer) parse(path string) (q feedRequest, ok bool) {
	if rest, is := strings.CutPrefix(path, "/feeds/"); is {
		if secret, name, has := strings.Cut(rest, "/"); has {
			return feedRequest{name: name, secret: secret}, name != "" && !strings.Contains(name, "/")
		}
		return feedRequest{name: rest}, rest != ""
	}
	rest := strings.TrimPrefix(path, "/crowdsec/")
	if rest == "v1/decisions/stream" {
		return feedRequest{name: f.source.FeedFor(feed.CrowdSec), decisions: true}, true
	}
	name, is := strings.CutSuffix(rest, "/v1/decisions/stream")
	return feedRequest{name: name, decisions: true}, is && name != "" && !strings.Contains(name, "/")
}

// feedCaller is who fetches.
type feedCaller struct {
	token.Token
	late bool // its token has expired
}

// secret returns what a request shows, from wherever consumers put it.
func (f *feedServer) secret(r *http.Request, q feedRequest) string {
	if q.secret != "" {
		return q.secret
	}
	if key := r.Header.Get("X-Api-Key"); key != "" {
		return strings.TrimSpace(key)
	}
	user, password, basic := r.BasicAuth()
	switch {
	case basic && token.WellFormed(password):
		return password
	case basic && token.WellFormed(user):
		return user
	case basic:
		return password
	}
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(secret)
	}
	return ""
}

func (f *feedServer) identify(r *http.Request, q feedRequest) (who feedCaller, p *Problem) {
	secret := f.secret(r, q)
	if local, _ := r.Context().Value(localKey{}).(bool); local && secret == "" {
		return feedCaller{Token: token.Token{Name: "socket", Role: token.Admin, Ceiling: notice.TLPRed}}, nil
	}
	if secret == "" {
		p := unauthorized("no-token", "a token is missing", "send it as bearer token, as password, as X-Api-Key, or ask for /feeds/TOKEN/NAME", "")
		return who, p.with("WWW-Authenticate", `Basic realm="watchward", charset="UTF-8"`)
	}
	t, err := f.tokens.Check(secret)
	switch {
	case err == nil:
		return feedCaller{Token: t}, nil
	case errors.Is(err, token.ErrExpired):
		if _, before := f.source.MayFetch(q.name, t.Name); before && f.now().Before(t.Expires.Add(FeedGrace)) {
			return feedCaller{t, true}, nil
		}
		return who, unauthorized("bad-token", err.Error(), "make a new one: watchward token create NAME --role reader", "invalid_token")
	case errors.Is(err, token.ErrMistyped):
		return who, unauthorized("mistyped-token", err.Error(), "copy it again: wwt_ and 56 letters and digits", "invalid_token")
	case errors.Is(err, token.ErrUnknown):
		return who, unauthorized("bad-token", err.Error(), "make a new one: watchward token create NAME --role reader", "invalid_token")
	}
	f.log.Error("cannot check tokens", "err", err)
	return who, problem(http.StatusServiceUnavailable, "no-tokens", "Tokens cannot be checked", "the node cannot read its tokens", "the node's log says why")
}

func (f *feedServer) deny(w http.ResponseWriter, r *http.Request, p *Problem) {
	f.denied.Do(func() {
		f.log.Warn("feed denied", "status", p.Status, "reason", p.Word(), "remote", r.RemoteAddr)
	})
	p.write(w)
}

// permitted reports whether a known token may have a feed. One that fetched it before
// is not told that it may not, which would stop what it enforces: it is told that there
// is no answer, and an alert tells people.
func (f *feedServer) permitted(r *http.Request, policy *feed.Policy, who *feedCaller) *Problem {
	may, before := f.source.MayFetch(policy.Name, who.Name)
	detail, fix := "", ""
	switch {
	case who.Ceiling < policy.TLP:
		detail = fmt.Sprintf("the token %q sees up to %s, and this feed holds words up to %s", who.Name, who.Ceiling, policy.TLP)
		fix = "make one: watchward token create NAME --ceiling " + policy.TLP.String() + ", or lower feeds.list.tlp"
	case !may && who.Role < token.Admin:
		detail = fmt.Sprintf("%q is not among the consumers of this feed", who.Name)
		fix = "add it to feeds.list.consumers"
	default:
		return nil
	}
	if before {
		f.source.Fetched(Fetch{Feed: policy.Name, Consumer: who.Name, Addr: remoteHost(r), Refused: detail + ": " + fix})
		return problem(http.StatusServiceUnavailable, "not-now", "No feed for this token now", detail, fix)
	}
	return problem(http.StatusForbidden, "not-yours", "Not for this token", detail, fix)
}

func (f *feedServer) serve(w http.ResponseWriter, r *http.Request, q feedRequest, who feedCaller) {
	s, policy, ok := f.source.Feed(q.name)
	if !ok || q.decisions != (policy.Format == feed.CrowdSec) {
		noSuchFeed().write(w)
		return
	}
	if p := f.permitted(r, policy, &who); p != nil {
		f.deny(w, r, p)
		return
	}
	switch {
	case s == nil:
		problem(http.StatusServiceUnavailable, "being-made", "The feed is being made", "the node has just started and reads what it knows", "ask again in a moment").with("Retry-After", "5").write(w)
		return
	case s.Mute:
		problem(http.StatusServiceUnavailable, "would-be-empty", "The feed would be empty", s.Waits, "if that is right: watchward feed accept "+policy.Name).with("Retry-After", "60").write(w)
		return
	}
	h := w.Header()
	h.Set(FeedEntries, strconv.Itoa(s.Entries))
	if s.Truncated != "" {
		h.Set(FeedTruncated, s.Truncated)
	}
	if s.Waits != "" {
		h.Set(FeedWaits, s.Waits)
	}
	var err error
	if q.decisions {
		err = f.decisions(w, r, s, &who)
	} else {
		err = f.text(w, r, s)
	}
	if err != nil {
		return // it does not have it
	}
	f.source.Fetched(Fetch{Feed: policy.Name, Consumer: who.Name, Addr: remoteHost(r), Serial: s.Serial, Expires: who.Expires})
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "local"
	}
	return host
}

// text answers with the list, or says that the client has it.
func (f *feedServer) text(w http.ResponseWriter, r *http.Request, s *feed.Snapshot) error {
	h := w.Header()
	h.Set("ETag", s.ETag())
	modified := time.UnixMilli(s.Modified).UTC().Truncate(time.Second)
	if !modified.After(f.now()) { // RFC 9110: never later than the answer
		h.Set("Last-Modified", modified.Format(http.TimeFormat))
	}
	if has(r, s.ETag(), modified) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", s.Policy.Format.ContentType())
	h.Set("Content-Length", strconv.FormatInt(s.Size(), 10))
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := s.WriteTo(w)
	return err
}

// has reports whether a client says that it has this state, by RFC 9110 13.2.2.
func has(r *http.Request, tag string, modified time.Time) bool {
	if list := r.Header.Values("If-None-Match"); len(list) > 0 {
		for t := range strings.SplitSeq(strings.Join(list, ","), ",") {
			if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	return err == nil && !modified.After(since)
}

// decisions answers a CrowdSec bouncer.
func (f *feedServer) decisions(w http.ResponseWriter, r *http.Request, s *feed.Snapshot, who *feedCaller) error {
	query := r.URL.Query()
	known, ok := f.source.Pulled(s.Policy.Name, who.Name)
	all := !ok || query.Get("startup") == "true"
	var scopes []string
	if list := query.Get("scopes"); list != "" {
		scopes = strings.Split(list, ",")
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return errors.New("no more than a header")
	}
	return s.WriteDecisions(w, all, known, scopes, f.now().UnixMilli())
}
