package store

import (
	"encoding/binary"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// The first byte of a key is its table. Numbers are big-endian, so that keys
// sort by them. DESIGN.md has the whole table with the values.
const (
	tableAlert     = 'a' // number → alert
	tableAlertOnce = 'A' // hash of a dedup key → number
	tableAlerting  = 'g' // name → what alerting remembers
	tableOutgoing  = 'G' // sink, 0, number → message that waits for it
	tableSlot      = 'c' // chain number, seq → slot
	tableChain     = 'C' // chain number → chain
	tableContent   = 'd' // content key → item id
	tableDrill     = 'X' // number of an exercise → exercise
	tableExpiry    = 'e' // hour, local → nothing
	tableFork      = 'f' // chain number, seq → slot of the second envelope
	tableSummary   = 'i' // indicator → summary
	tableIncident  = 'I' // number of an incident → incident, as package incident has it
	tableRequest   = 'k' // hash of an idempotency key → ids
	tableEntry     = 'l' // local → entry
	tableMember    = 'M' // member number → member id
	tableNamed     = 'N' // id of a named envelope → local
	tableItem      = 'n' // item id → item
	tableOutbox    = 'o' // audience, tlp, flags, local → item id
	tablePlace     = 'p' // item id, local → nothing: an item that is in several envelopes
	tableQueue     = 'q' // member id, local → TLP and notices of a named envelope that waits for the member
	tableDelivery  = 'Q' // local of an own named envelope, member id → delivery
	tableReference = 'r' // item id, item id that refers to it → evidence
	tableSpill     = 's' // indicator, member number → the member's lowest markings
	tableTrust     = 't' // SHA-256 of the record → record
	tableCursor    = 'u' // name → local
	tableWithdrawn = 'w' // chain number, seq, envelope id, hour of expiry → entry
	tableTally     = 'W' // member number, serial → what is withdrawn of it
	tableEvidence  = 'x' // subject, item id → evidence
	tablePolicy    = 'y' // indicator → policy
	tableMeta      = 'z' // "" → meta
)

func key8(table byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{table}, n)
}

func key4(table byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{table}, n)
}

func entryKey(local uint64) []byte { return key8(tableEntry, local) }

func slotKey(table byte, chain uint32, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key4(table, chain), seq)
}

func itemKey(id crypto.ItemID) []byte {
	return append(append(make([]byte, 0, 1+len(id)), tableItem), id[:]...)
}

func summaryKey(k notice.Key) []byte {
	return append(append(make([]byte, 0, 1+len(k)), tableSummary), k[:]...)
}

func evidencePrefix(k notice.Key) []byte {
	return append(append(make([]byte, 0, 1+len(k)), tableEvidence), k[:]...)
}

func evidenceKey(k notice.Key, id crypto.ItemID) []byte {
	return append(append(append(make([]byte, 0, 1+len(k)+len(id)), tableEvidence), k[:]...), id[:]...)
}

func spillPrefix(k notice.Key) []byte {
	return append(append(make([]byte, 0, 1+len(k)+4), tableSpill), k[:]...)
}

func spillKey(k notice.Key, member uint32) []byte {
	return binary.BigEndian.AppendUint32(spillPrefix(k), member)
}

func referencePrefix(target crypto.ItemID) []byte {
	return append(append(make([]byte, 0, 1+2*len(target)), tableReference), target[:]...)
}

func referenceKey(target, from crypto.ItemID) []byte {
	return append(referencePrefix(target), from[:]...)
}

func contentKey(content [20]byte) []byte {
	return append([]byte{tableContent}, content[:]...)
}

const hourMs = 3_600_000

// expiryKey sorts entries by the hour in which they have expired for certain.
func expiryKey(expiry int64, local uint64) []byte {
	return binary.BigEndian.AppendUint64(key4(tableExpiry, uint32(expiry/hourMs)+1), local)
}

// outboxKey sorts what waits by what one envelope can carry, then by age.
func outboxKey(w *localEntry, local uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableOutbox, byte(w.audience), byte(w.tlp), w.flags & (flagExercise | flagUrgent)}, local)
}
