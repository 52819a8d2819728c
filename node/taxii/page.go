package taxii

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// Limits of a page.
const (
	// PageBytesMax ends a page early, with more to come: the bytes of its objects. One
	// object that is larger comes alone.
	PageBytesMax = 16 << 20

	pooledBytesMax = 4 << 20 // a larger buffer is not kept for the next page
)

// Headers of a page: the added stamps of its first and last object. An empty page has
// neither (OpenCTI#6973).
const (
	DateFirst = "X-TAXII-Date-Added-First"
	DateLast  = "X-TAXII-Date-Added-Last"
)

// A page is made in memory, for the headers before it say how it ends, and so that what
// fails midway is still told as an error.
type page struct {
	bytes.Buffer
	objects     int
	first, last int64
	more        bool
}

var pages = sync.Pool{New: func() any { return new(page) }}

func newPage() *page {
	p := pages.Get().(*page)
	p.Reset()
	p.objects, p.first, p.last, p.more = 0, 0, 0, false
	return p
}

func (p *page) free() {
	if p.Cap() <= pooledBytesMax {
		pages.Put(p)
	}
}

// fill goes once through what the shelf has, up to one object more than fits.
func (p *page) fill(x *exchange, at endpoint, collection string, r *request) error {
	p.last = r.After
	for o, err := range x.root.Shelf.Objects(x.r.Context(), x.who, collection, &r.Query) {
		if err != nil {
			return err
		}
		if o.Added <= p.last { // a client would lose objects, or never come to an end
			return fmt.Errorf("%s in the collection %s was added at %d µs, not after %d µs", o.ID, collection, o.Added, p.last)
		}
		if p.objects == r.limit || p.objects > 0 && p.Len()+len(o.JSON) > PageBytesMax {
			p.more = true
			return nil
		}
		p.put(at, &o)
	}
	return nil
}

func (p *page) put(at endpoint, o *Object) {
	switch {
	case p.objects > 0:
		p.WriteString(",\n")
	case at == ofVersions:
		p.WriteString(`{"versions":[`)
	default:
		p.WriteString(`{"objects":[`)
	}
	switch at {
	case ofVersions:
		p.text(o.Version)
	case ofManifest:
		p.WriteString(`{"id":`)
		p.text(o.ID)
		p.WriteString(`,"date_added":"` + stampText(o.Added) + `","version":`)
		p.text(o.Version)
		p.WriteString(`,"media_type":`)
		p.text(stixMediaType(o.spec()))
		p.WriteByte('}')
	default:
		p.Write(o.JSON)
	}
	if p.objects++; p.objects == 1 {
		p.first = o.Added
	}
	p.last = o.Added
}

func (p *page) text(s string) {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string has a form
	}
	p.Write(quoted)
}

// send answers with the page. A manifest and versions have next as well, which the
// specification does not ask for: taxii2client goes on by it alone.
func (p *page) send(w http.ResponseWriter, at *place) {
	if p.objects == 0 {
		send(w, http.StatusOK, []byte(`{}`))
		return
	}
	p.WriteByte(']')
	if p.more {
		p.WriteString(`,"more":true,"next":"` + at.next(p.last) + `"`)
	}
	p.WriteByte('}')
	w.Header().Set(DateFirst, stampText(p.first))
	w.Header().Set(DateLast, stampText(p.last))
	send(w, http.StatusOK, p.Bytes())
}
