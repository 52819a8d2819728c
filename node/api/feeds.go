package api

import (
	"context"
	"net/http"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// Feeds is what the API needs of the feeds, besides serving them. A feed whose marking
// is above the ceiling does not exist for the caller.
type Feeds interface {
	FeedSource
	// ListFeeds returns all feeds, in the order of the configuration.
	ListFeeds(ctx context.Context, ceiling notice.TLP) ([]FeedView, error)
	// ShowFeed returns one with up to limit entries that come after a value, and why
	// a value is in it or not. It reports false if there is none of the name.
	ShowFeed(ctx context.Context, name string, q FeedQuery) (FeedDetail, bool, error)
	// DiffFeed returns what a feed would be under another policy.
	DiffFeed(ctx context.Context, name string, q FeedDiffRequest) (FeedDiff, bool, error)
	// AcceptFeed lets what waits have its way.
	AcceptFeed(ctx context.Context, name, caller string) (FeedAccepted, bool, error)
}

// FeedQuery selects what is shown of a feed.
type FeedQuery struct {
	Why     string // a value
	Limit   int
	After   string
	Ceiling notice.TLP
}

// FeedView is a feed.
type FeedView struct {
	Name      string         `json:"name"`
	Format    string         `json:"format"`
	Types     []string       `json:"types"`
	Verdict   string         `json:"verdict" doc:"The least that its values are worth: block or detect"`
	TLP       string         `json:"tlp" doc:"The strictest marking of words that count"`
	State     string         `json:"state" doc:"being-made, good, waits (for a person's word) or silent (it would be empty)"`
	Entries   int            `json:"entries"`
	LeftOut   int            `json:"left_out,omitempty" doc:"Beyond the most entries"`
	Unfit     int            `json:"unfit,omitempty" doc:"Values that the format cannot carry"`
	Held      int            `json:"held,omitempty" doc:"Of the entries: waiting to leave"`
	Waits     string         `json:"waits,omitempty" doc:"What waits for watchward feed accept"`
	Waiting   Time           `json:"waiting,omitempty" doc:"Since when"`
	Serial    uint32         `json:"serial,omitempty"`
	Changed   Time           `json:"changed,omitempty"`
	Path      string         `json:"path" doc:"Where it is fetched"`
	Zone      string         `json:"zone,omitempty"`
	Consumers []FeedConsumer `json:"consumers"`
}

// FeedConsumer is who fetches a feed.
type FeedConsumer struct {
	Name    string `json:"name" doc:"The token's name, or the TSIG key or address of a zone transfer"`
	Last    Time   `json:"last,omitempty" doc:"When it last fetched; left out: never"`
	Address string `json:"address,omitempty"`
	Current bool   `json:"current" doc:"It has the feed as it is now"`
	Missed  bool   `json:"missed,omitempty" doc:"It should have come since"`
	Expires Time   `json:"expires,omitempty" doc:"Of its token"`
}

// FeedEntry is a value in a feed.
type FeedEntry struct {
	Type    string `json:"type"`
	Value   string `json:"value"`
	Since   Time   `json:"since,omitempty"`
	Seen    Time   `json:"seen,omitempty"`
	Until   Time   `json:"until,omitempty" doc:"When it leaves if nobody says anything more"`
	Members uint32 `json:"members"`
	Denied  bool   `json:"denied,omitempty"`
	Held    bool   `json:"held,omitempty" doc:"It waits to leave"`
}

// FeedWhy says why a value is in a feed or not.
type FeedWhy struct {
	Type    string   `json:"type"`
	Value   string   `json:"value"`
	In      bool     `json:"in"`
	Cause   string   `json:"cause" doc:"in, unsaid, old, low, warninglist, never-block, allowed, type, unfit or limit"`
	Reason  string   `json:"reason"`
	Verdict string   `json:"verdict"`
	Reasons []string `json:"reasons" doc:"What raised it, then what lowered it"`
	By      string   `json:"by,omitempty" doc:"The entry that stands for it: a parent name or a network"`
}

// FeedDetail is a feed with entries.
type FeedDetail struct {
	FeedView
	List []FeedEntry `json:"list"`
	Next string      `json:"next,omitempty"`
	Why  *FeedWhy    `json:"why,omitempty"`
}

// FeedDiffRequest is the body of POST /v1/feeds/{name}/diff. Empty, it asks what waits.
type FeedDiffRequest struct {
	Config []string `json:"config,omitempty" doc:"A whole configuration, TOML, line by line"`
	Allow  []string `json:"allow,omitempty"`
	Deny   []string `json:"deny,omitempty"`
}

// FeedDiff is what would change.
type FeedDiff struct {
	Name    string       `json:"name"`
	Entries int          `json:"entries" doc:"As it is served"`
	Would   int          `json:"would" doc:"As it would be, what leaves gone"`
	Added   int          `json:"added"`
	Removed int          `json:"removed"`
	Waits   bool         `json:"waits" doc:"It would wait for a word, as a shrink"`
	Changes []FeedChange `json:"changes" doc:"Up to 1,000 of each"`
}

// FeedChange is a value that would come or go.
type FeedChange struct {
	Type   string `json:"type"`
	Value  string `json:"value"`
	Added  bool   `json:"added"`
	Reason string `json:"reason,omitempty" doc:"Why it would go"`
}

// FeedAccepted says what became of a word.
type FeedAccepted struct {
	Name    string `json:"name"`
	Entries int    `json:"entries"`
	Left    int    `json:"left" doc:"How many entries left"`
}

// FeedsAnswer lists the feeds.
type FeedsAnswer struct {
	Feeds []FeedView `json:"feeds"`
}

// FeedShownMax is the most entries that are shown at once.
const FeedShownMax = 1_000

func (s *Server) registerFeeds() {
	read := route{need: token.Reader}
	add(s, read, get("list-feeds", "/v1/feeds", "The lists that enforcement points fetch, and who fetches them"), s.listFeeds)
	show := get("show-feed", "/v1/feeds/{name}", "One feed with its entries, and why a value is in it or not")
	add(s, read, show, s.showFeed)
	diff := post[FeedDiffRequest](s, "diff-feed", "/v1/feeds/{name}/diff", "What a feed would be under another policy; without one, what waits")
	add(s, route{need: token.Admin, body: true}, diff, s.diffFeed)
	accept := operation(http.MethodPost, "accept-feed", "/v1/feeds/{name}/accept", "Let a list shrink that waits for a word")
	add(s, route{need: token.Admin}, accept, s.acceptFeed)
}

type feedsOutput struct{ Body FeedsAnswer }

func (s *Server) listFeeds(ctx context.Context, _ *struct{}) (*feedsOutput, error) {
	if s.c.Feeds == nil {
		return &feedsOutput{FeedsAnswer{[]FeedView{}}}, nil
	}
	feeds, err := s.c.Feeds.ListFeeds(ctx, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	return &feedsOutput{FeedsAnswer{list(feeds)}}, nil
}

type feedInput struct {
	Name  string `path:"name"`
	Why   string `query:"why" doc:"Say of this value why it is in the feed or not"`
	Limit int    `query:"limit" minimum:"0" maximum:"1000" default:"100"`
	Next  string `query:"next" doc:"Where the last page ended"`
}

type feedOutput struct{ Body FeedDetail }

func (s *Server) showFeed(ctx context.Context, in *feedInput) (*feedOutput, error) {
	if s.c.Feeds == nil {
		return nil, noSuchFeed()
	}
	d, ok, err := s.c.Feeds.ShowFeed(ctx, in.Name, FeedQuery{Why: in.Why, Limit: in.Limit, After: in.Next, Ceiling: callerOf(ctx).ceiling})
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, noSuchFeed()
	}
	d.List = list(d.List)
	return &feedOutput{d}, nil
}

type feedNameInput struct {
	Name string `path:"name"`
}

type feedDiffOutput struct{ Body FeedDiff }

func (s *Server) diffFeed(ctx context.Context, in *feedNameInput) (*feedDiffOutput, error) {
	var q FeedDiffRequest
	err := decodeBody(bodyOf(ctx), func(r *jsonReader) error {
		return r.object(func(key string) error {
			switch key {
			case "config":
				return r.array(func(int) error { return appendValue(r, &q.Config) })
			case "allow":
				return r.array(func(int) error { return appendValue(r, &q.Allow) })
			case "deny":
				return r.array(func(int) error { return appendValue(r, &q.Deny) })
			}
			return r.unknown(key, "config, allow, deny")
		})
	})
	if err != nil {
		return nil, err
	}
	if s.c.Feeds == nil {
		return nil, noSuchFeed()
	}
	d, ok, err := s.c.Feeds.DiffFeed(ctx, in.Name, q)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, noSuchFeed()
	}
	d.Changes = list(d.Changes)
	return &feedDiffOutput{d}, nil
}

func appendValue(r *jsonReader, to *[]string) error {
	if len(*to) == LookupMax {
		return r.bad("", "more than 10000 values", "ask for fewer at once")
	}
	s, err := r.text()
	*to = append(*to, s)
	return err
}

type feedAcceptOutput struct{ Body FeedAccepted }

func (s *Server) acceptFeed(ctx context.Context, in *feedNameInput) (*feedAcceptOutput, error) {
	if s.c.Feeds == nil {
		return nil, noSuchFeed()
	}
	who := callerOf(ctx).name
	a, ok, err := s.c.Feeds.AcceptFeed(ctx, in.Name, who)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, noSuchFeed()
	}
	s.log.Info("feed accepted", "feed", in.Name, "left", a.Left, "by", who)
	return &feedAcceptOutput{a}, nil
}
