package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
)

// Alerts configures who is told of what.
type Alerts struct {
	Digest     string      `toml:"digest"`      // local time of day, "15:04"; "" = none
	DigestTo   []string    `toml:"digest_to"`   // names of sinks; none: all that people read
	AckTimeout string      `toml:"ack_timeout"` // as time.ParseDuration takes it
	Rules      []AlertRule `toml:"rules"`
	Sinks      []AlertSink `toml:"sinks"`
}

// An AlertRule says what becomes of alerts, or of notices, that are of all it names.
type AlertRule struct {
	Name     string   `toml:"name"`
	Kind     []string `toml:"kind"`
	Severity []string `toml:"severity"`
	Notice   []string `toml:"notice"`
	Type     []string `toml:"type"`
	Value    []string `toml:"value"`
	Family   []string `toml:"family"`
	Author   []string `toml:"author"`
	Region   []string `toml:"region"`
	Verdict  []string `toml:"verdict"`
	Do       string   `toml:"do"`
	To       []string `toml:"to"`
	Then     []string `toml:"then"`
	GroupBy  []string `toml:"group_by"`
	Repeat   string   `toml:"repeat"` // as time.ParseDuration takes it; "" = never
	Limit    int64    `toml:"limit"`  // an hour; 0 = RuleLimit
}

// Values of AlertRule.Do.
const (
	RulePage   = "page"
	RuleSend   = "send"
	RuleDigest = "digest"
	RuleDrop   = "drop"
)

// An AlertSink is a way out.
type AlertSink struct {
	Name       string   `toml:"name"`
	Type       string   `toml:"type"`
	URL        string   `toml:"url"`
	URLFile    string   `toml:"url_file"`
	SecretFile string   `toml:"secret_file"`
	CAFile     string   `toml:"ca_file"`
	User       string   `toml:"user"`
	From       string   `toml:"from"`
	To         []string `toml:"to"`
	Command    []string `toml:"command"`
	TLP        string   `toml:"tlp"`   // "" = GREEN
	Above      string   `toml:"above"` // "" = AboveBare
	Lines      bool     `toml:"lines"`
	Private    bool     `toml:"private"`
}

// Types of sinks.
const (
	SinkWebhook      = "webhook"
	SinkChat         = "chat"
	SinkAlertmanager = "alertmanager"
	SinkSyslog       = "syslog"
	SinkSMTP         = "smtp"
	SinkCommand      = "command"
)

// Values of AlertSink.Above.
const (
	AboveBare    = "bare"
	AboveNothing = "nothing"
)

// Bounds of alerts.
const (
	alertSinksMax  = 16
	alertRulesMax  = 64
	ruleValuesMax  = 64
	ruleBytesMax   = 200
	RuleLimit      = 20     // of what pages, where a rule has no limit of its own …
	RuleSendLimit  = 600    // … and of what is sent
	ruleLimitMost  = 10_000 // an hour
	ackLeast       = time.Minute
	ackMost        = 24 * time.Hour
	repeatLeast    = 5 * time.Minute
	repeatMost     = 7 * 24 * time.Hour
	commandArgsMax = 32
)

// sinkName is what sinks and rules may be called.
var sinkName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// Ceiling is the strictest marking that a sink of a configuration that passed
// Validate may have.
func (s AlertSink) Ceiling() notice.TLP {
	if s.TLP == "" {
		return notice.TLPGreen
	}
	t, _ := notice.ParseTLP(s.TLP)
	return t
}

// Ack is AckTimeout of a configuration that passed Validate.
func (a Alerts) Ack() time.Duration {
	d, _ := time.ParseDuration(a.AckTimeout)
	return d
}

// Every is Repeat of a configuration that passed Validate, 0 for never.
func (r AlertRule) Every() time.Duration {
	d, _ := time.ParseDuration(r.Repeat)
	return d
}

// An AlertWord is a thing by which rules and silences choose, and what may be there.
type AlertWord struct {
	Key     string
	Of      func(*AlertRule) *[]string
	Choices []string // none: any text
}

// AlertWords returns them in the order of the file.
func AlertWords() []AlertWord {
	kinds, types := []string{"*"}, []string{}
	for _, k := range notice.Kinds() {
		kinds = append(kinds, k.String())
	}
	for _, t := range notice.Types() {
		types = append(types, t.String())
	}
	return []AlertWord{
		{"kind", func(r *AlertRule) *[]string { return &r.Kind }, nil},
		{"severity", func(r *AlertRule) *[]string { return &r.Severity }, []string{"info", "warning", "critical"}},
		{"notice", func(r *AlertRule) *[]string { return &r.Notice }, kinds},
		{"type", func(r *AlertRule) *[]string { return &r.Type }, types},
		{"value", func(r *AlertRule) *[]string { return &r.Value }, nil},
		{"family", func(r *AlertRule) *[]string { return &r.Family }, nil},
		{"author", func(r *AlertRule) *[]string { return &r.Author }, nil},
		{"region", func(r *AlertRule) *[]string { return &r.Region }, nil},
		{"verdict", func(r *AlertRule) *[]string { return &r.Verdict },
			[]string{verdict.None.String(), verdict.Detect.String(), verdict.Block.String()}},
	}
}

func (a Alerts) check(k *checker) {
	if _, err := time.Parse("15:04", a.Digest); err != nil && a.Digest != "" {
		k.add("alerts.digest", fmt.Sprintf("%.100q is no time of day", a.Digest), `write it as "07:00", or "" for none`)
	}
	k.duration("alerts.ack_timeout", a.AckTimeout, ackLeast, ackMost)
	sinks := a.checkSinks(k)
	k.sinks("alerts.digest_to", a.DigestTo, sinks)
	if len(a.Rules) > alertRulesMax {
		k.add("alerts.rules", fmt.Sprintf("there are %d rules", len(a.Rules)), fmt.Sprintf("use at most %d", alertRulesMax))
	}
	names := map[string]bool{}
	for i, r := range a.Rules {
		r.check(k, indexed("alerts.rules", i), sinks, names)
	}
}

func (k *checker) duration(key, value string, least, most time.Duration) {
	if d, err := time.ParseDuration(value); err != nil || d < least || d > most {
		k.add(key, fmt.Sprintf("%.100q is no time within %s and %s", value, least, most), `write minutes or hours: "15m", "4h"`)
	}
}

// sinks checks a list of names of sinks.
func (k *checker) sinks(key string, names []string, known []string) {
	for i, n := range names {
		switch {
		case !slices.Contains(known, n):
			k.add(indexed(key, i), fmt.Sprintf("there is no sink %.100q", n), "name one of [[alerts.sinks]]: "+list(known))
		case slices.Index(names, n) < i:
			k.add(indexed(key, i), fmt.Sprintf("%q is there twice", n), "name each once")
		}
	}
}

func list(names []string) string {
	if len(names) == 0 {
		return "there is none yet"
	}
	return strings.Join(names, ", ")
}

func (k *checker) name(key, name string, taken map[string]bool) {
	switch {
	case name == "":
		k.add(key, "the name is missing", `set name = "on-call"`)
	case !sinkName.MatchString(name):
		k.add(key, fmt.Sprintf("%.100q is no name", name), "use 1 to 40 small letters, digits and hyphens")
	case taken[name]:
		k.add(key, fmt.Sprintf("another one is called %q too", name), "give each another name")
	}
	taken[name] = true
}

func (r AlertRule) check(k *checker, key string, sinks []string, names map[string]bool) {
	k.name(key+".name", r.Name, names)
	var fields []string
	for _, w := range AlertWords() {
		fields = append(fields, w.Key)
		k.words(key+"."+w.Key, *w.Of(&r), w.Choices)
	}
	k.oneOf(key+".do", r.Do, RulePage, RuleSend, RuleDigest, RuleDrop)
	k.sinks(key+".to", r.To, sinks)
	k.sinks(key+".then", r.Then, sinks)
	k.words(key+".group_by", r.GroupBy, fields)
	if r.Repeat != "" {
		k.duration(key+".repeat", r.Repeat, repeatLeast, repeatMost)
	}
	if r.Limit < 0 || r.Limit > ruleLimitMost {
		k.add(key+".limit", fmt.Sprintf("%d is out of range", r.Limit), fmt.Sprintf("choose 1 to %d an hour, or leave it out", ruleLimitMost))
	}
	if r.Do != RulePage && (len(r.Then) > 0 || r.Repeat != "") {
		k.add(key+".do", "only what pages somebody waits to be acknowledged", `set do = "page", or leave out then and repeat`)
	}
}

// words checks a list of words, each one of the choices if there are any.
func (k *checker) words(key string, words, choices []string) {
	if len(words) > ruleValuesMax {
		k.add(key, fmt.Sprintf("the list has %d entries", len(words)), fmt.Sprintf("use at most %d", ruleValuesMax))
		return
	}
	for i, w := range words {
		switch {
		case w == "" || len(w) > ruleBytesMax:
			k.add(indexed(key, i), fmt.Sprintf("it has %d bytes", len(w)), fmt.Sprintf("use 1 to %d", ruleBytesMax))
		case len(choices) > 0:
			k.oneOf(indexed(key, i), w, choices...)
		}
	}
}

// checkSinks checks the sinks and returns their names.
func (a Alerts) checkSinks(k *checker) []string {
	if len(a.Sinks) > alertSinksMax {
		k.add("alerts.sinks", fmt.Sprintf("there are %d sinks", len(a.Sinks)), fmt.Sprintf("use at most %d", alertSinksMax))
	}
	var names []string
	taken := map[string]bool{}
	for i, s := range a.Sinks {
		key := indexed("alerts.sinks", i)
		k.name(key+".name", s.Name, taken)
		names = append(names, s.Name)
		s.check(k, key)
	}
	return names
}

func (s AlertSink) check(k *checker, key string) {
	if s.TLP != "" {
		switch t, err := notice.ParseTLP(s.TLP); {
		case err != nil:
			k.add(key+".tlp", fmt.Sprintf("%.100q is not a marking", s.TLP), "choose CLEAR, GREEN, AMBER or AMBER+STRICT")
		case t == notice.TLPRed:
			k.add(key+".tlp", "TLP:RED is for the people it was told, and goes out by no sink", "choose CLEAR, GREEN, AMBER or AMBER+STRICT")
		}
	}
	if s.Above != "" {
		k.oneOf(key+".above", s.Above, AboveBare, AboveNothing)
	}
	schemes := map[string][]string{
		SinkWebhook: {"https", "http"}, SinkChat: {"https", "http"}, SinkAlertmanager: {"https", "http"},
		SinkSyslog: {"udp", "tcp", "tls"}, SinkSMTP: {"smtp", "smtps", "smtp-plain"}, SinkCommand: nil,
	}
	allowed, known := schemes[s.Type]
	if !known {
		k.add(key+".type", fmt.Sprintf("%.100q is not a choice", s.Type), "choose webhook, chat, alertmanager, syslog, smtp or command")
		return
	}
	if s.Type == SinkCommand {
		s.checkCommand(k, key)
		return
	}
	if len(s.Command) > 0 {
		k.add(key+".command", "only a sink of type command runs one", "leave it out")
	}
	switch {
	case s.Type == SinkChat && s.URL != "":
		k.add(key+".url", "whoever has the address of such a webhook can write there, so it is a password", "put it alone into a file that only watchward reads, and set url_file")
	case s.URL != "" && s.URLFile != "":
		k.add(key+".url", "url and url_file are both set", "keep one of the two")
	case s.URL == "" && s.URLFile == "":
		missing := ".url"
		if s.Type == SinkChat {
			missing = ".url_file"
		}
		k.add(key+missing, "it does not say where to", "set "+missing[1:])
	case s.URL != "":
		if reason := SinkURL(s.URL, s.Private, allowed); reason != "" {
			k.add(key+".url", reason, "write it as "+example(s.Type))
		}
	}
	if s.Type == SinkSMTP {
		s.checkMail(k, key)
	}
}

func (s AlertSink) checkCommand(k *checker, key string) {
	switch {
	case len(s.Command) == 0 || s.Command[0] == "":
		k.add(key+".command", "the command is missing", `set command = ["/usr/local/bin/page", "on-call"]; no shell reads it`)
	case len(s.Command) > commandArgsMax:
		k.add(key+".command", fmt.Sprintf("it has %d words", len(s.Command)), fmt.Sprintf("use at most %d", commandArgsMax))
	}
	if s.URL != "" || s.URLFile != "" {
		k.add(key+".url", "a command has no address", "leave it out")
	}
}

func (s AlertSink) checkMail(k *checker, key string) {
	if _, err := mail.ParseAddress(s.From); err != nil {
		k.add(key+".from", fmt.Sprintf("%.100q is no e-mail address", s.From), `write "watchward@hospital.example"`)
	}
	if len(s.To) == 0 {
		k.add(key+".to", "it does not say to whom", `set to = ["it@hospital.example"]`)
	}
	k.listLength(key+".to", s.To)
	for i, to := range s.To {
		if _, err := mail.ParseAddress(to); err != nil {
			k.add(indexed(key+".to", i), fmt.Sprintf("%.100q is no e-mail address", to), `write "it@hospital.example"`)
		}
	}
	if (s.User == "") != (s.SecretFile == "") {
		k.add(key+".user", "a user and a file with the password belong together", "set user and secret_file, or neither")
	}
	if s.User != "" && strings.HasPrefix(s.URL, "smtp-plain:") {
		k.add(key+".url", "the password would cross the network readable", `use "smtp://…" (STARTTLS) or "smtps://…"`)
	}
}

func example(sink string) string {
	switch sink {
	case SinkSyslog:
		return `"udp://10.0.0.5:514", "tcp://…" or "tls://siem.hospital.example:6514"`
	case SinkSMTP:
		return `"smtp://mail.hospital.example:587" (STARTTLS), "smtps://…:465", or "smtp-plain://…:25" to a relay in the house`
	}
	return `"https://siem.hospital.example/hook", or http:// with private = true`
}

// SinkURL says what is wrong with where a sink goes to, "" if nothing. It quotes
// nothing of it, which may be a secret.
func SinkURL(text string, private bool, schemes []string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return "it is no address"
	case !slices.Contains(schemes, u.Scheme):
		return fmt.Sprintf("the scheme is not one of %s", strings.Join(schemes, ", "))
	case u.User != nil:
		return "it has a password in it, which config show would print"
	case u.Scheme == "http" && !private:
		return "over http:// everybody on the way reads along"
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return "the port is not 1 to 65535"
		}
	} else if _, _, err := net.SplitHostPort(u.Host); err == nil {
		return "the port is missing behind the colon"
	}
	return ""
}
