package ledger

// A replica is this node's raft of one epoch.
type replica struct{}
