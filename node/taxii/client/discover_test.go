package client_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/taxii/client"
)

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

const (
	oneRoot  = `{"title":"One","versions":["application/taxii+json;version=2.1"],"max_content_length":1000}`
	oneList  = `{"collections":[{"id":"91a7b528-80eb-42ed-a74d-c6fbd5a26116","alias":"high","title":"High\u202e value","can_read":true,"can_write":true},{"id":"../../x","title":"out"},{"id":"b","title":"B"}]}`
	twoList  = `{"collections":[{"id":"b","title":"B"}]}`
	elsewhat = "is on another server, where the credentials do not go"
)

func TestCollections(t *testing.T) {
	for _, c := range []struct {
		name  string
		paths map[string]string // path: body; 200
		ask   string
		want  string // collections, or the one that was asked for
		err   string
	}{
		{name: "a discovery", paths: map[string]string{"/taxii2/": `{"title":"T","default":"http://taxii.example/b/","api_roots":["http://taxii.example/a/","http://taxii.example/b/"]}`,
			"/a/": oneRoot, "/a/collections/": oneList, "/b/": oneRoot, "/b/collections/": twoList}, want: "/b/:b /a/:91a7b528-80eb-42ed-a74d-c6fbd5a26116 /a/:b"},
		{name: "relative roots without a slash", paths: map[string]string{"/taxii2/": `{"title":"T","api_roots":["a","/b"]}`, "/taxii2/a/": oneRoot, "/taxii2/a/collections/": twoList, "/b/": oneRoot, "/b/collections/": twoList}, want: "/taxii2/a/:b /b/:b"},
		{name: "a default alone", paths: map[string]string{"/taxii2/": `{"title":"T","default":"/a/"}`, "/a/": oneRoot, "/a/collections/": twoList}, want: "/a/:b"},
		{name: "an API root", paths: map[string]string{"/taxii2/": oneRoot, "/taxii2/collections/": twoList}, want: "/taxii2/:b"},
		{name: "no collections", paths: map[string]string{"/taxii2/": oneRoot, "/taxii2/collections/": `{}`}},
		{name: "roots that fail, and one that does not", paths: map[string]string{"/taxii2/": `{"title":"T","api_roots":["/gone/","http://thief.example/a/","https://taxii.example/a/","http://taxii.example:81/a/","http://a:b@taxii.example/a/","/a/"]}`, "/a/": oneRoot, "/a/collections/": twoList},
			want: "/a/:b", err: "/gone/: it answered 404"},
		{name: "a root elsewhere", paths: map[string]string{"/taxii2/": `{"title":"T","api_roots":["http://localhost:5000/a/"]}`}, err: "http://localhost:5000/a/ " + elsewhat},
		{name: "by id", ask: "91A7B528-80eb-42ed-a74d-c6fbd5a26116", paths: rootOf(oneList), want: "/taxii2/:91a7b528-80eb-42ed-a74d-c6fbd5a26116"},
		{name: "by alias", ask: "high", paths: rootOf(oneList), want: "/taxii2/:91a7b528-80eb-42ed-a74d-c6fbd5a26116"},
		{name: "by title", ask: "b", paths: rootOf(oneList), want: "/taxii2/:b"},
		{name: "by a title of two", ask: "T", paths: rootOf(`{"collections":[{"id":"a","title":"T"},{"id":"b","title":"T"}]}`), err: "2 collections are called T"},
		{name: "none of that name", ask: "secret", paths: rootOf(twoList), err: "taxii.example has no collection secret that the credentials may see: it has b"},
		{name: "a path as an id", ask: "../../x", paths: rootOf(oneList), err: "has no collection ../../x"},
		{name: "no roots", paths: map[string]string{"/taxii2/": `{"title":"T"}`}, err: "names no API root"},
		{name: "something else", paths: map[string]string{"/taxii2/": `{"hello":1}`}, err: "neither a discovery nor an API root"},
		{name: "a list", paths: map[string]string{"/taxii2/": `[]`}, err: "not what TAXII 2.1 has here"},
		{name: "too many roots", paths: map[string]string{"/taxii2/": `{"title":"T","api_roots":["/a/"` + strings.Repeat(`,"/a/"`, client.RootsMax) + `]}`}, err: "more than 100 API roots"},
		{name: "too many collections", paths: rootOf(`{"collections":[{"id":"a"}` + strings.Repeat(`,{"id":"a"}`, client.CollectionsMax) + `]}`), err: "more than 1000 collections"},
		{name: "too much", paths: map[string]string{"/taxii2/": `{"title":"` + strings.Repeat("a", 4<<20) + `"}`}, err: "larger than 4194304 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, found := c.paths[r.URL.Path]
				if !found {
					reply{status: 404}.write(w)
					return
				}
				reply{body: body}.write(w)
			})
			bubble(t, h, client.Config{}, func(t *testing.T, one *client.Client, n *network) {
				var all []client.Collection
				var err error
				if c.ask == "" {
					all, err = one.Collections(t.Context())
				} else {
					var o client.Collection
					if o, err = one.Collection(t.Context(), c.ask); err == nil {
						all = append(all, o)
					}
				}
				var got []string
				for _, o := range all {
					got = append(got, strings.TrimPrefix(o.Root, "http://taxii.example")+":"+o.ID)
					if o.ContentMax != 1000 || strings.Contains(o.Title, "\u202e") {
						t.Errorf("a collection is %+v", o)
					}
				}
				if strings.Join(got, " ") != c.want {
					t.Errorf("there are %v and not %s", got, c.want)
				}
				if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("the error is %v and not …%s…", err, c.err)
				}
				if n.elsewhere() != nil {
					t.Errorf("it dialled %v", n.elsewhere())
				}
			})
		})
	}
}

func rootOf(list string) map[string]string {
	return map[string]string{"/taxii2/": oneRoot, "/taxii2/collections/": list}
}

// TestBehindProxy: a server that does not know that it is reached by https names its
// roots with http. They are asked by https.
func TestBehindProxy(t *testing.T) {
	var host string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/taxii2/":
			reply{body: fmt.Sprintf(`{"title":"T","api_roots":["http://%s/a/"]}`, host)}.write(w)
		case "/a/":
			reply{body: oneRoot}.write(w)
		case "/a/collections/":
			reply{body: twoList}.write(w)
		}
	}))
	defer s.Close()
	host = strings.TrimPrefix(s.URL, "https://")
	one, err := client.New(client.Config{URL: s.URL + "/taxii2", Token: token, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	all, err := one.Collections(t.Context())
	if err != nil || len(all) != 1 || all[0].Root != s.URL+"/a/" {
		t.Errorf("there are %v, %v", all, err)
	}
	strict, err := client.New(client.Config{URL: s.URL + "/taxii2", Token: token, TLS: &tls.Config{}})
	if err != nil {
		t.Fatal(err)
	}
	defer strict.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := strict.Collections(ctx); err != context.Canceled {
		t.Errorf("a context that has ended: %v", err)
	}
}

// TestCertificate: a server that cannot show who it is gets no credentials, and is not
// asked again and again.
func TestCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }))
	s.Config.ErrorLog = discard
	s.StartTLS()
	defer s.Close()
	one, err := client.New(client.Config{URL: s.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	began := time.Now()
	if _, err := one.Collections(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") || time.Since(began) > 400*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

// TestForeignCollection: one that was kept from another server is refused.
func TestForeignCollection(t *testing.T) {
	bubble(t, http.NotFoundHandler(), client.Config{}, func(t *testing.T, one *client.Client, n *network) {
		for _, o := range []client.Collection{{}, {Root: "http://thief.example/", ID: "a"}, {Root: root, ID: "../a"}, {Root: root, ID: ".."}, {Root: root, ID: "a/b"}, {Root: root, ID: ""}} {
			if _, err := one.Poll(t.Context(), o, client.Position{}, client.Options{}, nil); err == nil || !strings.Contains(err.Error(), "not of this server") {
				t.Errorf("%v: %v", o, err)
			}
			outcomes, err := one.Push(t.Context(), o, objects(0, 1))
			if err == nil || outcomes[0].State != client.Unsent {
				t.Errorf("%v: %v, %v", o, outcomes, err)
			}
		}
		if n.dialed != nil {
			t.Errorf("it dialled %v", n.dialed)
		}
	})
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		config client.Config
		err    string
	}{
		{client.Config{}, "not the address"},
		{client.Config{URL: "ftp://a/"}, "not the address"},
		{client.Config{URL: "https:///x"}, "not the address"},
		{client.Config{URL: "https://a/?key=s3cret"}, "not the address"},
		{client.Config{URL: "https://u:s3cret@a/"}, "holds a password"},
		{client.Config{URL: "http://a/", Token: "s3cret"}, "in clear"},
		{client.Config{URL: "http://a/", User: "u"}, "in clear"},
		{client.Config{URL: "https://a/", Token: "s3cret\nX-Evil: 1"}, "not one line"},
		{client.Config{URL: "https://a/", Timeout: -1}, "negative"},
		{client.Config{URL: "http://a/"}, ""},
		{client.Config{URL: "http://127.0.0.1:1/", Token: "s3cret"}, ""},
		{client.Config{URL: "http://[::1]:1/", Token: "s3cret"}, ""},
		{client.Config{URL: "http://a/", Token: "s3cret", Plain: true}, ""},
		{client.Config{URL: "https://a", Token: "s3cret"}, ""},
	} {
		one, err := client.New(c.config)
		if err == nil {
			one.Close()
		}
		if (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
}
