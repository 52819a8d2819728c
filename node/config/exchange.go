package config

// Exchange configures what other programs fetch from this node and bring to it.
type Exchange struct {
	TAXII bool   `toml:"taxii"`
	MISP  bool   `toml:"misp"`
	Inbox string `toml:"inbox"`
}

// Values of Exchange.Inbox.
const (
	InboxOff   = "off"   // nobody may add anything
	InboxLocal = "local" // it is kept here, and tells nobody
	InboxShare = "share" // it is stated to the region, under its own marking
)

func (e Exchange) check(k *checker) {
	k.oneOf("exchange.inbox", e.Inbox, InboxOff, InboxLocal, InboxShare)
}
