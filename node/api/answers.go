package api

import "strconv"

// AppendLookup appends the body of POST /v1/lookup, as encoding/json would but
// at a tenth of its cost.
func AppendLookup(b []byte, q LookupRequest) []byte {
	b = append(b, `{"values":[`...)
	for i, v := range q.Values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, v)
	}
	b = strconv.AppendBool(append(b, `],"hosts":`...), q.Hosts)
	b = strconv.AppendBool(append(b, `,"known_only":`...), q.KnownOnly)
	if q.Reasons {
		b = append(b, `,"reasons":true`...)
	}
	return append(b, '}')
}

// AppendAnswer appends the JSON of one answer for people and their tools: <, >
// and &, which URLs have, stand for themselves.
func AppendAnswer(b []byte, a *LookupAnswer) []byte { return appendAnswer(b, a, false) }

// DecodeAnswers reads the answer to POST /v1/lookup and calls yield with each.
// Fields that this version does not know are skipped.
func DecodeAnswers(body []byte, yield func(LookupAnswer) error) error {
	return decodeBody(body, func(r *jsonReader) error {
		return r.object(func(key string) error {
			if key != "answers" {
				return r.skip()
			}
			return r.array(func(int) error {
				var a LookupAnswer
				if err := r.answer(&a); err != nil {
					return err
				}
				return yield(a)
			})
		})
	})
}

func (r *jsonReader) answer(a *LookupAnswer) error {
	return r.object(func(key string) (err error) {
		switch key {
		case "value":
			return r.parsed(&a.Value, nil)
		case "type":
			return r.parsed(&a.Type, nil)
		case "reason":
			return r.parsed(&a.Reason, nil)
		case "known":
			a.Known, err = r.boolean()
			return err
		case "matched":
			a.Matched = &Indicator{}
			return r.indicator(a.Matched)
		case "summary":
			a.Summary = &Summary{}
			return r.summary(a.Summary)
		case "verdict":
			a.Verdict = &VerdictView{}
			return r.verdict(a.Verdict)
		}
		return r.skip()
	})
}

func (r *jsonReader) indicator(i *Indicator) error {
	return r.object(func(key string) error {
		switch key {
		case "type":
			return r.parsed(&i.Type, nil)
		case "value":
			return r.parsed(&i.Value, nil)
		}
		return r.skip()
	})
}

func (r *jsonReader) verdict(v *VerdictView) error {
	return r.object(func(key string) (err error) {
		switch key {
		case "level":
			return r.parsed(&v.Level, nil)
		case "score":
			n, err := r.uint(1<<63 - 1)
			v.Score = int(n)
			return err
		case "guarded":
			v.Guarded, err = r.boolean()
			return err
		case "listed":
			v.Listed, err = r.boolean()
			return err
		case "expires":
			return r.time(&v.Expires)
		case "matched":
			v.Matched = &Indicator{}
			return r.indicator(v.Matched)
		case "reasons":
			return r.array(func(int) error {
				v.Reasons = append(v.Reasons, VerdictReason{})
				return r.verdictReason(&v.Reasons[len(v.Reasons)-1])
			})
		}
		return r.skip()
	})
}

func (r *jsonReader) verdictReason(v *VerdictReason) error {
	return r.object(func(key string) (err error) {
		switch key {
		case "cause":
			return r.parsed(&v.Cause, nil)
		case "raised":
			v.Raised, err = r.boolean()
			return err
		case "text":
			return r.parsed(&v.Text, nil)
		case "ids":
			return r.array(func(int) error {
				id, err := r.text()
				v.IDs = append(v.IDs, id)
				return err
			})
		case "more":
			n, err := r.uint(1<<63 - 1)
			v.More = int(n)
			return err
		}
		return r.skip()
	})
}

func (r *jsonReader) summary(s *Summary) error {
	number := func(to *int) error {
		n, err := r.uint(1<<63 - 1)
		*to = int(n)
		return err
	}
	return r.object(func(key string) (err error) {
		switch key {
		case "first_seen":
			return r.time(&s.FirstSeen)
		case "last_seen":
			return r.time(&s.LastSeen)
		case "sightings":
			s.Sightings, err = r.uint(1<<64 - 1)
			return err
		case "members":
			return number(&s.Members)
		case "reports":
			return number(&s.Reports)
		case "disputes":
			return number(&s.Disputes)
		case "tlp":
			return r.parsed(&s.TLP, nil)
		}
		return r.skip()
	})
}
