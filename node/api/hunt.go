package api

import "context"

// HuntMax bounds the values of one hunt.
const HuntMax = LookupMax

// HuntRequest is the body of POST /v1/hunt.
type HuntRequest struct {
	Values []string `json:"values" maxItems:"10000" doc:"Values of any type, defanged or not"`
	Hosts  bool     `json:"hosts,omitempty" doc:"A URL or an e-mail address that was not seen itself is looked for by its host"`
}

// HuntAnswers has the answers in the order of the values.
type HuntAnswers struct {
	Answers []HuntAnswer `json:"answers"`
	Since   Time         `json:"since" doc:"What was seen before is not remembered"`
}

// HuntAnswer says when one value was in this hospital's own logs.
type HuntAnswer struct {
	Value   string     `json:"value" doc:"As asked"`
	Type    string     `json:"type,omitempty" doc:"Type the value was read as"`
	Seen    bool       `json:"seen"`
	First   Time       `json:"first,omitempty" doc:"To the second"`
	Last    Time       `json:"last,omitempty" doc:"To the second"`
	Count   uint64     `json:"count,omitempty" doc:"How often; of a name with those below it, of a network with all in it"`
	Matched *Indicator `json:"matched,omitempty" doc:"What was seen, when that is not the value as it was read: its host, another type"`
	Reason  string     `json:"reason,omitempty" doc:"Why nobody can tell"`
}

type huntOutput struct{ Body HuntAnswers }

// hunt tells of the hospital's own logs, which have no marking and so count as
// AMBER+STRICT: the route asks for that ceiling.
func (s *Server) hunt(ctx context.Context, _ *struct{}) (*huntOutput, error) {
	q, err := decodeHunt(bodyOf(ctx))
	if err != nil {
		return nil, err
	}
	answers, err := s.c.Node.Hunt(ctx, q.Values, q.Hosts)
	if err != nil {
		return nil, err
	}
	return &huntOutput{answers}, nil
}

func decodeHunt(body []byte) (q HuntRequest, err error) {
	err = decodeBody(body, func(r *jsonReader) error {
		err := r.object(func(key string) (err error) {
			switch key {
			case "values":
				return r.array(func(i int) error {
					if i >= HuntMax {
						return r.bad("", "more than 10000 values", "send them in several requests")
					}
					v, err := r.text()
					q.Values = append(q.Values, v)
					return err
				})
			case "hosts":
				q.Hosts, err = r.boolean()
				return err
			}
			return r.unknown(key, "values, hosts")
		})
		if err == nil && len(q.Values) == 0 {
			err = &badValue{location: "body.values", reason: "there are no values", fix: `send {"values": ["evil.example"]}`}
		}
		return err
	})
	return q, err
}
