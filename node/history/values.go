package history

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/watchward/watchward/node/notice"
)

const (
	keyFile = "key"
	// A network's trace is the sum over up to 2^spreadMax networks of a length that
	// is kept.
	spreadMax = 8
	// From here on a length of Options.Prefixes is one of IPv6.
	prefixIPv6 = 32
)

// A key keys the hashes. 128 bits: with them, the type and a name of usual
// length the hash is one block of SHA-256. Only 64 bits of it are ever kept, so
// nothing can be appended to what was hashed.
type key [16]byte

// A keyID tells with which key a file was written.
type keyID [8]byte

func (k *key) id() keyID {
	sum := sha256.Sum256(append([]byte("watchward history key "), k[:]...))
	return keyID(sum[:])
}

// openKey returns the key in dir, which it makes once.
func (d *disk) openKey() (key, error) {
	path := d.path(keyFile)
	raw, err := os.ReadFile(path)
	var k key
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := rand.Read(k[:]); err != nil {
			return k, err
		}
		return k, d.replace(keyFile, k[:])
	case err != nil:
		return k, err
	case len(raw) != len(k):
		return k, fmt.Errorf("%s has %d bytes and should have %d: put back a copy, or delete it to begin anew (what is remembered then cannot be read)", path, len(raw), len(k))
	}
	return key(raw), nil
}

func (k *key) mark(t notice.Type, value []byte) mark {
	var room [256]byte
	b := append(room[:0], k[:]...)
	b = append(b, byte(t))
	sum := sha256.Sum256(append(b, value...))
	return mark(binary.BigEndian.Uint64(sum[:]))
}

// marks yields what is kept of a value that was seen.
func (h *History) marks(v notice.Indicator, yield func(mark)) {
	var room [64]byte
	switch v.Type {
	case notice.TypeDomain:
		if !h.o.Parents {
			break
		}
		for name := range v.Matches {
			yield(h.key.mark(name.Type, append(room[:0], name.Value...)))
		}
		return
	case notice.TypeIPv4, notice.TypeIPv6:
		addr, err := netip.ParseAddr(v.Value)
		if err != nil || len(h.o.Prefixes) == 0 {
			break
		}
		for _, bits := range h.o.Prefixes {
			if bits < prefixIPv6 == addr.Is4() {
				if p, err := addr.Prefix(bits); err == nil {
					yield(h.key.mark(notice.TypeCIDR, p.AppendTo(room[:0])))
				}
			}
		}
	}
	yield(h.key.mark(v.Type, append(room[:0], v.Value...)))
}

// asked yields the marks whose sum is the trace of a value. It reports false if
// there are none.
func (h *History) asked(v notice.Indicator, yield func(mark)) bool {
	var room [64]byte
	if v.Type != notice.TypeCIDR {
		yield(h.key.mark(v.Type, append(room[:0], v.Value...)))
		return true
	}
	net, err := netip.ParsePrefix(v.Value)
	if err != nil {
		return false
	}
	kept := net.Addr().BitLen()
	for _, bits := range h.o.Prefixes { // ascending
		if bits < prefixIPv6 == net.Addr().Is4() && bits >= net.Bits() {
			kept = bits
			break
		}
	}
	if kept-net.Bits() > spreadMax {
		return false
	}
	for addr, i := net.Masked().Addr(), 0; i < 1<<(kept-net.Bits()); i++ {
		if kept == addr.BitLen() {
			t := notice.TypeIPv4
			if addr.Is6() {
				t = notice.TypeIPv6
			}
			yield(h.key.mark(t, addr.AppendTo(room[:0])))
		} else {
			yield(h.key.mark(notice.TypeCIDR, netip.PrefixFrom(addr, kept).AppendTo(room[:0])))
		}
		addr = following(addr, kept)
	}
	return true
}

// following returns the first address of the network of so many bits after addr's.
func following(addr netip.Addr, bits int) netip.Addr {
	b := addr.AsSlice()
	for i, add := (bits-1)/8, byte(1)<<(7-(bits-1)%8); i >= 0; i, add = i-1, 1 {
		if b[i] += add; b[i] >= add {
			break
		}
	}
	next, _ := netip.AddrFromSlice(b)
	return next
}
