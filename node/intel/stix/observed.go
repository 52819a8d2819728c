package stix

import (
	"slices"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// A look says as what a value is read: as a type of indicator, or by its look.
type look uint8

const (
	lookAddress look = 100 // an address or a network
	lookAny     look = 101 // what a reference may lead to: address, name, e-mail address, URL
)

// An observed is a value of an object or of a pattern, not yet canonical.
type observed struct {
	kind look // notice.Type, lookAddress or lookAny
	text string
}

// An objectPath is file:hashes.'SHA-256', in lower case and without indexes.
type objectPath struct {
	object string
	steps  []string
}

// properties are the paths with a meaning of their own.
var properties = map[string]look{
	"ipv4-addr:value": lookAddress, "ipv6-addr:value": lookAddress,
	"domain-name:value":               look(notice.TypeDomain),
	"url:value":                       look(notice.TypeURL),
	"email-addr:value":                look(notice.TypeEmail),
	"file:name":                       look(notice.TypeFilename),
	"mutex:name":                      look(notice.TypeMutex),
	"windows-registry-key:key":        look(notice.TypeRegistryKey),
	"autonomous-system:number":        look(notice.TypeASN),
	"network-traffic:" + propertyJA3:  look(notice.TypeJA3),
	"network-traffic:" + propertyJA4:  look(notice.TypeJA4),
	"cryptocurrency-wallet:value":     look(notice.TypeBTC),
	"email-message:body_raw_ref.name": look(notice.TypeFilename),
	"process:image_ref.name":          look(notice.TypeFilename),
	"email-message:from_ref.value":    look(notice.TypeEmail),
	"email-message:sender_ref.value":  look(notice.TypeEmail),
}

// hashTypes are the names of hash algorithms without - and _, in lower case.
var hashTypes = map[string]notice.Type{
	"md5": notice.TypeMD5, "sha1": notice.TypeSHA1, "sha256": notice.TypeSHA256, "sha512": notice.TypeSHA512,
}

// reading says as what a value at the path is read, or why it cannot be.
func (p objectPath) reading() (as observed, why string) {
	last, before := p.steps[len(p.steps)-1], ""
	if len(p.steps) > 1 {
		before = p.steps[len(p.steps)-2]
	}
	path := p.object + ":" + strings.Join(p.steps, ".")
	none := intel.Show(path) + " has no type of indicator here"
	for _, to := range [...]string{"to_refs", "cc_refs", "bcc_refs"} {
		if p.object == "email-message" && slices.Contains(p.steps, to) {
			return as, "a recipient is a victim: addresses of victims are not shared"
		}
	}
	switch {
	case properties[path] != 0:
		return observed{kind: properties[path]}, ""
	case before == "hashes":
		t, ok := hashTypes[strings.NewReplacer("-", "", "_", "").Replace(last)]
		if p.object == "x509-certificate" {
			ok, t = t == notice.TypeSHA256, notice.TypeCertSHA256
		}
		if !ok {
			return as, none
		}
		return observed{kind: look(t)}, ""
	case last == "value" && (strings.HasSuffix(before, "_ref") || strings.HasSuffix(before, "_refs")):
		return observed{kind: lookAny}, ""
	case last == "name" && strings.HasSuffix(before, "_raw_ref"):
		return observed{kind: look(notice.TypeFilename)}, ""
	}
	return as, none
}

// canonical makes an indicator of a value.
func (v observed) canonical(o notice.Options) (notice.Indicator, error) {
	switch v.kind {
	case lookAddress:
		t := notice.TypeIPv4
		if strings.Contains(v.text, "/") {
			t = notice.TypeCIDR
		} else if strings.Contains(v.text, ":") {
			t = notice.TypeIPv6
		}
		return notice.Canonical(t, v.text, o)
	case lookAny:
		return notice.Detect(v.text, o)
	}
	return notice.Canonical(notice.Type(v.kind), v.text, o)
}

// patterns are what a value is compared with, by its type.
var patterns = map[notice.Type]string{
	notice.TypeIPv4: "ipv4-addr:value", notice.TypeIPv6: "ipv6-addr:value", notice.TypeDomain: "domain-name:value",
	notice.TypeURL: "url:value", notice.TypeEmail: "email-addr:value",
	notice.TypeMD5: "file:hashes.MD5", notice.TypeSHA1: "file:hashes.'SHA-1'",
	notice.TypeSHA256: "file:hashes.'SHA-256'", notice.TypeSHA512: "file:hashes.'SHA-512'",
	notice.TypeJA3: "network-traffic:" + propertyJA3, notice.TypeJA4: "network-traffic:" + propertyJA4,
	notice.TypeCertSHA256: "x509-certificate:hashes.'SHA-256'", notice.TypeFilename: "file:name",
	notice.TypeMutex: "mutex:name", notice.TypeRegistryKey: "windows-registry-key:key", notice.TypeBTC: "cryptocurrency-wallet:value",
}

// patternOf writes the pattern of an indicator.
func patternOf(i notice.Indicator) string {
	switch i.Type {
	case notice.TypeASN:
		return "[autonomous-system:number = " + strings.TrimPrefix(i.Value, "AS") + "]"
	case notice.TypeCIDR:
		object := "ipv4-addr"
		if strings.Contains(i.Value, ":") {
			object = "ipv6-addr"
		}
		return "[" + object + ":value ISSUBSET '" + i.Value + "']"
	}
	return "[" + patterns[i.Type] + " = '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(i.Value) + "']"
}
