package node_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/mesh/wire"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/document"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/paper"
)

// file is a document of so many bytes that are like no others.
func file(seed byte, size int) []byte {
	out := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(out)
	return out
}

// puts keeps a document at a node and returns how an advisory names it.
func (h *hospital) puts(t testing.TB, content []byte, name string) api.Document {
	t.Helper()
	got, err := h.PutDocument(t.Context(), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return api.Document{SHA256: got.SHA256, Name: name, Media: "application/pdf"}
}

// has reports whether a node shows a document, under a name, to whom may see a marking.
func (h *hospital) has(t testing.TB, d api.Document, content []byte, ceiling notice.TLP) bool {
	t.Helper()
	f, found, err := h.Document(t.Context(), d.SHA256, ceiling)
	if later := (*api.Unavailable)(nil); err != nil && !errors.As(err, &later) {
		t.Fatal(err)
	}
	return found && err == nil && bytes.Equal(f.Content, content) && f.Name == d.Name
}

// What an advisory names comes to all who hear it, before anybody asks.
func TestDocumentsOfAdvisories(t *testing.T) {
	r := startRegion(t, 4)
	content := file(1, notice.DocumentMax)
	author := r.hospitals[0]
	d := author.puts(t, content, "Playbook.pdf")
	for _, ceiling := range []notice.TLP{notice.TLPGreen, notice.TLPAmber} {
		if _, found, err := author.Document(t.Context(), d.SHA256, ceiling); found || err != nil {
			t.Errorf("what nothing names yet is shown under %s, %v", ceiling, err)
		}
	}
	author.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, advice("Playbook", func(a *api.Advisory) { a.Documents = []api.Document{d} }))
	for _, h := range r.hospitals {
		eventually(t, h.Name()+" has it", func() bool { return h.has(t, d, content, notice.TLPAmber) })
		if h.has(t, d, content, notice.TLPGreen) {
			t.Errorf("%s shows it above the ceiling", h.Name())
		}
	}
	late := r.hospitals[3]
	late.stop(t)
	second := file(2, 300_000)
	d2 := author.puts(t, second, "more.pdf")
	author.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, advice("More", func(a *api.Advisory) { a.Documents = []api.Document{d2} }))
	eventually(t, "the second is signed and there", func() bool { return r.hospitals[1].has(t, d2, second, 0) })
	author.stop(t)
	late.open(t)
	late.start(t, r.seeds())
	eventually(t, "who was away has it from others", func() bool { return late.has(t, d2, second, 0) && late.has(t, d, content, 0) })
}

// What is in a pack is there when nothing else is: the documents of advisories, those of
// playbooks first, each once, none above its ceiling.
func TestPackHasPlaybooks(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	say := func(kind, title string, tlp notice.TLP, d api.Document) {
		b.submit(t, api.SubmitOptions{TLP: tlp}, advice(title, func(a *api.Advisory) { a.Type, a.Documents = kind, []api.Document{d} }))
	}
	content := map[string][]byte{"plan.pdf": file(1, 300_000), "amber.pdf": file(2, 7), "hints.pdf": file(3, 9)}
	put := func(name string) api.Document { return b.puts(t, content[name], name) }
	say("playbook", "What to do", notice.TLPGreen, put("plan.pdf"))
	say("playbook", "What to do, again", notice.TLPGreen, put("plan.pdf"))
	say("playbook", "For the region", notice.TLPAmber, put("amber.pdf"))
	say("guidance", "Hints", notice.TLPGreen, put("hints.pdf"))
	for ceiling, want := range map[notice.TLP][]string{notice.TLPGreen: {"plan.pdf", "hints.pdf"}, notice.TLPAmber: {"amber.pdf", "plan.pdf", "hints.pdf"}} {
		write, err := b.Pack(t.Context(), "en", ceiling)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if n, err := paper.Unpack(&out, dir); err != nil || n != len(want) {
			t.Fatalf("%s: %d playbooks, %v", ceiling, n, err)
		}
		page, err := os.ReadFile(filepath.Join(dir, "watchward-pack.html"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range want {
			files, err := filepath.Glob(filepath.Join(dir, "playbooks", "*-"+name))
			if err != nil || len(files) != 1 {
				t.Fatalf("%s: %s is there %d times, %v", ceiling, name, len(files), err)
			}
			if got, err := os.ReadFile(files[0]); err != nil || !bytes.Equal(got, content[name]) {
				t.Errorf("%s: %s is another, %v", ceiling, name, err)
			}
			if at := bytes.Index(page, []byte(filepath.Base(files[0]))); at < 0 || name != "hints.pdf" && at > bytes.Index(page, []byte("-hints.pdf")) {
				t.Errorf("%s: %s is not in its place", ceiling, name)
			}
		}
	}
}

// A document of what is sealed comes to those whom it is for, and to nobody else; one that
// is named no longer makes room, and is served no more.
func TestDocumentsAreForWhoHears(t *testing.T) {
	r := startRegion(t, 3)
	author, to, other := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	secret := file(4, 200_000)
	d := author.puts(t, secret, "for you.pdf")
	item := advice("For you", func(a *api.Advisory) { a.Documents = []api.Document{d} })
	item.To = []string{to.Name()}
	author.submit(t, api.SubmitOptions{TLP: notice.TLPRed}, item)
	eventually(t, "its recipient has it", func() bool { return to.has(t, d, secret, notice.TLPRed) })
	if other.seeks(t, author, d.SHA256) || other.seeks(t, to, d.SHA256) {
		t.Error("another member is told of it")
	}

	shared := file(5, 1<<20)
	d = author.puts(t, shared, "for all.pdf")
	id := author.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, advice("For all", func(a *api.Advisory) { a.Documents = []api.Document{d} }))[0].ID
	eventually(t, "the other has it", func() bool { return other.has(t, d, shared, 0) })
	if !other.seeks(t, author, d.SHA256) {
		t.Error("who may have it is not told of it")
	}
	author.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, api.Submission{Kind: "retraction", Ref: id})
	eventually(t, "what is taken back is served no more", func() bool {
		time.Sleep(500 * time.Millisecond) // who asks too often gets nothing either
		return !other.seeks(t, author, d.SHA256)
	})
}

// seeks asks another node for a document, as package document does, and reports whether it
// says that it holds something.
func (h *hospital) seeks(t testing.TB, at *hospital, sha256 string) bool {
	t.Helper()
	id, err := document.ParseHash(sha256)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := at.Documents().Ref(id)
	if err != nil {
		return false
	}
	peerID, err := peer.Decode(at.PeerID())
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Mesh().OpenBulk(t.Context(), string(peerID), document.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const kindSeek, kindList, kindWant, kindChunk, kindLater = 56, 57, 59, 60, 61
	seek := struct {
		ID     document.Hash `cbor:"1,keyasint"`
		Chunks document.Hash `cbor:"2,keyasint"`
		Size   uint32        `cbor:"3,keyasint"`
	}{ref.ID, ref.Chunks, ref.Size}
	want := struct {
		Chunks []byte `cbor:"1,keyasint"`
		Alone  bool   `cbor:"2,keyasint"`
	}{[]byte{0}, true}
	if _, err := wire.Write(s, kindSeek, &seek); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Write(s, kindWant, &want); err != nil {
		t.Fatal(err)
	}
	kind, _, err := wire.Read(s, wire.FrameMax)
	if err != nil || kind != kindList && kind != kindChunk && kind != kindLater {
		t.Fatalf("a message of kind %d, %v", kind, err)
	}
	return kind != kindLater
}

// What an advisory names that comes while all are listed is not forgotten with what none
// names.
func TestDocumentOfAdvisoryThatComesMeanwhile(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	d := b.puts(t, file(6, 5), "a.pdf")
	id, err := document.ParseHash(d.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	missing := func() bool { return b.Documents().Missing() == 1 }
	err = b.WantWhile(func() {
		b.submit(t, local, advice("x", func(a *api.Advisory) { a.Documents = []api.Document{d} })) // nothing signs it, so it comes once
		if err := os.Remove(filepath.Join(b.dir, "documents", d.SHA256)); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Documents().Content(id); !errors.Is(err, document.ErrMissing) {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Second); !missing() && time.Now().Before(end); { // so long a fault would take
			time.Sleep(10 * time.Millisecond)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is wanted", missing)
}

func TestDocumentsThatAreRefused(t *testing.T) {
	b := newBench(t)
	if _, err := b.PutDocument(t.Context(), strings.NewReader("")); err == nil {
		t.Error("an empty document is taken")
	}
	if _, err := b.PutDocument(t.Context(), io.LimitReader(rand.NewChaCha8([32]byte{}), 80_000_000)); err == nil {
		t.Error("80 MB are taken")
	}
	d := b.puts(t, file(3, 5), "a.pdf")
	for name, c := range map[string]struct {
		change func(*api.Document)
		field  string
	}{
		"another hash":  {func(d *api.Document) { d.SHA256 = strings.Repeat("0", 64) }, ".sha256"},
		"no hash":       {func(d *api.Document) { d.SHA256 = "../../identity.key" }, ".sha256"},
		"another size":  {func(d *api.Document) { d.Size = 6 }, ".size"},
		"a path":        {func(d *api.Document) { d.Name = "../a.pdf" }, ".name"},
		"an empty name": {func(d *api.Document) { d.Name = "" }, ".name"},
	} {
		changed := d
		c.change(&changed)
		got := b.refuses(t, api.SubmitOptions{TLP: notice.TLPAmber}, advice("x", func(a *api.Advisory) { a.Documents = []api.Document{changed} }))
		if got.Field != "advisory.documents[0]"+c.field || got.Fix == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
