package api

import (
	"net"
	"sync"
)

// limited is a listener with a bound of open connections; more wait. Unlike those of
// netutil.LimitListener its connections can be closed for writing alone, without which
// net/http resets a connection whose header it refuses before the client reads why.
type limited struct {
	net.Listener
	places  chan struct{} // one taken by each connection
	closed  chan struct{}
	closing sync.Once
}

func limit(l net.Listener, connections int) net.Listener {
	return &limited{Listener: l, places: make(chan struct{}, connections), closed: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.places })}, nil
}

func (l *limited) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}

// CloseWrite is net/http's to call. TCP and Unix connections have it.
func (c *limitedConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return net.ErrClosed
	}
	return half.CloseWrite()
}
