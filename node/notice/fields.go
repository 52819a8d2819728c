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
	"1":      {Name: "kind", Says: "which kind of notice it is"},
	"2":      {Name: "salt", Says: "16 random bytes, drawn for each notice: without them its hash could be guessed after it is erased"},
	"3":      {Name: "created", Says: "when it was stated, by this node's clock"},
	"4":      {Name: "indicator.type", Says: "the type of the value"},
	"5":      {Name: "indicator.value", Says: "the value in its canonical form: users' names in paths and what stands before the @ of a URL's host are taken out"},
	"6":      {Name: "ref", Says: "the id of the notice it speaks of"},
	"7":      {Name: "first_seen", Says: "when the value was seen first"},
	"8":      {Name: "last_seen", Says: "when the value was seen last"},
	"9":      {Name: "count", Says: "how often it was seen"},
	"10":     {Name: "valid_until", Says: "until when it should count"},
	"11":     {Name: "context", Says: "what the value belongs to, if that was given"},
	"11.1":   {Name: "context.family", Says: "the malware family"},
	"11.2":   {Name: "context.tool", Says: "the attacker's tool"},
	"11.3":   {Name: "context.technique", Says: "the ATT&CK technique"},
	"11.4":   {Name: "context.cve", Says: "the vulnerability"},
	"12":     {Name: "origin", Says: "where an imported notice comes from"},
	"12.1":   {Name: "origin.source", Says: "who said it first"},
	"12.2":   {Name: "origin.id", Says: "the source's own id of it"},
	"12.3":   {Name: "origin.tlp", Says: "the source's marking"},
	"13":     {Name: "reason", Says: "why it is retracted or disputed, as it was written"},
	"14":     {Name: "question", Says: "what is asked beside the value"},
	"14.1":   {Name: "question.text", Says: "the question, as it was written"},
	"15":     {Name: "profile", Says: "what this hospital says of itself"},
	"15.1":   {Name: "profile.name", Says: "its name"},
	"15.2":   {Name: "profile.contact", Says: "how to reach somebody there at any hour"},
	"15.3":   {Name: "profile.departments", Says: "its departments"},
	"15.4":   {Name: "profile.suppliers", Says: "the suppliers it names"},
	"15.5":   {Name: "profile.city", Says: "its city"},
	"15.6":   {Name: "profile.country", Says: "its country"},
	"16":     {Name: "mayday", Says: "that this hospital is under attack"},
	"16.1":   {Name: "mayday.text", Says: "the call, as it was written"},
	"17":     {Name: "service", Says: "how a department works"},
	"17.1":   {Name: "service.department", Says: "which department, or all"},
	"17.2":   {Name: "service.state", Says: "whether it is open, diverted or closed"},
	"17.3":   {Name: "service.until", Says: "until when that is expected to last"},
	"17.4":   {Name: "service.text", Says: "more about it, as it was written"},
	"18":     {Name: "assistance", Says: "help that is asked for, offered, taken, confirmed or no longer open"},
	"18.1":   {Name: "assistance.act", Says: "which of these it is"},
	"18.2":   {Name: "assistance.what", Says: "what is needed or offered, as it was written"},
	"18.3":   {Name: "assistance.quantity", Says: "how many of it"},
	"18.4":   {Name: "assistance.unit", Says: "of what unit"},
	"18.5":   {Name: "assistance.until", Says: "until when it is needed or offered"},
	"19":     {Name: "link", Says: "a connection to a supplier"},
	"19.1":   {Name: "link.supplier", Says: "the supplier"},
	"19.2":   {Name: "link.link", Says: "which connection to it"},
	"19.3":   {Name: "link.direction", Says: "which way, seen from this hospital"},
	"19.4":   {Name: "link.state", Says: "whether it was cut or restored"},
	"19.5":   {Name: "link.at", Says: "when that was"},
	"19.6":   {Name: "link.reason", Says: "why, as it was written"},
	"19.7":   {Name: "link.criteria", Says: "what must hold before it is connected again"},
	"19.8":   {Name: "link.attested_by", Says: "who vouches for that"},
	"20":     {Name: "advisory", Says: "what to do, or to look for"},
	"20.1":   {Name: "advisory.type", Says: "whether it is guidance, a playbook, about a compromised supplier, or a hunt"},
	"20.2":   {Name: "advisory.title", Says: "its title, as it was written"},
	"20.3":   {Name: "advisory.text", Says: "its text, as it was written"},
	"20.4":   {Name: "advisory.suppliers", Says: "the suppliers it is about"},
	"20.5":   {Name: "advisory.products", Says: "the products it is about"},
	"20.6":   {Name: "advisory.cves", Says: "the vulnerabilities it is about"},
	"20.7":   {Name: "advisory.due", Says: "until when it should be done"},
	"20.8":   {Name: "advisory.documents", Says: "the documents that belong to it; their content is fetched from those who have it"},
	"20.8.1": {Name: "advisory.documents.sha256", Says: "the SHA-256 of the document"},
	"20.8.2": {Name: "advisory.documents.chunks", Says: "the SHA-256 of the list of its chunks' hashes, by which a part of it is checked"},
	"20.8.3": {Name: "advisory.documents.size", Says: "its size in bytes"},
	"20.8.4": {Name: "advisory.documents.name", Says: "the name of its file, without the path"},
	"20.8.5": {Name: "advisory.documents.media_type", Says: "its media type"},
	"21":     {Name: "response", Says: "an answer to the notice it speaks of"},
	"21.1":   {Name: "response.answer", Says: "the answer: seen, not-seen or unknown; to an advisory seen, done, na or help"},
}

// Fields returns every field of an item in the order of the keys. One that was
// forgotten in said has no name.
func Fields() []Field {
	var out []Field
	walk("", reflect.ValueOf(wire{Context: &wireContext{}, Origin: &wireOrigin{}, wireParts: wireParts{
		&wireQuestion{}, &wireProfile{}, &wireMayday{}, &wireService{}, &wireAssistance{}, &wireLink{}, &wireAdvisory{Documents: []wireDocument{{}}}, &wireResponse{},
	}}), func(key string, _ reflect.Value) {
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
		if v.Kind() != reflect.Struct && !v.IsZero() && !isDocuments(v) {
			out = append(out, Content{f, text(key, v)})
		}
	})
	return out, nil
}

// walk calls visit for each field of an encoded struct with its key, and for
// those inside it.
func walk(prefix string, v reflect.Value, visit func(key string, v reflect.Value)) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			walk(prefix, v.Field(i), visit)
			continue
		}
		number, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("cbor"), ",")
		key, field := prefix+number, v.Field(i)
		if isDocuments(field) {
			visit(key, field)
			for i := range field.Len() {
				walk(key+".", field.Index(i), visit)
			}
		} else if field.Kind() != reflect.Pointer {
			visit(key, field)
		} else if !field.IsNil() {
			visit(key, field.Elem())
			walk(key+".", field.Elem(), visit)
		}
	}
}

// isDocuments tells the list whose elements have fields of their own.
func isDocuments(v reflect.Value) bool { return v.Type() == reflect.TypeFor[[]wireDocument]() }

// text writes a value so that a person can check it and a program find it.
func text(key string, v reflect.Value) string {
	switch key {
	case "1":
		return fmt.Sprintf("%d (%s)", v.Uint(), Kind(v.Uint()))
	case "4":
		return fmt.Sprintf("%d (%s)", v.Uint(), Type(v.Uint()))
	case "12.3":
		return fmt.Sprintf("%d (%s)", v.Uint(), TLP(v.Uint()))
	case "17.2":
		return fmt.Sprintf("%d (%s)", v.Uint(), ServiceState(v.Uint()))
	case "18.1":
		return fmt.Sprintf("%d (%s)", v.Uint(), Act(v.Uint()))
	case "19.3":
		return fmt.Sprintf("%d (%s)", v.Uint(), Direction(v.Uint()))
	case "19.4":
		return fmt.Sprintf("%d (%s)", v.Uint(), LinkState(v.Uint()))
	case "20.1":
		return fmt.Sprintf("%d (%s)", v.Uint(), Advice(v.Uint()))
	case "21.1":
		return fmt.Sprintf("%d (%s)", v.Uint(), Answer(v.Uint()))
	}
	switch v.Kind() {
	case reflect.Int64: // all of them are times
		return time.UnixMilli(v.Int()).UTC().Format("2006-01-02T15:04:05.000Z")
	case reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Slice:
		if lines, ok := v.Interface().([]string); ok {
			return strings.Join(lines, "; ")
		}
		return hex.EncodeToString(v.Bytes())
	}
	return strings.ReplaceAll(v.String(), "\n", "⏎") // of an advisory's text
}
