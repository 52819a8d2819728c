//go:build !linux

package proc

import (
	"errors"
	"os/exec"
	"runtime"
)

func networkPossible() error { return errors.New(runtime.GOOS + " has no network namespaces") }

func (p *port) open() error { return networkPossible() }

func (n *Node) start(c *exec.Cmd) error { return c.Start() }
