package ledger

// A tree is one epoch's entries on disk: tile files, and the index of each leaf hash.
// A voter's fsm appends to it, or the mirror of a member that is no voter; never both.
type tree struct{}
