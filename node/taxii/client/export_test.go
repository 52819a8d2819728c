package client

import "github.com/watchward/watchward/node/intel/jsonscan"

import "encoding/json"

// ReadEnvelope lets fuzzing get at the decoder.
func ReadEnvelope(body []byte) (objects []json.RawMessage, refusals int, err error) {
	e, err := readEnvelope(body)
	if err != nil {
		return nil, 0, err
	}
	return e.objects, e.refusals, nil
}

func Depth(raw []byte) int { return jsonscan.Depth(raw) }
