// Package canon encodes and decodes deterministic CBOR (RFC 8949 §4.2.1, core
// deterministic encoding) with hard limits. Everything Watchward signs, hashes
// or stores passes through here, so one value has exactly one encoding.
//
// Both functions are safe for concurrent use.
package canon

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// Limits of every decoded value. A value beyond one of them is refused before
// memory is spent on it.
const (
	DepthMax  = 8      // nesting of arrays and maps
	LengthMax = 16_384 // elements of one array, pairs of one map
)

// ErrNotCanonical says that the bytes are well-formed CBOR of the right shape,
// but not the one deterministic encoding of the value they carry.
var ErrNotCanonical = errors.New("not deterministic CBOR")

// Raw is one encoded CBOR value that is kept as the bytes it arrived in.
type Raw = cbor.RawMessage

type modes struct {
	enc  cbor.EncMode
	dec  cbor.DecMode // unknown fields are errors
	open cbor.DecMode // unknown fields are skipped
}

// The modes are immutable once built; building them cannot fail for constant
// options, which the package's own tests show.
var shared = sync.OnceValue(func() modes {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	options := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   DepthMax,
		MaxArrayElements:  LengthMax,
		MaxMapPairs:       LengthMax,
		UTF8:              cbor.UTF8RejectInvalid,
		IntDec:            cbor.IntDecConvertNone,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}
	open, err := options.DecMode()
	if err != nil {
		panic(err)
	}
	options.ExtraReturnErrors = cbor.ExtraDecErrorUnknownField
	dec, err := options.DecMode()
	if err != nil {
		panic(err)
	}
	return modes{enc: enc, dec: dec, open: open}
})

// Marshal returns the deterministic encoding of v.
func Marshal(v any) ([]byte, error) { return shared().enc.Marshal(v) }

// Unmarshal decodes data into v, which must be a non-nil pointer. It refuses
// trailing bytes, unknown fields, duplicate keys, tags, indefinite lengths,
// invalid UTF-8, values beyond the limits, and, with ErrNotCanonical, any
// encoding that Marshal(v) would not have produced.
func Unmarshal(data []byte, v any) error {
	if err := shared().dec.Unmarshal(data, v); err != nil {
		return err
	}
	return same(data, v)
}

// UnmarshalFirst decodes the first value of data like Unmarshal and returns
// the bytes after it.
func UnmarshalFirst(data []byte, v any) (rest []byte, err error) {
	rest, err = shared().dec.UnmarshalFirst(data, v)
	if err != nil {
		return nil, err
	}
	return rest, same(data[:len(data)-len(rest)], v)
}

// UnmarshalOpen decodes data into v and skips map keys that v does not know.
// The whole of data must still be deterministic CBOR within the limits: it is
// for formats whose later versions may add keys that this one ignores.
func UnmarshalOpen(data []byte, v any) error {
	if err := shared().open.Unmarshal(data, v); err != nil {
		return err
	}
	if same(data, v) == nil { // nothing unknown in it: the common case
		return nil
	}
	var generic any
	if err := shared().open.Unmarshal(data, &generic); err != nil {
		return err
	}
	return same(data, generic)
}

// same reports whether v encodes to exactly data.
func same(data []byte, v any) error {
	again, err := Marshal(v)
	if err != nil {
		return fmt.Errorf("encode again: %w", err)
	}
	if !bytes.Equal(data, again) {
		return ErrNotCanonical
	}
	return nil
}
