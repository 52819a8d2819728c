package api

import (
	"context"
	"net/http"
	"time"

	"github.com/watchward/watchward/node/api/token"
)

// RecordsType is the media type of an admission: trust records in a file.
const RecordsType = "application/vnd.watchward.admission"

// recordsMax is the largest body of POST /v1/region/records, in bytes.
const recordsMax = 1 << 20

// InvitationRequest is the body of POST /v1/region/invitations.
type InvitationRequest struct {
	LifeSeconds uint64 `json:"life_seconds,omitempty" minimum:"60" maximum:"2592000" doc:"How long it is good; left out: 48 hours"`
}

// Invitation lets one hospital ask to join.
type Invitation struct {
	Invitation string   `json:"invitation" doc:"The text to hand over: ww1…; it holds a secret, and cannot be shown again"`
	Expires    Time     `json:"expires"`
	Seeds      []string `json:"seeds" doc:"The addresses in it, of this node"`
}

// JoinRequest is a request to join that came by an invitation.
type JoinRequest struct {
	Number   uint64 `json:"number" doc:"Under which this node keeps it"`
	Name     string `json:"name" doc:"As its author calls itself: nobody has checked it"`
	Member   string `json:"member" doc:"Id of the member it would be"`
	Words    string `json:"words" doc:"Six words of its keys, to compare by phone"`
	Since    Time   `json:"since"`
	From     string `json:"from" doc:"IP address it came from first"`
	Admitted bool   `json:"admitted" doc:"Its author is a member now"`
	Request  []byte `json:"request" doc:"The signed request, in base64"`
}

// JoinRequests lists requests to join, the oldest first.
type JoinRequests struct {
	Requests []JoinRequest `json:"requests"`
}

// RecordsAnswer says what became of trust records.
type RecordsAnswer struct {
	Added int `json:"added" doc:"How many this node did not have"`
}

const invitationLife = 48 * time.Hour

func (s *Server) registerRegion() {
	admin := route{need: token.Admin}
	invite := post[InvitationRequest](s, "invite", "/v1/region/invitations", "Make an invitation, good for one request to join; a coordinator's node only")
	invite.DefaultStatus = http.StatusCreated
	add(s, route{need: token.Admin, body: true}, invite, s.invite)
	add(s, admin, get("list-requests", "/v1/region/requests", "Who asks to join by an invitation of this node"), s.listRequests)
	records := operation(http.MethodPost, "add-records", "/v1/region/records", "Take in trust records, each of which is verified")
	records.Description = "The body is an admission, as watchward region admit writes it: what is new goes to the other members too."
	records.MaxBodyBytes, records.BodyReadTimeout = recordsMax, s.c.Limits.Answer
	add(s, route{need: token.Admin, stream: true}, records, s.addRecords)
}

type invitationOutput struct{ Body Invitation }

func (s *Server) invite(ctx context.Context, _ *struct{}) (*invitationOutput, error) {
	var q InvitationRequest
	err := decodeBody(bodyOf(ctx), func(r *jsonReader) error {
		return r.object(func(key string) (err error) {
			if key != "life_seconds" {
				return r.unknown(key, "life_seconds")
			}
			if !r.null() {
				q.LifeSeconds, err = r.uint(1 << 30)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	life := invitationLife
	if q.LifeSeconds != 0 {
		life = time.Duration(q.LifeSeconds) * time.Second
	}
	i, err := s.c.Node.Invite(ctx, life)
	if err != nil {
		return nil, err
	}
	s.log.Info("invitation made", "expires", i.Expires.String(), "by", callerOf(ctx).name)
	return &invitationOutput{i}, nil
}

type requestsOutput struct{ Body JoinRequests }

func (s *Server) listRequests(ctx context.Context, _ *struct{}) (*requestsOutput, error) {
	requests, err := s.c.Node.JoinRequests(ctx)
	if err != nil {
		return nil, err
	}
	return &requestsOutput{JoinRequests{list(requests)}}, nil
}

type recordsInput struct {
	RawBody []byte `contentType:"application/vnd.watchward.admission"`
}

type recordsOutput struct{ Body RecordsAnswer }

func (s *Server) addRecords(ctx context.Context, in *recordsInput) (*recordsOutput, error) {
	added, err := s.c.Node.AddRecords(ctx, in.RawBody)
	if err != nil {
		return nil, err
	}
	s.log.Info("trust records taken", "added", added, "by", callerOf(ctx).name)
	return &recordsOutput{RecordsAnswer{added}}, nil
}
