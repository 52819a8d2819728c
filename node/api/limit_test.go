package api_test

import (
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/watchward/watchward/node/api"
)

// pipes is a listener to whom somebody always connects.
type pipes struct{ closed bool }

func (p *pipes) Accept() (net.Conn, error) {
	if p.closed {
		return nil, net.ErrClosed
	}
	c, _ := net.Pipe()
	return c, nil
}
func (p *pipes) Close() error   { p.closed = true; return nil }
func (p *pipes) Addr() net.Addr { return nil }

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := api.Limit(&pipes{}, 2)
		var mu sync.Mutex // guards what follows
		var open []net.Conn
		var end error
		go func() {
			for {
				c, err := l.Accept()
				mu.Lock()
				if err != nil {
					end = err
					mu.Unlock()
					return
				}
				open = append(open, c)
				mu.Unlock()
			}
		}()
		wait := func(want int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(open) != want {
				t.Fatalf("accepted %d, want %d", len(open), want)
			}
		}
		wait(2)
		_ = open[0].Close()
		_ = open[0].Close() // gives its place up once
		wait(3)
		_ = l.Close()
		wait(3)
		mu.Lock()
		defer mu.Unlock()
		if !errors.Is(end, net.ErrClosed) {
			t.Errorf("closed, it ends with %v", end)
		}
	})
}

func TestLimitLeavesHalfClosing(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := api.Limit(inner, 1)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(client); len(rest) != 0 || err != nil {
		t.Errorf("closed for writing, it reads as %q, %v", rest, err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("closed for writing, it does not read: %v", err)
	}
}

// The longest parameter that the description allows is read, in any letters.
func TestLongestParameter(t *testing.T) {
	s := start(t, nil)
	for _, letter := range []string{"a", "\u0080", "😀"} {
		a := s.ask(t, "reader", "GET", "/v1/policies?next="+url.QueryEscape(strings.Repeat(letter, 4096)), "")
		if a.StatusCode != 200 || s.node.policyQuery.Next != strings.Repeat(letter, 4096) {
			t.Errorf("4,096 of %q: %d %.200s", letter, a.StatusCode, a.body)
		}
	}
}
