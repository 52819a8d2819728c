package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/mesh/wire"
)

// samples has one message of each kind.
func samples() map[byte]any {
	id := crypto.EnvelopeID{7}
	chain := crypto.ChainID{Author: crypto.MemberID{1}, Serial: 1, Audience: crypto.AudienceRegion, Epoch: 1}
	ranges := []wire.Range{{From: 1, To: 4}, {From: 6, To: 6}}
	return map[byte]any{
		wire.KindHello:     &wire.Hello{Versions: []uint8{0}, Clock: 5, Trust: crypto.Hash{1}, Yours: []wire.Held{{Audience: 3, Serial: 1, Epoch: 1, Seq: 9, ID: id}}},
		wire.KindTrustHave: &wire.TrustHave{IDs: make([]byte, 2*wire.TrustPrefix), More: true},
		wire.KindTrust:     &wire.Trust{Records: [][]byte{{1}, {2, 3}}},
		wire.KindRoot:      &wire.Root{At: 30_000, Root: crypto.Hash{2}},
		wire.KindRoots:     &wire.Roots{Scopes: []wire.ScopeRoot{{Region: crypto.Region{1}, Audience: 2, Root: crypto.Hash{3}}}},
		wire.KindChains: &wire.Chains{Chains: []wire.Chain{{Author: crypto.MemberID{1}, Serial: 1, Epoch: 1, Floor: 1, Ranges: ranges, Time: 9, Urgent: []uint64{6}}},
			Scopes: []wire.Scope{{Region: crypto.Region{1}, Audience: 2}}},
		wire.KindWant:      &wire.Want{Wants: []wire.ChainWant{{Chain: 3, Ranges: ranges, Oldest: true, Bytes: 70_000}}},
		wire.KindEnvelopes: &wire.Envelopes{Raw: [][]byte{{1, 2}}},
		wire.KindDone:      &wire.Done{},
		wire.KindPush:      &wire.Push{Raw: []byte{1}},
		wire.KindAnnounce:  &wire.Announce{Chain: chain, Seq: 3, ID: id, Urgent: true},
		wire.KindPull:      &wire.Pull{Chain: chain, Ranges: ranges},
		wire.KindBook:      &wire.Book{Entries: []wire.BookEntry{{Peer: []byte{1}, Addrs: []string{"/ip4/192.0.2.1/udp/1/quic-v1"}}}},
		wire.KindShow:      &wire.Show{Records: [][]byte{{1}}},
		wire.KindJoin:      &wire.Join{Invitation: make([]byte, 8), Proof: make([]byte, 32), Request: []byte{1}},
		wire.KindChallenge: &wire.Challenge{Box: []byte{1}},
		wire.KindAnswer:    &wire.Answer{Content: make([]byte, 32)},
		wire.KindKept:      &wire.Kept{Number: 7},
		wire.KindAdmission: &wire.Admission{Part: []byte{1}, More: true},
		wire.KindRefused:   &wire.Refused{Reason: wire.RefusedUsed},
		wire.KindReceipt:   &wire.Receipt{ID: crypto.EnvelopeID{1}, Result: wire.ReceiptTaken},
	}
}

func decode(kind byte, body []byte) (any, error) {
	switch {
	case kind < wire.KindPush:
		return wire.DecodeSync(kind, body)
	case kind >= wire.KindJoin:
		return wire.DecodeJoin(kind, body)
	}
	return wire.DecodeDirect(kind, body)
}

func TestEveryMessageTravels(t *testing.T) {
	var stream bytes.Buffer
	for kind, message := range samples() {
		n, err := wire.Write(&stream, kind, message)
		if err != nil || n != stream.Len() {
			t.Fatalf("%T: %d bytes of %d, %v", message, n, stream.Len(), err)
		}
		got, body, err := wire.Read(&stream, wire.FrameMax)
		if err != nil || got != kind {
			t.Fatalf("%T: kind %d, %v", message, got, err)
		}
		back, err := decode(got, body)
		if err != nil || !reflect.DeepEqual(back, message) {
			t.Errorf("%T: %+v, %v", message, back, err)
		}
	}
}

func TestLimits(t *testing.T) {
	id16 := make([]byte, wire.TrustPrefix)
	backwards := []wire.Range{{From: 5, To: 4}}
	overlapping := []wire.Range{{From: 1, To: 4}, {From: 4, To: 5}}
	zero := []wire.Range{{From: 0, To: 4}}
	many := make([]wire.Range, wire.RangesMax+1)
	for i := range many {
		many[i] = wire.Range{From: uint64(2*i + 1), To: uint64(2*i + 1)}
	}
	for name, x := range map[string]struct {
		kind    byte
		message any
	}{
		"a clock before 1970":    {wire.KindHello, &wire.Hello{Clock: -1}},
		"many versions":          {wire.KindHello, &wire.Hello{Versions: make([]uint8, wire.VersionsMax+1)}},
		"many own chains":        {wire.KindHello, &wire.Hello{Yours: make([]wire.Held, 257)}},
		"half an id":             {wire.KindTrustHave, &wire.TrustHave{IDs: id16[:15]}},
		"many ids":               {wire.KindTrustHave, &wire.TrustHave{IDs: bytes.Repeat(id16, wire.EntriesMax+1)}},
		"a long record":          {wire.KindTrust, &wire.Trust{Records: [][]byte{make([]byte, wire.RecordsMax+1)}}},
		"many records":           {wire.KindTrust, &wire.Trust{Records: make([][]byte, wire.EntriesMax+1)}},
		"many roots":             {wire.KindRoots, &wire.Roots{Scopes: make([]wire.ScopeRoot, 2049)}},
		"many scopes":            {wire.KindChains, &wire.Chains{Scopes: make([]wire.Scope, 2049)}},
		"many chains":            {wire.KindChains, &wire.Chains{Chains: make([]wire.Chain, wire.EntriesMax+1)}},
		"many ranges":            {wire.KindChains, &wire.Chains{Chains: []wire.Chain{{Ranges: many}}}},
		"a backward range":       {wire.KindChains, &wire.Chains{Chains: []wire.Chain{{Ranges: backwards}}}},
		"overlapping ranges":     {wire.KindChains, &wire.Chains{Chains: []wire.Chain{{Ranges: overlapping}}}},
		"a range from 0":         {wire.KindChains, &wire.Chains{Chains: []wire.Chain{{Ranges: zero}}}},
		"many urgent":            {wire.KindChains, &wire.Chains{Chains: []wire.Chain{{Urgent: make([]uint64, wire.UrgentMax+1)}}}},
		"many wants":             {wire.KindWant, &wire.Want{Wants: make([]wire.ChainWant, wire.EntriesMax+1)}},
		"a want of no range":     {wire.KindWant, &wire.Want{Wants: []wire.ChainWant{{Ranges: backwards}}}},
		"no envelopes":           {wire.KindEnvelopes, &wire.Envelopes{Raw: [][]byte{}}},
		"null envelopes":         {wire.KindEnvelopes, &wire.Envelopes{}},
		"many envelopes":         {wire.KindEnvelopes, &wire.Envelopes{Raw: make([][]byte, 1025)}},
		"a long envelope":        {wire.KindEnvelopes, &wire.Envelopes{Raw: [][]byte{make([]byte, crypto.EnvelopeSizeMax+1)}}},
		"a long pushed envelope": {wire.KindPush, &wire.Push{Raw: make([]byte, crypto.EnvelopeSizeMax+1)}},
		"a pull of no range":     {wire.KindPull, &wire.Pull{Ranges: backwards}},
		"a long address":         {wire.KindBook, &wire.Book{Entries: []wire.BookEntry{{Addrs: []string{string(make([]byte, wire.AddressMax+1))}}}}},
		"half an invitation":     {wire.KindJoin, &wire.Join{Invitation: make([]byte, 4), Proof: make([]byte, 32)}},
		"half a proof":           {wire.KindJoin, &wire.Join{Invitation: make([]byte, 8), Proof: make([]byte, 16)}},
		"a long request":         {wire.KindJoin, &wire.Join{Invitation: make([]byte, 8), Proof: make([]byte, 32), Request: make([]byte, wire.JoinRequestMax+1)}},
		"a long challenge":       {wire.KindChallenge, &wire.Challenge{Box: make([]byte, wire.ChallengeMax+1)}},
		"half an answer":         {wire.KindAnswer, &wire.Answer{Content: make([]byte, 16)}},
		"a long part":            {wire.KindAdmission, &wire.Admission{Part: make([]byte, wire.AdmissionPartMax+1)}},
		"a kind that is none":    {31, &wire.Done{}},
		"no kind of joining":     {54, &wire.Kept{}},
		"a receipt of nothing":   {wire.KindReceipt, &wire.Receipt{}},
		"another kind's body":    {wire.KindRoot, &wire.Push{Raw: []byte{1}}},
	} {
		t.Run(name, func(t *testing.T) {
			body, err := canon.Marshal(x.message)
			if err != nil {
				t.Fatal(err)
			}
			if m, err := decode(x.kind, body); err == nil {
				t.Errorf("taken: %+v", m)
			}
		})
	}
}

func TestFrames(t *testing.T) {
	length := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	for name, x := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":     {nil, io.EOF},
		"half a head": {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"empty":       {length(0), wire.ErrFrame},
		"too long":    {length(101), wire.ErrFrame},
		"huge":        {length(1<<32 - 1), wire.ErrFrame},
		"no body":     {length(10), io.ErrUnexpectedEOF},
		"cut":         {append(length(10), 1, 2), io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := wire.Read(bytes.NewReader(x.in), 100); !errors.Is(err, x.want) {
				t.Errorf("%v, want %v", err, x.want)
			}
		})
	}
	if _, err := wire.Write(io.Discard, wire.KindTrust, &wire.Trust{Records: [][]byte{make([]byte, wire.FrameMax)}}); !errors.Is(err, wire.ErrFrame) {
		t.Errorf("a frame beyond the limit is written: %v", err)
	}
}

// What is taken has one encoding: the one it came in.
func FuzzDecode(f *testing.F) {
	for kind, message := range samples() {
		body, err := canon.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, body)
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		message, err := decode(kind, body)
		if err != nil {
			return
		}
		again, err := canon.Marshal(message)
		if err != nil || !bytes.Equal(again, body) {
			t.Errorf("%T from %x encodes to %x, %v", message, body, again, err)
		}
	})
}

// Whatever comes, Read neither panics nor takes more than its limit.
func FuzzRead(f *testing.F) {
	var good bytes.Buffer
	if _, err := wire.Write(&good, wire.KindDone, &wire.Done{}); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 64
		kind, body, err := wire.Read(bytes.NewReader(in), limit)
		if err == nil && (len(body)+1 > limit || !bytes.HasPrefix(in[4:], append([]byte{kind}, body...))) {
			t.Errorf("%d bytes of kind %d from %x", len(body), kind, in)
		}
	})
}

func FuzzReadChunk(f *testing.F) {
	f.Add(wire.AppendChunk(nil, 1))
	f.Add(wire.AppendTaken(nil, wire.ChunkMax))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		chunk, taken, err := wire.ReadChunk(bytes.NewReader(in))
		switch {
		case err != nil:
		case (chunk == 0) == (taken == 0) || chunk < 0 || taken < 0 || chunk > wire.ChunkMax:
			t.Errorf("chunk %d, taken %d from %x", chunk, taken, in)
		}
	})
}
