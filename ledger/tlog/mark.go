package tlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/watchward/watchward/crypto"
)

// A mark says what is durable: the size, and the open tiles above level 0, which have no
// files of their own. There are two, written in turn, so that one is always whole.
//
//	"wwtiles0" ‖ run uint64 ‖ size uint64 ‖ root ‖ hashes of level 1, 2, … ‖ SHA-256 of all before
type mark struct {
	run   uint64 // the later one counts
	size  uint64
	root  crypto.Hash
	tiles [][]byte // by level; none of level 0
}

const (
	markMagic    = "wwtiles0"
	markHead     = len(markMagic) + 8 + 8 + hashBytes
	markBytesMax = markHead + 8*TileBytes + hashBytes
)

func markFile(dir string, run uint64) string {
	return filepath.Join(dir, fmt.Sprintf("edge.%d", run%2))
}

// putMark makes the mark of a view durable. Needs syncing.
func (l *Log) putMark(now view) error {
	root, err := now.root(now.size)
	if err != nil {
		return err
	}
	m := mark{run: l.lastRun + 1, size: now.size, root: root, tiles: now.tiles}
	name := markFile(l.dir, m.run)
	_, err = os.Stat(name)
	fresh := errors.Is(err, fs.ErrNotExist)
	f, err := openFile(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	data := m.bytes()
	_, err = f.WriteAt(data, 0)
	err = errors.Join(err, f.Truncate(int64(len(data))), f.Sync(), f.Close())
	if err == nil && fresh {
		err = syncDir(l.dir)
	}
	if err == nil {
		l.lastRun = m.run
	}
	return err
}

func (m mark) bytes() []byte {
	out := []byte(markMagic)
	out = binary.BigEndian.AppendUint64(out, m.run)
	out = binary.BigEndian.AppendUint64(out, m.size)
	out = append(out, m.root[:]...)
	for _, tile := range m.tiles[min(1, len(m.tiles)):] {
		out = append(out, tile...)
	}
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// parseMark reads a mark; the second result is false if it is not whole.
func parseMark(data []byte) (mark, bool) {
	if len(data) < markHead+hashBytes || !bytes.HasPrefix(data, []byte(markMagic)) {
		return mark{}, false
	}
	body := data[:len(data)-hashBytes]
	if sha256.Sum256(body) != crypto.Hash(data[len(body):]) {
		return mark{}, false
	}
	m := mark{
		run:   binary.BigEndian.Uint64(body[len(markMagic):]),
		size:  binary.BigEndian.Uint64(body[len(markMagic)+8:]),
		root:  crypto.Hash(body[markHead-hashBytes:]),
		tiles: [][]byte{nil},
	}
	rest := body[markHead:]
	for level := 1; level < 8 && m.size>>(8*level) > 0; level++ {
		n := int(m.size>>(8*level)%TileWidth) * hashBytes
		if n > len(rest) {
			return mark{}, false
		}
		m.tiles = append(m.tiles, append(make([]byte, 0, TileBytes), rest[:n]...))
		rest = rest[n:]
	}
	return m, len(rest) == 0 && m.size < 1<<62
}

// readMarks returns the last mark that is whole, or the mark of no entries.
func readMarks(dir string) (mark, error) {
	var last mark
	for run := range uint64(2) {
		data, err := readFile(markFile(dir, run), markBytesMax)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLarge) {
			continue
		}
		if err != nil {
			return mark{}, err
		}
		if m, ok := parseMark(data); ok && m.run > last.run {
			last = m
		}
	}
	return last, nil
}
