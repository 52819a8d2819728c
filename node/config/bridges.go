package config

import (
	"fmt"
	"regexp"
	"time"

	"github.com/watchward/watchward/node/notice"
)

// A Bridge shares with another service: it fetches from there, and may push there.
type Bridge struct {
	Name           string `toml:"name"`
	Kind           string `toml:"kind"`
	URL            string `toml:"url"`
	Collection     string `toml:"collection"`
	PushCollection string `toml:"push_collection"` // "" = Collection
	TokenFile      string `toml:"token_file"`      // relative paths start at the node's directory
	KeyFile        string `toml:"key_file"`
	User           string `toml:"user"`
	PasswordFile   string `toml:"password_file"`
	CAFile         string `toml:"ca_file"`
	Pull           bool   `toml:"pull"`
	Share          bool   `toml:"share"`
	Marking        string `toml:"marking"` // "" = what has none is refused
	Push           string `toml:"push"`    // "" = PushNone
	Ceiling        string `toml:"ceiling"` // "" = GREEN
	Every          string `toml:"every"`   // as time.ParseDuration takes it; "" = BridgeEvery
	Private        bool   `toml:"private"`
}

// Kinds of bridges.
const (
	BridgeTAXII    = "taxii"
	BridgeMISP     = "misp"
	BridgeMISPFeed = "misp-feed"
)

// Values of Bridge.Push.
const (
	PushNone = "none"
	PushOwn  = "own" // what this hospital said itself
	PushAll  = "all" // and what others told it
)

// Bounds of bridges.
const (
	BridgeEvery   = 5 * time.Minute
	bridgeLeast   = 10 * time.Second
	bridgeMost    = 24 * time.Hour
	bridgesMax    = 16
	bridgeWordMax = 200 // bytes of a collection or a user
)

var bridgeName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// Interval is Every of a configuration that passed Validate.
func (b Bridge) Interval() time.Duration {
	if d, err := time.ParseDuration(b.Every); err == nil {
		return d
	}
	return BridgeEvery
}

// PushCeiling is Ceiling of a configuration that passed Validate.
func (b Bridge) PushCeiling() notice.TLP {
	if t, err := notice.ParseTLP(b.Ceiling); err == nil {
		return t
	}
	return notice.TLPGreen
}

// Unmarked is Marking of a configuration that passed Validate, 0 for none.
func (b Bridge) Unmarked() notice.TLP {
	t, _ := notice.ParseTLP(b.Marking)
	return t
}

// Pushes reports whether anything goes there.
func (b Bridge) Pushes() bool { return b.Push == PushOwn || b.Push == PushAll }

func (c Config) checkBridges(k *checker) {
	if len(c.Bridges) > bridgesMax {
		k.add("bridge", fmt.Sprintf("there are %d bridges", len(c.Bridges)), fmt.Sprintf("use at most %d", bridgesMax))
	}
	names := map[string]bool{}
	for i, b := range c.Bridges {
		key := func(name string) string { return dotted(indexed("bridge", i), name) }
		switch {
		case !bridgeName.MatchString(b.Name):
			k.add(key("name"), fmt.Sprintf("%.80q is no name of a bridge", b.Name), `use 1 to 40 small letters, digits and hyphens: name = "isac"`)
		case names[b.Name]:
			k.add(key("name"), fmt.Sprintf("%q is the name of another bridge", b.Name), "give each a name of its own")
		}
		names[b.Name] = true
		b.check(k, key)
	}
}

func (b Bridge) check(k *checker, key func(string) string) {
	k.oneOf(key("kind"), b.Kind, BridgeTAXII, BridgeMISP, BridgeMISPFeed)
	if b.URL == "" {
		k.add(key("url"), "it does not say where to", `set url = "https://taxii.isac.example/taxii2/"`)
	} else if reason := SinkURL(b.URL, b.Private, []string{"https", "http"}); reason != "" {
		k.add(key("url"), reason, `write it as "https://taxii.isac.example/taxii2/", or http:// with private = true`)
	}
	b.checkCollections(k, key)
	b.checkCredentials(k, key)
	if b.Push != "" {
		k.oneOf(key("push"), b.Push, PushNone, PushOwn, PushAll)
	}
	switch {
	case b.Kind == BridgeMISPFeed && b.Pushes():
		k.add(key("push"), "a feed is only read", `set push = "none"; MISP pulls what this node serves with exchange.misp`)
	case !b.Pull && !b.Pushes():
		k.add(key("pull"), "it neither pulls nor pushes", `set pull = true, or push = "own"`)
	}
	k.marking(key("marking"), b.Marking, `choose CLEAR, GREEN or AMBER, or "" to refuse what has none`)
	k.marking(key("ceiling"), b.Ceiling, "choose CLEAR, GREEN or AMBER; what is stricter goes nowhere")
	if b.Every != "" {
		k.duration(key("every"), b.Every, bridgeLeast, bridgeMost)
	}
}

// marking checks one that leaves this house, "" for none.
func (k *checker) marking(key, value, fix string) {
	if value == "" {
		return
	}
	if t, err := notice.ParseTLP(value); err != nil || t > notice.ExportMax {
		k.add(key, fmt.Sprintf("%.40q is no marking for this", value), fix)
	}
}

func (b Bridge) checkCollections(k *checker, key func(string) string) {
	switch {
	case b.Kind != BridgeTAXII && b.Collection != "":
		k.add(key("collection"), "only TAXII has collections", "leave it out")
	case b.Kind != BridgeTAXII && b.PushCollection != "":
		k.add(key("push_collection"), "only TAXII has collections", "leave it out")
	case b.Kind == BridgeTAXII && b.Collection == "":
		k.add(key("collection"), "it does not say which collection", "set it to an id, alias or title; one that pushes reads it too, or it would send back what came from there")
	case len(b.Collection) > bridgeWordMax:
		k.add(key("collection"), "it is too long", fmt.Sprintf("use at most %d bytes", bridgeWordMax))
	case len(b.PushCollection) > bridgeWordMax:
		k.add(key("push_collection"), "it is too long", fmt.Sprintf("use at most %d bytes", bridgeWordMax))
	}
}

func (b Bridge) checkCredentials(k *checker, key func(string) string) {
	password := b.User != "" || b.PasswordFile != ""
	switch {
	case (b.User == "") != (b.PasswordFile == ""):
		k.add(key("user"), "a user and a file with the password belong together", "set user and password_file, or neither")
	case b.TokenFile != "" && password:
		k.add(key("token_file"), "there is a token and a password", "keep one of the two")
	case b.KeyFile != "" && b.Kind == BridgeTAXII:
		k.add(key("key_file"), "a key is for MISP", "set token_file, or user and password_file")
	case b.TokenFile != "" && b.Kind != BridgeTAXII && b.Kind != BridgeMISPFeed:
		k.add(key("token_file"), "MISP's API has keys", "set key_file")
	case password && b.Kind == BridgeMISP:
		k.add(key("user"), "MISP's API has keys", "set key_file")
	case b.Kind == BridgeMISP && b.KeyFile == "":
		k.add(key("key_file"), "MISP's API answers nobody without a key", "make one in MISP under My Profile, Auth keys, put it alone into a file that only watchward reads, and set key_file")
	case b.Kind == BridgeMISPFeed && b.KeyFile != "" && (b.TokenFile != "" || password):
		k.add(key("key_file"), "there is a key and another secret", "keep one of the two")
	case len(b.User) > bridgeWordMax:
		k.add(key("user"), "it is too long", fmt.Sprintf("use at most %d bytes", bridgeWordMax))
	}
}
