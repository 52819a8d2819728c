package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

const testOrigin = "watchward/00/1"

// frames has one message of each kind.
func frames() []message {
	return []message{
		&askNote{Origin: testOrigin},
		&askMine{Origin: testOrigin, Member: crypto.MemberID{1}},
		&askTile{Origin: testOrigin, Path: "tile/0/x001/234.p/5"},
		&askFind{Origin: testOrigin, Entry: []byte{1}, Strong: true, Forwarded: true},
		&cosign{Origin: testOrigin, Size: 7, Root: crypto.Hash{2}},
		&witness{Note: []byte("note")},
		&note{Note: []byte("note"), NoQuorum: 5, Leader: crypto.MemberID{3}},
		&note{Note: []byte{}},
		&tile{Data: []byte{1, 2}},
		&found{Index: 3, Size: 4, Time: 9, Leader: crypto.MemberID{1}, Here: true},
		&evidence{Proof: []byte{1}},
		&taken{},
		&refused{refusedLater},
	}
}

func TestEveryFrameTravels(t *testing.T) {
	kinds := map[byte]bool{}
	for _, m := range frames() {
		var stream bytes.Buffer
		if err := writeFrame(&stream, m); err != nil {
			t.Fatalf("%T: %v", m, err)
		}
		kinds[stream.Bytes()[4]] = true
		back, err := readFrame(&stream, frameMax)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%T: %+v, %v", m, back, err)
		}
	}
	if len(kinds) != 12 {
		t.Errorf("%d kinds of frames, want 12", len(kinds))
	}
}

func TestFrameLimits(t *testing.T) {
	long := strings.Repeat("x", originMax)
	for name, m := range map[string]message{
		"a foreign origin":         &askNote{Origin: "elsewhere/1"},
		"a long origin":            &askMine{Origin: "watchward/" + long},
		"no tile":                  &askTile{Origin: testOrigin, Path: "checkpoint"},
		"a way out":                &askTile{Origin: testOrigin, Path: "../tile/0/000"},
		"a long path":              &askTile{Origin: testOrigin, Path: "tile/" + long},
		"a tile of no origin":      &askTile{Path: "tile/0/000"},
		"no entry":                 &askFind{Origin: testOrigin},
		"a long entry":             &askFind{Origin: testOrigin, Entry: make([]byte, EntryMax+1)},
		"a tree of no origin":      &cosign{Size: 1},
		"nothing to witness":       &witness{},
		"a long note":              &witness{Note: make([]byte, noteMax+1)},
		"a long note told":         &note{Note: make([]byte, noteMax+1)},
		"no quorum before 1970":    &note{NoQuorum: -1},
		"an empty tile":            &tile{},
		"a long tile":              &tile{Data: make([]byte, tileMax+1)},
		"an entry beyond the tree": &found{Index: 4, Size: 4, Here: true},
		"a time before 1970":       &found{Time: -1},
		"no proof":                 &evidence{},
		"a long proof":             &evidence{Proof: make([]byte, evidenceMax+1)},
		"no reason":                &refused{},
		"a reason that is none":    &refused{refusedRole + 1},
	} {
		t.Run(name, func(t *testing.T) {
			frame, err := encodeFrame(m)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := decodeFrame(frame); err == nil {
				t.Errorf("taken: %+v", back)
			}
		})
	}
	if m, err := decodeFrame([]byte{99, 0xa0}); err == nil {
		t.Errorf("a kind that is none is taken: %+v", m)
	}
}

func TestFramesAreBounded(t *testing.T) {
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for name, x := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":     {nil, io.EOF},
		"half a head": {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"empty":       {length(0), errFrame},
		"too long":    {length(101), errFrame},
		"huge":        {length(1<<32 - 1), errFrame},
		"no body":     {length(10), io.ErrUnexpectedEOF},
		"cut":         {append(length(10), 1, 2), io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := readFrame(bytes.NewReader(x.in), 100); !errors.Is(err, x.want) {
				t.Errorf("%v, want %v", err, x.want)
			}
		})
	}
}

// What is taken has one encoding: the one it came in.
func FuzzLedgerFrame(f *testing.F) {
	for _, m := range frames() {
		frame, err := encodeFrame(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := decodeFrame(frame)
		if err != nil {
			return
		}
		body, err := canon.Marshal(m)
		if err != nil || !bytes.Equal(append([]byte{kindOf(m)}, body...), frame) {
			t.Errorf("%T from %x encodes to %x, %v", m, frame, body, err)
		}
	})
}
