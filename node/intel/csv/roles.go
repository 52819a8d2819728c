package csv

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// A role is what a column is for: a value (of any type, or of the one that kind
// names), or one of the fields beside it.
type role struct {
	name string // "value", "type", "tlp" …; "" for a column that is not read
	kind string // of a value: see valueKinds
}

// fieldRoles are the columns beside the values, and the headers they go by.
var fieldRoles = map[string]string{
	"type":        "type ioc_type indicator_type value_type observable_type attribute_type typ indikatortyp art",
	"first_seen":  "first_seen firstseen first_seen_utc dateadded date_added erstmals_gesehen zuerst_gesehen datum",
	"last_seen":   "last_seen lastseen last_seen_utc last_online zuletzt_gesehen",
	"valid_until": "valid_until validuntil expires expiry expiration expiration_date valid_to gültig_bis gueltig_bis",
	"tlp":         "tlp", // and whatever has it in its name
	"sharing": "sharing distribution marking classification kennzeichnung einstufung klassifizierung freigabe weitergabe ampel ampelfarbe verteiler " +
		"vertraulichkeit vertraulichkeitsstufe handling schutzstufe verteilung sensitivity",
	"family": "family malware malware_family malware_printable malware_name signature schadprogramm schadsoftware",
	"tool":   "tool", "technique": "technique attack_technique mitre_technique mitre_attack ttp",
	"cve": "cve cve_id vulnerability", "source": "source quelle provider feed", "id": "id uuid ioc_id",
	"origin": "origin", "origin_id": "origin_id", "kind": "kind",
	"to_ids": "to_ids", "retracted": "retracted", "notice": "notice",
}

// valueKinds are the columns of values, and the headers they go by.
var valueKinds = map[string]string{
	"value": "value indicator ioc ioc_value indicator_value observable observable_value artifact artefact entity wert indikator indikatorwert",
	"ip":    "ip ip_address ipaddress ip_addr ipv4 ipv6 dst_ip dest_ip destination_ip ip_dst c2_ip ip_adresse address adresse_ip",
	"host":  "domain domain_name domains fqdn hostname host c2_domain domäne domaene domänenname domaenenname domaine",
	"url":   "url urls c2_url malware_url",
	"hash":  "hash file_hash filehash hashwert datei_hash dateihash prüfsumme pruefsumme",
	"md5":   "md5 md5_hash hash_md5", "sha1": "sha1 sha_1 sha1_hash hash_sha1", "sha256": "sha256 sha_256 sha256_hash hash_sha256", "sha512": "sha512 sha_512 sha512_hash hash_sha512",
	"ja3": "ja3 ja3_md5 ja3_fingerprint", "ja4": "ja4", "cert-sha256": "cert_sha256", "cidr": "cidr network subnet netz",
	"mutex": "mutex", "registry-key": "registry_key regkey", "btc": "btc bitcoin",
	"email": "email email_address sender absender e_mail e_mail_adresse email_adresse", "filename": "filename file_name dateiname", "asn": "asn as_number",
}

// contextKinds are context where there are other values.
var contextKinds = []string{"email", "filename", "asn"}

// byHeader finds the role of a column by its normalised name.
var byHeader = func() map[string]role {
	out := map[string]role{}
	for name, headers := range fieldRoles {
		for _, h := range strings.Fields(headers) {
			out[h] = role{name: name}
		}
	}
	for kind, headers := range valueKinds {
		for _, h := range strings.Fields(headers) {
			out[h] = role{name: "value", kind: kind}
		}
	}
	return out
}()

// grades are headers of columns that may have colours and are no markings.
var grades = map[string]bool{
	"severity": true, "schweregrad": true, "risk": true, "risiko": true, "priority": true, "priorität": true, "prioritaet": true, "status": true,
	"confidence": true, "rating": true, "threat_level": true,
}

// headed finds the role of a column by its name.
func headed(name string) role {
	n := normal(name)
	if r := byHeader[n]; r.name != "" {
		return r
	}
	if strings.Contains(n, "tlp") && intel.Marking(name).TLP == 0 {
		if _, err := notice.Detect(name, notice.Options{AllowSpecial: true}); err != nil {
			return role{name: "tlp"}
		}
	}
	return role{}
}

// told reads "value=2,type=1".
func (t *table) told(text string) error {
	t.role = make([]role, max(t.width, len(t.header)))
	for _, pair := range strings.Split(text, ",") {
		name, column, ok := strings.Cut(pair, "=")
		name, column = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(column)
		r, known := role{name: name}, fieldRoles[name] != ""
		if kind := normalKind(name); valueKinds[kind] != "" {
			r, known = role{name: "value", kind: kind}, true
		}
		if !ok || !known {
			return fmt.Errorf("--columns: %q is not NAME=COLUMN: write value=2,type=1; the names are value, ip, domain, url, hash and other types, %s",
				intel.Show(pair), "type, tlp, first_seen, last_seen, valid_until, family, tool, technique, cve, source, id, kind, to_ids")
		}
		at, err := t.column(column)
		if err != nil {
			return err
		}
		if t.role[at].name != "" {
			return fmt.Errorf("--columns: column %d is named twice", at+1)
		}
		t.role[at] = r
	}
	if !t.hasValue() {
		return errors.New("--columns: it names no column of values: add value=NUMBER")
	}
	return nil
}

// normalKind is the name of a kind of value as valueKinds has it.
func normalKind(name string) string {
	switch name {
	case "domain":
		return "host"
	case "ipv4", "ipv6":
		return "ip"
	case "registry_key", "cert_sha256":
		return strings.ReplaceAll(name, "_", "-")
	}
	return name
}

// column finds a column by its number or its name.
func (t *table) column(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		if n < 1 || n > len(t.role) {
			return 0, fmt.Errorf("--columns: there is no column %d: the columns are %s", n, t.names())
		}
		return n - 1, nil
	}
	if t.header == nil && !t.headless && len(t.rows) > 0 { // named, so it has names
		t.header, t.rows = t.rows[0], t.rows[1:]
	}
	at := slices.IndexFunc(t.header, func(h string) bool { return strings.EqualFold(h, name) || normal(h) == normal(name) })
	if at < 0 || normal(name) == "" {
		return 0, fmt.Errorf("--columns: there is no column %q: the columns are %s", intel.Show(name), t.names())
	}
	return at, nil
}
