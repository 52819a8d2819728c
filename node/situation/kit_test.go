package situation_test

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
)

const (
	now    = int64(1_800_000_000_000)
	minute = int64(60_000)
	hour   = 60 * minute
)

// who returns a member's id.
func who(n int) crypto.MemberID { return crypto.MemberID{1, byte(n), byte(n >> 8)} }

// item returns an id.
func item(n int) crypto.ItemID {
	id := crypto.ItemID{2}
	binary.BigEndian.PutUint32(id[1:], uint32(n))
	return id
}

func ref(n int) *crypto.ItemID { id := item(n); return &id }

// said is a fact of a member, said at a time: its number is its id and its place.
func said(id, member int, at int64, n *notice.Notice) situation.Fact {
	n.Created = at
	return situation.Fact{
		ID: item(id), Author: who(member), Notice: n, TLP: notice.TLPAmber, Audience: crypto.AudienceRegion,
		Order: situation.Order{Serial: 1, Epoch: 1, Seq: uint64(id), Time: at}, Received: at, Expiry: at + 400*24*hour,
	}
}

func marked(f situation.Fact, tlp notice.TLP) situation.Fact {
	f.TLP, f.Audience = tlp, tlp.Audience()
	return f
}

func sighting(id, member int, at int64, value string, c *notice.Context) situation.Fact {
	i, err := notice.Detect(value, notice.Options{AllowSpecial: true})
	if err != nil {
		panic(err)
	}
	return said(id, member, at, &notice.Notice{Kind: notice.KindSighting, Indicator: &i, FirstSeen: at, LastSeen: at, Count: 1, Context: c})
}

// counted is a sighting that a machine made.
func counted(id, member int, at int64, value string) situation.Fact {
	f := sighting(id, member, at, value, nil)
	f.Notice.Origin = &notice.Origin{Source: "logs"}
	return f
}

func retraction(id, member int, at int64, of int) situation.Fact {
	return said(id, member, at, &notice.Notice{Kind: notice.KindRetraction, Ref: ref(of)})
}

func mayday(id, member int, at int64, text string, of *crypto.ItemID) situation.Fact {
	return said(id, member, at, &notice.Notice{Kind: notice.KindMayday, Mayday: &notice.Mayday{Text: text}, Ref: of})
}

func service(id, member int, at int64, department string, state notice.ServiceState) situation.Fact {
	return said(id, member, at, &notice.Notice{Kind: notice.KindService, Service: &notice.Service{Department: department, State: state}})
}

func assist(id, member int, at int64, act notice.Act, quantity uint32, of *crypto.ItemID) situation.Fact {
	a := &notice.Assistance{Act: act, Quantity: quantity}
	if act <= notice.ActOffer {
		a.What = "ventilators"
	}
	return said(id, member, at, &notice.Notice{Kind: notice.KindAssistance, Assistance: a, Ref: of})
}

func link(id, member int, at int64, supplier, name string, state notice.LinkState) situation.Fact {
	return said(id, member, at, &notice.Notice{Kind: notice.KindLink, Link: &notice.Link{Supplier: supplier, Link: name,
		Direction: notice.DirectionBoth, State: state, At: at, Reason: "ransomware there"}})
}

func question(id, member int, at int64, value string) situation.Fact {
	i, err := notice.Detect(value, notice.Options{})
	if err != nil {
		panic(err)
	}
	return said(id, member, at, &notice.Notice{Kind: notice.KindQuestion, Indicator: &i})
}

func response(id, member int, at int64, of int, answer notice.Answer) situation.Fact {
	return said(id, member, at, &notice.Notice{Kind: notice.KindResponse, Ref: ref(of), Response: &notice.Response{Answer: answer}})
}

func dispute(id, member int, at int64, of int, why string) situation.Fact {
	return said(id, member, at, &notice.Notice{Kind: notice.KindDispute, Ref: ref(of), Reason: why})
}

func profile(id, member int, at int64, phone string) situation.Fact {
	return said(id, member, at, &notice.Notice{Kind: notice.KindProfile, Profile: &notice.Profile{Name: fmt.Sprint("Hospital ", member), Contact: []string{phone}}})
}

// ask is of members 1 to n. Member 1 is the coordinator.
func ask(n int) situation.Ask {
	a := situation.Ask{Now: now, Coordinator: func(by, _ crypto.MemberID) bool { return by == who(1) }}
	for i := range n {
		a.Members = append(a.Members, who(i+1))
	}
	return a
}

// picture is made of facts, in their order.
func picture(facts ...situation.Fact) *situation.Picture {
	p := situation.New(nil)
	for _, f := range facts {
		p.Add(f, now)
	}
	return p
}

func ago(d time.Duration) int64 { return now - d.Milliseconds() }
