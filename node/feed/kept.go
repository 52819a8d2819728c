package feed

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/watchward/watchward/node/notice"
)

// The last good list is a file that begins with keptMagic and goes on in records: a
// number of bytes, so many bytes, their CRC-32 (Castagnoli). What a crash left half
// written at the end is cut off. When most of it is past it is written anew.
//
//	add     'a' type value since seen until members denied
//	remove  'r' type value
//	publish 'p' serial modified peak peakAt shrunk entriesMax sizeMax filled empty
//
// What stands before a publish came with it. The format is v0.
const (
	keptMagic     = "watchward feed 0\n"
	keptRecordMax = 64 << 10
	keptSpare     = 4 << 20 // bytes of past records that are no reason to write it anew
	recordSpare   = 5       // bytes of a record around what it says
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// kept is a list's file.
type kept struct {
	path string
	f    *os.File
	size int64 // of the file
	live int64 // of what it would be if written anew
}

// Open reads the list that was kept in the file at path, and keeps it there from now
// on. Without a file it is empty. Entries that the policy's format cannot carry, or of
// types that it does not take, are left out. Nothing is published before Commit.
func Open(path string, p Policy) (*List, error) {
	l := NewList(p)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("keep feed %s: %w", p.Name, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read kept feed %s: %w", p.Name, err)
	}
	l.kept = &kept{path: path}
	if err == nil {
		l.restore(raw)
	}
	if err := l.rewrite(); err != nil {
		return nil, fmt.Errorf("keep feed %s: %w", p.Name, err)
	}
	return l, nil
}

// Close closes the list's file.
func (l *List) Close() error {
	if l.kept == nil || l.kept.f == nil {
		return nil
	}
	err := l.kept.f.Close()
	l.kept.f = nil
	return err
}

// restore takes in what a file says.
func (l *List) restore(raw []byte) {
	raw, ok := bytes.CutPrefix(raw, []byte(keptMagic))
	if !ok {
		return
	}
	r := bufio.NewReader(bytes.NewReader(raw))
	var pending []keptOp
	serial := uint32(0)
	modified := int64(0)
	for {
		record, err := readRecord(r)
		if err != nil {
			break
		}
		op, err := parseRecord(record)
		if err != nil {
			break
		}
		if op.op != 'p' {
			pending = append(pending, op)
			continue
		}
		// Wider limits are no shrink; narrower ones are, and wait as others do.
		entries, size := l.p.limits()
		l.entriesMax, l.sizeMax = max(entries, op.entriesMax), max(size, op.sizeMax)
		l.replay(pending, serial, op.serial)
		pending = pending[:0]
		serial, modified = op.serial, op.modified
		l.peak, l.peakAt, l.shrunk, l.filled, l.empty = op.peak, op.peakAt, op.shrunk, op.filled, op.empty
	}
	if serial == 0 {
		return
	}
	l.publish(modified, "", serial)
	l.now.Modified = modified
}

// replay takes in what one publish made of the one before.
func (l *List) replay(ops []keptOp, before, serial uint32) {
	l.added, l.removed = nil, nil
	for i := range ops {
		op := &ops[i]
		if old := l.values.get(&op.entry); old != nil {
			l.take(old)
		}
		if op.op != 'a' || !l.p.takes(op.entry.Type) {
			continue
		}
		e := op.entry
		if e.size = len(l.p.text(&e)); e.size > 0 || l.p.Format == CrowdSec {
			l.add(&e)
		}
	}
	added, removed, _ := l.net()
	if before == 0 {
		l.dropped = serial
		return
	}
	c := change{serial, added, removed}
	l.changes, l.changed = append(l.changes, c), l.changed+len(added)+len(removed)
	for l.changed > changesMax && len(l.changes) > 0 {
		l.changed -= len(l.changes[0].added) + len(l.changes[0].removed)
		l.dropped, l.changes = l.changes[0].serial, l.changes[1:]
	}
}

// write appends a batch and makes it durable. What is renewed takes the place of what
// was there.
func (l *List) write(added, renewed, removed []*Entry) error {
	k := l.kept
	if k == nil {
		return nil
	}
	if k.f == nil || k.size > 2*k.live+keptSpare {
		return l.rewrite()
	}
	var b, room []byte
	for _, e := range removed {
		room = appendAdd(room[:0], e)
		k.live -= int64(len(room)) + recordSpare
		b = appendRecord(b, appendRemove(nil, e))
	}
	for i, list := range [][]*Entry{added, renewed} {
		for _, e := range list {
			room = appendAdd(room[:0], e)
			if i == 0 {
				k.live += int64(len(room)) + recordSpare
			}
			b = appendRecord(b, room)
		}
	}
	b = appendRecord(b, l.appendPublish(nil))
	n, err := k.f.Write(b)
	k.size += int64(n)
	if err == nil {
		err = k.f.Sync()
	}
	if err != nil { // whatever is at the end now: the next is written anew
		_ = l.Close()
	}
	return err
}

// rewrite replaces the file by one of what is in the list now. Changes that came
// before are forgotten with it once the node starts again.
func (l *List) rewrite() (err error) {
	k := l.kept
	_ = l.Close()
	f, err := os.CreateTemp(filepath.Dir(k.path), filepath.Base(k.path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	k.size = 0
	put := func(record []byte) {
		b := appendRecord(nil, record)
		k.size += int64(len(b))
		_, _ = w.Write(b) // Flush has the error
	}
	_, _ = w.WriteString(keptMagic)
	if l.now != nil {
		var room []byte
		for e := range l.now.All {
			room = appendAdd(room[:0], e)
			put(room)
		}
		put(l.appendPublish(nil))
	}
	k.live = k.size
	if err = w.Flush(); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), k.path); err != nil {
		return err
	}
	if d, e := os.Open(filepath.Dir(k.path)); e == nil {
		_ = d.Sync() // where directories can be synced
		_ = d.Close()
	}
	k.f, err = os.OpenFile(k.path, os.O_WRONLY|os.O_APPEND, 0o600)
	return err
}

func appendRecord(b, record []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(record)))
	b = append(b, record...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(record, castagnoli))
}

func readRecord(r *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > keptRecordMax {
		return nil, errors.New("record too long")
	}
	record := make([]byte, n+4)
	if _, err := io.ReadFull(r, record); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(record[n:]) != crc32.Checksum(record[:n], castagnoli) {
		return nil, errors.New("record is damaged")
	}
	return record[:n], nil
}

func appendRemove(b []byte, e *Entry) []byte {
	return append(append(b, 'r', byte(e.Type)), e.Value...)
}

func appendAdd(b []byte, e *Entry) []byte {
	b = append(b, 'a', byte(e.Type))
	b = binary.AppendUvarint(b, uint64(len(e.Value)))
	b = append(b, e.Value...)
	for _, v := range []int64{e.Since, e.Seen, e.Until, int64(e.Members), int64(compareBool(e.Denied, false))} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return b
}

func (l *List) appendPublish(b []byte) []byte {
	b = append(b, 'p')
	for _, v := range []int64{
		int64(l.now.Serial), l.now.Modified, int64(l.peak), l.peakAt, int64(l.shrunk), int64(l.entriesMax), int64(l.sizeMax),
		int64(compareBool(l.filled, false)), int64(compareBool(l.empty, false)),
	} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	return b
}

// A keptOp is a record of the file.
type keptOp struct {
	op    byte
	entry Entry

	serial                            uint32
	modified, peakAt                  int64
	peak, shrunk, entriesMax, sizeMax int
	filled, empty                     bool
}

var errKept = errors.New("the kept list is damaged")

func parseRecord(b []byte) (o keptOp, err error) {
	if len(b) < 2 {
		return o, errKept
	}
	o.op = b[0]
	number := func() int64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > math.MaxInt64 {
			err = errKept
			return 0
		}
		b = b[n:]
		return int64(v)
	}
	switch o.op {
	case 'r':
		o.entry.Indicator = notice.Indicator{Type: notice.Type(b[1]), Value: string(b[2:])}
		return o, nil
	case 'a':
		t := notice.Type(b[1])
		b = b[2:]
		n := number()
		if err != nil || n > int64(len(b)) {
			return o, errKept
		}
		o.entry = Entry{Indicator: notice.Indicator{Type: t, Value: string(b[:n])}}
		b = b[n:]
		e := &o.entry
		e.Since, e.Seen, e.Until, e.Members, e.Denied = number(), number(), number(), uint32(number()), number() == 1
	case 'p':
		b = b[1:]
		o.serial, o.modified, o.peak, o.peakAt, o.shrunk = uint32(number()), number(), int(number()), number(), int(number())
		o.entriesMax, o.sizeMax, o.filled, o.empty = int(number()), int(number()), number() == 1, number() == 1
	default:
		return o, errKept
	}
	if len(b) != 0 {
		err = errKept
	}
	return o, err
}
