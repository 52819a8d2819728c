package api

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
)

// Media types of the files that watchward verify reads.
const (
	ProofType  = "application/vnd.watchward.proof"
	RegionType = "application/vnd.watchward.region"
)

func (s *Server) registerProof(read route) {
	proof := answering(get("get-proof", "/v1/notices/{id}/proof", "One notice in a file that proves itself, for watchward verify"), ProofType, binary())
	proof.Description = "Holds the notice, its inclusion proof, the signed header of its envelope, and the trust records that lead from the region's name to the author's key. " +
		"The notice's marking holds for the file. 409: it is not signed, or marked for named members only."
	add(s, read, proof, s.getProof)
	region := answering(get("get-region-file", "/v1/region/file", "What a verifier needs to know of this region, in a file"), RegionType, binary())
	region.Description = "Charters and endorsements, and with members who belongs to it. It holds no secret."
	add(s, read, region, s.getRegionFile)
}

func binary() *huma.Schema { return &huma.Schema{Type: huma.TypeString, Format: "binary"} }

func (s *Server) getProof(ctx context.Context, in *idInput) (*raw, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	file, found, err := s.c.Node.ProofFile(ctx, in.ID, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, in.missing()
	}
	return rawAnswer(ProofType, file), nil
}

type regionFileInput struct {
	Members bool `query:"members" doc:"Also every member's credential, and what is proven against members"`
}

func (s *Server) getRegionFile(ctx context.Context, in *regionFileInput) (*raw, error) {
	file, err := s.c.Node.RegionFile(ctx, in.Members)
	if err != nil {
		return nil, err
	}
	return rawAnswer(RegionType, file), nil
}
