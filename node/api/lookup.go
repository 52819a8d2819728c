package api

import (
	"context"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// LookupMax bounds the values of one lookup.
const LookupMax = 10_000

// LookupRequest is the body of POST /v1/lookup.
type LookupRequest struct {
	Values    []string `json:"values" maxItems:"10000" doc:"Values of any type, defanged or not"`
	Hosts     bool     `json:"hosts,omitempty" doc:"A URL or an e-mail address also matches by its host"`
	KnownOnly bool     `json:"known_only,omitempty" doc:"Leave out what is not known"`
	Reasons   bool     `json:"reasons,omitempty" doc:"Verdicts with what raised and lowered them, and when they fall. It costs reading all notices of each value: not for bulk"`
}

// LookupAnswers has the answers in the order of the values.
type LookupAnswers struct {
	Answers []LookupAnswer `json:"answers"`
}

// lookup writes its answer by hand: reflection over ten thousand answers costs
// more than looking them up.
func (s *Server) lookup(ctx context.Context, _ *struct{}) (*raw, error) {
	q, err := decodeLookup(bodyOf(ctx))
	if err != nil {
		return nil, err
	}
	answers, err := s.c.Node.Lookup(ctx, q.Values, LookupOptions{Ceiling: callerOf(ctx).ceiling, Hosts: q.Hosts, Reasons: q.Reasons})
	if err != nil {
		return nil, err
	}
	out := appendAnswers(make([]byte, 0, 64+128*len(answers)), answers, q.KnownOnly)
	return rawAnswer("application/json", out), nil
}

func decodeLookup(body []byte) (q LookupRequest, err error) {
	err = decodeBody(body, func(r *jsonReader) error {
		err := r.object(func(key string) (err error) {
			switch key {
			case "values":
				q.Values = make([]string, 0, min(LookupMax, 1+len(body)/16))
				return r.array(func(i int) error {
					if i >= LookupMax {
						return r.bad("", "more than 10000 values", "send them in several requests")
					}
					v, err := r.text()
					q.Values = append(q.Values, v)
					return err
				})
			case "hosts":
				q.Hosts, err = r.boolean()
				return err
			case "known_only":
				q.KnownOnly, err = r.boolean()
				return err
			case "reasons":
				q.Reasons, err = r.boolean()
				return err
			}
			return r.unknown(key, "values, hosts, known_only, reasons")
		})
		if err == nil && len(q.Values) == 0 {
			err = &badValue{location: "body.values", reason: "there are no values", fix: `send {"values": ["evil.example"]}`}
		}
		return err
	})
	return q, err
}

// appendAnswers appends the JSON of LookupAnswers; a test holds it equal to
// what encoding/json makes of the types.
func appendAnswers(b []byte, answers []LookupAnswer, knownOnly bool) []byte {
	b = append(b, `{"answers":[`...)
	first := true
	for i := range answers {
		if knownOnly && !answers[i].Known {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendAnswer(b, &answers[i], true)
	}
	return append(b, "]}\n"...)
}

func appendAnswer(b []byte, a *LookupAnswer, escapeHTML bool) []byte {
	b = appendString(append(b, `{"value":`...), a.Value, escapeHTML)
	if a.Type != "" {
		b = appendText(append(b, `,"type":`...), a.Type)
	}
	b = strconv.AppendBool(append(b, `,"known":`...), a.Known)
	if m := a.Matched; m != nil {
		b = appendText(append(b, `,"matched":{"type":`...), m.Type)
		b = append(appendString(append(b, `,"value":`...), m.Value, escapeHTML), '}')
	}
	if a.Summary != nil {
		b = appendSummary(append(b, `,"summary":`...), a.Summary)
	}
	if a.Verdict != nil {
		b = appendVerdict(append(b, `,"verdict":`...), a.Verdict, escapeHTML)
	}
	if a.Reason != "" {
		b = appendString(append(b, `,"reason":`...), a.Reason, escapeHTML)
	}
	return append(b, '}')
}

func appendVerdict(b []byte, v *VerdictView, escapeHTML bool) []byte {
	b = appendText(append(b, `{"level":`...), v.Level)
	b = strconv.AppendInt(append(b, `,"score":`...), int64(v.Score), 10)
	if v.Guarded {
		b = append(b, `,"guarded":true`...)
	}
	if v.Listed {
		b = append(b, `,"listed":true`...)
	}
	if v.Expires != 0 {
		b = append(v.Expires.appendTo(append(b, `,"expires":"`...)), '"')
	}
	if m := v.Matched; m != nil {
		b = appendText(append(b, `,"matched":{"type":`...), m.Type)
		b = append(appendString(append(b, `,"value":`...), m.Value, escapeHTML), '}')
	}
	for i := range v.Reasons {
		r := &v.Reasons[i]
		if b = append(b, ','); i == 0 {
			b = append(b, `"reasons":[`...)
		}
		b = appendText(append(b, `{"cause":`...), r.Cause)
		b = strconv.AppendBool(append(b, `,"raised":`...), r.Raised)
		b = appendString(append(b, `,"text":`...), r.Text, escapeHTML)
		for i, id := range r.IDs {
			if b = append(b, ','); i == 0 {
				b = append(b, `"ids":[`...)
			}
			b = appendText(b, id)
		}
		if len(r.IDs) > 0 {
			b = append(b, ']')
		}
		if r.More != 0 {
			b = strconv.AppendInt(append(b, `,"more":`...), int64(r.More), 10)
		}
		b = append(b, '}')
	}
	if len(v.Reasons) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendSummary(b []byte, s *Summary) []byte {
	b = append(b, '{')
	for _, t := range []struct {
		name string
		time Time
	}{{`"first_seen":"`, s.FirstSeen}, {`"last_seen":"`, s.LastSeen}} {
		if t.time != 0 {
			b = append(t.time.appendTo(append(b, t.name...)), `",`...)
		}
	}
	b = strconv.AppendUint(append(b, `"sightings":`...), s.Sightings, 10)
	b = strconv.AppendInt(append(b, `,"members":`...), int64(s.Members), 10)
	b = strconv.AppendInt(append(b, `,"reports":`...), int64(s.Reports), 10)
	b = strconv.AppendInt(append(b, `,"disputes":`...), int64(s.Disputes), 10)
	if s.TLP != "" {
		b = appendText(append(b, `,"tlp":`...), s.TLP)
	}
	return append(b, '}')
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string. Like encoding/json it escapes <, > and
// &, and U+2028 and U+2029, so that the answer is safe wherever it is pasted.
func appendText(b []byte, s string) []byte { return appendString(b, s, true) }

func appendString(b []byte, s string, escapeHTML bool) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf && (!escapeHTML || c != '<' && c != '>' && c != '&') {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		b = appendEscaped(b, s[i:i+size])
		i += size
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

func appendEscaped(b []byte, s string) []byte {
	switch s[0] {
	case '"', '\\':
		return append(b, '\\', s[0])
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	case '\b':
		return append(b, `\b`...)
	case '\f':
		return append(b, `\f`...)
	}
	if len(s) == 3 {
		return append(b, `\u202`+string(hexDigits[s[2]&0xf])...)
	}
	if s[0] >= utf8.RuneSelf {
		return append(b, `\ufffd`...)
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[s[0]>>4], hexDigits[s[0]&0xf])
}

type indicatorInput struct {
	Type  string `query:"type" doc:"Detected when left out"`
	Value string `query:"value" required:"true" maxLength:"4096" doc:"Defanged is fine"`
}

type indicatorOutput struct{ Body IndicatorView }

func (s *Server) getIndicator(ctx context.Context, in *indicatorInput) (*indicatorOutput, error) {
	view, ok, err := s.c.Node.Indicator(ctx, in.Type, in.Value, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, problem(http.StatusNotFound, "not-known", "Not known", "nothing about this value is visible to this token", "").at("query.value", in.Value)
	}
	view.Evidence = list(view.Evidence)
	return &indicatorOutput{view}, nil
}
