package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/shelf"
	"github.com/watchward/watchward/node/situation"
	"github.com/watchward/watchward/node/store"
)

// TestWhatLeaves keeps docs/what-leaves.md in step with the code: a new field, a
// kind that may have another one, another expiry changes it, and a field that
// nobody has described fails.
func TestWhatLeaves(t *testing.T) {
	path := filepath.Join("docs", "what-leaves.md")
	got := whatLeaves(t)
	if *update {
		if err := os.MkdirAll("docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Error("docs/what-leaves.md is old: go test ./cmd/watchward -run WhatLeaves -update, and read the difference")
	}
}

func whatLeaves(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# What leaves this node

Made from the code by a test (` + "`go test ./cmd/watchward -run WhatLeaves -update`" + `). To see it for one
report, field by field: ` + "`watchward report VALUE --dry-run`" + `. To see what has left:
` + "`watchward list --mine`" + `.

## To whom

The marking decides, unless ` + "`--local`" + ` keeps it here.

| marking | leaves to | audience |
| --- | --- | --- |
`)
	for tlp := notice.TLP(0); tlp <= notice.TLPRed; tlp++ {
		name := tlp.String()
		if name == "" {
			name = "none"
		}
		audience := tlp.Audience()
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, audiences[audience], audience)
	}
	b.WriteString(`
What a member has heard it may keep, as it may what it hears by telephone. Who
relays sees what it relays, and relays only to members of the same audience; a
line that is listened to shows nothing, since every connection is encrypted.

## What a notice says

Each notice has these fields and no others. An empty field is not sent.

| key | field | what it tells |`)
	kinds := notice.Kinds()
	for _, k := range kinds {
		fmt.Fprintf(&b, " %s |", k)
	}
	b.WriteString("\n| --- | --- | --- |" + strings.Repeat(" --- |", len(kinds)) + "\n")
	has := map[notice.Kind][]string{}
	for _, k := range kinds {
		has[k] = keysOf(t, k)
	}
	for _, f := range notice.Fields() {
		if f.Name == "" || f.Says == "" {
			t.Errorf("key %s of the item is described nowhere: do it in node/notice/fields.go", f.Key)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |", f.Key, f.Name, f.Says)
		found := false
		for _, k := range kinds {
			mark := ""
			if slices.Contains(has[k], f.Key) {
				mark, found = "yes", true
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		if !found {
			t.Errorf("no kind of notice has the field %s: add it to full", f.Name)
		}
		b.WriteByte('\n')
	}
	b.WriteString(`
All audiences get the same fields: a marking decides who hears a notice, not how
much of it.

## What stands around notices

Notices leave in groups, each under one header and this node's signature.

| key | field | what it tells |
| --- | --- | --- |
`)
	for _, f := range node.HeaderFields() {
		if f.Says == "" {
			t.Errorf("the header's field %s is described nowhere: do it in node/leaving.go", f.Name)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", f.Key, f.Name, f.Says)
	}
	b.WriteString(`
## How long it is kept

By every member that holds to the rules, and by this node, whatever the audience.

| notice | counts for | deleted after another |
| --- | --- | --- |
`)
	for _, row := range lives() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.what, days(row.life), days(store.Grace))
	}
	fmt.Fprintf(&b, `
A valid_until shortens it and never lengthens it. Nothing lives longer than %s.
What has expired is hidden at once and deleted %s later, with everything derived
from it, when all that it was grouped with has expired too. The header and its
signature stay until the author no longer needs them to show that nothing was
left out; they hold no notice, and the salt keeps their hash from saying which
notice it was. A retraction hides a notice at once, and it is deleted when it
expires. What stays local is kept and deleted alike.

## What else is kept

On this node, beside notices. Nothing of it leaves, but where the table says so.

| what | how long, or how much |
| --- | --- |
%s
## What else leaves

Without any notice, members of the region see of a node: its name, its member id
and its keys (they are in its credential), its network address and peer id while
it is connected, the versions it speaks, its clock, which numbers of which author
it holds, whether others can dial it, and when it was last heard. Nothing is sent to
anybody outside of the region and those regions that it has endorsed; lookups, lists
and exports are answered from this node's disk and leave no trace
elsewhere.
`, days(crypto.LifetimeMax), days(store.Grace), keptRows())
	return b.String()
}

// keptRows are what is kept beside notices, by what the code says of each.
func keptRows() string {
	history := config.Default().History
	var b strings.Builder
	for _, row := range [][2]string{
		{"alerts", fmt.Sprintf("the last %d", store.AlertsMax)},
		{"history of the own logs: keyed hashes of values, no value", fmt.Sprintf("%d days, at most %d MiB, unless history.days says otherwise", history.Days, history.MiB)},
		{"how far logs were read, and today's hits", "today"},
		{"what is allowed and denied here", "until it is taken back"},
		{"idempotency keys, hashed", days(store.IdempotencyKeyLife)},
		{"exercises, with what came of each", fmt.Sprintf("the last %d", store.DrillsMax)},
		{"documents of advisories", fmt.Sprintf("as long as an advisory that counts names them; each at most %d MiB; handed to members that may see the advisory", notice.DocumentMax>>20)},
		{"where an exported object came from", days(shelf.ForeignKept)},
		{"what spreads, and who saw it", "in memory; " + days(situation.Window) + ", from the notices"},
		{"tokens of the API, hashed", fmt.Sprintf("until they are revoked or end; at most %d", token.TokensMax)},
		{"credentials and other trust records", "for good; " + days(node.CredentialLife) + " is what a credential counts for; handed to members"},
		{"invitations", days(node.InvitationLifeMax) + " at most"},
		{"addresses of members", "until others take their place; handed to members"},
		{"the ledger's hashes and signed headers, no notice", "for good, where a copy is kept; handed to members"},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	return b.String()
}

var audiences = map[crypto.Audience]string{
	crypto.AudienceLocal:     "nobody",
	crypto.AudienceNamed:     "the members that --to names, sealed for them",
	crypto.AudienceRegion:    "members of this region",
	crypto.AudienceCommunity: "members of this region and of the regions it has endorsed",
}

func days(d time.Duration) string { return fmt.Sprintf("%d days", int(d.Hours()/24)) }

// full has every field that a kind may have; of a dispute, one of two forms.
func full(k notice.Kind) []*notice.Notice {
	const now = 1_800_000_000_000
	id, value := crypto.ItemID{1}, notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	base := notice.Notice{
		Kind: k, Salt: [16]byte{1}, Created: now,
		Context: &notice.Context{Family: "f", Tool: "t", Technique: "T1059", CVE: "CVE-2021-44228"},
		Origin:  &notice.Origin{Source: "s", ID: "i", TLP: notice.TLPAmber}, Reason: "r",
	}
	all := []func(n *notice.Notice){
		func(n *notice.Notice) { n.Indicator = &value },
		func(n *notice.Notice) { n.Ref = &id },
		func(n *notice.Notice) { n.FirstSeen, n.LastSeen = now, now },
		func(n *notice.Notice) { n.Count = 1 },
		func(n *notice.Notice) { n.ValidUntil = now + 1 },
		func(n *notice.Notice) { n.Context = nil },
		func(n *notice.Notice) { n.Origin = nil },
		func(n *notice.Notice) { n.Reason = "" },
		func(n *notice.Notice) { fillPart(n, now) },
	}
	var out []*notice.Notice
	for set := range 1 << len(all) { // every combination
		n := base
		for i, f := range all {
			if set>>i&1 == 1 {
				f(&n)
			}
		}
		out = append(out, &n)
	}
	return out
}

// fillPart gives a notice the part of its kind, with every field.
func fillPart(n *notice.Notice, now int64) {
	switch n.Kind {
	case notice.KindQuestion:
		n.Question = &notice.Question{Text: "t"}
	case notice.KindProfile:
		n.Profile = &notice.Profile{Name: "n", Contact: []string{"c"}, Departments: []string{"d"}, Suppliers: []string{"s"}, City: "c", Country: "c"}
	case notice.KindMayday:
		n.Mayday = &notice.Mayday{Text: "t"}
	case notice.KindService:
		n.Service = &notice.Service{Department: "d", State: notice.ServiceClosed, Until: now, Text: "t"}
	case notice.KindAssistance:
		n.Assistance = &notice.Assistance{Act: notice.ActOffer, What: "w", Quantity: 1, Unit: "u", Until: now}
	case notice.KindLink:
		n.Link = &notice.Link{Supplier: "s", Link: "l", Direction: notice.DirectionIn, State: notice.LinkCut, At: now, Reason: "r", Criteria: "c", AttestedBy: "a"}
	case notice.KindAdvisory:
		n.Advisory = &notice.Advisory{Type: notice.AdviceHunt, Title: "t", Text: "t", Suppliers: []string{"s"}, Products: []string{"pkg:npm/x"}, CVEs: []string{"CVE-2021-44228"}, Due: now,
			Documents: []notice.Document{{SHA256: [32]byte{1}, Chunks: [32]byte{1}, Size: 1, Name: "n", Media: "text/plain"}}}
	case notice.KindResponse:
		n.Response = &notice.Response{Answer: notice.AnswerSeen}
	case notice.KindFiling:
		n.Filing = &notice.Filing{Incident: "i", Stage: notice.StageFinal, AwareAt: now - 1, Made: now, Title: "t",
			Malicious: notice.WhetherYes, CrossBorder: notice.WhetherYes, Severity: notice.SeverityHigh,
			Description: "d", Impact: "i", Cause: "c", Measures: "m", Borders: "b", Began: now, Handled: now, Entity: "e", Contact: []string{"c"},
			Earlier:    []notice.FiledReport{{Stage: notice.StageEarlyWarning, At: now}},
			Sightings:  []notice.FiledSighting{{Type: notice.TypeDomain, Value: "evil.example", First: now, Last: now, Count: 1, Family: "f"}},
			Services:   []notice.FiledService{{Department: "d", State: notice.ServiceClosed, At: now, Until: now}},
			Links:      []notice.FiledLink{{Supplier: "s", Link: "l", State: notice.LinkCut, At: now, Reason: "r"}},
			Assistance: []notice.FiledAssistance{{Act: notice.ActOffer, What: "w", Quantity: 1, Unit: "u", At: now}}, More: 1}
	}
}

// keysOf are the keys of all items of a kind that can be encoded.
func keysOf(t *testing.T, k notice.Kind) []string {
	t.Helper()
	var keys []string
	for _, n := range full(k) {
		raw, err := notice.Encode(n)
		if err != nil {
			continue
		}
		contents, err := notice.Contents(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range contents {
			if !slices.Contains(keys, c.Key) {
				keys = append(keys, c.Key)
			}
			for at := strings.LastIndex(c.Key, "."); at > 0; at = strings.LastIndex(c.Key[:at], ".") {
				if outer := c.Key[:at]; !slices.Contains(keys, outer) {
					keys = append(keys, outer)
				}
			}
		}
	}
	return keys
}

type life struct {
	what string
	life time.Duration
}

// lives are how long notices count, by what the code says of each.
func lives() []life {
	var out []life
	expiry := func(k notice.Kind, i *notice.Indicator) time.Duration {
		return time.Duration((&notice.Notice{Kind: k, Created: 1, Indicator: i}).DefaultExpiry()-1) * time.Millisecond
	}
	for _, k := range []notice.Kind{notice.KindSighting, notice.KindIndicator, notice.KindQuestion} {
		byLife := map[time.Duration][]string{}
		for _, typ := range notice.Types() {
			d := expiry(k, &notice.Indicator{Type: typ})
			byLife[d] = append(byLife[d], typ.String())
		}
		var sorted []time.Duration
		for d := range byLife {
			sorted = append(sorted, d)
		}
		slices.Sort(sorted)
		for _, d := range sorted {
			out = append(out, life{fmt.Sprintf("%s of %s", k, strings.Join(byLife[d], ", ")), d})
		}
	}
	for _, k := range []notice.Kind{notice.KindRetraction, notice.KindDispute, notice.KindProfile, notice.KindMayday, notice.KindService,
		notice.KindAssistance, notice.KindLink, notice.KindAdvisory, notice.KindResponse, notice.KindFiling} {
		out = append(out, life{k.String(), expiry(k, nil)})
	}
	return out
}
