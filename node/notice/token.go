package notice

import (
	"bytes"
	"crypto/sha256"
	"math/big"
	"strconv"
	"strings"
)

// hexLength is the number of hexadecimal digits of the types that are just that.
func hexLength(t Type) int {
	switch t {
	case TypeMD5, TypeJA3:
		return 32
	case TypeSHA1:
		return 40
	case TypeSHA256, TypeCertSHA256:
		return 64
	case TypeSHA512:
		return 128
	}
	return 0
}

// canonicalToken handles the types that are one short word.
func canonicalToken(t Type, s string, o Options) (string, error) {
	switch t {
	case TypeJA4:
		return canonicalJA4(s)
	case TypeASN:
		return canonicalASN(s, o)
	case TypeBTC:
		return canonicalBTC(s)
	}
	value := strings.ToLower(s)
	if t == TypeCertSHA256 && strings.ContainsAny(value, ": ") { // as openssl and browsers print it
		value = strings.ReplaceAll(strings.ReplaceAll(value, ":", ""), " ", "")
	}
	if n := hexLength(t); len(value) != n || !isHex(value) {
		return "", valueErrorf("give "+strconv.Itoa(n)+" hexadecimal digits", "%s is not %s", show(s), t)
	}
	return value, nil
}

// isHex reports whether s has only lower-case hexadecimal digits.
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// canonicalJA4 checks the fixed form of a JA4 client fingerprint, such as
// t13d1516h2_8daaf6152771_b186095e22b6: protocol, TLS version, SNI, two counts,
// ALPN, and two truncated hashes.
func canonicalJA4(s string) (string, error) {
	v := strings.ToLower(s)
	ok := len(v) == 36 && v[10] == '_' && v[23] == '_' && isHex(v[11:23]) && isHex(v[24:]) &&
		strings.IndexByte("tqd", v[0]) >= 0 && word(v[1:3]) && strings.IndexByte("di", v[3]) >= 0 &&
		digits(v[4:8]) && word(v[8:10])
	if !ok {
		return "", valueErrorf("write it like t13d1516h2_8daaf6152771_b186095e22b6", "%s is not a JA4 fingerprint", show(s))
	}
	return v, nil
}

func word(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// privateASNs are the numbers that are nobody's (RFC 6996, 7300, 6793); those
// for documentation (RFC 5398) are not among them.
var privateASNs = [...][2]uint64{{0, 0}, {23456, 23456}, {64512, 65535}, {4200000000, 4294967295}}

// canonicalASN returns AS64496, from that, ASN64496, 64496 or the dotted AS1.0.
func canonicalASN(s string, o Options) (string, error) {
	v := strings.ToUpper(s)
	v = strings.TrimPrefix(strings.TrimPrefix(v, "AS"), "N")
	high, low, dotted := strings.Cut(v, ".")
	if !dotted {
		high, low = "0", v
	}
	size := 32
	if dotted {
		size = 16
	}
	h, err1 := strconv.ParseUint(high, 10, 16)
	l, err2 := strconv.ParseUint(low, 10, size)
	if err1 != nil || err2 != nil || !digits(high) || !digits(low) {
		return "", valueErrorf("write it like AS64496", "%s is not an AS number", show(s))
	}
	n := h<<16 | l
	for _, r := range privateASNs {
		if n >= r[0] && n <= r[1] && !o.AllowSpecial {
			return "", valueErrorf(allowFix, "%s is a private or reserved AS number", show(s))
		}
	}
	return "AS" + strconv.FormatUint(n, 10), nil
}

// canonicalBTC checks a Bitcoin main-net address with its checksum: base58
// (1…, 3…; their case matters) or SegWit (bc1…, lower case).
func canonicalBTC(s string) (string, error) {
	v := s
	ok := btcLike(s)
	if ok && strings.EqualFold(s[:3], "bc1") {
		v = strings.ToLower(s)
		ok = (v == s || strings.ToUpper(s) == s) && bech32(v)
	} else if ok {
		ok = base58Check(s)
	}
	if !ok {
		return "", valueErrorf("check for a typing error: its checksum does not hold", "%s is not a Bitcoin address", show(s))
	}
	return v, nil
}

// btcLike reports whether s has the length and the start of an address.
func btcLike(s string) bool {
	return len(s) >= 26 && len(s) <= 90 && (s[0] == '1' || s[0] == '3' || strings.EqualFold(s[:3], "bc1"))
}

// base58Check reports whether s is 21 bytes and their checksum, in base58.
func base58Check(s string) bool {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	if len(s) > 35 {
		return false
	}
	n, base := new(big.Int), big.NewInt(58)
	for i := range len(s) {
		digit := strings.IndexByte(alphabet, s[i])
		if digit < 0 {
			return false
		}
		n.Add(n.Mul(n, base), big.NewInt(int64(digit)))
	}
	if n.BitLen() > 25*8 {
		return false
	}
	raw := n.FillBytes(make([]byte, 25))
	// Each leading zero byte is written as one "1", no more and no less.
	zeros := len(raw) - len(bytes.TrimLeft(raw, "\x00"))
	if ones := len(s) - len(strings.TrimLeft(s, "1")); ones != zeros {
		return false
	}
	first := sha256.Sum256(raw[:21])
	second := sha256.Sum256(first[:])
	return (raw[0] == 0 || raw[0] == 5) && bytes.Equal(second[:4], raw[21:])
}

// bech32 checks a main-net SegWit address (BIP 173, and BIP 350 for witness
// versions from 1 on).
func bech32(s string) bool {
	const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	const prefixLength = 3 // "bc1"
	data := make([]byte, 0, len(s))
	for i := prefixLength; i < len(s); i++ {
		digit := strings.IndexByte(alphabet, s[i])
		if digit < 0 {
			return false
		}
		data = append(data, byte(digit))
	}
	if len(data) < 8 || data[0] > 16 {
		return false
	}
	want := uint32(0x2bc830a3)
	if data[0] == 0 {
		want = 1
	}
	expanded := append([]byte{3, 3, 0, 2, 3}, data...) // "bc", expanded
	if polymod(expanded) != want {
		return false
	}
	program := data[1 : len(data)-6]
	size, rest := len(program)*5/8, len(program)*5%8
	if rest >= 5 || program[len(program)-1]&(1<<rest-1) != 0 {
		return false
	}
	if data[0] == 0 {
		return size == 20 || size == 32
	}
	return size >= 2 && size <= 40
}

func polymod(values []byte) uint32 {
	generator := [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3}
	check := uint32(1)
	for _, v := range values {
		top := check >> 25
		check = (check&0x1ffffff)<<5 ^ uint32(v)
		for i, g := range generator {
			if top>>i&1 == 1 {
				check ^= g
			}
		}
	}
	return check
}
