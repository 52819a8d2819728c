package notice

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto/canon"
)

// A Field is one key of the encoded item: all that a notice can say, and so all
// that can leave a node in one.
type Field struct {
	Key  string // 5; 11.1 inside the map under key 11
	Name string // as the API calls it
	Says string // what it tells whoever receives it
}

// said is what each field tells. A key of wire that is not in it fails a test:
// nothing leaves that nobody has written down.
var said = map[string]Field{
	"1":    {Name: "kind", Says: "which kind of notice it is"},
	"2":    {Name: "salt", Says: "16 random bytes, drawn for each notice: without them its hash could be guessed after it is erased"},
	"3":    {Name: "created", Says: "when it was stated, by this node's clock"},
	"4":    {Name: "indicator.type", Says: "the type of the value"},
	"5":    {Name: "indicator.value", Says: "the value in its canonical form: users' names in paths and what stands before the @ of a URL's host are taken out"},
	"6":    {Name: "ref", Says: "the id of the notice it speaks of"},
	"7":    {Name: "first_seen", Says: "when the value was seen first"},
	"8":    {Name: "last_seen", Says: "when the value was seen last"},
	"9":    {Name: "count", Says: "how often it was seen"},
	"10":   {Name: "valid_until", Says: "until when it should count"},
	"11":   {Name: "context", Says: "what the value belongs to, if that was given"},
	"11.1": {Name: "context.family", Says: "the malware family"},
	"11.2": {Name: "context.tool", Says: "the attacker's tool"},
	"11.3": {Name: "context.technique", Says: "the ATT&CK technique"},
	"11.4": {Name: "context.cve", Says: "the vulnerability"},
	"12":   {Name: "origin", Says: "where an imported notice comes from"},
	"12.1": {Name: "origin.source", Says: "who said it first"},
	"12.2": {Name: "origin.id", Says: "the source's own id of it"},
	"12.3": {Name: "origin.tlp", Says: "the source's marking"},
	"13":   {Name: "reason", Says: "why it is retracted or disputed, as it was written"},
}

// Fields returns every field of an item in the order of the keys. One that was
// forgotten in said has no name.
func Fields() []Field {
	var out []Field
	walk("", reflect.ValueOf(wire{Context: &wireContext{}, Origin: &wireOrigin{}}), func(key string, _ reflect.Value) {
		f := said[key]
		f.Key = key
		out = append(out, f)
	})
	return out
}

// Content is a field of one item with what it says there.
type Content struct {
	Field
	Value string // numbers with their meaning, times in RFC 3339, bytes in hexadecimal
}

// Contents returns what an encoded item of this version says: every key that is
// in it, and nothing else.
func Contents(item []byte) ([]Content, error) {
	var w wire
	if err := canon.Unmarshal(item, &w); err != nil {
		return nil, fmt.Errorf("decode item: %w", err)
	}
	var out []Content
	walk("", reflect.ValueOf(w), func(key string, v reflect.Value) {
		f := said[key]
		f.Key = key
		if v.Kind() != reflect.Struct && !v.IsZero() {
			out = append(out, Content{f, text(key, v)})
		}
	})
	return out, nil
}

// walk calls visit for each field of an encoded struct with its key, and for
// those inside it.
func walk(prefix string, v reflect.Value, visit func(key string, v reflect.Value)) {
	for i := range v.NumField() {
		number, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("cbor"), ",")
		key, field := prefix+number, v.Field(i)
		if field.Kind() != reflect.Pointer {
			visit(key, field)
		} else if !field.IsNil() {
			visit(key, field.Elem())
			walk(key+".", field.Elem(), visit)
		}
	}
}

// text writes a value so that a person can check it and a program find it.
func text(key string, v reflect.Value) string {
	switch key {
	case "1":
		return fmt.Sprintf("%d (%s)", v.Uint(), Kind(v.Uint()))
	case "4":
		return fmt.Sprintf("%d (%s)", v.Uint(), Type(v.Uint()))
	case "12.3":
		return fmt.Sprintf("%d (%s)", v.Uint(), TLP(v.Uint()))
	}
	switch v.Kind() {
	case reflect.Int64: // all of them are times
		return time.UnixMilli(v.Int()).UTC().Format("2006-01-02T15:04:05.000Z")
	case reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Slice:
		return hex.EncodeToString(v.Bytes())
	}
	return v.String()
}
