package proc

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// wireName is the interface of each namespace.
const wireName = "ww0"

// networkPossible tries what a port needs.
func networkPossible() error {
	p := &port{}
	if err := p.enclose(); err != nil {
		return err
	}
	defer p.space.Close()
	return p.inside(func() error {
		wire, err := openTUN()
		if err == nil {
			err = wire.Close()
		}
		return err
	})
}

// open makes the namespace, its wire and its address.
func (p *port) open() error {
	if err := p.enclose(); err != nil {
		return err
	}
	err := p.inside(func() (err error) {
		if p.wire, err = openTUN(); err != nil {
			return err
		}
		return p.address()
	})
	if err != nil {
		if p.wire != nil {
			_ = p.wire.Close()
		}
		_ = p.space.Close()
	}
	return err
}

// enclose makes the namespace. It lives as long as its open file.
func (p *port) enclose() error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("new network namespace: %w", err)
	}
	p.space, err = os.Open("/proc/thread-self/ns/net")
	return returnHome(home, err)
}

// inside runs do with the thread in the namespace; processes that it starts
// stay there.
func (p *port) inside(do func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		defer home.Close()
		err = unix.Setns(int(p.space.Fd()), unix.CLONE_NEWNET)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return returnHome(home, do())
}

// returnHome brings the thread back. It panics where that fails: nothing else
// may ever run on a thread in another namespace.
func returnHome(home *os.File, err error) error {
	if e := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); e != nil {
		panic(fmt.Errorf("leave network namespace: %w", e))
	}
	runtime.UnlockOSThread()
	return err
}

// openTUN makes the wire in the thread's namespace. Without offloading each
// packet comes whole, as on a line.
func openTUN() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(wireName)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make interface %s: %w", wireName, err)
	}
	return os.NewFile(uintptr(fd), wireName), nil
}

// address gives the wire its address and brings it and loopback up.
func (p *port) address() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	address, mask := p.addr.As4(), [4]byte{255, 255, 255, 0}
	for _, step := range []struct {
		name    string
		request uint
		fill    func(*unix.Ifreq) error
	}{
		{wireName, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address[:]) }},
		{wireName, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask[:]) }},
		{wireName, unix.SIOCSIFFLAGS, up},
		{"lo", unix.SIOCSIFFLAGS, up},
	} {
		r, err := unix.NewIfreq(step.name)
		if err == nil {
			err = step.fill(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(s, step.request, r)
		}
		if err != nil {
			return fmt.Errorf("interface %s: %w", step.name, err)
		}
	}
	return nil
}

func up(r *unix.Ifreq) error {
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return nil
}

// start starts a command in the node's namespace, if it has one.
func (n *Node) start(c *exec.Cmd) error {
	if n.port == nil {
		return c.Start()
	}
	return n.port.inside(c.Start)
}
