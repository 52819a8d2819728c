package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// TokenRequest is the body of POST /v1/tokens.
type TokenRequest struct {
	Name    string `json:"name" maxLength:"64" doc:"Which machine or person will hold it; unique"`
	Role    string `json:"role" enum:"reader,reporter,admin" doc:"Each includes the ones before it"`
	Ceiling string `json:"ceiling,omitempty" doc:"The strictest marking it may see; left out: as the asking token"`
	Expires Time   `json:"expires,omitempty" doc:"Left out: never"`
}

// TokenView is a token without its secret.
type TokenView struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Role    string `json:"role"`
	Ceiling string `json:"ceiling"`
	Created Time   `json:"created"`
	Expires Time   `json:"expires,omitempty"`
	Expired bool   `json:"expired,omitempty"`
}

// NewToken is a token with its secret, which is shown once.
type NewToken struct {
	TokenView
	Token string `json:"token" doc:"The secret: wwt_…; it cannot be shown again"`
}

// TokensAnswer lists the tokens.
type TokensAnswer struct {
	Tokens []TokenView `json:"tokens"`
}

// ViewToken returns how a token is shown at time now.
func ViewToken(t token.Token, now time.Time) TokenView {
	v := TokenView{ID: t.ID, Name: t.Name, Role: t.Role.String(), Ceiling: t.Ceiling.String(), Created: Time(t.Created.UnixMilli())}
	if !t.Expires.IsZero() {
		v.Expires, v.Expired = Time(t.Expires.UnixMilli()), !now.Before(t.Expires)
	}
	return v
}

type tokensOutput struct{ Body TokensAnswer }

func (s *Server) listTokens(context.Context, *struct{}) (*tokensOutput, error) {
	tokens, err := s.c.Tokens.List()
	if err != nil {
		return nil, err
	}
	out := &tokensOutput{TokensAnswer{make([]TokenView, 0, len(tokens))}}
	for _, t := range tokens {
		out.Body.Tokens = append(out.Body.Tokens, ViewToken(t, time.Now()))
	}
	return out, nil
}

type newTokenOutput struct{ Body NewToken }

func (s *Server) createToken(ctx context.Context, _ *struct{}) (*newTokenOutput, error) {
	q, err := decodeToken(bodyOf(ctx))
	if err != nil {
		return nil, err
	}
	role, err := token.ParseRole(q.Role)
	if err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	ceiling := who.ceiling
	if q.Ceiling != "" {
		if ceiling, err = notice.ParseTLP(q.Ceiling); err != nil {
			return nil, err
		}
	}
	if ceiling > who.ceiling {
		return nil, problem(http.StatusForbidden, "low-ceiling", "The token's ceiling is too low",
			"a token cannot make one that sees more than itself", "ask for "+who.ceiling.String()+" or less, or use a token with a higher ceiling").
			at("body.ceiling", q.Ceiling)
	}
	var expires time.Time
	if q.Expires != 0 {
		expires = time.UnixMilli(int64(q.Expires))
	}
	secret, t, err := s.c.Tokens.Create(q.Name, role, ceiling, expires)
	if err != nil {
		return nil, err
	}
	s.log.Info("token created", "token", t.Name, "role", t.Role.String(), "ceiling", t.Ceiling.String(), "by", who.name)
	return &newTokenOutput{NewToken{ViewToken(t, time.Now()), secret}}, nil
}

func decodeToken(body []byte) (q TokenRequest, err error) {
	err = decodeBody(body, func(r *jsonReader) error {
		return r.object(func(key string) error {
			switch key {
			case "name":
				return r.parsed(&q.Name, nil)
			case "role":
				return r.parsed(&q.Role, nil)
			case "ceiling":
				return r.parsed(&q.Ceiling, canonicalTLP)
			case "expires":
				return r.time(&q.Expires)
			}
			return r.unknown(key, "name, role, ceiling, expires")
		})
	})
	return q, err
}

type tokenOutput struct{ Body TokenView }

func (s *Server) revokeToken(ctx context.Context, in *idInput) (*tokenOutput, error) {
	t, err := s.c.Tokens.Revoke(in.ID)
	if errors.Is(err, token.ErrNone) {
		return nil, problem(http.StatusNotFound, "no-such-token", "No such token", "no token has this id or name", "list them: watchward token list").at("path.id", in.ID)
	}
	if err != nil {
		return nil, err
	}
	s.log.Info("token revoked", "token", t.Name, "by", callerOf(ctx).name)
	return &tokenOutput{ViewToken(t, time.Now())}, nil
}
