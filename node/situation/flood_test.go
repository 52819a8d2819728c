package situation_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
)

// chains are the places where one member can say something in clear.
var chains = []struct {
	audience crypto.Audience
	tlp      notice.TLP
}{
	{crypto.AudienceRegion, notice.TLPClear}, {crypto.AudienceRegion, notice.TLPGreen}, {crypto.AudienceRegion, notice.TLPAmber},
	{crypto.AudienceCommunity, notice.TLPClear}, {crypto.AudienceCommunity, notice.TLPGreen},
}

// TestFloodsPutAsideTheirOwn: 10,000 words of each of two members, in every chain and of
// any kind, take bounded room, push out nothing that another member said, and are counted.
func TestFloodsPutAsideTheirOwn(t *testing.T) {
	const words, request = 10_000, 3
	old := ago(2 * time.Hour)
	theirs := []situation.Fact{
		profile(1, 2, old, "+353 1 555 0100"), mayday(2, 2, old, "ransom note", nil), assist(request, 2, old, notice.ActRequest, 9, nil),
		service(4, 2, old, "all", notice.ServiceClosed), service(5, 2, old, "Stroke unit", notice.ServiceDiverted),
		link(6, 2, old, "Zeta", "VPN", notice.LinkCut), question(7, 2, old, "evil.example"), response(8, 5, old, 7, notice.AnswerSeen),
		assist(9, 5, old, notice.ActClaim, 1, ref(request)), assist(10, 2, old, notice.ActConfirm, 0, ref(9)),
		dispute(11, 1, old, 2, "it is a drill"), link(12, 5, old, "Zeta", "VPN", notice.LinkCut), sighting(13, 2, old, "evil.example", nil),
	}
	for name, c := range map[string]struct {
		word  func(id, member int, at int64) situation.Fact
		held  int  // of one chain
		aside bool // not all of what is held is shown
	}{
		"requests": {func(id, m int, at int64) situation.Fact { return assist(id, m, at, notice.ActRequest, 1, nil) }, 256, true},
		"offers": {func(id, m int, at int64) situation.Fact {
			return assist(id, m, at, notice.ActOffer, 1, ref(request))
		}, 256, true},
		"claims": {func(id, m int, at int64) situation.Fact {
			return assist(id, m, at, notice.ActClaim, 1, ref(request))
		}, 256, false},
		"confirms of others' claims": {func(id, m int, at int64) situation.Fact {
			return assist(id, m, at, notice.ActConfirm, 0, ref(9))
		}, 256, false},
		"closes of others' requests": {func(id, m int, at int64) situation.Fact {
			return assist(id, m, at, notice.ActClose, 0, ref(request))
		}, 256, false},
		"maydays": {func(id, m int, at int64) situation.Fact { return mayday(id, m, at, fmt.Sprint("help ", id), nil) }, 16, false},
		"maydays in the place of another's": {func(id, m int, at int64) situation.Fact {
			return mayday(id, m, at, "it is over", ref(2))
		}, 16, false},
		"questions": {func(id, m int, at int64) situation.Fact { return question(id, m, at, fmt.Sprintf("q%d.example", id)) }, 64, true},
		"links to a supplier each": {func(id, m int, at int64) situation.Fact {
			return link(id, m, at, fmt.Sprintf("A%06d", id), "VPN", notice.LinkCut)
		}, 256, true},
		"links to one supplier": {func(id, m int, at int64) situation.Fact {
			return link(id, m, at, "Zeta", fmt.Sprint("VPN ", id), notice.LinkCut)
		}, 256, false},
		"services": {func(id, m int, at int64) situation.Fact {
			return service(id, m, at, fmt.Sprint("Ward ", id), notice.ServiceClosed)
		}, 256, true},
		"profiles": {func(id, m int, at int64) situation.Fact { return profile(id, m, at, "+0") }, 2, false},
		"answers":  {func(id, m int, at int64) situation.Fact { return response(id, m, at, 7, notice.AnswerNotSeen) }, 256, false},
		"disputes": {func(id, m int, at int64) situation.Fact { return dispute(id, m, at, 2, "no") }, 256, false},
		"retractions of others' words": {func(id, m int, at int64) situation.Fact {
			return retraction(id, m, at, 1+id%13)
		}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := ask(5)
			a.Since = ago(24 * time.Hour)
			p := picture(theirs...)
			for i := range words {
				chain := chains[i%len(chains)]
				for m := 3; m <= 4; m++ {
					f := c.word(100+2*i+m, m, ago(time.Minute))
					f.TLP, f.Audience = chain.tlp, chain.audience
					p.Add(f, now)
				}
			}
			if most := len(theirs) + 2*len(chains)*c.held; p.Words() > most || c.held == 256 && p.Words() < most-2 {
				t.Errorf("%d words are held, want at most %d", p.Words(), most)
			}
			v := p.View(a)
			for what, shown := range map[string]bool{
				"the mayday":         slices.ContainsFunc(v.Maydays, func(m situation.Mayday) bool { return m.ID == item(2) && len(m.Disputed) == 1 && m.Contact != nil }),
				"who is attacked":    v.Members[1].State == situation.UnderAttack,
				"the closed service": slices.ContainsFunc(v.Services, func(s situation.Service) bool { return s.ID == item(4) }),
				"the request": slices.ContainsFunc(v.Assistance, func(h situation.Assistance) bool {
					return h.ID == item(request) && h.State == situation.HelpOpen && h.Confirmed == 1 && slices.ContainsFunc(h.Claims, func(c situation.Claim) bool { return c.State == situation.ClaimConfirmed })
				}),
				"the cut link": slices.ContainsFunc(v.Suppliers, func(s situation.Supplier) bool {
					return slices.ContainsFunc(s.Cut, func(w situation.Said) bool { return w.ID == item(6) }) && slices.ContainsFunc(s.Line, func(l situation.Link) bool { return l.ID == item(6) && l.Now })
				}),
				"the question": slices.ContainsFunc(v.Questions, func(q situation.Question) bool {
					return q.ID == item(7) && slices.ContainsFunc(q.Answers, func(a situation.Answer) bool { return a.Member == who(5) && a.Answer == notice.AnswerSeen })
				}),
				"what changed": slices.ContainsFunc(v.Changes, func(c situation.Change) bool { return slices.Contains(c.IDs, item(2)) && c.Kind == "mayday" }),
			} {
				if !shown {
					t.Errorf("%s of another member is not shown", what)
				}
			}
			lines := map[crypto.MemberID]int{}
			for _, h := range v.Assistance {
				lines[h.Member]++
				if most := max(len(h.Claims), len(h.Offers), len(h.Refused)); most > 101 {
					t.Errorf("a request has a list of %d", most)
				}
			}
			for _, s := range v.Services {
				lines[s.Member]++
			}
			for _, q := range v.Questions {
				lines[q.Member]++
			}
			for _, s := range v.Suppliers {
				if lines[s.Line[0].Member]++; len(s.Line) > 100 || len(s.Cut) > 100 {
					t.Errorf("%s has %d lines, and was cut by %d", s.Name, len(s.Line), len(s.Cut))
				}
			}
			if lines[who(3)] > 65 || lines[who(4)] > 65 || len(v.Changes) > 200 {
				t.Errorf("those who flood have %d and %d lines, changes %d", lines[who(3)], lines[who(4)], len(v.Changes))
			}
			named := len(v.Aside) == 2 && v.Aside[0].Count >= 100 && v.Aside[1].Count >= 100 &&
				!slices.ContainsFunc(v.Aside, func(a situation.Aside) bool { return a.Member != who(3) && a.Member != who(4) })
			if named != c.aside || !c.aside && len(v.Aside) > 0 {
				t.Errorf("who says too much: %+v", v.Aside)
			}
		})
	}
}

// TestClaimsPushOutNoRequest: what a member's own node confirms by itself is at the
// bidding of others, and takes no room from what the member said.
func TestClaimsPushOutNoRequest(t *testing.T) {
	p := picture(assist(1, 1, ago(time.Hour), notice.ActRequest, 1_000_000, nil))
	for i := range 1000 {
		p.Add(assist(2+2*i, 2, ago(time.Minute), notice.ActClaim, 1, ref(1)), now)
		p.Add(assist(3+2*i, 1, ago(time.Minute), notice.ActConfirm, 0, ref(2+2*i)), now)
	}
	if v := p.View(ask(2)); len(v.Assistance) != 1 || v.Assistance[0].ID != item(1) {
		t.Errorf("the request is gone: %+v", v.Assistance)
	}
}
