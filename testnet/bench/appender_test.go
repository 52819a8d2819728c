package bench_test

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const appenderEnv = "WATCHWARD_BENCH_APPENDER" // "CA ADDRESS[,ADDRESS]": the process is a load of clients

var errRefused = errors.New("the voter did not do it")

// linkAsks is how many requests a link may have under way.
const linkAsks = 1024

// A link is one client connection to a voter, for linkAsks requests at once.
type link struct {
	conn net.Conn
	out  chan []byte // has room for all that are under way

	mu      sync.Mutex
	next    uint32
	waiting map[uint32]chan answer
	gone    bool
}

type answer struct {
	value uint64
	err   error
}

func dialVoter(ca, address string) (*link, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", address, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13})
	if err != nil {
		return nil, err
	}
	k := &link{conn: c, out: make(chan []byte, linkAsks), waiting: map[uint32]chan answer{}}
	go writeAll(c, k.out)
	go k.read()
	return k, nil
}

func (k *link) read() {
	in := bufio.NewReaderSize(k.conn, 64<<10)
	for {
		var raw [answerSize]byte
		_, err := io.ReadFull(in, raw[:])
		k.mu.Lock()
		if err != nil {
			k.gone = true
			close(k.out)
			for _, w := range k.waiting {
				w <- answer{err: err}
			}
			k.waiting = nil
			k.mu.Unlock()
			return
		}
		number := binary.BigEndian.Uint32(raw[:])
		w := k.waiting[number]
		delete(k.waiting, number)
		k.mu.Unlock()
		a := answer{value: binary.BigEndian.Uint64(raw[5:])}
		if raw[4] != 0 {
			a.err = errRefused
		}
		w <- a
	}
}

// ask sends a request and waits for its answer.
func (k *link) ask(op byte, body []byte) (uint64, error) {
	w := make(chan answer, 1)
	k.mu.Lock()
	if k.gone {
		k.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	k.next++
	request := binary.BigEndian.AppendUint32(make([]byte, 0, requestHead+len(body)), k.next)
	k.waiting[k.next] = w
	request = binary.BigEndian.AppendUint16(append(request, op), uint16(len(body)))
	k.out <- append(request, body...)
	k.mu.Unlock()
	a := <-w
	return a.value, a.err
}

func (k *link) close() {
	_ = k.conn.Close()
}

// newEntry is one that the ledger has not.
func newEntry() []byte {
	e := make([]byte, entrySize)
	_, _ = rand.Read(e)
	return e
}

// runAppender is the load that corresponds to rivals/etcdload.
func runAppender(spec string, in io.Reader, out io.Writer) error {
	ca, addresses, _ := strings.Cut(spec, " ")
	var clients []*appender
	fmt.Fprintln(out, "ready")
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var count, connections, ms int
		if _, err := fmt.Sscan(lines.Text(), &count, &connections, &ms); err != nil {
			return fmt.Errorf("%q: %w", lines.Text(), err)
		}
		for len(clients) < connections {
			clients = append(clients, &appender{ca: ca, addresses: strings.Split(addresses, ",")})
		}
		took, err := appendAll(clients[:connections], count, time.Duration(ms)*time.Millisecond)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(took); err != nil {
			return err
		}
	}
	return lines.Err()
}

// An appender is a connection to the leader that finds the next leader when there is
// another.
type appender struct {
	ca        string
	addresses []string

	mu   sync.Mutex
	link *link
}

// append appends an entry, again and again until a leader has taken it, and returns its
// index.
func (a *appender) append(entry []byte) (uint64, error) {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		k, err := a.connected()
		if err != nil {
			return 0, err
		}
		at, err := k.ask(opAppend, entry)
		if err == nil {
			return at, nil
		}
		if time.Now().After(end) {
			return 0, err
		}
		a.forget(k)
	}
}

func (a *appender) connected() (*link, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var err error
	if a.link == nil {
		a.link, _, err = dialLeader(a.ca, a.addresses)
	}
	return a.link, err
}

func (a *appender) forget(k *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link == k {
		k.close()
		a.link = nil
	}
}

// dialLeader connects to whoever leads.
func dialLeader(ca string, addresses []string) (k *link, place int, err error) {
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for place, a := range addresses {
			k, err := dialVoter(ca, a)
			if err == nil {
				if _, err = k.ask(opLeads, nil); err == nil {
					return k, place, nil
				}
				k.close()
			}
			last = err
		}
	}
	return nil, 0, fmt.Errorf("nobody leads: %w", last)
}

// appendAll lets clients append new entries, one after the other, for so long, and
// returns what each took in µs.
func appendAll(by []*appender, clients int, long time.Duration) ([]int64, error) {
	took := make([][]int64, clients)
	failed := make([]error, clients)
	var wait sync.WaitGroup
	end := time.Now().Add(long)
	for i := range clients {
		wait.Go(func() {
			for time.Now().Before(end) {
				entry := newEntry()
				start := time.Now()
				if _, failed[i] = by[i%len(by)].append(entry); failed[i] != nil {
					return
				}
				took[i] = append(took[i], time.Since(start).Microseconds())
			}
		})
	}
	wait.Wait()
	return slices.Concat(took...), errors.Join(failed...)
}

// The clients' half of the protocol says what the voters' half does.
func TestLinkTellsAnswersApart(t *testing.T) {
	ours, theirs := net.Pipe()
	k := &link{conn: ours, out: make(chan []byte, 2), waiting: map[uint32]chan answer{}}
	go writeAll(ours, k.out)
	go k.read()
	go func() { // answers the second request first, and refuses the first
		var requests [2][requestHead + 1]byte
		for i := range requests {
			_, _ = io.ReadFull(theirs, requests[i][:])
		}
		for i, status := range []byte{0, 1} {
			r := requests[1-i]
			_, _ = theirs.Write(binary.BigEndian.AppendUint64(append(r[:4:4], status), uint64(r[requestHead])))
		}
	}()
	var wait sync.WaitGroup
	results := [2]answer{}
	sent := make(chan struct{})
	for i := range results {
		wait.Go(func() {
			if i == 1 {
				<-sent
			}
			v, err := k.ask(opAppend, []byte{byte(i)})
			results[i] = answer{v, err}
		})
		if i == 0 {
			eventually(t, "the first is sent", time.Millisecond, func() bool {
				k.mu.Lock()
				defer k.mu.Unlock()
				return k.next == 1
			})
			close(sent)
		}
	}
	wait.Wait()
	if !errors.Is(results[0].err, errRefused) || results[1].err != nil || results[1].value != 1 {
		t.Errorf("%+v", results)
	}
	k.close()
	_ = theirs.Close()
	eventually(t, "the link knows that it is gone", time.Millisecond, func() bool {
		_, err := k.ask(opAppend, nil)
		return err != nil
	})
}
