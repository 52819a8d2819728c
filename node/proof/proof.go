// Package proof is one notice in a file that proves itself: to check it takes no
// node, no network and no trust in whoever kept or carried it, only the name of the
// author's region.
//
// A file is Magic and one value in deterministic CBOR:
//
//	{1 trust records, 2 header, 3 signature, 4 item, 5 index, 6 path?, 7 links?, 8 receipt?}
//
// The records lead from the region's name to the author's key: the region's
// charters, whose first has the name as its hash; the author's credential under
// the signatures of coordinators; and what is proven against the author. Header and
// signature are those of the envelope in which the author signed the notice: they
// hold region, author, time and marking, the number of items and the root of their
// tree. Index and path (RFC 6962 §2.1.1) prove that the item is in that tree. Links
// are there if the author's key was revoked: the headers of the envelopes that follow
// in its chain, up to the one at which the coordinators cut it. Each names the hash of
// the one before, so they need no signature: who has the key cannot put a word in. The
// receipt, if there is one, proves that the envelope is in the region's ledger: its
// entry, that entry's index and path to the root, and a checkpoint under the signatures
// of the ledger's voters and witnesses, whose credentials are among the records.
//
// The package is pure: it reads no file, no clock and no network.
package proof

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/verify"
)

// What begins a file. The digit is the version of the format: who reads only 0 says of
// a file with a receipt that a newer version wrote it, not that it is damaged.
const (
	Magic        = magicPrefix + "0\n" // without a receipt
	MagicReceipt = magicPrefix + "1\n" // with one
	magicPrefix  = "watchward-proof/"
)

// Limits of a file. A charter of seven coordinators has 38 KB and a credential under
// their signatures 29 KB, so a chain of some dozens fits beside the author, five voters
// and three witnesses.
const (
	SizeMax    = 4 << 20 // bytes of the whole file
	RecordsMax = 256     // trust records
	LinksMax   = 8192    // headers between the notice's and the cut
	pathMax    = 10      // hashes from an item of crypto.ItemsMax to the root
)

// What a file is instead of a proof that this package reads.
var (
	ErrNoProof = errors.New("this is no proof of a notice: give a file that watchward show ID --out wrote")
	ErrVersion = errors.New("this proof has a version that this watchward does not know: update it")
)

// A File is a notice with what proves it. Nothing in one from Parse is verified.
type File struct {
	Records  [][]byte         // trust records of the author's region
	Envelope *crypto.Envelope // without its items
	Item     []byte
	Index    int             // of the item in its envelope, from 0
	Path     []crypto.Hash   // from the item to the root, 32 bytes each
	Links    [][]byte        // headers of the envelopes that follow, up to the author's cut
	Receipt  *verify.Receipt // that the envelope is in the region's ledger; nil without one
}

type wireFile struct {
	Records   [][]byte        `cbor:"1,keyasint"`
	Header    []byte          `cbor:"2,keyasint"`
	Signature []byte          `cbor:"3,keyasint"`
	Item      []byte          `cbor:"4,keyasint"`
	Index     uint16          `cbor:"5,keyasint"`
	Path      []crypto.Hash   `cbor:"6,keyasint,omitempty"`
	Links     [][]byte        `cbor:"7,keyasint,omitempty"`
	Receipt   *verify.Receipt `cbor:"8,keyasint,omitempty"`
}

// New takes one item out of an envelope that holds its items. The records are those
// that Roster.Proof returns for its author.
func New(e *crypto.Envelope, index int, records [][]byte) (*File, error) {
	item, path, err := e.Prove(index)
	if err != nil {
		return nil, fmt.Errorf("prove item %d: %w", index, err)
	}
	bare, err := crypto.ParseEnvelope(e.Bare())
	if err != nil {
		return nil, err
	}
	return &File{Records: records, Envelope: bare, Item: item, Index: index, Path: path}, nil
}

// Encode returns the file's bytes.
func (f *File) Encode() ([]byte, error) {
	body, err := canon.Marshal(wireFile{
		Records: f.Records, Header: f.Envelope.Signed, Signature: f.Envelope.Signature,
		Item: f.Item, Index: uint16(f.Index), Path: f.Path, Links: f.Links, Receipt: f.Receipt,
	})
	if err != nil {
		return nil, fmt.Errorf("encode proof: %w", err)
	}
	magic := Magic
	if f.Receipt != nil {
		magic = MagicReceipt
	}
	raw := append([]byte(magic), body...)
	if _, err := Parse(raw); err != nil { // what cannot be read back must not be handed out
		return nil, err
	}
	return raw, nil
}

// Parse reads a file and checks its limits and its form, but nothing of what it says.
// The result keeps raw.
func Parse(raw []byte) (*File, error) {
	body, plain := bytes.CutPrefix(raw, []byte(Magic))
	if !plain {
		body, _ = bytes.CutPrefix(raw, []byte(MagicReceipt))
	}
	if len(body) == len(raw) {
		if bytes.HasPrefix(raw, []byte(magicPrefix)) {
			return nil, ErrVersion
		}
		return nil, ErrNoProof
	}
	if len(raw) > SizeMax {
		return nil, fmt.Errorf("the proof has more than %d bytes", SizeMax)
	}
	var w wireFile
	if err := canon.Unmarshal(body, &w); err != nil {
		return nil, fmt.Errorf("the proof is damaged: %w", err)
	}
	switch {
	case (w.Receipt == nil) != plain:
		return nil, errors.New("the proof is damaged: it begins as one with a receipt of the ledger and has none, or the other way round")
	case len(w.Records) > RecordsMax:
		return nil, fmt.Errorf("the proof is damaged: %d trust records, at most %d", len(w.Records), RecordsMax)
	case len(w.Path) > pathMax:
		return nil, fmt.Errorf("the proof is damaged: a path of %d hashes, at most %d", len(w.Path), pathMax)
	case len(w.Links) > LinksMax:
		return nil, fmt.Errorf("the proof is damaged: %d links, at most %d", len(w.Links), LinksMax)
	case len(w.Signature) != crypto.SignatureSize:
		return nil, fmt.Errorf("the proof is damaged: a signature of %d bytes, want %d", len(w.Signature), crypto.SignatureSize)
	}
	if w.Receipt != nil {
		if err := w.Receipt.Valid(); err != nil {
			return nil, fmt.Errorf("the proof is damaged: %w", err)
		}
	}
	e, err := crypto.ParseEnvelope(slices.Concat(w.Header, w.Signature))
	if err != nil {
		return nil, fmt.Errorf("the proof is damaged: %w", err)
	}
	if !bytes.Equal(e.Signed, w.Header) {
		return nil, fmt.Errorf("the proof is damaged: %w: bytes behind it", crypto.ErrHeader)
	}
	return &File{Records: w.Records, Envelope: e, Item: w.Item, Index: int(w.Index), Path: w.Path, Links: w.Links, Receipt: w.Receipt}, nil
}

// RegionSizeMax bounds the file of a region, in bytes: that of 15,000 members has 110 MB.
const RegionSizeMax = 256 << 20

// A Region is what the file of watchward region show --out holds: a region's name and
// trust records. The field numbers are those of node.Admission.
type Region struct {
	Region  crypto.Region `cbor:"1,keyasint"`
	Records [][]byte      `cbor:"2,keyasint"`
	Seeds   []string      `cbor:"3,keyasint"` // none here
}

// ParseRegion reads the file of a region. Nothing in the result is verified.
func ParseRegion(raw []byte) (*Region, error) {
	if len(raw) > RegionSizeMax {
		return nil, fmt.Errorf("the region's file has more than %d bytes", RegionSizeMax)
	}
	var r Region
	if err := canon.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("this is no file of a region, or a damaged one: give one that watchward region show --out wrote (%w)", err)
	}
	return &r, nil
}

// EncodeRegion returns the bytes of a region's file: of a roster's own region what it
// is, and with members also who belongs to it. Seeds are addresses where it is met. It
// holds no secret.
func EncodeRegion(roster *trust.Roster, members bool, seeds []string) ([]byte, error) {
	return canon.Marshal(Region{Region: roster.Region(), Records: roster.Standing(roster.Region(), members), Seeds: append([]string{}, seeds...)})
}
