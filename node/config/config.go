// Package config is the node's configuration: one strict TOML file.
//
// Every default is safe, so an empty file with a name is enough. An unknown key,
// a wrong type or a value that cannot work is an error with file, line, column,
// key and the fix; nothing is guessed and nothing is ignored.
//
// The table of fields (fields.go) is the one place that knows what a key means:
// the commented file of Write, the output of Show and REFERENCE.md come from it.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/watchward/watchward/node/verdict"
)

// fileBytesMax bounds the file; a real one has a few kilobytes.
const fileBytesMax = 1 << 20

// problemsMax bounds how often what is wrong is blanked and the rest read again.
const problemsMax = 100

// Config is a node's configuration. REFERENCE.md describes every key.
type Config struct {
	Name        string      `toml:"name"`
	API         API         `toml:"api"`
	Mesh        Mesh        `toml:"mesh"`
	Share       Share       `toml:"share"`
	Ask         Ask         `toml:"ask"`
	Coordinator Coordinator `toml:"coordinator"`
	Ledger      Ledger      `toml:"ledger"`
	Alerts      Alerts      `toml:"alerts"`
	Feeds       Feeds       `toml:"feeds"`
	Logs        []LogSource `toml:"logs"`
	Syslog      Syslog      `toml:"syslog"`
	Exchange    Exchange    `toml:"exchange"`
	Bridges     []Bridge    `toml:"bridge"`

	Block        Block        `toml:"block"`
	NeverBlock   NeverBlock   `toml:"never_block"`
	Warninglists Warninglists `toml:"warninglists"`

	History History `toml:"history"`
	Log     Log     `toml:"log"`
	Metrics Metrics `toml:"metrics"`
}

// API configures the HTTP API.
type API struct {
	Listen    string   `toml:"listen"`
	Socket    string   `toml:"socket"` // relative paths start at the node's directory
	Hosts     []string `toml:"hosts"`
	TLSCert   string   `toml:"tls_cert"`
	TLSKey    string   `toml:"tls_key"`
	Plaintext bool     `toml:"plaintext"`
	BodyMax   int64    `toml:"body_max"` // bytes
}

// Mesh configures the connections to other members.
type Mesh struct {
	Listen   []string `toml:"listen"`
	Announce []string `toml:"announce"`
	Seeds    []string `toml:"seeds"`
	Hub      bool     `toml:"hub"`
}

// Share configures what leaves the node.
type Share struct {
	TLP string `toml:"tlp"` // "" = a notice without a marking is refused
}

// Ask configures how far the node answers questions of other hospitals by itself.
type Ask struct {
	Answer string `toml:"answer"`
}

// Values of Ask.Answer.
const (
	AnswerPerson = "person" // never
	AnswerSeen   = "seen"   // what it has told those who hear the answer already
	AnswerAll    = "all"    // also that nothing of its own has it
)

// Coordinator configures a node that the charter names as a voter of the ledger.
type Coordinator struct {
	Vote bool `toml:"vote"`
}

// Ledger configures this node's copy of the region's ledger.
type Ledger struct {
	Mirror bool   `toml:"mirror"`
	Public bool   `toml:"public"`
	MaxAge string `toml:"max_age"` // as time.ParseDuration takes it
}

// Age is MaxAge of a configuration that passed Validate.
func (l Ledger) Age() time.Duration {
	d, _ := time.ParseDuration(l.MaxAge)
	return d
}

// Block configures what is blocked and not only detected.
type Block struct {
	MinMembers int      `toml:"min_members"`
	Families   []string `toml:"families"`
	Origins    []string `toml:"origins"`
}

// NeverBlock names what nothing and nobody blocks.
type NeverBlock struct {
	Own       []string `toml:"own"`
	Suppliers []string `toml:"suppliers"`
	Clinical  []string `toml:"clinical"`
}

// Warninglists configures lists of what is known to be harmless.
type Warninglists struct {
	Dir string `toml:"dir"` // relative paths start at the node's directory
}

// Verdicts is the part of a policy that a configuration has.
func (c Config) Verdicts() verdict.Config {
	return verdict.Config{
		Block:      verdict.BlockRule{MinMembers: c.Block.MinMembers, Families: c.Block.Families, Origins: c.Block.Origins},
		NeverBlock: verdict.NeverBlock{Own: c.NeverBlock.Own, Suppliers: c.NeverBlock.Suppliers, Clinical: c.NeverBlock.Clinical},
	}
}

// History configures what is remembered of the hospital's own logs.
type History struct {
	Days     int   `toml:"days"` // 0 = nothing is
	MiB      int   `toml:"mib"`
	Parents  bool  `toml:"parents"`
	Prefixes []int `toml:"prefixes"`
}

// Log configures the log on standard error.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// Metrics configures /metrics.
type Metrics struct {
	Public bool `toml:"public"`
}

// Default returns the configuration of a node whose file is empty. It has no
// name and so does not pass Validate.
func Default() Config {
	return Config{
		API: API{
			Listen: "127.0.0.1:8460", Socket: defaultSocket, Hosts: []string{}, BodyMax: 8 << 20,
		},
		Mesh:        Mesh{Listen: []string{}, Announce: []string{}, Seeds: []string{}},
		Ask:         Ask{Answer: AnswerPerson},
		Exchange:    Exchange{Inbox: InboxLocal},
		Coordinator: Coordinator{Vote: true},
		Ledger:      Ledger{Mirror: true, MaxAge: "10m"},
		Block:       Block{Families: []string{}, Origins: []string{}},
		NeverBlock:  NeverBlock{Own: []string{}, Suppliers: []string{}, Clinical: []string{}},
		Alerts:      Alerts{Digest: "07:00", DigestTo: []string{}, AckTimeout: "15m"},
		Syslog:      Syslog{Allow: []string{}},
		History:     History{Days: 90, MiB: 512, Parents: true, Prefixes: []int{}},
		Feeds:       Feeds{Stale: "24h"},
		Log:         Log{Level: "info", Format: "text"},
	}
}

// Error is one thing wrong with a file. Line and Column start at 1 and are 0
// when the key is not in the file.
type Error struct {
	File         string
	Line, Column int
	Key          string // "" when the text is no TOML
	Reason, Fix  string
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
		}
		b.WriteString(": ")
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Reason)
	if e.Fix != "" {
		b.WriteString(": " + e.Fix)
	}
	return b.String()
}

// Load reads, completes with defaults and validates the file at path. The error
// joins an *Error for each thing that is wrong, in the order of the file.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, &Error{File: path, Reason: "the file does not exist", Fix: "make one: watchward init --dir DIRECTORY --name NAME"}
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(path, text)
}

// Parse is Load for a text that was read before; path is for the errors.
func Parse(path string, text []byte) (Config, error) {
	if len(text) > fileBytesMax {
		return Config{}, &Error{File: path, Reason: fmt.Sprintf("the file is larger than %d bytes", fileBytesMax), Fix: "is it a configuration?"}
	}
	places, err := locate(path, text)
	if err != nil {
		return Config{}, err
	}
	c, problems, err := decode(path, text)
	if err != nil {
		return Config{}, err
	}
	// What cannot be decoded hides nothing else that is wrong.
	for _, e := range join(path, c.check(), places) {
		if !slices.ContainsFunc(problems, func(p *Error) bool { return p.Key == e.Key }) {
			problems = append(problems, e)
		}
	}
	if len(problems) > 0 {
		return Config{}, inOrder(problems)
	}
	return c, nil
}

// decode returns what can be decoded, and an error for each key that is unknown or
// has a value of a wrong type. The decoder stops at the first of these, so that key
// is blanked and the rest decoded again.
func decode(path string, text []byte) (Config, []*Error, error) {
	var problems []*Error
	for {
		c := Default()
		d := toml.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		err := d.Decode(&c)
		var strict *toml.StrictMissingError
		switch {
		case err == nil:
			return c, problems, nil
		case errors.As(err, &strict):
			return c, append(problems, unknownKeys(path, strict)...), nil
		}
		var wrong *Error
		if err = decodeErrors(path, err); !errors.As(err, &wrong) {
			return Config{}, nil, err
		}
		problems = append(problems, wrong)
		rest, ok := blank(text, wrong.Line)
		if !ok || len(problems) == problemsMax { // not of one key, or enough
			return Config{}, nil, inOrder(problems)
		}
		text = rest
	}
}

// blank overwrites the key with its value that stands in a line, so that all others
// stay where they are.
func blank(text []byte, line int) ([]byte, bool) {
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		if shape := p.Shape(e.Raw); e.Kind != unstable.KeyValue || line < shape.Start.Line || line > shape.End.Line {
			continue
		}
		rest := bytes.Clone(text)
		for i := range rest[e.Raw.Offset : e.Raw.Offset+e.Raw.Length] {
			if at := int(e.Raw.Offset) + i; rest[at] != '\n' {
				rest[at] = ' '
			}
		}
		return rest, true
	}
	return nil, false
}

// Validate reports what cannot work, as Load does, for a configuration made by
// a program. The errors name no file.
func (c Config) Validate() error {
	return inOrder(join("", c.check(), nil))
}

func join(path string, problems []problem, places map[string]place) []*Error {
	list := make([]*Error, 0, len(problems))
	for _, p := range problems {
		e := &Error{File: path, Key: p.key, Reason: p.reason, Fix: p.fix}
		if at, ok := find(places, p.key); ok {
			e.Line, e.Column = at.line, at.column
		}
		list = append(list, e)
	}
	return list
}

// inOrder joins errors in the order of the file.
func inOrder(list []*Error) error {
	slices.SortStableFunc(list, func(a, b *Error) int { return a.Line - b.Line })
	var errs []error
	for _, e := range list {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

func unknownKeys(path string, strict *toml.StrictMissingError) []*Error {
	var list []*Error
	for i := range strict.Errors {
		e := &strict.Errors[i]
		key := strings.Join(e.Key(), ".")
		line, column := e.Position()
		list = append(list, &Error{File: path, Line: line, Column: column, Key: key, Reason: "this key is not known", Fix: suggest(key)})
	}
	return list
}

// decodeErrors turns go-toml's errors into ours.
func decodeErrors(path string, err error) error {
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		line, column := decode.Position()
		key := strings.Join(decode.Key(), ".")
		e := &Error{File: path, Line: line, Column: column, Key: key, Reason: strings.TrimPrefix(decode.Error(), "toml: "), Fix: wantType(key)}
		if rest, ok := strings.CutPrefix(e.Reason, "cannot decode TOML "); ok {
			found, _, _ := strings.Cut(rest, " into") // what follows are Go's words
			e.Reason = "found a value of type " + found
		}
		if strings.Contains(e.Reason, "already defined") {
			e.Fix = "keep one of the two"
		}
		return e
	}
	return fmt.Errorf("read configuration %s: %w", path, err)
}
