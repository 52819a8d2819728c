package misp

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/watchward/watchward/node/intel"
)

// HashesName is the file of a feed that lists, by the MD5 of a value, which event
// has it. MD5 is MISP's choice: it finds, and proves nothing.
const HashesName = "hashes.csv"

// Limits of ReadHashes.
const (
	hashesMax    = 20_000_000
	hashLineMax  = 256 // bytes
	hashLineForm = "the MD5 of a value, a comma and the uuid of an event"
)

// Hash is the MD5 of the value that an event has of a notice; ok is false if it
// has none, or has it as deleted.
func Hash(s *intel.Stated) (sum [md5.Size]byte, ok bool) {
	if !writable(s) || s.Retracted {
		return sum, false
	}
	return md5.Sum([]byte(valueOf(s).Value)), true
}

// HashLine is one line of hashes.csv.
func HashLine(sum [md5.Size]byte, uuid string) string {
	return hex.EncodeToString(sum[:]) + "," + uuid + "\n"
}

// ReadHashes calls yield for every line of hashes.csv. An error of yield ends the
// reading and is returned as it is.
func ReadHashes(r io.Reader, yield func(sum [md5.Size]byte, uuid string) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, hashLineMax), hashLineMax)
	number := 0
	for lines.Scan() {
		if number++; number > hashesMax {
			return fmt.Errorf("read %s: more than %d lines", HashesName, hashesMax)
		}
		text, uuid, _ := strings.Cut(strings.TrimSpace(lines.Text()), ",")
		if text == "" && uuid == "" {
			continue
		}
		uuid = strings.ToLower(uuid)
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != md5.Size || EventFile(uuid) == "" {
			return fmt.Errorf("read %s: line %d, %q, is not %s", HashesName, number, intel.Show(lines.Text()), hashLineForm)
		}
		if err := yield([md5.Size]byte(raw), uuid); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: line %d: %w", HashesName, number+1, err)
	}
	return nil
}
