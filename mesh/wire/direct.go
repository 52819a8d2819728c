package wire

import (
	"fmt"

	"github.com/watchward/watchward/crypto"
)

// The messages of a direct stream. Push, Announce and Book stand alone; Pull is
// answered on the same stream with Push messages and the stream's end.
const (
	KindPush     = 32
	KindAnnounce = 33
	KindPull     = 34
	KindBook     = 35
	KindShow     = 36

	bookMax      = 256 // members of one Book
	bookAddrsMax = 8   // addresses of one member
	showMax      = 8   // trust records of one Show: a charter and a credential, and more while it changes
)

// Push carries one envelope.
type Push struct {
	Raw []byte `cbor:"1,keyasint"`
}

func (m *Push) check() error {
	return atMost("bytes of an envelope", len(m.Raw), crypto.EnvelopeSizeMax)
}

// Announce says that the sender holds an envelope which it does not send
// unasked: it is large, or the link is slow.
type Announce struct {
	Chain  crypto.ChainID    `cbor:"1,keyasint"`
	Seq    uint64            `cbor:"2,keyasint"`
	ID     crypto.EnvelopeID `cbor:"3,keyasint"`
	Urgent bool              `cbor:"4,keyasint"`
}

func (m *Announce) check() error { return nil }

// Pull asks for envelopes of one chain.
type Pull struct {
	Chain  crypto.ChainID `cbor:"1,keyasint"`
	Ranges []Range        `cbor:"2,keyasint"`
}

func (m *Pull) check() error { return checkRanges(m.Ranges) }

// Book tells where members can be dialled.
type Book struct {
	Entries []BookEntry `cbor:"1,keyasint"`
}

// BookEntry is one member's addresses, as multiaddresses without the peer id.
type BookEntry struct {
	Peer  []byte   `cbor:"1,keyasint"`
	Addrs []string `cbor:"2,keyasint"`
}

func (m *Book) check() error {
	for _, e := range m.Entries {
		if err := atMost("bytes of a peer id", len(e.Peer), PeerMax); err != nil {
			return err
		}
		if err := atMost("addresses", len(e.Addrs), bookAddrsMax); err != nil {
			return err
		}
		for _, a := range e.Addrs {
			if err := atMost("bytes of an address", len(a), AddressMax); err != nil {
				return err
			}
		}
	}
	return atMost("members", len(m.Entries), bookMax)
}

// Show is how a peer that is not known yet shows who it is: the trust records
// that prove its credential.
type Show struct {
	Records [][]byte `cbor:"1,keyasint"`
}

func (m *Show) check() error {
	for _, r := range m.Records {
		if err := atMost("bytes of a record", len(r), RecordsMax); err != nil {
			return err
		}
	}
	return atMost("records", len(m.Records), showMax)
}

// DecodeDirect reads a message of a direct or hello stream.
func DecodeDirect(kind byte, body []byte) (any, error) {
	switch kind {
	case KindPush:
		return decode(body, &Push{})
	case KindAnnounce:
		return decode(body, &Announce{})
	case KindPull:
		return decode(body, &Pull{})
	case KindBook:
		return decode(body, &Book{})
	case KindShow:
		return decode(body, &Show{})
	case KindReceipt:
		return decode(body, &Receipt{})
	}
	return nil, fmt.Errorf("direct message of unknown kind %d", kind)
}
