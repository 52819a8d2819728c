package pulse_test

import (
	"bytes"
	"compress/lzw"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/watchward/watchward/mesh/pulse"
)

// What memberlist has on the wire, as it encodes it.
type (
	ping struct {
		SeqNo      uint32
		Node       string
		SourceAddr []byte `codec:",omitempty"`
		SourcePort uint16 `codec:",omitempty"`
		SourceNode string `codec:",omitempty"`
	}
	indirectPing struct {
		SeqNo      uint32
		Target     []byte
		Port       uint16
		Node       string
		Nack       bool
		SourceAddr []byte `codec:",omitempty"`
		SourcePort uint16 `codec:",omitempty"`
		SourceNode string `codec:",omitempty"`
	}
	accusation struct {
		Incarnation uint32
		Node, From  string
	}
	aliveWord struct {
		Incarnation uint32
		Node        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Vsn         []uint8
	}
	stateHeader struct {
		Nodes, UserStateLen int
		Join                bool
	}
	stateNode struct {
		Name        string
		Addr        []byte
		Port        uint16
		Meta        []byte
		Incarnation uint32
		State       int
		Vsn         []uint8
	}
)

func encode(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		if err := codec.NewEncoder(&b, &codec.MsgpackHandle{}).Encode(v); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func message(kind byte, values ...any) []byte { return append([]byte{kind}, encode(values...)...) }

func labelled(l string, b []byte) []byte {
	return append(append([]byte{244, byte(len(l))}, l...), b...)
}

func compoundOf(parts ...[]byte) []byte {
	out := []byte{7, byte(len(parts))}
	for _, p := range parts {
		out = binary.BigEndian.AppendUint16(out, uint16(len(p)))
	}
	return append(out, bytes.Join(parts, nil)...)
}

func withCRC(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{12}, crc32.ChecksumIEEE(b)), b...)
}

func compressed(b []byte) []byte {
	var z bytes.Buffer
	w := lzw.NewWriter(&z, lzw.LSB, 8)
	_, _ = w.Write(b)
	_ = w.Close()
	return message(9, struct {
		Algo uint8
		Buf  []byte
	}{0, z.Bytes()})
}

var (
	me, you, third = pulse.NameOf(id(0)), pulse.NameOf(id(1)), pulse.NameOf(id(2))
	stranger       = pulse.NameOf(id(999))
	ours           = []uint8{1, 5, 5, 0, 0, 0}
)

func knows(name string) bool { return name == me || name == you || name == third }

func goodPing() ping { return ping{7, me, pulse.Address(you), 1, you} }

func goodAlive(name string) aliveWord {
	return aliveWord{3, name, pulse.Address(name), 1, nil, ours}
}

func goodNode(name string) stateNode {
	return stateNode{name, pulse.Address(name), 1, nil, 3, 0, ours}
}

func TestGuardOfPackets(t *testing.T) {
	with := func(f func(*aliveWord)) []byte { w := goodAlive(third); f(&w); return message(4, w) }
	for name, c := range map[string]struct {
		packet []byte
		want   []byte // nil = nothing is left
		blamed bool
	}{
		"ping":                           {labelled(label, message(0, goodPing())), labelled(label, message(0, goodPing())), false},
		"ping for another":               {labelled(label, message(0, ping{7, third, pulse.Address(you), 1, you})), nil, false},
		"ping in another's name":         {labelled(label, message(0, ping{7, me, pulse.Address(third), 1, third})), nil, true},
		"ping to be answered to another": {labelled(label, message(0, ping{7, me, pulse.Address(you), 1, third})), nil, true},
		"ping without a source":          {labelled(label, message(0, ping{SeqNo: 7, Node: me})), nil, true},
		"suspect":                        {labelled(label, message(3, accusation{1, me, third})), labelled(label, message(3, accusation{1, me, third})), false},
		"dead":                           {labelled(label, message(5, accusation{1, me, third})), labelled(label, message(5, accusation{1, me, third})), false},
		"another has left":               {labelled(label, message(5, accusation{1, third, third})), nil, true},
		"itself has left":                {labelled(label, message(5, accusation{1, you, you})), nil, true},
		"stranger suspected":             {labelled(label, message(3, accusation{1, stranger, third})), nil, false},
		"alive":                          {labelled(label, message(4, goodAlive(third))), labelled(label, message(4, goodAlive(third))), false},
		"stranger alive":                 {labelled(label, message(4, goodAlive(stranger))), nil, false},
		"alive elsewhere":                {labelled(label, with(func(w *aliveWord) { w.Addr = pulse.Address(you) })), nil, true},
		"alive at a port":                {labelled(label, with(func(w *aliveWord) { w.Port = 2 })), nil, true},
		"alive with metadata":            {labelled(label, with(func(w *aliveWord) { w.Meta = []byte{1} })), nil, true},
		"alive of four versions":         {labelled(label, with(func(w *aliveWord) { w.Vsn = ours[:4] })), nil, true},
		"alive of none":                  {labelled(label, with(func(w *aliveWord) { w.Vsn = nil })), nil, true},
		"checksum":                       {labelled(label, withCRC(message(0, goodPing()))), labelled(label, message(0, goodPing())), false},
		"wrong checksum":                 {labelled(label, append(withCRC(message(0, goodPing())), 0)), nil, true},
		"checksum in a checksum":         {labelled(label, withCRC(withCRC(message(0, goodPing())))), nil, true},
		"compound, less a stranger":      {labelled(label, compoundOf(message(0, goodPing()), message(4, goodAlive(stranger)), message(4, goodAlive(third)))), labelled(label, compoundOf(message(0, goodPing()), message(4, goodAlive(third)))), false},
		"compound with a lie":            {labelled(label, compoundOf(message(0, goodPing()), message(5, accusation{1, third, third}))), nil, true},
		"compound in a compound":         {labelled(label, compoundOf(compoundOf(message(0, goodPing())))), nil, true},
		"compound cut short":             {labelled(label, compoundOf(message(0, goodPing()))[:9]), nil, true},
		"compound with a tail":           {labelled(label, append(compoundOf(message(0, goodPing())), 1)), nil, true},
		"compressed":                     {labelled(label, compressed(make([]byte, 1<<20))), nil, true},
		"compressed in a compound":       {labelled(label, compoundOf(compressed(message(0, goodPing())))), nil, true},
		"encrypted":                      {labelled(label, append([]byte{10, 0, 0, 0, 9}, "secrets.."...)), nil, true},
		"users' word":                    {labelled(label, append([]byte{8}, "hello"...)), nil, true},
		"another region's":               {labelled("other", message(0, goodPing())), nil, true},
		"a label within":                 {labelled(label, labelled(label, message(0, goodPing()))), nil, true},
		"no label":                       {message(0, goodPing()), nil, true},
		"nothing":                        {nil, nil, true},
		"label alone":                    {labelled(label, nil), nil, true},
		"with a tail":                    {labelled(label, append(message(0, goodPing()), 0)), nil, true},
		"cut short":                      {labelled(label, message(0, goodPing())[:20]), nil, true},
		"other fields":                   {labelled(label, message(0, struct{ Evil []int }{[]int{1}})), nil, true},
		"answer with a payload":          {labelled(label, message(2, struct{ SeqNo, Payload any }{7, []byte("x")})), nil, true},
	} {
		got, err := pulse.GuardPacket(label, me, you, knows, c.packet)
		if !bytes.Equal(got, c.want) || c.blamed != (err != nil) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestGuardOfExchanges(t *testing.T) {
	exchange := func(h stateHeader, nodes ...any) []byte { return message(6, append([]any{h}, nodes...)...) }
	good := labelled(label, exchange(stateHeader{2, 0, true}, goodNode(you), goodNode(third)))
	with := func(f func(*stateNode)) []byte {
		n := goodNode(third)
		f(&n)
		return labelled(label, exchange(stateHeader{Nodes: 1}, n))
	}
	for name, c := range map[string]struct {
		in    []byte
		nodes int // -1 = refused
	}{
		"good":                {good, 2},
		"less a stranger":     {labelled(label, exchange(stateHeader{2, 0, true}, goodNode(stranger), goodNode(third))), 1},
		"four versions":       {with(func(n *stateNode) { n.Vsn = ours[:4] }), -1}, // memberlist panics
		"elsewhere":           {with(func(n *stateNode) { n.Addr = pulse.Address(you) }), -1},
		"left":                {with(func(n *stateNode) { n.State = 3 }), -1},
		"in state 9":          {with(func(n *stateNode) { n.State = 9 }), -1},
		"a million nodes":     {labelled(label, exchange(stateHeader{Nodes: 1 << 20})), -1},
		"users' state":        {labelled(label, exchange(stateHeader{0, 1 << 20, true})), -1},
		"cut short":           {good[:len(good)-3], -1},
		"compressed":          {labelled(label, compressed(exchange(stateHeader{}))), -1},
		"another region's":    {labelled("other", exchange(stateHeader{})), -1},
		"without label":       {exchange(stateHeader{}), -1},
		"ping in its place":   {labelled(label, message(0, goodPing())), -1},
		"an error":            {labelled(label, message(13, struct{ Error string }{"no"})), -1},
		"endless versions":    {with(func(n *stateNode) { n.Vsn = make([]byte, 5000) }), -1},
		"longer than allowed": {with(func(n *stateNode) { n.Meta = make([]byte, 100) }), -1},
	} {
		out, err := pulse.GuardState(label, you, knows, c.in, true)
		if c.nodes < 0 {
			if err == nil {
				t.Errorf("%s: taken", name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		d := codec.NewDecoder(bytes.NewReader(out[len(labelled(label, nil))+1:]), &codec.MsgpackHandle{})
		var h stateHeader
		if err := d.Decode(&h); err != nil || h.Nodes != c.nodes || !h.Join {
			t.Errorf("%s: header %+v, %v", name, h, err)
		}
		for range h.Nodes {
			var n stateNode
			if err := d.Decode(&n); err != nil || !knows(n.Name) {
				t.Errorf("%s: node %+v, %v", name, n, err)
			}
		}
	}
}

// Whatever comes, memberlist's own decoder reads what the guard lets pass, and the
// guard lets the same pass again.
func FuzzGuardPacket(f *testing.F) {
	f.Add(labelled(label, message(0, goodPing())))
	f.Add(labelled(label, withCRC(compoundOf(message(0, goodPing()), message(4, goodAlive(third)), message(3, accusation{1, me, third})))))
	f.Add(labelled(label, compressed(make([]byte, 4096))))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := pulse.GuardPacket(label, me, you, knows, b)
		if err != nil && out != nil {
			t.Fatal("refused, and something is left")
		}
		if out == nil {
			return
		}
		again, err := pulse.GuardPacket(label, me, you, knows, out)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q became %q, %v", out, again, err)
		}
	})
}

func FuzzGuardState(f *testing.F) {
	f.Add(labelled(label, message(6, stateHeader{2, 0, true}, goodNode(you), goodNode(third))))
	f.Add(labelled(label, message(6, stateHeader{1, 0, false}, goodNode(stranger))))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := pulse.GuardState(label, you, knows, b, true)
		if err != nil {
			return
		}
		again, err := pulse.GuardState(label, you, knows, out, true)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q became %q, %v", out, again, err)
		}
		d := codec.NewDecoder(bytes.NewReader(out[len(labelled(label, nil))+1:]), &codec.MsgpackHandle{})
		var h stateHeader
		if err := d.Decode(&h); err != nil {
			t.Fatal(err)
		}
		for range h.Nodes {
			var n stateNode
			if err := d.Decode(&n); err != nil || len(n.Vsn) != 6 {
				t.Fatal(n, err)
			}
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(pulse.NewFrame(pulse.FramePing, nil).Bytes())
	f.Add(pulse.NewFrame(pulse.FrameAges, pulse.Report(ages(id(1), time.Second))).Bytes())
	f.Add([]byte{pulse.FramePacket, 0xff, 0xff})
	known := map[pulse.Tag]string{pulse.TagOf(id(1)): id(1), pulse.TagOf(id(2)): id(2)}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := pulse.ReadFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		if !bytes.HasPrefix(b, got.Bytes()) {
			t.Fatalf("%q was read as %q", b, got.Bytes())
		}
		if got.Kind() != pulse.FrameAges {
			return
		}
		said, err := pulse.ReadReport(got.Body(), known)
		if err != nil {
			return
		}
		if back, err := pulse.ReadReport(pulse.Report(said), known); err != nil || len(back) != len(said) {
			t.Fatal(errors.New("a report is not what it was"), err)
		}
	})
}
