package tlog

import (
	"errors"
	"fmt"

	"github.com/watchward/watchward/crypto"
)

// ErrCorrupt says that what lies on disk is not what the tree says: damaged, missing, or
// exchanged. The cure is Repair with the same tile from a peer.
type ErrCorrupt struct {
	Tile string // path of the full tile
	Why  string
}

func (e ErrCorrupt) Error() string {
	return fmt.Sprintf("%s is damaged (%s): fetch it again from a peer", e.Tile, e.Why)
}

// A Log is a Merkle log of RFC 6962 in a directory, laid out as c2sp.org/tlog-tiles.
// One process may have it open. All methods are safe for concurrent use; readers do not
// wait for the disk of who appends. What readers return must not be changed.
type Log struct{}

// Open opens the log in a directory, which it makes if there is none. Size is then what
// was appended whole and is sound: what a crash cut off at the end is left out, without
// an error, and goes from the disk with the next Append. Whoever knows that there was
// more (Damage) must fetch and append it again.
func Open(dir string) (*Log, error) { return nil, errors.ErrUnsupported }

// Close makes everything durable, as Sync, and closes the files.
func (l *Log) Close() error { return errors.ErrUnsupported }

// Damage returns an ErrCorrupt if Open found less than Sync had made durable, else nil.
// The log is sound up to Size but lacks what it once said that it had.
func (l *Log) Damage() error { return nil }

// Size returns the number of entries.
func (l *Log) Size() uint64 { return 0 }

// Append adds entries of 1 to EntryBytesMax bytes, all or none. They are with the
// operating system when it returns, not yet on disk: see Sync.
func (l *Log) Append(entries [][]byte) error { return errors.ErrUnsupported }

// Sync returns when everything that was appended before is on disk. After an error of
// the disk the log takes nothing more (the error comes again) until it is opened anew.
// Appends and readers do not wait for it.
func (l *Log) Sync() error { return errors.ErrUnsupported }

// Rewind drops entries so that size are left, on disk too when it returns. Readers of
// what is dropped may get errors. A size above Size is an error.
func (l *Log) Rewind(size uint64) error { return errors.ErrUnsupported }

// Root returns the root of the first size entries.
func (l *Log) Root(size uint64) (crypto.Hash, error) { return crypto.Hash{}, errors.ErrUnsupported }

// Check returns nil only if the first size entries have the root.
func (l *Log) Check(size uint64, root crypto.Hash) error { return errors.ErrUnsupported }

// Entries returns the entries from (inclusive) to (exclusive), each verified. Memory is
// the caller's to bound: ask for some thousands at a time.
func (l *Log) Entries(from, to uint64) ([][]byte, error) { return nil, errors.ErrUnsupported }

// Inclusion returns the audit path of the entry at index in the log of size entries.
func (l *Log) Inclusion(index, size uint64) ([]crypto.Hash, error) { return nil, errors.ErrUnsupported }

// Consistency returns the proof that the log of a entries is the beginning of that of b;
// there is none to show for a = 0.
func (l *Log) Consistency(a, b uint64) ([]crypto.Hash, error) { return nil, errors.ErrUnsupported }

// Edge returns the edge of the log of size entries: see RootFromEdge.
func (l *Log) Edge(size uint64) ([]crypto.Hash, error) { return nil, errors.ErrUnsupported }

// Tile returns the bytes of a tile or an entry bundle, verified. The path is as in
// ParsePath (error: ErrPath). A partial one may have any width that is there, also when the
// tile has been filled since. What is not there yet is fs.ErrNotExist, what is damaged
// ErrCorrupt.
func (l *Log) Tile(path string) ([]byte, error) { return nil, errors.ErrUnsupported }

// Repair puts a full tile or entry bundle, fetched from a peer, in the place of a damaged
// one. It is taken only if it is what the tree says.
func (l *Log) Repair(path string, data []byte) error { return errors.ErrUnsupported }

// ReadTile reads a tile or bundle from the directory of a log without opening it, also
// while a process appends to it, and verifies nothing: for who audits a directory.
// Partial tiles are cut out of what lies there, or put together from the level below.
func ReadTile(dir, path string) ([]byte, error) { return nil, errors.ErrUnsupported }
