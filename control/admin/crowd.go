package admin

import (
	"net"
	"sync"
	"sync/atomic"
)

// connectionsMax is how many connections are served at a time. A scraper, a console and a handful of people need ten;
// many more would be a client gone wrong, which must not eat the descriptors that proxied connections need.
const connectionsMax = 128

// crowd is a listener that holds at most connectionsMax connections; those beyond are closed as they come, so that an
// honest client sees an error at once instead of a silence.
type crowd struct {
	net.Listener
	open atomic.Int64
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c.open.Add(1) <= connectionsMax {
			return &guest{Conn: conn, crowd: c}, nil
		}
		c.open.Add(-1)
		_ = conn.Close() // nothing was sent on it that could be lost
	}
}

// guest is one of the crowd. Close may be called more than once.
type guest struct {
	net.Conn
	crowd *crowd
	once  sync.Once
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.once.Do(func() { g.crowd.open.Add(-1) })
	return g.Conn.Close()
}
