package document_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/watchward/watchward/node/document"
)

func TestEveryMessageTravels(t *testing.T) {
	for _, message := range document.Samples() {
		var stream bytes.Buffer
		if err := document.Send(&stream, message); err != nil {
			t.Fatal(err)
		}
		if back, err := document.Receive(&stream, document.AnswerMax); err != nil || !reflect.DeepEqual(back, message) {
			t.Errorf("%T: %+v, %v", message, back, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, message := range map[string]any{
		"nothing is sought":     &document.Seek{},
		"80 MB":                 &document.Seek{Size: 80_000_000},
		"no list":               &document.List{},
		"half a hash":           &document.List{Hashes: make([]byte, 48)},
		"a long list":           &document.List{Hashes: make([]byte, 129*32)},
		"long holdings":         &document.Have{Chunks: make([]byte, 17)},
		"nothing is wanted":     &document.Want{},
		"much is wanted":        &document.Want{Chunks: make([]byte, 5)},
		"an empty chunk":        &document.Chunk{},
		"a long chunk":          &document.Chunk{Data: make([]byte, document.ChunkSize+1)},
		"another kind's fields": &struct{}{},
	} {
		t.Run(name, func(t *testing.T) {
			var stream bytes.Buffer
			if err := document.Send(&stream, message); err != nil {
				t.Fatal(err)
			}
			if m, err := document.Receive(&stream, document.AnswerMax); err == nil {
				t.Errorf("taken: %+v", m)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for kind, message := range document.Samples() {
		var stream bytes.Buffer
		if err := document.Send(&stream, message); err != nil {
			f.Fatal(err)
		}
		f.Add(kind, stream.Bytes()[5:])
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		message, err := document.Decode(kind, body)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := document.Send(&again, message); err != nil || !bytes.Equal(again.Bytes()[5:], body) {
			t.Errorf("%T from %x encodes to %x, %v", message, body, again.Bytes(), err)
		}
	})
}
