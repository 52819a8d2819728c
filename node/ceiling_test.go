package node_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

// reader is a client with a token of the role reader and a ceiling.
func (h *hospital) reader(t testing.TB, ceiling notice.TLP) (*client.Client, string) {
	t.Helper()
	admin, err := client.Open(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	made, err := admin.CreateToken(t.Context(), api.TokenRequest{Name: "reader-" + ceiling.String(), Role: "reader", Ceiling: ceiling.String()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: h.APIURL(), Token: made.Token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, made.Token
}

// noTime asks for everything.
var noTime time.Time

// status is the HTTP status of a problem, 0 for any other error.
func status(err error) int {
	var problem *api.Problem
	if errors.As(err, &problem) {
		return problem.Status
	}
	return 0
}

// A mixedStore is a started node to which two members said things under two
// markings.
type mixedStore struct {
	*bench
	greenID, amberID, mixedID string // of open.example, secret.example and, in AMBER, open.example
}

func newMixedStore(t *testing.T) *mixedStore {
	t.Helper()
	b := newBench(t)
	b.start(t, nil)
	m := &mixedStore{bench: b}
	open, secret, mixed := b.sighting(t, "open.example"), b.sighting(t, "secret.example"), b.sighting(t, "open.example")
	secret.Context = &notice.Context{Family: "SecretFamily"}
	mixed.Count = 41
	mixed.Salt[0]++
	community := crypto.Header{Time: b.clock.now(), Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}
	said := b.author.Envelope(t, community, nil, encode(t, open))
	b.takes(t, said, mesh.ViaGossip)
	m.greenID = itemID(t, said, 0)

	about, err := crypto.ParseItemID(m.greenID)
	if err != nil {
		t.Fatal(err)
	}
	dispute := &notice.Notice{Kind: notice.KindDispute, Created: b.clock.now(), Ref: &about, Reason: "SecretReason"}
	unseen := b.other.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, encode(t, secret), encode(t, mixed), encode(t, dispute))
	b.takes(t, unseen, mesh.ViaGossip)
	m.amberID, m.mixedID = itemID(t, unseen, 0), itemID(t, unseen, 1)
	// A fork in AMBER raises an alert that names its author.
	twin := b.other.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, b.item(t, "twin-secret.example"))
	if err := b.bring(t.Context(), twin.Raw, mesh.ViaGossip, crypto.AudienceRegion); err != nil {
		t.Fatal(err)
	}
	if len(b.alerts(t, "fork")) != 1 {
		t.Fatal("no alert to hide")
	}
	return m
}

// Whoever may see GREEN finds nothing of what is AMBER: no notice, no count, no
// evidence, no event, no alert.
func TestCeilingHidesAllOfIt(t *testing.T) {
	m := newMixedStore(t)
	green, secret := m.reader(t, notice.TLPGreen)
	amber, _ := m.reader(t, notice.TLPAmber)
	ctx := t.Context()

	t.Run("status", func(t *testing.T) {
		for c, want := range map[*client.Client]int64{green: 1, amber: 5} {
			if s, err := c.Status(ctx); err != nil || s.Notices != want {
				t.Errorf("counts %d notices, want %d, error %v", s.Notices, want, err)
			}
		}
	})
	t.Run("lookup", func(t *testing.T) {
		ask := func(c *client.Client) (out []api.LookupAnswer) {
			if err := c.Lookup(ctx, []string{"open.example", "secret.example"}, client.LookupOptions{}, func(a api.LookupAnswer) error {
				out = append(out, a)
				return nil
			}); err != nil || len(out) != 2 {
				t.Fatalf("%d answers, error %v", len(out), err)
			}
			return out
		}
		below, above := ask(green), ask(amber)
		if s := below[0].Summary; s == nil || s.Sightings != 1 || s.Members != 1 || s.Disputes != 0 || below[1].Known || below[1].Summary != nil {
			t.Errorf("up to GREEN: %+v", below)
		}
		if s := above[0].Summary; s == nil || s.Sightings != 42 || s.Members != 2 || s.Disputes != 1 || !above[1].Known {
			t.Errorf("up to AMBER: %+v", above)
		}
	})
	t.Run("indicator", func(t *testing.T) {
		view, err := green.Indicator(ctx, "", "open.example")
		if err != nil || len(view.Evidence) != 1 || view.Evidence[0].ID != m.greenID || len(view.Evidence[0].Marks) != 0 || view.More {
			t.Errorf("%+v, error %v", view, err)
		}
		if _, err := green.Indicator(ctx, "", "secret.example"); status(err) != http.StatusNotFound {
			t.Errorf("an AMBER indicator: %v", err)
		}
		view, err = amber.Indicator(ctx, "", "open.example")
		if err != nil || len(view.Evidence) != 3 {
			t.Errorf("up to AMBER %d pieces of evidence, error %v", len(view.Evidence), err)
		}
	})
	t.Run("notices", func(t *testing.T) {
		page, err := green.Notices(ctx, client.NoticesQuery{Limit: 100})
		if err != nil || len(page.Notices) != 1 || page.Notices[0].ID != m.greenID || len(page.Notices[0].Marks) != 0 {
			t.Errorf("%+v, error %v", page, err)
		}
		for _, id := range []string{m.amberID, m.mixedID} {
			if _, err := green.Notice(ctx, id); status(err) != http.StatusNotFound {
				t.Errorf("an AMBER notice: %v", err)
			}
		}
		if got, err := green.Notice(ctx, m.greenID); err != nil || len(got.Marks) != 0 {
			t.Errorf("marks %q of a GREEN notice, error %v", got.Marks, err)
		}
		if got, err := amber.Notice(ctx, m.greenID); err != nil || !slices.Contains(got.Marks, "disputed by 1") {
			t.Errorf("marks %q of it up to AMBER, error %v", got.Marks, err)
		}
	})
	t.Run("alerts", func(t *testing.T) {
		if got, err := green.Alerts(ctx, noTime, 100, ""); err != nil || len(got.Alerts) != 0 {
			t.Errorf("%+v, error %v", got, err)
		}
		got, err := amber.Alerts(ctx, noTime, 100, "") // that a value spreads comes when it comes
		if err != nil || !slices.ContainsFunc(got.Alerts, func(a api.AlertView) bool { return a.Kind == "fork" }) {
			t.Errorf("%+v, error %v", got, err)
		}
	})
	t.Run("stream", func(t *testing.T) {
		last := m.author.Envelope(t, crypto.Header{Time: m.clock.now(), Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPClear)}, m.held(t, m.author.ID)[0], m.item(t, "last.example"))
		m.takes(t, last, mesh.ViaGossip)
		var seen []string
		done := errors.New("seen enough")
		err := green.Tail(ctx, 0, func(v api.NoticeView) error {
			seen = append(seen, v.ID)
			if v.Indicator.Value == "last.example" {
				return done
			}
			return nil
		}, nil)
		if !errors.Is(err, done) || !slices.Equal(seen, []string{m.greenID, itemID(t, last, 0)}) {
			t.Errorf("%q came, error %v", seen, err)
		}
	})
	t.Run("every answer", func(t *testing.T) { m.nothingSecret(t, secret) })
}

// nothingSecret asks every route that a reader may ask and searches the bytes
// that come back.
func (m *mixedStore) nothingSecret(t *testing.T, token string) {
	for _, path := range []string{
		"/v1/status", "/v1/notices?limit=1000", "/v1/notices?search=secret", "/v1/notices?kind=dispute", "/v1/notices/" + m.amberID,
		"/v1/notices/" + m.greenID, "/v1/indicators?value=open.example", "/v1/indicators?value=secret.example",
		"/v1/members", "/v1/alerts", "/v1/export", "/v1/export?tlp=AMBER", "/v1/export?since=2020-01-01T00:00:00Z", "/metrics", "/healthz", "/readyz", "/openapi.json",
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.APIURL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		asked, err := url.QueryUnescape(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"secret.example", "SecretFamily", "SecretReason", m.amberID, m.mixedID} {
			if strings.Contains(string(body), word) && !strings.Contains(asked, word) {
				t.Errorf("%s answers with %q", path, word)
			}
		}
		if path == "/metrics" && answer.StatusCode != http.StatusForbidden {
			t.Errorf("/metrics, which counts all markings, answers %d", answer.StatusCode)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A reporter cannot speak of what it may not see.
func TestCeilingHidesReferences(t *testing.T) {
	m := newMixedStore(t)
	o := api.SubmitOptions{Ceiling: notice.TLPGreen}
	unknown := m.refuses(t, o, api.Submission{Kind: "dispute", Ref: strings.Repeat("ab", 20)})
	hidden := m.refuses(t, o, api.Submission{Kind: "dispute", Ref: m.amberID})
	if strings.ReplaceAll(hidden.Reason, m.amberID, "") != strings.ReplaceAll(unknown.Reason, strings.Repeat("ab", 20), "") {
		t.Fatalf("what may not be seen is refused with %q, what is not there with %q", hidden.Reason, unknown.Reason)
	}
	m.submit(t, o, api.Submission{Kind: "dispute", Ref: m.greenID})
}

// The counts by marking follow what happens to notices.
func TestCountsByMarking(t *testing.T) {
	b := newBench(t)
	count := func(ceiling notice.TLP, want int64) {
		t.Helper()
		s, err := b.Status(t.Context(), ceiling)
		if err != nil || s.Notices != want {
			t.Fatalf("%d notices up to %q, want %d, error %v", s.Notices, ceiling, want, err)
		}
	}
	at := b.clock.now()
	b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPRed}, sighting("red.example", at))
	b.submit(t, local, sighting("unmarked.example", at))
	b.submit(t, amber, sighting("amber.example", at))
	b.submit(t, green, sighting("green.example", at))
	count(0, 4)
	count(notice.TLPRed, 4)
	count(notice.TLPAmberStrict, 3)
	count(notice.TLPAmber, 2)
	count(notice.TLPGreen, 1)
	count(notice.TLPClear, 0)
	for ceiling, want := range map[notice.TLP]int{0: 2, notice.TLPRed: 2, notice.TLPAmber: 2, notice.TLPGreen: 1, notice.TLPClear: 0} {
		if s, err := b.Status(t.Context(), ceiling); err != nil || s.Waiting != want {
			t.Fatalf("%d wait up to %q, want %d, error %v", s.Waiting, ceiling, want, err)
		}
	}
	b.submit(t, green, sighting("unmarked.example", at)) // shared after all
	count(notice.TLPGreen, 2)
	b.stop(t)
	b.open(t)
	b.alone(t)
	eventually(t, "all is signed", func() bool {
		s, err := b.Status(t.Context(), 0)
		return err == nil && s.Waiting == 0
	})
	count(notice.TLPGreen, 2)
	count(notice.TLPAmber, 3)
	count(0, 4)
	b.clock.advance(800 * 24 * time.Hour)
	if _, err := b.Store().Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	count(0, 0)
	count(notice.TLPGreen, 0)
}
