package notice_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// fill gives a notice that has a part every field that its kind knows.
func fill(n *notice.Notice) {
	ref := crypto.ItemID{7, 8, 9}
	soon := now + time.Hour.Milliseconds()
	switch n.Kind {
	case notice.KindQuestion:
		n.Indicator, n.Question = evil(), &notice.Question{Text: "a beacon of a radiology host"}
	case notice.KindProfile:
		n.Profile = &notice.Profile{Name: "Sankt Älva", Contact: []string{"+353 1 555 0100", "duty@alva.example"},
			Departments: []string{"Radiology", "Stroke unit"}, Suppliers: []string{"LIS GmbH"}, City: "Älva", Country: "SE"}
	case notice.KindMayday:
		n.Mayday, n.Ref = &notice.Mayday{Text: "ransom note on radiology hosts"}, &ref
	case notice.KindService:
		n.Service = &notice.Service{Department: "Stroke unit", State: notice.ServiceDiverted, Until: soon, Text: "to Riverside"}
	case notice.KindAssistance:
		n.Assistance = &notice.Assistance{Act: notice.ActOffer, What: "mobile CT", Quantity: 2, Unit: "scanners", Until: soon}
		n.Ref = &ref
	case notice.KindLink:
		n.Link = &notice.Link{Supplier: "LIS GmbH", Link: "VPN to LIS", Direction: notice.DirectionBoth, State: notice.LinkCut, At: now - 1,
			Reason: "they are encrypted", Criteria: "a clean report", AttestedBy: "Dr. Roe"}
	case notice.KindAdvisory:
		n.Advisory = &notice.Advisory{Type: notice.AdviceSupplier, Title: "LIS GmbH is encrypted", Text: "Cut the VPN.\n\n- then ask them", Suppliers: []string{"LIS GmbH"},
			Products: []string{"cpe:2.3:a:lis:lab_manager:8.1:*:*:*:*:*:*:*", "pkg:npm/%40lis/agent"}, CVEs: []string{"CVE-2021-44228"}, Due: soon,
			Documents: []notice.Document{{SHA256: [32]byte{1}, Chunks: [32]byte{3}, Size: 7, Name: "plan.pdf", Media: "application/pdf"},
				{SHA256: [32]byte{2}, Chunks: [32]byte{4}, Size: notice.DocumentMax, Name: "csaf.json", Media: "application/json"}}}
	case notice.KindResponse:
		n.Response, n.Ref = &notice.Response{Answer: notice.AnswerNotSeen}, &ref
	}
}

// anyPart draws a notice that has a part with any of the fields it may have.
func anyPart(t *rapid.T, n *notice.Notice) *notice.Notice {
	fill(n)
	text := rapid.SampledFrom([]string{"", "x", "Höhe <b>&</b>", strings.Repeat("ü", notice.UnitMax)})
	some := func() string { return text.Filter(func(s string) bool { return s != "" }).Draw(t, "text") }
	switch n.Kind {
	case notice.KindQuestion:
		if rapid.Bool().Draw(t, "without text") {
			n.Question = nil
		}
	case notice.KindProfile:
		n.Profile.Name, n.Profile.City, n.Profile.Country = some(), text.Draw(t, "city"), text.Draw(t, "country")
		if rapid.Bool().Draw(t, "without lists") {
			n.Profile.Departments, n.Profile.Suppliers = nil, nil
		}
	case notice.KindMayday:
		if n.Mayday.Text = some(); rapid.Bool().Draw(t, "the first") {
			n.Ref = nil
		}
	case notice.KindService:
		n.Service = &notice.Service{Department: some(), Text: text.Draw(t, "more"), State: notice.ServiceState(rapid.IntRange(1, 3).Draw(t, "state"))}
	case notice.KindAssistance:
		a := n.Assistance
		a.Act = notice.Act(rapid.IntRange(1, 5).Draw(t, "act"))
		a.Quantity = rapid.Uint32Range(1, notice.QuantityMax).Draw(t, "quantity")
		if a.Unit = text.Draw(t, "unit"); a.Act == notice.ActRequest {
			n.Ref = nil
		}
		if a.Act > notice.ActOffer {
			a.What, a.Unit, a.Until = "", "", 0
		}
		if a.Act > notice.ActClaim {
			a.Quantity = 0
		}
	case notice.KindLink:
		n.Link = &notice.Link{Supplier: some(), Link: some(), Direction: notice.Direction(rapid.IntRange(1, 3).Draw(t, "direction")),
			State: notice.LinkState(rapid.IntRange(1, 2).Draw(t, "state")), At: now, Reason: text.Draw(t, "reason")}
	case notice.KindAdvisory:
		a := n.Advisory
		a.Type, a.Title, a.Text = notice.Advice(rapid.IntRange(1, 4).Draw(t, "type")), some(), text.Draw(t, "lines")
		if rapid.Bool().Draw(t, "without lists") {
			a.Suppliers, a.Products, a.CVEs, a.Documents = nil, nil, nil, nil
		}
	case notice.KindResponse:
		n.Response.Answer = notice.Answer(rapid.IntRange(1, 6).Draw(t, "answer"))
	}
	return n
}

// TestIdentityOfParts: whatever a notice says is what is read of it.
func TestIdentityOfParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := anyNotice().Draw(t, "notice")
		if err := n.Check(now); err != nil {
			t.Fatal(err)
		}
		item, err := notice.Encode(n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := notice.Decode(item)
		if err != nil || !reflect.DeepEqual(got, n) {
			t.Fatalf("got %+v, %v; want %+v", got, err, n)
		}
	})
}

func TestPartsAreChecked(t *testing.T) {
	later := now + 6*time.Minute.Milliseconds()
	long := func(n int) string { return strings.Repeat("ü", n+1) }
	many := func(n int) (names []string) {
		for i := range n {
			names = append(names, "Department "+string(rune('A'+i%26))+strings.Repeat("x", i))
		}
		return names
	}
	for name, c := range map[string]struct {
		kind  notice.Kind
		f     func(*notice.Notice)
		field string
	}{
		"a question of nothing":          {notice.KindQuestion, func(n *notice.Notice) { n.Indicator = nil }, "indicator"},
		"an empty question":              {notice.KindQuestion, func(n *notice.Notice) { n.Question.Text = "" }, "question.text"},
		"a question with a ref":          {notice.KindQuestion, func(n *notice.Notice) { n.Ref = &crypto.ItemID{} }, "ref"},
		"a question that counts":         {notice.KindQuestion, func(n *notice.Notice) { n.Count = 1 }, "count"},
		"a question with a context":      {notice.KindQuestion, func(n *notice.Notice) { n.Context = &notice.Context{Tool: "x"} }, "context"},
		"a question that was seen":       {notice.KindQuestion, func(n *notice.Notice) { n.FirstSeen = 1 }, "first_seen"},
		"a mayday without a word":        {notice.KindMayday, func(n *notice.Notice) { n.Mayday = nil }, "mayday"},
		"an empty mayday":                {notice.KindMayday, func(n *notice.Notice) { n.Mayday.Text = "" }, "mayday.text"},
		"a mayday of 281":                {notice.KindMayday, func(n *notice.Notice) { n.Mayday.Text = long(notice.TextMax) }, "mayday.text"},
		"a line break":                   {notice.KindMayday, func(n *notice.Notice) { n.Mayday.Text = "a\nb" }, "mayday.text"},
		"an escape":                      {notice.KindMayday, func(n *notice.Notice) { n.Mayday.Text = "\x1b[2J" }, "mayday.text"},
		"right to left":                  {notice.KindMayday, func(n *notice.Notice) { n.Mayday.Text = "a\u202eb" }, "mayday.text"},
		"no UTF-8":                       {notice.KindMayday, func(n *notice.Notice) { n.Mayday.Text = "\xff" }, "mayday.text"},
		"not composed":                   {notice.KindMayday, func(n *notice.Notice) { n.Mayday.Text = "u\u0308" }, "mayday.text"},
		"a mayday about a value":         {notice.KindMayday, func(n *notice.Notice) { n.Indicator = evil() }, "indicator"},
		"a mayday with a reason":         {notice.KindMayday, func(n *notice.Notice) { n.Reason = "x" }, "reason"},
		"a mayday with an origin":        {notice.KindMayday, func(n *notice.Notice) { n.Origin = &notice.Origin{Source: "x"} }, "origin"},
		"another kind's part":            {notice.KindMayday, func(n *notice.Notice) { n.Link = &notice.Link{} }, "link"},
		"a sighting with a part":         {notice.KindSighting, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "x"} }, "mayday"},
		"a profile without a contact":    {notice.KindProfile, func(n *notice.Notice) { n.Profile.Contact = nil }, "profile.contact"},
		"five lines":                     {notice.KindProfile, func(n *notice.Notice) { n.Profile.Contact = []string{"1", "2", "3", "4", "5"} }, "profile.contact"},
		"a department twice":             {notice.KindProfile, func(n *notice.Notice) { n.Profile.Departments = []string{"Stroke  unit", "STROKE UNIT"} }, "profile.departments"},
		"41 departments":                 {notice.KindProfile, func(n *notice.Notice) { n.Profile.Departments = many(41) }, "profile.departments"},
		"a supplier of 81":               {notice.KindProfile, func(n *notice.Notice) { n.Profile.Suppliers = []string{long(notice.PartyMax)} }, "profile.suppliers"},
		"a profile too large for a page": {notice.KindProfile, func(n *notice.Notice) { n.Profile.Departments = wide(40) }, "profile"},
		"no state":                       {notice.KindService, func(n *notice.Notice) { n.Service.State = 0 }, "service.state"},
		"no department":                  {notice.KindService, func(n *notice.Notice) { n.Service.Department = "" }, "service.department"},
		"until passed":                   {notice.KindService, func(n *notice.Notice) { n.Service.Until = now }, "service.until"},
		"until the year 10000":           {notice.KindService, func(n *notice.Notice) { n.Service.Until = 1 << 60 }, "service.until"},
		"a link cut in the future":       {notice.KindLink, func(n *notice.Notice) { n.Link.At = later }, "link.at"},
		"a link at no time":              {notice.KindLink, func(n *notice.Notice) { n.Link.At = 0 }, "link.at"},
		"a link in no direction":         {notice.KindLink, func(n *notice.Notice) { n.Link.Direction = 0 }, "link.direction"},
		"a link to nobody":               {notice.KindLink, func(n *notice.Notice) { n.Link.Supplier = "" }, "link.supplier"},
		"a claim of nothing":             {notice.KindAssistance, func(n *notice.Notice) { *n.Assistance = notice.Assistance{Act: notice.ActClaim} }, "assistance.quantity"},
		"a claim that says what":         {notice.KindAssistance, func(n *notice.Notice) { n.Assistance.Act = notice.ActClaim }, "assistance.what"},
		"a claim on nothing": {notice.KindAssistance, func(n *notice.Notice) {
			*n.Assistance, n.Ref = notice.Assistance{Act: notice.ActClaim, Quantity: 1}, nil
		}, "ref"},
		"a close that counts":         {notice.KindAssistance, func(n *notice.Notice) { *n.Assistance = notice.Assistance{Act: notice.ActClose, Quantity: 1} }, "assistance.quantity"},
		"a request about another":     {notice.KindAssistance, func(n *notice.Notice) { n.Assistance.Act = notice.ActRequest }, "ref"},
		"a request that is over":      {notice.KindAssistance, func(n *notice.Notice) { n.Assistance.Until = now - 1 }, "assistance.until"},
		"a unit of 21":                {notice.KindAssistance, func(n *notice.Notice) { n.Assistance.Unit = long(notice.UnitMax) }, "assistance.unit"},
		"an answer to nothing":        {notice.KindResponse, func(n *notice.Notice) { n.Ref = nil }, "ref"},
		"an answer that answers none": {notice.KindResponse, func(n *notice.Notice) { n.Response.Answer = 0 }, "response.answer"},
	} {
		n := full(c.kind)
		c.f(n)
		err := n.Check(now)
		field := &notice.FieldError{}
		if !errors.As(err, &field) || field.Field != c.field || field.Fix == "" {
			t.Errorf("%s: got %v; want an error of %s with its fix", name, err, c.field)
		}
	}
}

// wide returns names that differ and are as long as they may be.
func wide(n int) (names []string) {
	for i := range n {
		names = append(names, strings.Repeat("\U00020000", notice.PartyMax-1)+string(rune(0x4e00+i)))
	}
	return names
}

// TestLargestProfileFits: what the checks let through has room in an item.
func TestLargestProfileFits(t *testing.T) {
	n := full(notice.KindProfile)
	n.Profile.Departments, n.Profile.Suppliers = wide(9), wide(9)
	n.Profile.City, n.Profile.Country = strings.Repeat("\U00020000", notice.PartyMax), strings.Repeat("\U00020000", notice.PartyMax)
	item, err := notice.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := notice.Decode(item); err != nil {
		t.Errorf("%d bytes: %v", len(item), err)
	}
}

// TestLaterWords: a word that this version has no name for is left alone.
func TestLaterWords(t *testing.T) {
	for kind, at := range map[notice.Kind][2]uint64{
		notice.KindService: {17, 2}, notice.KindAssistance: {18, 1}, notice.KindLink: {19, 4}, notice.KindAdvisory: {20, 1}, notice.KindResponse: {21, 1},
	} {
		for word, later := range map[uint64]bool{9: true, 256 + 1: true, 0: false} {
			_, err := notice.Decode(edit(t, full(kind), func(m map[uint64]any) { m[at[0]].(map[any]any)[at[1]] = word }))
			if err == nil || errors.Is(err, notice.ErrCritical) != later {
				t.Errorf("%s with the word %d: %v", kind, word, err)
			}
		}
		if _, err := notice.Decode(edit(t, full(kind), func(m map[uint64]any) { m[at[0]].(map[any]any)[uint64(63)] = true })); !errors.Is(err, notice.ErrCritical) {
			t.Errorf("%s with a later key: %v", kind, err)
		}
		if n, err := notice.Decode(edit(t, full(kind), func(m map[uint64]any) { m[at[0]].(map[any]any)[uint64(64)] = true })); err != nil || !reflect.DeepEqual(n, full(kind)) {
			t.Errorf("%s with an ignorable key: %v", kind, err)
		}
	}
}

func TestFold(t *testing.T) {
	for _, same := range [][2]string{{"LIS GmbH", " lis  gmbh "}, {"Ｌｉｓ", "LIS"}, {"u\u0308ber", "ÜBER"}} {
		if notice.Fold(same[0]) != notice.Fold(same[1]) {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
	if notice.Fold("LIS") == notice.Fold("PACS") {
		t.Error("everything is the same")
	}
}

func TestPartWordsParseBack(t *testing.T) {
	for a := notice.ActRequest; a <= notice.ActClose; a++ {
		if got, err := notice.ParseAct(strings.ToUpper(a.String())); err != nil || got != a {
			t.Errorf("%v: %v, %v", a, got, err)
		}
	}
	for s := notice.ServiceOpen; s <= notice.ServiceClosed; s++ {
		if got, err := notice.ParseServiceState(s.String()); err != nil || got != s {
			t.Errorf("%v: %v, %v", s, got, err)
		}
	}
	if _, err := notice.ParseServiceState("shut"); err == nil || !strings.Contains(err.Error(), "open, diverted, closed") {
		t.Errorf("%v does not list the choices", err)
	}
}
