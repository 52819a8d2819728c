package api

import (
	"context"
	"net/http"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// Bridges is what the API needs of the bridges to other services.
type Bridges interface {
	// ListBridges returns all, in the order of the configuration.
	ListBridges(ctx context.Context) []BridgeView
	// ShowBridge returns one; false if there is none of the name.
	ShowBridge(ctx context.Context, name string) (BridgeDetail, bool)
}

// BridgeView is a bridge to another service, and what it did. Counts are since ever.
type BridgeView struct {
	Name    string  `json:"name"`
	Kind    string  `json:"kind" doc:"taxii, misp or misp-feed"`
	URL     string  `json:"url"`
	Pull    bool    `json:"pull" doc:"It takes in what the service has"`
	Share   bool    `json:"share" doc:"What it takes in is stated to the region, and not only kept here"`
	Push    string  `json:"push" doc:"none, own or all"`
	Ceiling string  `json:"ceiling,omitempty" doc:"The strictest marking of what is pushed"`
	State   string  `json:"state" doc:"starting, good or fails"`
	Last    Time    `json:"last,omitempty" doc:"When it last did all that it had to; left out: never"`
	Since   Time    `json:"since,omitempty" doc:"Since when it fails"`
	Reason  string  `json:"reason,omitempty" doc:"Why"`
	Next    Time    `json:"next,omitempty" doc:"When it tries next"`
	TookMS  float64 `json:"took_ms" doc:"How long its last round took"`
	Taken   int64   `json:"taken" doc:"Notices that came from there"`
	Known   int64   `json:"known" doc:"What came and was held already"`
	Refused int64   `json:"refused" doc:"What came and was not taken"`
	Pushed  int64   `json:"pushed" doc:"Notices that went there"`
	Failed  int64   `json:"failed" doc:"What the service did not take"`
}

// BridgeReason is why something was not taken, or not pushed.
type BridgeReason struct {
	Reason string `json:"reason"`
	ID     string `json:"id,omitempty" doc:"The last that it was said of, as the service or this node calls it"`
	Push   bool   `json:"push,omitempty" doc:"The service said so of what was pushed"`
	Count  int64  `json:"count"`
	Last   Time   `json:"last"`
}

// BridgeDetail is a bridge with the latest reasons.
type BridgeDetail struct {
	BridgeView
	Collection     string         `json:"collection,omitempty"`
	PushCollection string         `json:"push_collection,omitempty"`
	Marking        string         `json:"marking,omitempty" doc:"Of what has none; left out: that is refused"`
	Every          string         `json:"every"`
	Waiting        int            `json:"waiting,omitempty" doc:"Objects that wait for what they refer to"`
	Reasons        []BridgeReason `json:"reasons" doc:"The latest first, at most 20"`
}

// BridgesAnswer lists the bridges.
type BridgesAnswer struct {
	Bridges []BridgeView `json:"bridges"`
}

func (s *Server) registerBridges() {
	add(s, route{need: token.Reader}, get("list-bridges", "/v1/bridges", "The bridges to other services, and what they did"), s.listBridges)
	show := get("show-bridge", "/v1/bridges/{name}", "One bridge, and why something was not taken or pushed")
	show.Description = "Reasons may quote what the service said, so a token needs the ceiling AMBER."
	add(s, route{need: token.Reader, ceiling: notice.TLPAmber}, show, s.showBridge)
}

type bridgesOutput struct{ Body BridgesAnswer }

func (s *Server) listBridges(ctx context.Context, _ *struct{}) (*bridgesOutput, error) {
	out := []BridgeView{}
	if s.c.Bridges != nil {
		out = s.c.Bridges.ListBridges(ctx)
	}
	return &bridgesOutput{BridgesAnswer{out}}, nil
}

type bridgeInput struct {
	Name string `path:"name"`
}

type bridgeOutput struct{ Body BridgeDetail }

func (s *Server) showBridge(ctx context.Context, in *bridgeInput) (*bridgeOutput, error) {
	if s.c.Bridges != nil {
		if d, ok := s.c.Bridges.ShowBridge(ctx, in.Name); ok {
			return &bridgeOutput{d}, nil
		}
	}
	return nil, noSuchBridge()
}

func noSuchBridge() *Problem {
	return problem(http.StatusNotFound, "no-such-bridge", "No such bridge", "no bridge has this name", "see which there are: watchward bridge list")
}
