package config

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/watchward/watchward/node/logs"
)

const (
	logsMax        = 64 // of [[logs]]
	logNameMax     = 40 // characters
	syslogPortFix  = `write an inside address of this machine and a port: "10.0.0.7:5514"`
	shareNeedsMark = `set share.tlp to how far hits may go, such as "AMBER"`
)

// A LogSource is one log that is read.
type LogSource struct {
	Name   string `toml:"name"`
	Path   string `toml:"path"` // a file, a directory or a pattern; relative paths start at the node's directory
	Format string `toml:"format"`
	Zone   string `toml:"zone"` // "" = this machine's
	Share  bool   `toml:"share"`
}

// Syslog configures where messages of syslog are received. The zero value receives
// nothing.
type Syslog struct {
	UDP        string   `toml:"udp"`
	TCP        string   `toml:"tcp"`
	TLS        string   `toml:"tls"`
	TLSCert    string   `toml:"tls_cert"`
	TLSKey     string   `toml:"tls_key"`
	TLSClients string   `toml:"tls_clients"`
	Allow      []string `toml:"allow"` // networks; none = private, link-local and loopback
	Format     string   `toml:"format"`
	Zone       string   `toml:"zone"`
	Share      bool     `toml:"share"`
}

// On reports whether anything is received.
func (s Syslog) On() bool { return s.UDP != "" || s.TCP != "" || s.TLS != "" }

// SyslogName is what alerts call the messages that were received: no [[logs]] has it.
const SyslogName = "syslog"

func (c Config) checkLogs(k *checker) {
	if len(c.Logs) > logsMax {
		k.add("logs", fmt.Sprintf("there are %d of them", len(c.Logs)), fmt.Sprintf("use at most %d: a path may be a directory or a pattern", logsMax))
	}
	names := map[string]bool{strings.ToLower(SyslogName): true}
	for i, l := range c.Logs {
		key := func(name string) string { return dotted(indexed("logs", i), name) }
		switch n := utf8.RuneCountInString(l.Name); {
		case strings.TrimSpace(l.Name) == "":
			k.add(key("name"), "the name is missing", `set name = "firewall": alerts say it`)
		case n > logNameMax || strings.ContainsFunc(l.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
			k.add(key("name"), fmt.Sprintf("%.80q is no name for a log", l.Name), fmt.Sprintf("use up to %d letters, digits and spaces", logNameMax))
		case names[strings.ToLower(l.Name)]:
			k.add(key("name"), fmt.Sprintf("%q is the name of another log", l.Name), "give each log a name of its own")
		}
		names[strings.ToLower(l.Name)] = true
		if l.Path == "" {
			k.add(key("path"), "the path is missing", `set path = "/var/log/suricata/eve.json"`)
		} else if _, err := filepath.Match(l.Path, ""); err != nil {
			k.add(key("path"), fmt.Sprintf("%.100q is no pattern", l.Path), `close the bracket, or write \[ for the character itself`)
		}
		k.logFormat(key, l.Format, l.Zone)
		k.sharing(key, l.Share, c.Share)
	}
}

func (k *checker) logFormat(key func(string) string, format, zone string) {
	if _, err := logs.ParseFormat(format); err != nil {
		_, choices, _ := strings.Cut(err.Error(), ": ")
		k.add(key("format"), fmt.Sprintf("%.40q is no format of a log", format), choices)
	}
	if _, err := time.LoadLocation(zone); err != nil || strings.EqualFold(zone, "local") {
		k.add(key("zone"), fmt.Sprintf("%.40q is no time zone", zone), `write it as "Europe/Berlin" or "UTC", or "" for this machine's`)
	}
}

func (k *checker) sharing(key func(string) string, share bool, how Share) {
	if share && how.TLP == "" {
		k.add(key("share"), "what is shared needs a marking, and share.tlp has none", shareNeedsMark)
	}
}

func (s Syslog) check(k *checker, how Share) {
	key := func(name string) string { return "syslog." + name }
	for _, l := range []struct {
		name, addr string
		anywhere   bool
	}{{"udp", s.UDP, false}, {"tcp", s.TCP, false}, {"tls", s.TLS, s.TLSClients != ""}} {
		if l.addr != "" {
			checkInside(k, key(l.name), l.addr, l.anywhere)
		}
	}
	switch {
	case s.TLS != "" && (s.TLSCert == "" || s.TLSKey == ""):
		k.add("syslog.tls", "it needs a certificate", "set syslog.tls_cert and syslog.tls_key")
	case s.TLS == "" && (s.TLSCert != "" || s.TLSKey != "" || s.TLSClients != ""):
		k.add("syslog.tls", "there are certificates and no address for TLS", "set syslog.tls, or leave them out")
	}
	k.listLength("syslog.allow", s.Allow)
	for i, text := range s.Allow {
		if p, err := netip.ParsePrefix(text); err != nil || p.Bits() == 0 {
			k.add(indexed("syslog.allow", i), fmt.Sprintf("%.80q is no network that may send", text), `write it as "10.1.0.0/16"; one address is "10.1.2.3/32"`)
		}
	}
	k.logFormat(key, s.Format, s.Zone)
	k.sharing(key, s.Share && s.On(), how)
}

// checkInside refuses an address that others than this house's network reach: who can
// send a line can make an alert, and nothing in syslog says who sent it.
func checkInside(k *checker, key, addr string, anywhere bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		k.add(key, fmt.Sprintf("%.80q is not an address", addr), syslogPortFix)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		k.add(key, fmt.Sprintf("%.20q is not a port", port), "choose 1 to 65535, or 0 for any free one")
		return
	}
	a, err := netip.ParseAddr(host)
	if host == "localhost" {
		a, err = netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	inside := a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
	if err != nil || !inside && !anywhere {
		k.add(key, fmt.Sprintf("%.80q may be reachable from outside this house, and anybody there could make alerts", addr),
			"name a private or loopback address of this machine, or use TLS with syslog.tls_clients")
	}
}

// PathIn returns a log's path, of which relative ones start at the node's directory.
func (l LogSource) PathIn(dir string) string {
	if filepath.IsAbs(l.Path) || strings.HasPrefix(l.Path, string(os.PathSeparator)) {
		return l.Path
	}
	return filepath.Join(dir, l.Path)
}
