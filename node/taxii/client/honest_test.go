package client_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/taxii/client"
)

// A shelf is a server that keeps to the specification, as far as its quirks let it.
type shelf struct {
	t      failer
	stamps []time.Time // of the objects 0, 1, …, ascending; some are equal
	most   int         // objects of a page

	noNext  bool // more, and no next
	cursor  bool // one token for all pages, each use of which moves on
	coarse  bool // the header has no fractions
	nothing bool // nothing but the pages: more is left out where there is none
	breaks  int  // every so many requests by token fail, half of them after they were used; 0 = none

	tokens   map[string]int // where a token goes on
	requests int
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 {
		s.t.Errorf("the limit is %q", q.Get("limit"))
	}
	limit = min(limit, s.most)
	at := 0
	if after := q.Get("added_after"); after != "" {
		than, err := time.Parse("2006-01-02T15:04:05.999999Z", after)
		if err != nil {
			s.t.Errorf("added_after is %q", after)
		}
		for at < len(s.stamps) && !s.stamps[at].After(than) {
			at++
		}
	}
	token := q.Get("next")
	if token != "" {
		s.requests++
		fails := s.breaks > 0 && s.requests%s.breaks == 0
		goesOn, known := s.tokens[token]
		if !known || fails && s.requests/s.breaks%2 == 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		at = goesOn
		if fails {
			s.tokens[token] = at + limit // as if it had been read
			w.WriteHeader(http.StatusBadGateway)
			return
		}
	}
	end := min(at+limit, len(s.stamps))
	var numbers []int
	for n := at; n < end; n++ {
		numbers = append(numbers, n)
	}
	if len(numbers) == 0 {
		reply{body: `{}`, header: "X-TAXII-Date-Added-Last: undefined"}.write(w)
		return
	}
	tail := `,"more":false`
	if s.nothing {
		tail = ""
	}
	if end < len(s.stamps) {
		tail = `,"more":true`
		if !s.noNext {
			if token == "" || !s.cursor {
				token = fmt.Sprint("t", len(s.tokens))
			}
			s.tokens[token] = end
			tail += `,"next":"` + token + `"`
		}
	}
	layout := "2006-01-02T15:04:05.000000Z"
	if s.coarse {
		layout = "2006-01-02T15:04:05Z"
	}
	reply{body: envelope(tail, numbers...), header: last(s.stamps[end-1].Format(layout))}.write(w)
}

// TestNothingIsMissed: whatever quirks a server has, and wherever polls end, each object
// comes, those with one stamp and those that are added between polls too, unless a Gap
// was told; and a poll of an old collection brings nothing twice to who ended none.
func TestNothingIsMissed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &shelf{
			t: t, most: rapid.IntRange(1, 7).Draw(t, "most"), noNext: rapid.Bool().Draw(t, "noNext"), cursor: rapid.Bool().Draw(t, "cursor"),
			coarse: rapid.Bool().Draw(t, "coarse"), nothing: rapid.Bool().Draw(t, "nothing"), breaks: rapid.IntRange(0, 5).Draw(t, "breaks"), tokens: map[string]int{},
		}
		s.coarse = s.coarse && !s.noNext // then there is no way past a full page of one second: an error
		at := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
		add := func(n int) {
			for range n {
				at = at.Add(time.Duration(rapid.SampledFrom([]int64{0, 0, 1, 1000, 300_000, 1_000_000, 60_000_000}).Draw(t, "step")) * time.Microsecond)
				s.stamps = append(s.stamps, at)
			}
			at = at.Add(time.Hour) // of which the position is well behind
		}
		one, _, stop := start(t, s, client.Config{})
		defer stop()
		seen := map[int]int{}
		var p client.Position
		gap, ended, breaks := false, false, s.breaks
		for range rapid.IntRange(1, 3).Draw(t, "polls") {
			add(rapid.IntRange(0, 30).Draw(t, "added"))
			for rounds, done := 0, false; !done; rounds++ {
				pages := 1000
				if rounds == 20 { // one that always ends among many with one stamp gets nowhere
					s.breaks = 0
				} else if rounds < 20 && rapid.Bool().Draw(t, "ends") {
					pages, ended = rapid.IntRange(1, 4).Draw(t, "pages"), true
				}
				enough := fmt.Errorf("enough")
				before := p
				next, err := one.Poll(t.Context(), inbox, p, client.Options{}, func(page client.Page) error {
					if pages--; pages < 0 {
						return enough
					}
					for _, o := range page.Objects {
						seen[number(o)]++
					}
					gap = gap || page.Gap != ""
					return nil
				})
				if next.After < before.After {
					t.Fatalf("the position went from %v to %v", before, next)
				}
				p = next
				if done = err == nil; !done && err != enough && s.breaks == 0 {
					t.Fatal(err)
				}
			}
		}
		for n := range s.stamps {
			if seen[n] == 0 && !gap {
				t.Fatalf("object %d of %d was missed", n, len(s.stamps))
			}
			if seen[n] > 1 && !ended && !s.coarse && breaks == 0 && !s.noNext {
				t.Fatalf("object %d came %d times", n, seen[n])
			}
		}
		if gap && !s.noNext {
			t.Fatal("a gap was told where there is none")
		}
	})
}
