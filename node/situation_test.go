package node_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// situation is the picture of a node, without what differs from moment to moment.
func (h *hospital) situation(t testing.TB, ceiling notice.TLP) api.Situation {
	t.Helper()
	s, err := h.Situation(t.Context(), 0, ceiling)
	if err != nil {
		t.Fatal(err)
	}
	s.Now, s.Health = 0, api.Health{}
	return s
}

// The picture is fed as words come. It is the same after a restart, which alerts
// nobody again, and of a member whose key was stolen it keeps what the cut lets stand.
func TestSituation(t *testing.T) {
	b := newBench(t)
	b.start(t, nil)
	call := b.word(notice.KindMayday, 1, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "ransom note"} })
	id, first := b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, nil, call)
	_, second := b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, first, b.sighting(t, "evil.example"))
	shut := b.word(notice.KindService, 2, func(n *notice.Notice) {
		n.Service = &notice.Service{Department: "all", State: notice.ServiceClosed}
	})
	green := crypto.Header{TLP: uint8(notice.TLPGreen), Audience: crypto.AudienceCommunity}
	_, greens := b.told(t, b.other, green, nil, shut)
	again := b.sighting(t, "evil.example")
	again.Salt[15]++
	b.told(t, b.other, green, greens, again)

	eventually(t, "the second sighting is told of", func() bool { return len(b.alerts(t, "spreading")) == 1 })
	alert := b.alerts(t, "spreading")[0]
	if alert.TLP != "AMBER" || len(alert.Refs) != 2 || !strings.HasPrefix(alert.Text, "SPREADING: domain evil.example was seen at 2 organisations within 72 h: ") {
		t.Errorf("alert: %+v", alert)
	}
	eventually(t, "all is in the picture", func() bool { return !b.situation(t, 0).Reading })
	s := b.situation(t, 0)
	if want := (api.StateCounts{UnderAttack: 1, DeclaredDown: 1, OK: 1}); s.Counts != want {
		t.Errorf("counts: %+v, want %+v", s.Counts, want)
	}
	if len(s.Maydays) != 1 || s.Maydays[0].ID != id.String() || s.Maydays[0].Name != "author" || len(s.Spreading) != 1 || !s.Spreading[0].Active {
		t.Errorf("situation: %+v", s)
	}
	if g := b.situation(t, notice.TLPGreen); len(g.Maydays)+len(g.Spreading) != 0 || g.Counts.UnderAttack != 0 || g.Counts.DeclaredDown != 1 {
		t.Errorf("up to GREEN: %+v", g)
	}

	b.stop(t)
	b.open(t)
	b.start(t, nil)
	eventually(t, "the picture is read again", func() bool { return !b.situation(t, 0).Reading })
	if got := b.situation(t, 0); !reflect.DeepEqual(got, s) {
		t.Errorf("after a restart:\n got %+v\nwant %+v", got, s)
	}
	if n := len(b.alerts(t, "spreading")); n != 1 {
		t.Errorf("%d alerts after a restart", n)
	}

	_, third := b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, second, b.word(notice.KindMayday, 3, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "by a thief"} }))
	eventually(t, "the thief is heard", func() bool { return b.situation(t, 0).Maydays[0].Text == "by a thief" })
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.author.Credential, b.clock.now(), cutAt(second)))
	if third.Header.Seq <= second.Header.Seq {
		t.Fatal("the thief's word is not beyond the cut")
	}
	eventually(t, "what is withdrawn leaves the picture", func() bool {
		m := b.situation(t, 0).Maydays
		return len(m) == 1 && m[0].Text == "ransom note"
	})
}
