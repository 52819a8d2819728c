package document_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/document"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 25 * time.Second

var region = document.Audience{Region: crypto.Region{1}, Audience: crypto.AudienceRegion}

// A town is members that reach each other by pipes.
type town struct {
	wait    sync.WaitGroup // for who serves
	mu      sync.Mutex
	members map[string]*member
}

// A member is one node's documents, or a peer that a test plays.
type member struct {
	*document.Documents
	town  *town
	name  string
	dir   string
	out   atomic.Int64                                // bytes that it sent
	plays func(peer string, s document.Stream)        // instead of Documents; it closes the stream
	may   func(to document.Audience) bool             // whether others let it have what is for an audience; nil = yes
	knows func(peers []string, first string) []string // whom it is connected to; nil = all
}

func newTown() *town { return &town{members: map[string]*member{}} }

// join adds a member whose documents are in dir.
func (w *town) join(t testing.TB, name, dir string, change func(*document.Config)) *member {
	t.Helper()
	m := &member{town: w, name: name, dir: dir}
	c := document.Config{Dir: dir, Network: m, Self: crypto.MemberID{255}}
	if change != nil {
		change(&c)
	}
	var err error
	if m.Documents, err = document.Open(c); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.members[name] = m
	w.mu.Unlock()
	m.Start()
	return m
}

// player adds a peer that a test plays.
func (w *town) player(name string, plays func(peer string, s document.Stream)) *member {
	m := &member{town: w, name: name, plays: plays}
	w.mu.Lock()
	w.members[name] = m
	w.mu.Unlock()
	return m
}

// leave ends a member.
func (m *member) leave(t testing.TB) {
	t.Helper()
	m.town.mu.Lock()
	delete(m.town.members, m.name)
	m.town.mu.Unlock()
	if m.Documents == nil {
		return
	}
	if err := m.Close(); err != nil {
		t.Errorf("close %s: %v", m.name, err)
	}
}

func (w *town) close(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	var all []*member
	for _, m := range w.members {
		all = append(all, m)
	}
	w.mu.Unlock()
	for _, m := range all {
		m.leave(t)
	}
	w.wait.Wait()
}

// Peers implements document.Network.
func (m *member) Peers(document.Wanted) (out []string) {
	m.town.mu.Lock()
	defer m.town.mu.Unlock()
	for name := range m.town.members {
		if name != m.name {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	if m.knows != nil {
		out = m.knows(out, "author")
	}
	return out
}

// May implements document.Network.
func (m *member) May(peer string, to document.Audience) bool {
	m.town.mu.Lock()
	defer m.town.mu.Unlock()
	p := m.town.members[peer]
	return p != nil && (p.may == nil || p.may(to))
}

// Open implements document.Network.
func (m *member) Open(ctx context.Context, peer string) (document.Stream, error) {
	m.town.mu.Lock()
	p := m.town.members[peer]
	m.town.mu.Unlock()
	if p == nil {
		return nil, errors.New("nobody is there")
	}
	here, there := net.Pipe()
	m.town.wait.Go(func() {
		counted := &counted{there, &p.out, func() bool { return true }}
		if p.plays != nil {
			p.plays(m.name, counted)
		} else {
			p.Serve(m.name, counted)
		}
	})
	return &counted{here, &m.out, context.AfterFunc(ctx, func() { _ = here.Close() })}, nil
}

// counted is a stream that counts what it sends.
type counted struct {
	net.Conn
	out  *atomic.Int64
	stop func() bool
}

func (c *counted) Close() error {
	c.stop()
	return c.Conn.Close()
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Add(int64(n))
	return n, err
}

// content is so many bytes that are like no others.
func content(seed uint64, size int) []byte {
	out := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(out)
	return out
}

// refOf is what names a content.
func refOf(content []byte) document.Ref {
	return document.Ref{ID: sha256.Sum256(content), Chunks: sha256.Sum256(document.ListOf(content)), Size: uint32(len(content))}
}

func wanted(ref document.Ref) document.Wanted {
	return document.Wanted{Ref: ref, Author: crypto.MemberID{1}, To: region}
}

// has puts a document where it is wanted as well.
func (m *member) has(t testing.TB, content []byte) document.Ref {
	t.Helper()
	ref, err := m.Put(bytes.NewReader(content))
	if err != nil || ref != refOf(content) {
		t.Fatalf("put: %+v, %v", ref, err)
	}
	m.Want(wanted(ref))
	return ref
}

func (m *member) holds(content []byte) bool {
	got, err := m.Content(sha256.Sum256(content))
	return err == nil && bytes.Equal(got, content)
}

// eventually waits until condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: not %s", patience, what)
		}
	}
}

func dirOf(t testing.TB, name string) string { return filepath.Join(t.TempDir(), name) }

// dial seeks a document at a member as a peer of that name.
func (m *member) dial(t testing.TB, as string, ref document.Ref) document.Stream {
	t.Helper()
	here := m.raw(t, as)
	if err := document.Send(here, &document.Seek{ID: ref.ID, Chunks: ref.Chunks, Size: ref.Size}); err != nil {
		t.Fatal(err)
	}
	return here
}

func hear(t testing.TB, s io.Reader) any {
	t.Helper()
	message, err := document.Receive(s, document.AnswerMax)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

// raw is a stream to a member on which nothing was said yet.
func (m *member) raw(t testing.TB, as string) document.Stream {
	t.Helper()
	here, there := net.Pipe()
	go m.Serve(as, there)
	t.Cleanup(func() { _ = here.Close() })
	return here
}
