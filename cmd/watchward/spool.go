package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// spoolMemory is how much a spool keeps in memory, in bytes; the rest waits in a
// temporary file.
const spoolMemory = 8 << 20

// A spool sets values aside until their file has been read to its end.
type spool struct {
	count  int
	memory bytes.Buffer
	file   *os.File
	out    *bufio.Writer // to the file
}

func newSpool() *spool { return &spool{} }

// add sets one value aside.
func (s *spool) add(v found) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("set a value aside: %w", err)
	}
	s.count++
	if s.file == nil && s.memory.Len()+len(text) <= spoolMemory {
		s.memory.Write(text)
		return nil
	}
	if s.file == nil {
		if s.file, err = os.CreateTemp("", "watchward-import-*"); err != nil {
			return fmt.Errorf("set a value aside: %w", err)
		}
		// Where the system lets go of a name of an open file, nothing is left
		// behind whatever happens; elsewhere close removes it.
		_ = os.Remove(s.file.Name())
		s.out = bufio.NewWriterSize(s.file, 64<<10)
	}
	if _, err := s.out.Write(text); err != nil {
		return fmt.Errorf("set a value aside: %w", err)
	}
	return nil
}

// values reads them in their order.
func (s *spool) values() (*json.Decoder, error) {
	var in io.Reader = &s.memory
	if s.file != nil {
		if err := s.out.Flush(); err != nil {
			return nil, fmt.Errorf("set values aside: %w", err)
		}
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("set values aside: %w", err)
		}
		in = io.MultiReader(in, bufio.NewReaderSize(s.file, 64<<10))
	}
	return json.NewDecoder(in), nil
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name())
	}
}
