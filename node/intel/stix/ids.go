package stix

import (
	"strings"

	"github.com/google/uuid"

	"github.com/watchward/watchward/node/notice"
)

// Ids that others know. Those of TLP 2.0 and its extension are in the OASIS
// repository of common objects; those of TLP 1.0 in STIX 2.1, section 7.2.1.4.
const (
	extensionTLP = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
	// extensionOwn is the extension of this project, see Writer.
	extensionOwn = "extension-definition--d9aee0e0-6aa4-4055-aeef-cc9eba9229ed"

	// Properties of network traffic for which STIX has none.
	propertyJA3 = "x_watchward_ja3"
	propertyJA4 = "x_watchward_ja4"
)

// markingIDs are the marking definitions of TLP 2.0.
var markingIDs = map[notice.TLP]string{
	notice.TLPClear:       "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
	notice.TLPGreen:       "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
	notice.TLPAmber:       "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
	notice.TLPAmberStrict: "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
	notice.TLPRed:         "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}

// knownMarkings are the markings that a file need not hold.
var knownMarkings = func() map[string]notice.TLP {
	known := map[string]notice.TLP{
		"marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": notice.TLPClear, // TLP 1.0 WHITE
		"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": notice.TLPGreen,
		"marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": notice.TLPAmber,
		"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": notice.TLPRed,
	}
	for tlp, id := range markingIDs {
		known[id] = tlp
	}
	return known
}()

// namespace is that of the ids made here, all of version 5 (RFC 9562): the same
// notice has the same id in every export of every node.
var namespace = uuid.MustParse("52404361-32f9-47fc-b3ab-056fe3c20f6e")

// idOf makes the id of an object of a kind from what it stands for.
func idOf(kind string, parts ...string) string {
	return kind + "--" + uuid.NewSHA1(namespace, []byte(kind+"\x00"+strings.Join(parts, "\x00"))).String()
}
