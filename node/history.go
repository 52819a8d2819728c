package node

import (
	"path/filepath"

	"github.com/watchward/watchward/node/history"
)

const historyDir = "history"

// openHistory opens the memory of this hospital's own logs, unless it is off. The
// store's lock keeps another process out of it too.
func (n *Node) openHistory() error {
	c := n.o.Settings.History
	if c.Days == 0 || n.o.Lab != nil {
		return nil
	}
	h, err := history.Open(history.Options{
		Dir: filepath.Join(n.o.Dir, historyDir), Days: c.Days, MiB: c.MiB, Parents: c.Parents, Prefixes: c.Prefixes,
		Now: n.now, Log: n.log,
	})
	if err != nil {
		return err
	}
	n.history = h
	return nil
}
