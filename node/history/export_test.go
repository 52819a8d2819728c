package history

import "io"

// RecordsMax makes segments of so many records, for tests.
func (o *Options) RecordsMax(n int) { o.keptMax = n }

// OnStep has every change of a file ask first.
func (o *Options) OnStep(step func(what string) error) { o.step = step }

// Tend does the upkeep now.
func (h *History) Tend() error { return h.tend(true) }

// Segments returns how many there are.
func (h *History) Segments() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.segments)
}

// Abandon ends the upkeep and closes the files as a crash does.
func (h *History) Abandon() {
	h.ending.Do(func() {
		close(h.stop)
		h.wait.Wait()
		_ = h.release()
	})
}

// Decode reads a file of any kind, as Open does, and returns how many records it has.
func Decode(r io.Reader) (records int, err error) {
	_, _, err = readJournal(r, func(record) { records++ })
	return records, err
}

// DecodeManifest encodes what it decodes anew.
func DecodeManifest(b []byte) ([]byte, error) {
	m, err := decodeManifest(b)
	return m.encode(), err
}

// ReadSegment opens a segment and reads all of it.
func ReadSegment(path string) (records int, err error) {
	s, err := openSegment(path, 1)
	if err != nil {
		return 0, err
	}
	defer s.file.Close()
	c := scan{s: s, damaged: func(int) {}}
	for {
		_, more, err := c.record()
		if err != nil || !more {
			return records, err
		}
		records++
	}
}
