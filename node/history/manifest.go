package history

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"strings"
)

const (
	manifestFile  = "manifest"
	manifestMagic = "WWHMAN00"
	journalEnd    = ".journal"
	segmentEnd    = ".seg"
	segmentsMax   = 100_000
)

// A manifest says which files count; all others are leftovers of a crash. It is
// replaced as a whole, so that what one file hands to another is in one of them.
type manifest struct {
	journal   uint64
	next      uint64 // the next number of a file
	forgotten uint32 // the end of the last period that was dropped for want of room
	segments  []uint64
}

func (m *manifest) encode() []byte {
	b := []byte(manifestMagic)
	b = binary.BigEndian.AppendUint64(b, m.journal)
	b = binary.BigEndian.AppendUint64(b, m.next)
	b = binary.BigEndian.AppendUint32(b, m.forgotten)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.segments)))
	for _, id := range m.segments {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeManifest(b []byte) (m manifest, err error) {
	const head = len(manifestMagic) + 8 + 8 + 4 + 4
	if len(b) < head+4 || string(b[:len(manifestMagic)]) != manifestMagic {
		return m, errDamaged
	}
	body := b[:len(b)-4]
	if binary.BigEndian.Uint32(b[len(body):]) != crc32.Checksum(body, castagnoli) {
		return m, errDamaged
	}
	rest := body[len(manifestMagic):]
	m.journal, m.next, m.forgotten = binary.BigEndian.Uint64(rest), binary.BigEndian.Uint64(rest[8:]), binary.BigEndian.Uint32(rest[16:])
	n := binary.BigEndian.Uint32(rest[20:])
	if rest = body[head:]; n > segmentsMax || len(rest) != 8*int(n) {
		return m, errDamaged
	}
	for ; len(rest) > 0; rest = rest[8:] {
		m.segments = append(m.segments, binary.BigEndian.Uint64(rest))
	}
	return m, nil
}

// readManifest reports false if there is none: the history is new.
func (d *disk) readManifest() (manifest, bool, error) {
	b, err := os.ReadFile(d.path(manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return manifest{next: 1}, false, nil
	}
	if err != nil {
		return manifest{}, false, err
	}
	m, err := decodeManifest(b)
	return m, true, err
}

// tidy removes files that the manifest does not name.
func (d *disk) tidy(m manifest) error {
	names, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	counts := map[string]bool{journalName(m.journal): true}
	for _, id := range m.segments {
		counts[segmentName(id)] = true
	}
	for _, e := range names {
		name := e.Name()
		ours := strings.HasSuffix(name, temporary) || strings.HasSuffix(name, journalEnd) || strings.HasSuffix(name, segmentEnd)
		if !ours || counts[name] {
			continue
		}
		if err := d.remove(name); err != nil {
			return err
		}
	}
	return nil
}
