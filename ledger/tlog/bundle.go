package tlog

import (
	"encoding/binary"
	"fmt"
)

// EntryBytesMax is the size of the largest entry; the smallest has one byte.
const EntryBytesMax = 1024

// BundleBytesMax is the size of the largest entry bundle.
const BundleBytesMax = TileWidth * (2 + EntryBytesMax)

// SplitBundle returns the entries of a bundle that has exactly width of them. They lie
// within data.
func SplitBundle(data []byte, width int) ([][]byte, error) {
	entries := make([][]byte, 0, width)
	rest := data
	for len(entries) < width {
		entry, after, err := nextEntry(rest)
		if err != nil {
			return nil, fmt.Errorf("entry %d of a bundle of %d: %w", len(entries), width, err)
		}
		entries, rest = append(entries, entry), after
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("a bundle of %d entries has %d bytes more", width, len(rest))
	}
	return entries, nil
}

// JoinBundle appends entries to a bundle.
func JoinBundle(bundle []byte, entries ...[]byte) ([]byte, error) {
	for _, entry := range entries {
		if len(entry) == 0 || len(entry) > EntryBytesMax {
			return nil, fmt.Errorf("an entry of %d bytes: want 1 to %d", len(entry), EntryBytesMax)
		}
		bundle = binary.BigEndian.AppendUint16(bundle, uint16(len(entry)))
		bundle = append(bundle, entry...)
	}
	return bundle, nil
}

// nextEntry cuts the first entry off a bundle.
func nextEntry(data []byte) (entry, rest []byte, err error) {
	if len(data) < 2 {
		return nil, nil, fmt.Errorf("the bundle ends after %d bytes of a length", len(data))
	}
	n := int(binary.BigEndian.Uint16(data))
	data = data[2:]
	if n == 0 || n > EntryBytesMax {
		return nil, nil, fmt.Errorf("it has %d bytes: want 1 to %d", n, EntryBytesMax)
	}
	if n > len(data) {
		return nil, nil, fmt.Errorf("it has %d bytes and only %d are there", n, len(data))
	}
	return data[:n:n], data[n:], nil
}

// cutBundle returns the part of a bundle with its first width entries.
func cutBundle(data []byte, width int) ([]byte, error) {
	rest := data
	for range width {
		var err error
		if _, rest, err = nextEntry(rest); err != nil {
			return nil, err
		}
	}
	return data[:len(data)-len(rest)], nil
}
