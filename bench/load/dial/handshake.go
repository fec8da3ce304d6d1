//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// clientConfig is a client of our days, but for its one key exchange: X25519 is what every server here can do, and one
// that can do more must not pay for it beside one that cannot.
func clientConfig(protocols ...string) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, // the client's work is not what is measured
		ServerName:         "localhost", NextProtos: protocols, MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519},
	}
}

// shakeHands keeps o.connections clients busy with handshakes, and counts those that ended within the window.
func shakeHands(o options, resumed bool) (result, error) {
	var handshakes, failed, ended atomic.Int64
	var stop atomic.Bool
	var clients sync.WaitGroup
	for range o.connections {
		clients.Go(func() {
			var session session
			for n := 0; !stop.Load(); n++ {
				// The first has no session to resume.
				want := resumed && n > 0
				if err := session.shake(o.gatewayAddress, resumed, want); err != nil {
					failed.Add(1)
					continue
				}
				handshakes.Add(1)
			}
			ended.Add(1)
		})
	}
	<-time.After(time.Duration(o.warm * float64(time.Second)))
	cpu, count, began := cpuNanos(o.pids), handshakes.Load(), time.Now()
	<-time.After(time.Duration(o.seconds * float64(time.Second)))
	r := result{
		Requests: handshakes.Load() - count, CPUNanos: cpuNanos(o.pids) - cpu, Seconds: time.Since(began).Seconds(),
		RSS: residentKB(o.pids),
	}
	stop.Store(true)
	clients.Wait()
	r.Errors, r.Connections, r.Rate = failed.Load(), ended.Load(), float64(r.Requests)/r.Seconds
	if r.Requests == 0 {
		return r, errors.New("shaking hands: none succeeded")
	}
	return r, nil
}

// session is what one client keeps from one handshake to the next: its newest ticket. One goroutine uses it.
type session struct {
	conn   net.Conn // the one whose ticket is awaited
	ticket *tls.ClientSessionState
	resume bool
	got    bool
}

// Get is called by crypto/tls as a handshake begins.
func (s *session) Get(string) (*tls.ClientSessionState, bool) {
	return s.ticket, s.resume && s.ticket != nil
}

// Put is called by crypto/tls from Read. It ends that Read: there is nothing else to come.
func (s *session) Put(_ string, ticket *tls.ClientSessionState) {
	s.ticket, s.got = ticket, ticket != nil
	_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // of an open connection: it cannot fail
}

// shake connects, shakes hands, awaits the ticket and closes.
func (s *session) shake(address string, resume, wantResumed bool) error {
	conn, err := net.DialTimeout("tcp", address, answerMax)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerMax)); err != nil {
		return err
	}
	s.conn, s.resume, s.got = conn, resume, false
	config := clientConfig("http/1.1")
	config.ClientSessionCache = s
	client := tls.Client(conn, config)
	if err := client.Handshake(); err != nil {
		return err
	}
	if got := client.ConnectionState().DidResume; got != wantResumed {
		return errors.New("a session was resumed and should not, or was not and should")
	}
	one := make([]byte, 1)
	if _, err := client.Read(one); !s.got {
		return errors.Join(errors.New("no ticket came"), err)
	}
	return nil
}
