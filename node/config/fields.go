package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// field describes a key. The order is that of the written file.
type field struct {
	key string
	doc string // one sentence a line
}

func fields() []field {
	return []field{
		{"name", "The hospital's name as others see it, 1 to 100 characters.\nRequired."},
		{"api.listen", "TCP address of the API; port 0 picks a free one, \"\" is none.\nAnything but loopback needs tls_cert and tls_key, or plaintext."},
		{"api.socket", "Path of a Unix socket, \"\" is none; relative paths start at the node's directory.\nWhoever can open it is admin: its mode is 0660, so its group decides."},
		{"api.hosts", "Host names that requests may be for, besides localhost and IP addresses.\nOthers are refused, against DNS rebinding."},
		{"api.tls_cert", "PEM file of the certificate chain; read again when it changes."},
		{"api.tls_key", "PEM file of the certificate's key."},
		{"api.plaintext", "Allows plain HTTP on addresses other than loopback.\nOnly for a proxy in front that does TLS: tokens cross this network readable."},
		{"api.body_max", "Largest body of a request in bytes, 65536 to 1073741824."},
		{"mesh.listen", "Multiaddrs on which other members may connect: QUIC, TCP and, with /tls/ws behind tcp/PORT, WebSocket.\nWithout any this node only dials out, which needs no open port."},
		{"mesh.announce", "Multiaddrs to tell others besides those found: a forwarded port, a public name."},
		{"mesh.seeds", "Multiaddrs of members to dial first, each ending in /p2p/ and the peer id."},
		{"mesh.hub", "Keeps more connections, for a node that others can dial."},
		{"share.tlp", "Marking of what is shared without one: CLEAR, GREEN, AMBER, AMBER+STRICT or RED.\n\"\" refuses to share what has no marking."},
		{"ask.answer", "How far this node answers the region's questions (watchward ask) by itself: person, seen or all.\n" +
			"person: never; somebody decides, with watchward respond.\n" +
			"seen: says \"seen\" where its own sightings, which all who hear the answer were told of before, say so; this tells nobody anything new.\n" +
			"all: also says \"not-seen\" to this region where nothing of its own has the value, its parent names or the networks around it.\n" +
			"Every \"not-seen\" tells an attacker among the members what you do not notice, and means no more than that nothing was reported to this node.\n" +
			"Of what is kept here alone neither says a word; with all, that silence can tell whoever asks often that there is something.\n" +
			"At most 10 answers an hour to one member and 60 to all; the rest waits for a person."},
		{"coordinator.vote", "Orders the region's ledger with the other voters, where the charter names this member as one.\nWith false it only mirrors, and still counts as one of those of whom most must sign."},
		{"ledger.mirror", "Keeps a verified copy of the region's ledger, and hands it to members that ask.\nA voter keeps one in any case."},
		{"ledger.public", "Shows the ledger's tiles and checkpoints without a token to all who reach the API.\nThey hold hashes alone, never a notice."},
		{"ledger.max_age", "How old the ledger's last checkpoint may be before this node warns, 2m to 168h."},
		{"block.min_members", "How many members must have seen a value before it is blocked here, 0 for never: then values are only detected.\nSo many more must have seen it than dispute it."},
		{"block.families", "Malware families whose values are blocked, whoever names them: \"Qakbot\"."},
		{"block.origins", "Sources of imports whose values are blocked: \"misp:ESET\"."},
		{"never_block.own", "Addresses, networks and names of this hospital: 192.0.2.0/24, hospital.example. They are neither blocked nor detected.\n" +
			"A name stands for all below it. Private and other special-use ranges are built in."},
		{"never_block.suppliers", "Those of suppliers. They are detected and never blocked, whatever anybody says or denies."},
		{"never_block.clinical", "Those that clinical systems need, such as a laboratory's or a vendor's cloud. They are detected and never blocked."},
		{"warninglists.dir", "Directory with warninglists of MISP (*.json, also below it), read again when it changes; \"\" is none. Relative paths start at the node's directory.\n" +
			"What they name is detected and not blocked unless it is denied here (watchward deny)."},
		{"alerts.digest", "When the daily digest goes out, in local time: 07:00; \"\" is never.\nIt has all that nobody was paged for."},
		{"alerts.digest_to", "Names of the sinks that get it; none: all of type webhook, chat, smtp and command."},
		{"alerts.ack_timeout", "How long somebody may take to acknowledge (watchward alerts ack) before the next sink of a rule is told, 1m to 24h."},
		{"alerts.rules.name", "What the rule is called: 1 to 40 small letters, digits and hyphens.\nThe first rule that matches decides. Behind yours stand these: a hit of the own logs (kind hit), a value in the own history (seen-here), " +
			"a mayday in the region (mayday, critical) and trouble of a supplier (supplier) page; the rest is in the digest."},
		{"alerts.rules.kind", "Kinds of alerts, as watchward alerts shows them. A rule matches what is of all that it names; what is left out matches anything."},
		{"alerts.rules.severity", "info, warning or critical."},
		{"alerts.rules.notice", "Kinds of notices of others, or \"*\": the rule is then about what arrives, and not about alerts.\nThis hospital's own notices match where author names it."},
		{"alerts.rules.type", "Types of indicators, such as domain or ipv4."},
		{"alerts.rules.value", "Values, canonical as watchward lookup shows them."},
		{"alerts.rules.family", "Malware families."},
		{"alerts.rules.author", "Names or ids of members."},
		{"alerts.rules.region", "Names of regions."},
		{"alerts.rules.verdict", "none, detect or block: what this node makes of the value."},
		{"alerts.rules.do", "page (tell at once, and wait for somebody to acknowledge), send (tell at once), digest or drop."},
		{"alerts.rules.to", "Names of the sinks that are told at once; none: all."},
		{"alerts.rules.then", "Names of the sinks that are told one after another, each when nobody acknowledged within ack_timeout."},
		{"alerts.rules.group_by", "What makes things one: of those with the same kind, value, author … only the first pages, for a day after the last; none: each is alone."},
		{"alerts.rules.repeat", "How often who was paged is paged again until somebody acknowledges, 5m to 168h; \"\" is never."},
		{"alerts.rules.limit", "At most so many an hour; beyond it one alert says so, and the rest is in the digest. 0 is 20, with send 600."},
		{"alerts.sinks.name", "What rules call it: 1 to 40 small letters, digits and hyphens."},
		{"alerts.sinks.type", "webhook, chat (Slack, Teams and what takes {\"text\": …}), alertmanager, syslog, smtp or command."},
		{"alerts.sinks.url", "Where to: https://…; udp://, tcp:// or tls://HOST:PORT for syslog; smtp:// (STARTTLS), smtps:// or smtp-plain:// for mail.\nIt must have no password in it; http:// needs private."},
		{"alerts.sinks.url_file", "A file with the url alone, where that is itself a secret, as of chat. Relative paths start at the node's directory."},
		{"alerts.sinks.secret_file", "A file with the key that signs a webhook (HMAC-SHA256, as standardwebhooks.com has it), the password for mail, or the bearer token of alertmanager and chat. Relative paths start at the node's directory."},
		{"alerts.sinks.ca_file", "PEM file of the authorities that are trusted, instead of this machine's. Relative paths start at the node's directory."},
		{"alerts.sinks.user", "User for mail."},
		{"alerts.sinks.from", "Sender of mail."},
		{"alerts.sinks.to", "Recipients of mail."},
		{"alerts.sinks.command", "A program and its arguments, run without a shell; it gets the alert as JSON on standard input and has 30 s."},
		{"alerts.sinks.tlp", "The strictest marking that may go there: CLEAR, GREEN, AMBER or AMBER+STRICT; \"\" is GREEN. RED goes nowhere."},
		{"alerts.sinks.above", "What becomes of a page above it: bare (says only that there is one, at most every 10 minutes) or nothing; \"\" is bare."},
		{"alerts.sinks.lines", "Sends the line of your own log with a hit. It may name users and inside addresses, and tlp does not hold it back."},
		{"alerts.sinks.private", "Allows a webhook or chat to a private, loopback or other special address, and http://."},
		{"feeds.listen", "Address on which feeds alone are served, such as 10.0.0.7:8462; \"\" is none: they are at the API's address too, under /feeds/NAME.\nAnything but loopback needs tls_cert and tls_key, or plaintext."},
		{"feeds.tls_cert", "PEM file of the certificate chain; read again when it changes."},
		{"feeds.tls_key", "PEM file of the certificate's key."},
		{"feeds.plaintext", "Allows plain HTTP on addresses other than loopback, for firewalls that know no better: tokens cross this network readable."},
		{"feeds.dns_listen", "Address on which zones (format rpz) are transferred and asked for their SOA, TCP and UDP, such as 10.0.0.7:8453; \"\" is none."},
		{"feeds.tsig_file", "File with the keys that sign transfers, as tsig-keygen writes them."},
		{"feeds.stale", "How long a consumer may stay away before an alert says so, 1m to 720h."},
		{"feeds.list.name", "What the feed is called in its URL, 1 to 40 small letters, digits and hyphens; each has another.\nRequired."},
		{"feeds.list.format", "plain (OPNsense, pfSense, Pi-hole and most others), panos, fortigate, hosts, rpz, suricata, zeek, crowdsec or csv.\nRequired."},
		{"feeds.list.types", "Types of indicators, such as domain; ip and hash are all of these. None: what the format is for.\nOne list holds what one kind of list may hold there: addresses, or domains, or URLs, or hashes."},
		{"feeds.list.verdict", "block: what the local policy ([block], watchward deny) says to block; detect: also what is only watched for. \"\" is block."},
		{"feeds.list.tlp", "The strictest marking of words that count: CLEAR, GREEN, AMBER or AMBER+STRICT; \"\" is AMBER.\nA token that fetches it must see as much."},
		{"feeds.list.max_age", "How long ago a value may have been seen last, such as 30d; \"\" is as long as it counts."},
		{"feeds.list.max_entries", "The most entries, the first by priority: denied here, then seen by more members, then seen last. 0 is as many as the format takes."},
		{"feeds.list.consumers", "Names of the tokens that fetch it; none: any reader's. Those named are missed also if they never came."},
		{"feeds.list.zone", "Of the format rpz: the name of the zone; \"\" is NAME.rpz."},
		{"feeds.list.transfer", "Of the format rpz: who may transfer the zone: addresses, networks, and key:NAME for a TSIG key."},
		{"feeds.list.notify", "Of the format rpz: addresses with port that are told of each change."},
		{"logs.name", "What alerts call this log, 1 to 40 characters; each [[logs]] has another.\nRequired."},
		{"logs.path", "The log: a file, a directory (all files in it) or a pattern such as /var/log/suricata/eve*.json.\nRequired. It is followed through rotation; what is compressed is passed over."},
		{"logs.format", "auto (the first lines tell), mixed, plain, suricata, zeek, dnsmasq, unbound, bind, msdns, fortigate, panos, sophos or squid.\n\"\" is auto."},
		{"logs.zone", "Time zone of stamps that name none, such as Europe/Berlin; \"\" is this machine's."},
		{"logs.share", "Tells the other hospitals what was hit, under share.tlp: the value that they know, when and how often, once a day.\nNever an address, name, user or line of this house. At most 100 values a day of all logs."},
		{"syslog.udp", "Address on which messages are received over UDP, such as 10.0.0.7:5514; \"\" is none.\nIt must be an inside address of this machine. Whoever can send to it can make alerts."},
		{"syslog.tcp", "The same over TCP."},
		{"syslog.tls", "The same over TLS, with tls_cert and tls_key; with tls_clients any address will do."},
		{"syslog.tls_cert", "PEM file of the certificate chain."},
		{"syslog.tls_key", "PEM file of the certificate's key."},
		{"syslog.tls_clients", "PEM file of the authorities whose certificates senders over TLS must have; \"\" asks for none."},
		{"syslog.allow", "Networks that may send; none: private, link-local and loopback addresses."},
		{"syslog.format", "As logs.format; \"\" is mixed, each message by its look."},
		{"syslog.zone", "As logs.zone."},
		{"syslog.share", "As logs.share."},
		{"exchange.taxii", "Serves what may go out as STIX 2.1 over TAXII 2.1, at /taxii2/ of the API's address: to MISP, OpenCTI, SIEMs.\nA token sees what its ceiling lets it; nothing stricter than AMBER goes out this way, and nothing that is kept here. Takes about a third of the store's disk once more."},
		{"exchange.misp", "Serves the same as a feed that MISP pulls, at /misp/ of the API's address."},
		{"exchange.inbox", "What happens to STIX objects that a reporter's token adds to the TAXII collection inbox.\nlocal: they are kept here, and tell nobody. share: they are stated to the region, each under its own marking. off: nobody may add any.\nWhat has no marking, or a stricter one than AMBER, is refused."},
		{"bridge.name", "What this bridge is called here, 1 to 40 small letters, digits and hyphens; each has another.\nRequired."},
		{"bridge.kind", "taxii (a TAXII 2.1 server, such as an ISAC's, OpenCTI, or another Watchward node), misp (a MISP server, by its API) or misp-feed (a directory with a manifest.json).\nRequired."},
		{"bridge.url", "Address of the service: of TAXII the discovery or an API root, of a feed its directory.\nRequired; https, or http with private."},
		{"bridge.collection", "Of TAXII: the collection that is read, by id, alias or title. Required there, also where nothing is taken: what came from there must not go back."},
		{"bridge.push_collection", "Of TAXII: the collection that is pushed to; \"\" is the one that is read."},
		{"bridge.token_file", "File with a bearer token in one line, readable for its owner alone (chmod 600)."},
		{"bridge.key_file", "Of MISP: file with the key of a user of MISP, likewise."},
		{"bridge.user", "Name for a password."},
		{"bridge.password_file", "File with the password, likewise."},
		{"bridge.ca_file", "PEM file of the authorities that may have signed the service's certificate; \"\" is the system's."},
		{"bridge.pull", "Takes in what the service has, under the markings it gives; nothing stricter than AMBER is taken."},
		{"bridge.share", "States to the region what is taken in; otherwise it is kept here and tells nobody."},
		{"bridge.marking", "Marking of what has none: CLEAR, GREEN or AMBER; \"\" refuses it."},
		{"bridge.push", "What is pushed: none, own (what this hospital said itself) or all (also what others told it, and what came from elsewhere); \"\" is none.\nNothing goes back to where it came from, and nothing that is kept here goes out."},
		{"bridge.ceiling", "The strictest marking of what is pushed: CLEAR, GREEN or AMBER; \"\" is GREEN.\nWhatever goes to a service is as far as its operator lets it."},
		{"bridge.every", "How often the service is asked, 10s to 24h; \"\" is 5m. One that fails is asked again sooner, then as often."},
		{"bridge.private", "Allows a private, loopback or other special address, and http://."},
		{"history.days", "How long this node remembers what its own logs had, 1 to 400 days; 0 remembers nothing.\nNo value is kept, only a keyed hash of it; neither hashes nor key ever leave the node."},
		{"history.mib", "Size of that memory on the disk in MiB, 16 to 1048576; beyond it the oldest is forgotten.\n1 MiB has about 50,000 values of a week."},
		{"history.parents", "Remembers a name's parents too, so that evil.example tells of www.evil.example."},
		{"history.prefixes", "Lengths of networks that are remembered for each address, up to 8: below 32 of IPv4, from 32 of IPv6.\n" +
			"A network is found if its length, or one up to 8 longer, is among them; from /24 (IPv6: /120) on it is found without."},
		{"log.level", "debug, info, warn or error."},
		{"log.format", "text or json."},
		{"metrics.public", "Shows /metrics without a token to all who reach the API."},
	}
}

// Write makes the initial file of a node. It writes every key with what it
// means; a key at its default is commented out, so that a later version may
// bring a better one. It never overwrites: the error is then fs.ErrExist.
func Write(path string, c Config) (err error) {
	if err := c.Validate(); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	err = render(f, c, true)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write configuration %s: %w", filepath.Base(path), err)
	}
	return nil
}

// Show writes the effective configuration as TOML that Load takes, with what
// each key means.
func Show(w io.Writer, c Config) error { return render(w, c, false) }

func render(w io.Writer, c Config, initial bool) error {
	var b strings.Builder
	if initial {
		b.WriteString("# Configuration of a Watchward node. Check it: watchward config validate\n")
		b.WriteString("# A line that starts with #key = shows the default.\n\n")
	}
	standard := Default()
	section := ""
	for _, f := range fields() {
		table, name := split(f.key)
		list := listed(c, table)
		if table != section {
			section = table
			if list.IsValid() {
				renderList(&b, table, list)
			} else {
				fmt.Fprintf(&b, "[%s]\n", table)
			}
		}
		if list.IsValid() {
			continue
		}
		for line := range strings.SplitSeq(f.doc, "\n") {
			b.WriteString("# " + line + "\n")
		}
		value, usual := literal(lookup(c, f.key)), literal(lookup(standard, f.key))
		if initial && value == usual {
			b.WriteByte('#')
		}
		fmt.Fprintf(&b, "%s = %s\n\n", name, value)
	}
	_, err := io.WriteString(w, strings.TrimSuffix(b.String(), "\n"))
	return err
}

// renderList writes the tables of a list, the keys described once; of an empty list
// one that is commented out.
func renderList(b *strings.Builder, table string, list reflect.Value) {
	mark, count := "", list.Len()
	if count == 0 {
		mark, count = "#", 1
	}
	for i := range count {
		element := reflect.Zero(list.Type().Elem())
		if list.Len() > 0 {
			element = list.Index(i)
		}
		fmt.Fprintf(b, "%s[[%s]]\n", mark, table)
		for _, f := range fields() {
			of, name := split(f.key)
			if of != table {
				continue
			}
			if i == 0 {
				for line := range strings.SplitSeq(f.doc, "\n") {
					b.WriteString("# " + line + "\n")
				}
			}
			fmt.Fprintf(b, "%s%s = %s\n", mark, name, literal(member(element, name)))
			if i == 0 {
				b.WriteByte('\n')
			}
		}
		if i > 0 {
			b.WriteByte('\n')
		}
	}
}

// listed returns the list of tables that a table is one of; not valid if it is one
// alone.
func listed(c Config, table string) reflect.Value {
	if table == "" {
		return reflect.Value{}
	}
	if v := lookup(c, table); v.Kind() == reflect.Slice {
		return v
	}
	return reflect.Value{}
}

// Reference returns the description of all keys, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\nOne TOML file, `config.toml` in the node's directory. Everything has a default but the name.\n")
	b.WriteString("An unknown key or a value that cannot work is an error with its line, never ignored.\n")
	standard := Default()
	section := "-"
	for _, f := range fields() {
		table, name := split(f.key)
		if table != section {
			section = table
			switch {
			case listed(standard, table).IsValid():
				fmt.Fprintf(&b, "\n## [[%s]]\n\nAny number of them.\n", table)
			case table != "":
				fmt.Fprintf(&b, "\n## [%s]\n", table)
			}
			b.WriteString("\n| key | default | meaning |\n| --- | --- | --- |\n")
		}
		v := lookup(standard, f.key)
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", name, literal(v), strings.ReplaceAll(f.doc, "\n", " "))
	}
	return b.String()
}

func split(key string) (table, name string) {
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		return key[:i], key[i+1:]
	}
	return "", key
}

// lookup returns the value of a key in c; of a key of a list's tables, that which one
// has that does not set it.
func lookup(c Config, key string) reflect.Value {
	v := reflect.ValueOf(c)
	for name := range strings.SplitSeq(key, ".") {
		if v.Kind() == reflect.Slice {
			v = reflect.Zero(v.Type().Elem())
		}
		v = member(v, name)
	}
	return v
}

func member(v reflect.Value, name string) reflect.Value {
	t := v.Type()
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("toml") == name {
			return v.Field(i)
		}
	}
	panic("config: fields and Config disagree about " + name) // a test covers every field
}

// literal returns v as TOML.
func literal(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return quote(v.String())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

// quote returns a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// suggest names the key that was probably meant.
func suggest(key string) string {
	best, distance := "", 4
	_, name := split(key)
	for _, f := range fields() {
		_, known := split(f.key)
		if d := min(edits(key, f.key), edits(name, known)); d < distance {
			best, distance = f.key, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "remove it, or see watchward config show for all keys"
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// wantType says what type a key takes.
func wantType(key string) string {
	for _, f := range fields() {
		if f.key != key {
			continue
		}
		switch lookup(Default(), key).Kind() {
		case reflect.String:
			return key + ` takes a text in quotes: "…"`
		case reflect.Slice:
			return key + ` takes a list of texts: ["…", "…"]`
		case reflect.Bool:
			return key + " takes true or false"
		default:
			return key + " takes a whole number"
		}
	}
	return "see https://toml.io for the syntax"
}
