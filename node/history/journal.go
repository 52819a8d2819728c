package history

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
)

// A journal is a header and frames. A frame is its number of records and a
// checksum over that and the records; a Flush writes one or more of them.
const (
	journalMagic  = "WWHJRNL0"
	journalHeader = len(journalMagic) + len(keyID{}) + 4
	frameHeader   = 4 + 4
	frameMax      = 4096 // records
	recordSize    = 8 + 4 + 4 + 4
)

var (
	errDamaged = errors.New("damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// A record is what files keep of a mark in a period.
type record struct {
	mark
	tally
}

func (r *record) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.mark))
	b = binary.BigEndian.AppendUint32(b, r.first)
	b = binary.BigEndian.AppendUint32(b, r.last)
	return binary.BigEndian.AppendUint32(b, r.count)
}

// readRecord reads the first recordSize bytes of b.
func readRecord(b []byte) record {
	return record{mark(binary.BigEndian.Uint64(b)), tally{
		binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:]),
	}}
}

// A journal keeps what was flushed since the last segments were written.
type journal struct {
	id   uint64
	key  keyID
	file *os.File
	size int64 // of what is whole
}

func journalName(id uint64) string { return fmt.Sprintf("%016x%s", id, journalEnd) }

// createJournal makes an empty one.
func (d *disk) createJournal(id uint64, key keyID) (*journal, error) {
	b := append([]byte(journalMagic), key[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if err := d.replace(journalName(id), b); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.path(journalName(id)), os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &journal{id, key, f, int64(len(b))}, nil
}

// openJournal opens a journal, hands what is whole in it to yield and cuts off the
// rest. errDamaged: its header is none.
func (d *disk) openJournal(id uint64, log *slog.Logger, yield func(record)) (*journal, error) {
	path := d.path(journalName(id))
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{id: id, file: f}
	info, err := f.Stat()
	if err == nil {
		j.key, j.size, err = readJournal(bufio.NewReaderSize(f, 1<<18), yield)
	}
	if err == nil && j.size < info.Size() {
		log.Warn("a crash tore the end off the history's journal: what was being written is dropped",
			slog.String("file", path), slog.Int64("bytes", info.Size()-j.size))
		if err = f.Truncate(j.size); err == nil {
			err = d.sync(f)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return j, nil
}

// readJournal yields the records of all frames up to the first that is not
// whole, and returns how many bytes they are. errDamaged: the header is none.
func readJournal(r io.Reader, yield func(record)) (id keyID, whole int64, err error) {
	b := make([]byte, frameHeader+frameMax*recordSize)
	head := b[:journalHeader]
	if _, err := io.ReadFull(r, head); err != nil {
		return id, 0, short(err, errDamaged)
	}
	body := head[:len(head)-4]
	if string(head[:len(journalMagic)]) != journalMagic || binary.BigEndian.Uint32(head[len(body):]) != crc32.Checksum(body, castagnoli) {
		return id, 0, errDamaged
	}
	copy(id[:], head[len(journalMagic):])
	whole = int64(len(head))
	for {
		if _, err := io.ReadFull(r, b[:frameHeader]); err != nil {
			return id, whole, short(err, nil)
		}
		n := binary.BigEndian.Uint32(b)
		if n == 0 || n > frameMax {
			return id, whole, nil
		}
		records := b[frameHeader : frameHeader+int(n)*recordSize]
		if _, err := io.ReadFull(r, records); err != nil {
			return id, whole, short(err, nil)
		}
		if binary.BigEndian.Uint32(b[4:]) != frameSum(b[:4], records) {
			return id, whole, nil
		}
		for ; len(records) > 0; records = records[recordSize:] {
			yield(readRecord(records))
		}
		whole += frameHeader + int64(n)*recordSize
	}
}

func frameSum(n, records []byte) uint32 {
	return crc32.Update(crc32.Checksum(n, castagnoli), castagnoli, records)
}

// append writes what m holds after what is whole, and returns how long the journal
// is then. It is durable after a sync.
func (j *journal) append(m *memory) (size int64, err error) {
	size = j.size
	b := make([]byte, frameHeader, frameHeader+min(m.size, frameMax)*recordSize)
	end := func() error {
		binary.BigEndian.PutUint32(b, uint32((len(b)-frameHeader)/recordSize))
		binary.BigEndian.PutUint32(b[4:], frameSum(b[:4], b[frameHeader:]))
		_, err := j.file.WriteAt(b, size)
		size += int64(len(b))
		b = b[:frameHeader]
		return err
	}
	for _, in := range m.periods {
		for k, t := range in {
			r := record{k, t}
			if b = r.append(b); len(b) < frameHeader+frameMax*recordSize {
				continue
			}
			if err := end(); err != nil {
				return size, err
			}
		}
	}
	if len(b) > frameHeader {
		err = end()
	}
	return size, err
}
