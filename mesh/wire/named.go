package wire

import (
	"fmt"

	"github.com/watchward/watchward/crypto"
)

// The messages of a named stream: each Push is answered with a Receipt.
const KindReceipt = 40

// What became of a sealed envelope at its recipient.
const (
	ReceiptTaken   = 1 // durable there, now or since an earlier time
	ReceiptLater   = 2 // not now: it is to be brought again
	ReceiptRefused = 3 // it is never taken
)

// Receipt answers a Push of a sealed envelope.
type Receipt struct {
	ID     crypto.EnvelopeID `cbor:"1,keyasint"`
	Result uint8             `cbor:"2,keyasint"`
}

func (m *Receipt) check() error {
	if m.Result < ReceiptTaken || m.Result > ReceiptRefused {
		return fmt.Errorf("receipt of unknown result %d", m.Result)
	}
	return nil
}
