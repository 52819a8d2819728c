package history

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sort"
)

// A segment is a header, blocks of sorted records, each with its number of records
// and checksum, and the first mark of each block with one checksum over them.
const (
	segmentMagic  = "WWHSEG00"
	blockSize     = 4096 // a page: one read finds any record
	blockRecords  = (blockSize - 8) / recordSize
	segmentHeader = len(segmentMagic) + len(keyID{}) + 4 + 4 + 8 + 4 + 4
	// What a segment may have; more is no segment. 64 GiB of records.
	blocksMax = 1 << 24
)

// A segment is a file that never changes. It is safe for concurrent use until it
// is closed.
type segment struct {
	id      uint64
	file    *os.File
	key     keyID
	from    uint32 // the first second of its period
	span    uint32 // seconds
	records uint64
	size    int64
	index   []mark // the first of each block
}

// end is the first second after the period.
func (s *segment) end() uint64 { return uint64(s.from) + uint64(s.span) }

func segmentName(id uint64) string { return fmt.Sprintf("%016x.seg", id) }

// writeSegment writes a segment of the records that next returns, sorted and
// without repetition, until it reports false.
func (d *disk) writeSegment(s *segment, next func() (record, bool, error)) error {
	err := d.create(segmentName(s.id), func(f *os.File) error {
		w := bufio.NewWriterSize(f, 1<<18)
		if _, err := w.Write(make([]byte, blockSize)); err != nil { // the header comes last
			return err
		}
		block, n := make([]byte, 0, blockSize), 0
		end := func() error {
			_, err := w.Write(sealBlock(block, n))
			block, n = block[:0], 0
			return err
		}
		for {
			r, more, err := next()
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if n == 0 {
				s.index = append(s.index, r.mark)
			}
			block = r.append(block)
			s.records++
			if n++; n == blockRecords {
				if err := end(); err != nil {
					return err
				}
			}
		}
		if n > 0 {
			if err := end(); err != nil {
				return err
			}
		}
		tail := make([]byte, 0, 8*len(s.index)+4)
		for _, m := range s.index {
			tail = binary.BigEndian.AppendUint64(tail, uint64(m))
		}
		if _, err := w.Write(binary.BigEndian.AppendUint32(tail, crc32.Checksum(tail, castagnoli))); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		_, err := f.WriteAt(s.header(), 0)
		return err
	})
	if err != nil {
		return err
	}
	s.size = sizeOfBlocks(len(s.index))
	s.file, err = os.Open(d.path(segmentName(s.id)))
	return err
}

func sizeOfBlocks(n int) int64 { return blockSize + int64(n)*(blockSize+8) + 4 }

// sealBlock fills a block of n records up and gives it its checksum.
func sealBlock(b []byte, n int) []byte {
	b = b[:blockSize]
	clear(b[n*recordSize:])
	binary.BigEndian.PutUint32(b[blockSize-8:], uint32(n))
	binary.BigEndian.PutUint32(b[blockSize-4:], crc32.Checksum(b[:blockSize-4], castagnoli))
	return b
}

func (s *segment) header() []byte {
	b := append([]byte(segmentMagic), s.key[:]...)
	b = binary.BigEndian.AppendUint32(b, s.from)
	b = binary.BigEndian.AppendUint32(b, s.span)
	b = binary.BigEndian.AppendUint64(b, s.records)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.index)))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// openSegment reads header and index. errDamaged: it is no whole segment.
func openSegment(path string, id uint64) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &segment{id: id, file: f}
	info, err := f.Stat()
	if err == nil {
		s.size = info.Size()
		err = s.read()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return s, nil
}

func (s *segment) read() error {
	b := make([]byte, segmentHeader)
	if _, err := s.file.ReadAt(b, 0); err != nil {
		return short(err, errDamaged)
	}
	sum := binary.BigEndian.Uint32(b[len(b)-4:])
	if string(b[:len(segmentMagic)]) != segmentMagic || sum != crc32.Checksum(b[:len(b)-4], castagnoli) {
		return errDamaged
	}
	rest := b[len(segmentMagic):]
	s.key = keyID(rest)
	rest = rest[len(s.key):]
	s.from, s.span, s.records = binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:]), binary.BigEndian.Uint64(rest[8:])
	blocks := binary.BigEndian.Uint32(rest[16:])
	if blocks > blocksMax || s.size != sizeOfBlocks(int(blocks)) || s.records > uint64(blocks)*blockRecords {
		return errDamaged
	}
	tail := make([]byte, 8*int(blocks)+4)
	if _, err := s.file.ReadAt(tail, s.size-int64(len(tail))); err != nil {
		return short(err, errDamaged)
	}
	marks := tail[:len(tail)-4]
	if binary.BigEndian.Uint32(tail[len(marks):]) != crc32.Checksum(marks, castagnoli) {
		return errDamaged
	}
	s.index = make([]mark, blocks)
	for i := range s.index {
		s.index[i] = mark(binary.BigEndian.Uint64(marks[8*i:]))
	}
	if !slices.IsSorted(s.index) {
		return errDamaged
	}
	return nil
}

// block reads a block into b, which has blockSize bytes, and returns its records'
// bytes. errDamaged: its checksum is wrong.
func (s *segment) block(i int, b []byte) ([]byte, error) {
	if _, err := s.file.ReadAt(b, blockSize*int64(1+i)); err != nil {
		return nil, short(err, errDamaged)
	}
	n := binary.BigEndian.Uint32(b[blockSize-8:])
	if binary.BigEndian.Uint32(b[blockSize-4:]) != crc32.Checksum(b[:blockSize-4], castagnoli) || n > blockRecords {
		return nil, errDamaged
	}
	return b[:n*recordSize], nil
}

// A question is a mark whose trace is asked for, and the place of whoever asks.
type question struct {
	mark
	of int
}

// find yields the tally of each mark in questions, which are sorted by mark, that
// the segment has. What is in a damaged block is passed over; damaged is told.
func (s *segment) find(questions []question, yield func(of int, t tally), damaged func(block int)) error {
	var room [blockSize]byte
	at, records := -1, []byte(nil)
	for _, q := range questions {
		i := sort.Search(len(s.index), func(i int) bool { return s.index[i] > q.mark }) - 1
		if i < 0 {
			continue
		}
		if i != at {
			var err error
			if records, err = s.block(i, room[:]); errors.Is(err, errDamaged) {
				damaged(i)
			} else if err != nil {
				return fmt.Errorf("history: %w", err)
			}
			at = i
		}
		n := len(records) / recordSize
		k := sort.Search(n, func(k int) bool { return mark(binary.BigEndian.Uint64(records[k*recordSize:])) >= q.mark })
		if k < n {
			if r := readRecord(records[k*recordSize:]); r.mark == q.mark {
				yield(q.of, r.tally)
			}
		}
	}
	return nil
}

// A scan goes over a segment's records in order.
type scan struct {
	s       *segment
	next    int // block
	records []byte
	room    [blockSize]byte
	damaged func(block int)
}

// record returns the next one; false at the end.
func (c *scan) record() (record, bool, error) {
	for len(c.records) == 0 {
		if c.next == len(c.s.index) {
			return record{}, false, nil
		}
		var err error
		c.records, err = c.s.block(c.next, c.room[:])
		if errors.Is(err, errDamaged) {
			c.damaged(c.next)
		} else if err != nil {
			return record{}, false, err
		}
		c.next++
	}
	r := readRecord(c.records)
	c.records = c.records[recordSize:]
	return r, true, nil
}

// short returns instead of an end of the file.
func short(err, instead error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return instead
	}
	return err
}
