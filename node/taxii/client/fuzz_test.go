package client_test

import (
	"encoding/json"
	"testing"

	"github.com/watchward/watchward/node/taxii/client"
)

// FuzzEnvelope: whatever a server answers, nothing panics, what is taken is in bounds and
// valid, and a page that is written again from it is the same page.
func FuzzEnvelope(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"more":true,"next":"a"}`, `{"objects":null,"more":null,"next":null}`, envelope(`,"more":false`, 1, 2), `{"objects":[1,{"id":"a--1","type":"a"}]}`,
		`{"objects":[` + deep(70) + `]}`, `{"message":1}`, `[]`, `{"objects":[{"id":"a--\ud800","type":"a","x":"\"{["}]}`, "\xef\xbb\xbf{}", html,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		objects, refusals, err := client.ReadEnvelope(body)
		if err != nil {
			return
		}
		for _, o := range objects {
			if !json.Valid(o) || o[0] != '{' || len(o) > client.ObjectBytesMax || client.Depth(o) > client.DepthMax {
				t.Fatalf("it took %s", o)
			}
		}
		if len(objects)+refusals > client.ObjectsMax || len(objects)+refusals > len(body) {
			t.Fatalf("%d objects", len(objects)+refusals)
		}
		again, err := json.Marshal(map[string]any{"objects": objects})
		if err != nil {
			t.Fatal(err)
		}
		same, refusals, err := client.ReadEnvelope(again)
		if err != nil || len(same) != len(objects) || refusals != 0 {
			t.Fatalf("written again it has %d objects and not %d, %d refusals, %v", len(same), len(objects), refusals, err)
		}
	})
}
