package notice

import "github.com/watchward/watchward/crypto"

// ExportMax is the strictest marking of what is handed out in a file: what is
// stricter is for named people.
const ExportMax = TLPAmber

// An Exit is a way by which a notice leaves its node.
type Exit uint8

const (
	ExitMesh     Exit = 1 + iota // an envelope to members: gossip, sync, urgent and direct streams
	ExitNamed                    // a sealed envelope to each member that it names
	ExitBundle                   // an envelope in a file for other nodes
	ExitProof                    // a file for whoever checks it
	ExitExport                   // a file in another program's format …
	ExitUnmarked                 // … and that what nobody marked goes along was asked for
	ExitExchange                 // what other programs fetch by themselves: TAXII, MISP, bridges
	ExitAPI                      // an answer to a program or person of this house
)

// Leaves reports whether a notice marked t, for an audience, may leave by an exit to
// whoever may see up to a ceiling (0: everything). All that lets notices out asks
// here, and may refuse more: a bundle also seals what is for the region, and the mesh
// tells envelopes to those alone who are members of their audience (mesh.mayHear).
// Nothing that is no TLP, no audience or no exit leaves.
func Leaves(t TLP, a crypto.Audience, by Exit, ceiling TLP) bool {
	if !Fits(t, a) || ceiling != 0 && t.House() > ceiling {
		return false
	}
	switch by {
	case ExitMesh, ExitBundle, ExitProof:
		return a == crypto.AudienceRegion || a == crypto.AudienceCommunity
	case ExitNamed:
		return a == crypto.AudienceNamed
	case ExitExport, ExitUnmarked: // also what is kept here, if its marking lets it go
		return a != crypto.AudienceNamed && t <= ExportMax && (t != 0 || by == ExitUnmarked)
	case ExitExchange: // of what members were told
		return (a == crypto.AudienceRegion || a == crypto.AudienceCommunity) && t != 0 && t <= ExportMax
	case ExitAPI:
		return true
	}
	return false
}

// House returns the marking as which t counts under a ceiling: what has none never
// leaves the house, which is what AMBER+STRICT means.
func (t TLP) House() TLP {
	if t == 0 || t > TLPRed {
		return TLPAmberStrict
	}
	return t
}
