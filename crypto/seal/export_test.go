package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
)

// Rebuild returns a small box with the stanza at index replaced by one that
// wraps the same key, and the rest made anew for it.
func Rebuild(t testing.TB, l Label, box []byte, index int, stanza, key []byte) []byte {
	t.Helper()
	count := int(binary.BigEndian.Uint16(box[1:]))
	head := bytes.Clone(box[:headSize+count*stanzaSize])
	copy(head[headSize+index*stanzaSize:], stanza)
	_, before, err := contentKeys(l.context(), key, sha256.Sum256(box[:len(head)]))
	if err != nil {
		t.Fatal(err)
	}
	n := nonce(0, true)
	chunk := box[len(head)+macSize:]
	content, err := before.Open(nil, n[:], chunk[lengthSize:], nil)
	if err != nil {
		t.Fatal(err)
	}
	mac, after, err := contentKeys(l.context(), key, sha256.Sum256(head))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(head, mac, chunk[:lengthSize], after.Seal(nil, n[:], content, nil))
}

// Flush ends a piece where Write would not.
func Flush(w *Writer) { w.flush(false) }
