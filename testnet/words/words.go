// Package words says many words at once for a member whose node does not run: each in
// an envelope of its own, where a node would sign hundreds in one. So a ledger grows
// that is as long as that of years.
package words

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/bundle"
	"github.com/watchward/watchward/node/notice"
)

// Max is the largest number of words of one call.
const Max = 1_000_000

const lifetime = 90 * 24 * time.Hour

// Write signs count GREEN sightings, 1 to Max, with the keys of the node in dir, and
// writes them as a bundle for import. The node must have said nothing yet, for they
// begin its chain.
func Write(dir string, count int, out io.Writer) error {
	if count < 1 || count > Max {
		return fmt.Errorf("%d words: choose 1 to %d", count, Max)
	}
	id, err := keyfile.Load(filepath.Join(dir, "identity.key"))
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "admission.ww"))
	if err != nil {
		return err
	}
	admission, roster, err := node.ParseAdmission(raw)
	if err != nil {
		return err
	}
	own, ok := roster.ByKey(id.Signing.Public().Bytes())
	if !ok {
		return fmt.Errorf("%s: the admission names another key than identity.key holds", dir)
	}
	now := time.Now()
	b, err := bundle.NewWriter(out, bundle.Header{
		Region: roster.Region(), Name: "words", Created: now.UnixMilli(), Part: 1, Audience: crypto.AudienceCommunity}, nil)
	if err != nil {
		return err
	}
	for _, record := range admission.Records {
		err = errors.Join(err, b.Record(record))
	}
	if err != nil {
		return err
	}
	h := crypto.Header{
		Region: roster.Region(), Author: own.Member, Serial: own.Serial, Audience: crypto.AudienceCommunity,
		Epoch: 1, Floor: 1, Time: now.UnixMilli(), Expiry: now.Add(lifetime).UnixMilli(), TLP: uint8(notice.TLPGreen),
	}
	for k := range count {
		h.Seq++
		item, err := sighting(k, now)
		if err != nil {
			return err
		}
		e, err := crypto.NewEnvelope(h, [][]byte{item}, id.Signing)
		if err != nil {
			return err
		}
		h.Prev = e.ID
		if err := b.Envelope(e.Raw); err != nil {
			return err
		}
	}
	return b.Close(false)
}

func sighting(k int, at time.Time) ([]byte, error) {
	n := &notice.Notice{
		Kind: notice.KindSighting, Created: at.UnixMilli(), FirstSeen: at.UnixMilli(), LastSeen: at.UnixMilli(), Count: 1,
		Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("word-%06d.evil.example", k)},
	}
	_, _ = rand.Read(n.Salt[:])
	return notice.Encode(n)
}
