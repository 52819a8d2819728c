package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"

	"github.com/watchward/watchward/crypto"
)

const (
	// packEntriesMax and packBytesMax bound what one raft command carries.
	packEntriesMax = 512
	packBytesMax   = 400 << 10

	commandHead = 1 + 4                // kind, and a sum of all the rest
	packHead    = commandHead + 8      // the leader's time in ms since 1970
	markBytes   = commandHead + 8 + 32 // size and root of the leader's tree
)

// Kinds of commands, their first byte.
const (
	kindPack byte = 1 + iota // time, then uint16 length and bytes of each entry
	kindMark
)

// errDamagedLog says that raft's log on this disk is not what was written.
var errDamagedLog = errors.New("the raft log is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is over everything of a command but itself. Raft-wal has sums of its last write
// only, and what a damaged log says would go to other voters.
func sum(command []byte) uint32 {
	return crc32.Update(crc32.Checksum(command[:1], castagnoli), castagnoli, command[commandHead:])
}

// seal puts the sum into a command that is complete.
func seal(command []byte) []byte {
	binary.BigEndian.PutUint32(command[1:], sum(command))
	return command
}

// checkCommand finds damage.
func checkCommand(command []byte) error {
	if len(command) < commandHead || binary.BigEndian.Uint32(command[1:]) != sum(command) {
		return errDamagedLog
	}
	return nil
}

// newPack starts a pack; addToPack adds entries, seal ends it.
func newPack(ms int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindPack, 0, 0, 0, 0}, uint64(ms))
}

func addToPack(pack, entry []byte) []byte {
	return append(binary.BigEndian.AppendUint16(pack, uint16(len(entry))), entry...)
}

// decodePack returns what newPack and addToPack wrote. The entries lie within pack.
func decodePack(pack []byte) (ms int64, entries [][]byte, err error) {
	if len(pack) < packHead || pack[0] != kindPack {
		return 0, nil, fmt.Errorf("a pack of %d bytes without its head", len(pack))
	}
	ms = int64(binary.BigEndian.Uint64(pack[commandHead:]))
	for rest := pack[packHead:]; len(rest) > 0; {
		if len(entries) == packEntriesMax {
			return 0, nil, fmt.Errorf("a pack of more than %d entries", packEntriesMax)
		}
		if len(rest) < 2 {
			return 0, nil, errors.New("a pack that ends in a length")
		}
		n := int(binary.BigEndian.Uint16(rest))
		rest = rest[2:]
		if n == 0 || n > EntryMax || n > len(rest) {
			return 0, nil, fmt.Errorf("an entry of %d bytes in a pack that has %d left", n, len(rest))
		}
		entries, rest = append(entries, rest[:n:n]), rest[n:]
	}
	return ms, entries, nil
}

func encodeMark(size uint64, root crypto.Hash) []byte {
	return seal(append(binary.BigEndian.AppendUint64([]byte{kindMark, 0, 0, 0, 0}, size), root[:]...))
}

func decodeMark(mark []byte) (size uint64, root crypto.Hash, err error) {
	if len(mark) != markBytes || mark[0] != kindMark {
		return 0, root, fmt.Errorf("a mark of %d bytes", len(mark))
	}
	return binary.BigEndian.Uint64(mark[commandHead:]), crypto.Hash(mark[commandHead+8:]), nil
}

// A fsm applies committed commands to the tree: the same ones to the same tree at every
// voter, for it looks at no clock, draws no numbers and walks no map.
type fsm struct {
	tree  *tree
	fetch func(to point) error // entries that a snapshot has more
	stop  func(error)          // once: this voter must not go on; must not block
	first error                // why it stopped; raft's one goroutine only
}

// Apply applies one command. It returns []Appended for a pack, nil for a mark, or an
// error after which nothing is applied any more.
func (f *fsm) Apply(log *raft.Log) any {
	if f.first != nil {
		return f.first
	}
	out, err := f.take(log)
	if err != nil {
		f.first = fmt.Errorf("raft index %d: %w", log.Index, err)
		f.stop(f.first)
		return f.first
	}
	return out
}

func (f *fsm) take(log *raft.Log) (out []Appended, err error) {
	if log.Index <= f.tree.now().Applied || len(log.Data) == 0 {
		return nil, nil // applied before the restart
	}
	if err := checkCommand(log.Data); err != nil {
		return nil, err
	}
	switch log.Data[0] {
	case kindPack:
		ms, entries, err := decodePack(log.Data)
		if err != nil {
			return nil, err
		}
		return f.tree.add(entries, log.Index, ms)
	case kindMark:
		size, root, err := decodeMark(log.Data)
		if err != nil {
			return nil, err
		}
		return nil, f.compare(size, root)
	}
	return nil, fmt.Errorf("a command of kind %d: this version does not know it", log.Data[0])
}

// compare holds the tree against the leader's.
func (f *fsm) compare(size uint64, root crypto.Hash) error {
	if here := f.tree.Size(); size > here {
		return fmt.Errorf("the leader had %d entries, %d are here: %w", size, here, errDiverged)
	}
	own, err := f.tree.Root(size)
	if err != nil {
		return err
	}
	if own != root {
		return fmt.Errorf("the leader's root of %d entries is %s, here it is %s: %w", size, root, own, errDiverged)
	}
	return nil
}
