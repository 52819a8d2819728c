package api

import (
	"context"

	"github.com/watchward/watchward/node/api/token"
)

func (s *Server) registerRecords() {
	records := answering(get("get-records", "/v1/region/records", "The trust records of the region, for commands that prepare its acts"), RecordsType, nil)
	records.Description = "Charters, endorsements, revocations, fork proofs, open proposals and the credentials of coordinators' nodes, in the format of an admission; and those of members that are asked for."
	add(s, route{need: token.Reader, stream: true}, records, s.getRecords)
}

type getRecordsInput struct {
	Member []string `query:"member,explode" maxItems:"100" doc:"Name or id of a member whose credentials are wanted too; repeat it"`
	All    bool     `query:"all" doc:"Of all members"`
}

func (s *Server) getRecords(ctx context.Context, in *getRecordsInput) (*raw, error) {
	body, err := s.c.Node.Records(ctx, in.Member, in.All)
	if err != nil {
		return nil, err
	}
	return rawAnswer(RecordsType, body), nil
}
