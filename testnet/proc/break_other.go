//go:build !linux

package proc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// errNotHere says that only Linux can do it.
var errNotHere = errors.New(runtime.GOOS + " cannot do this to a process, Linux can")

// Pause stops the process without its noticing.
func (n *Node) Pause() error { return fmt.Errorf("pause %s: %w", n.Name, errNotHere) }

// Resume lets a paused process go on.
func (n *Node) Resume() error { return fmt.Errorf("resume %s: %w", n.Name, errNotHere) }

// Slow limits a node's line.
func (n *Node) Slow(context.Context, int) error { return fmt.Errorf("slow %s: %w", n.Name, errNotHere) }
