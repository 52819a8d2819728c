package api

import (
	"context"
	"fmt"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of what is allowed and denied here.
const (
	PoliciesMax  = 1_000 // of one request
	PolicyWhyMax = 500   // bytes
)

// Decisions of a policy.
const (
	DecisionAllow = "allow" // worth nothing here: neither detected nor blocked
	DecisionDeny  = "deny"  // blocked here
)

// PolicyRequest decides about one value.
type PolicyRequest struct {
	Value    string `json:"value" maxLength:"2048" doc:"Defanged is fine"`
	Type     string `json:"type,omitempty" doc:"Type of value; detected when left out"`
	Decision string `json:"decision" enum:"allow,deny"`
	Why      string `json:"why,omitempty" maxLength:"500" doc:"For whoever asks later"`
	Remove   bool   `json:"remove,omitempty" doc:"Takes this decision back"`
}

// PoliciesRequest is the body of POST /v1/policies.
type PoliciesRequest struct {
	Policies []PolicyRequest `json:"policies" maxItems:"1000"`
}

// PolicyView is what was decided here about a value.
type PolicyView struct {
	Indicator
	Decision string `json:"decision" enum:"allow,deny"`
	At       Time   `json:"at"`
	By       string `json:"by,omitempty" doc:"The token that asked; for a ceiling from AMBER+STRICT on"`
	Why      string `json:"why,omitempty" doc:"For a ceiling from AMBER+STRICT on"`
	Effect   string `json:"effect" enum:"none,detect,block" doc:"The level that it comes to"`
	Note     string `json:"note,omitempty" doc:"Why that is not what was decided"`
	Known    bool   `json:"known,omitempty" doc:"In the answer to a POST: it was so before"`
	Removed  bool   `json:"removed,omitempty" doc:"In the answer to a POST: it was taken back"`
}

// PoliciesAnswer has policies by type and value.
type PoliciesAnswer struct {
	Policies []PolicyView `json:"policies"`
	Next     string       `json:"next,omitempty" doc:"Where the next page begins; missing: this is the last"`
}

// PolicyQuery selects policies.
type PolicyQuery struct {
	Decision string // "" = all
	Limit    int    // 1 … 1,000
	Next     string
	Ceiling  notice.TLP
}

func (s *Server) registerPolicies() {
	add(s, route{need: token.Reader}, get("list-policies", "/v1/policies", "What is allowed and denied here"), s.listPolicies)
	decide := post[PoliciesRequest](s, "decide", "/v1/policies", "Allow and deny values here, or take that back: all of them or none")
	decide.Description = "It says nothing to others, and is kept until it is taken back. Of what is allowed and denied the entry closest to a value decides; what is never blocked is not blocked if it is denied."
	add(s, route{need: token.Admin, body: true}, decide, s.decide)
}

type policiesInput struct {
	Decision string `query:"decision" enum:"allow,deny"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Next     string `query:"next" maxLength:"4096"`
}

type policiesOutput struct{ Body PoliciesAnswer }

func (s *Server) listPolicies(ctx context.Context, in *policiesInput) (*policiesOutput, error) {
	policies, next, err := s.c.Node.Policies(ctx, PolicyQuery{Decision: in.Decision, Limit: in.Limit, Next: in.Next, Ceiling: callerOf(ctx).ceiling})
	if err != nil {
		return nil, err
	}
	return &policiesOutput{PoliciesAnswer{list(policies), next}}, nil
}

func (s *Server) decide(ctx context.Context, _ *struct{}) (*policiesOutput, error) {
	q, err := decodePolicies(bodyOf(ctx))
	if err != nil {
		return nil, err
	}
	policies, err := s.c.Node.Decide(ctx, callerOf(ctx).name, q.Policies)
	if err != nil {
		return nil, err
	}
	return &policiesOutput{PoliciesAnswer{Policies: list(policies)}}, nil
}

func decodePolicies(body []byte) (q PoliciesRequest, err error) {
	err = decodeBody(body, func(r *jsonReader) error {
		err := r.object(func(key string) error {
			if key != "policies" {
				return r.unknown(key, "policies")
			}
			return r.array(func(i int) error {
				if i >= PoliciesMax {
					return r.bad("", fmt.Sprintf("more than %d policies", PoliciesMax), "send them in several requests")
				}
				q.Policies = append(q.Policies, PolicyRequest{})
				return r.policy(&q.Policies[i])
			})
		})
		if err == nil && len(q.Policies) == 0 {
			err = &badValue{location: "body.policies", reason: "there are no policies", fix: `send {"policies": [{"value": "evil.example", "decision": "deny"}]}`}
		}
		return err
	})
	return q, err
}

func (r *jsonReader) policy(p *PolicyRequest) error {
	return r.object(func(key string) (err error) {
		switch key {
		case "value":
			return r.parsed(&p.Value, nil)
		case "type":
			return r.parsed(&p.Type, nil)
		case "decision":
			return r.parsed(&p.Decision, nil)
		case "why":
			return r.parsed(&p.Why, nil)
		case "remove":
			p.Remove, err = r.boolean()
			return err
		}
		return r.unknown(key, "value, type, decision, why, remove")
	})
}
