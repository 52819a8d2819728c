package notice

import (
	"net/netip"
	"strings"
	"unicode"
)

// fileExtensions are the endings by which a bare name is taken for a file:
// what attackers bring along, and the documents they send.
var fileExtensions = extensions(`7z adf ade aes aspx asp ashx asx bat bin cfg chm cmd conf cpl dat db deb dll dmg dmp
	doc docm docx dot dotm drv dylib efi elf eml exe gz hta htm html img inf ini iso jar job js jse jsp jspx ko lnk log
	msg msi msix ocx odt pdf php pif ppam ppt pptm pptx ps1 psm1 pyc pyw rar reg rpm rtf scr sct sfx svg sys tar tgz tmp
	txt vbe vbs vhd vhdx vmdk war wll wsf wsh xla xlam xll xls xlsb xlsm xlsx xml apk elf32 wasm`)

// eitherExtensions are endings of files that are top-level domains as well. A
// name of two labels with such an ending is taken for a file: files are what
// people paste. Written defanged (evil[.]zip), or with a third label, it is a
// domain. Other such endings (com, pl, so, rs, md, app) are in wide use as
// domains and are always taken so.
var eitherExtensions = extensions("zip mov sh py cab")

func extensions(list string) map[string]bool {
	m := make(map[string]bool)
	for _, e := range strings.Fields(list) {
		m[e] = true
	}
	return m
}

// Detect finds the type of a value by its look and canonicalises it. It tries
// url, email, cidr, ipv4, ipv6, the hashes by their length (32 digits are md5,
// never ja3), ja4, asn, btc, registry-key, domain, filename; a mutex has no
// look, so its type must be stated. An address or name with a port counts as
// the host. The error of a value that has the look of a type says what is wrong
// with it as that type.
func Detect(raw string, o Options) (Indicator, error) {
	value, err := clean(raw)
	if err != nil {
		return Indicator{}, err
	}
	if n := len(value); n > 2 && value[0] == '"' && value[n-1] == '"' {
		if value, err = clean(value[1 : n-1]); err != nil {
			return Indicator{}, err
		}
	}
	if _, rest, ok := cutScheme(value); ok && rest != "" {
		return Canonical(TypeURL, value, o)
	}
	plain := refang(value)
	if strings.Count(plain, "@") == 1 && !strings.ContainsAny(plain, `/\ `) {
		return Canonical(TypeEmail, plain, o)
	}
	if i, found, err := detectAddress(plain, o); found {
		return i, err
	}
	if t := detectToken(value); t != 0 {
		return Canonical(t, value, o)
	}
	if strings.Contains(value, `\`) {
		if _, _, ok := cutHive(strings.ToLower(value)); ok {
			return Canonical(TypeRegistryKey, value, o)
		}
	}
	if pathLike(value) {
		return Canonical(TypeFilename, value, o)
	}
	return detectName(value, plain, o)
}

// detectAddress handles what starts as an IP address.
func detectAddress(plain string, o Options) (i Indicator, found bool, err error) {
	bare, _, network := strings.Cut(plain, "/")
	if !addressLike(bare) {
		return Indicator{}, false, nil
	}
	if network {
		if _, err := netip.ParseAddr(bare); err != nil {
			return Indicator{}, false, nil
		}
		i, err = Canonical(TypeCIDR, plain, o)
		return i, true, err
	}
	if withPort, err := netip.ParseAddrPort(plain); err == nil {
		plain = withPort.Addr().String()
	}
	addr, err := netip.ParseAddr(strings.Trim(plain, "[]"))
	if err != nil {
		return Indicator{}, false, nil
	}
	i, err = Canonical(addressType(addr.Unmap()), plain, o)
	return i, true, err
}

// addressLike spares names the parser: its errors cost more than all else here.
// An address, with a port or not, has two colons, or nothing but digits and
// what stands between them.
func addressLike(s string) bool {
	colons := 0
	plain := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == ':':
			colons++
		case (c < '0' || c > '9') && c != '.' && c != '[' && c != ']':
			plain = false
		}
	}
	return plain || colons > 1
}

// detectToken recognises the types that are one word of a fixed form, or 0. Each
// has its lengths, which are looked at first.
func detectToken(value string) Type {
	switch n := len(value); {
	case n == 32 || n == 40 || n == 64 || n == 128:
		if isHex(strings.ToLower(value)) {
			return hexTypes[n]
		}
	case n == 36:
		if _, err := canonicalJA4(value); err == nil {
			return TypeJA4
		}
	case n == 95:
		low := strings.ToLower(value)
		if strings.Count(low, ":") == 31 && isHex(strings.ReplaceAll(low, ":", "")) {
			return TypeCertSHA256
		}
	}
	if len(value) > 2 && value[0]|0x20 == 'a' && value[1]|0x20 == 's' {
		if number := value[2:]; digits(number) || number[0]|0x20 == 'n' && digits(number[1:]) {
			return TypeASN
		}
	}
	if btcLike(value) {
		if _, err := canonicalBTC(value); err == nil {
			return TypeBTC
		}
	}
	return 0
}

// hexTypes are the types that plain hexadecimal digits are taken for, by their
// number.
var hexTypes = map[int]Type{32: TypeMD5, 40: TypeSHA1, 64: TypeSHA256, 128: TypeSHA512}

// pathLike reports whether value starts or looks like a path, not a bare name.
func pathLike(value string) bool {
	drive := len(value) > 2 && value[1] == ':' && value[2] == '/' && unicode.IsLetter(rune(value[0]))
	user, _, slash := strings.Cut(value, "/")
	home := slash && value[0] == '~' && !strings.ContainsAny(user, ". ")
	return drive || home || value[0] == '/' || value[0] == '%' || strings.Contains(value, `\`)
}

// detectName tells a domain from a file. plain is value refanged.
func detectName(value, plain string, o Options) (Indicator, error) {
	name := plain
	if host, port, ok := strings.Cut(plain, ":"); ok && digits(port) && len(port) <= 5 {
		name = host
	}
	domain, err := canonicalDomain(name, Options{AllowSpecial: true})
	special := err == nil && specialName(domain)
	suffix, usable := "", false
	if err == nil {
		suffix, usable = suffixOf(domain)
		usable = usable || special
	}
	_, ending, dotted := cutLast(lower(value), '.')
	bare := strings.Count(value, ".") == 1 && plain == value
	switch {
	case usable && !(bare && eitherExtensions[ending]):
		if domain == value && (o.AllowSpecial || !special) && suffix != domain {
			return Indicator{TypeDomain, domain}, nil // as Canonical would say
		}
		return Canonical(TypeDomain, name, o)
	case dotted && (fileExtensions[ending] || eitherExtensions[ending]) && !strings.Contains(value, "/"):
		return Canonical(TypeFilename, value, o)
	}
	if host, _, ok := strings.Cut(plain, "/"); ok {
		if domain, err := canonicalDomain(host, Options{AllowSpecial: true}); err == nil && knownTLD(domain) {
			return Indicator{}, valueErrorf("write it with its scheme, such as http://evil.example/path, or report the host",
				"%s looks like a URL without its scheme", show(value))
		}
	}
	return Indicator{}, valueErrorf("check it, or state its type",
		"%s has the look of no type: tried url, email, cidr, ipv4, ipv6, md5, sha1, sha256, sha512, cert-sha256, ja4, "+
			"asn, btc, registry-key, domain, filename", show(value))
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
