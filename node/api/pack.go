package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// PackType is the media type of an offline pack: a tar archive.
const PackType = "application/x-tar"

// PackAnswer says where the node has put its offline pack.
type PackAnswer struct {
	Dir       string `json:"dir" doc:"The node's [pack] dir, on its machine"`
	Page      string `json:"page" doc:"The page in it that is printed"`
	Playbooks int    `json:"playbooks" doc:"How many documents are beside it"`
}

func (s *Server) registerPack(read route) {
	o := answering(get("get-pack", "/v1/pack", "The offline pack as an archive: a page to print, and playbooks"), PackType, binary())
	o.Description = "Contacts, ways to reach the others without a network, the situation, forms, and the playbooks that advisories recommend. An answer that breaks off is not whole: its connection is cut."
	read.stream = true
	add(s, read, o, s.getPack)
	o = operation(http.MethodPost, "make-pack", "/v1/pack", "Write the offline pack into the node's [pack] dir now")
	o.Description = "The node does so by itself, as often as [pack] every says. 503: the place cannot be written to; the pack that was there is still whole."
	add(s, route{need: token.Admin}, o, s.makePack)
}

type packInput struct {
	TLP      string `query:"tlp" doc:"Its marking, beyond which nothing is in it: AMBER unless the token sees less"`
	Language string `query:"language" enum:"en,de" doc:"Left out: the node's"`
}

func (s *Server) getPack(ctx context.Context, in *packInput) (*huma.StreamResponse, error) {
	ceiling, err := reportCeiling(ctx, in.TLP)
	if err != nil {
		return nil, err
	}
	pack, err := s.c.Node.Pack(ctx, in.Language, ceiling)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		if !s.occupy(w) {
			return
		}
		defer func() { <-s.streams }()
		w.Header().Set("Content-Type", PackType)
		if err := pack(s.newStreamWriter(w)); err != nil {
			s.log.Warn("pack broke off", "remote", r.RemoteAddr, "err", err)
			panic(http.ErrAbortHandler) // half a pack must not look whole
		}
	}}, nil
}

type packOutput struct{ Body PackAnswer }

func (s *Server) makePack(ctx context.Context, _ *struct{}) (*packOutput, error) {
	a, err := s.c.Node.MakePack(ctx)
	return &packOutput{a}, err
}

// reportCeiling is the marking of what is printed: what was asked for, or else what a
// region says among itself, and never more than the caller may see.
func reportCeiling(ctx context.Context, asked string) (notice.TLP, error) {
	ceiling := ReportDefault
	if asked != "" {
		var err error
		if ceiling, err = notice.ParseTLP(asked); err != nil {
			return 0, badQuery("tlp", asked, err)
		}
	}
	return min(ceiling, callerOf(ctx).ceiling), nil
}
