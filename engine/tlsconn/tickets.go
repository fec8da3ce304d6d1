package tlsconn

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"sync"
	"time"
	"weak"
)

// TicketOptions says how keys of session tickets change. Zero means the default named beside each.
type TicketOptions struct {
	// Period is how long new tickets are sealed with one key. 8 h: who steals a key can read what was resumed under 1.2 with
	// tickets of that time; under 1.3 a fresh exchange of keys protects the bytes.
	Period time.Duration
	// Kept is how many keys open tickets, the current one included. 3: a ticket is good for 16 to 24 h, which covers a
	// client that comes back the next day at the same time.
	Kept int
}

// Tickets turns the keys of session tickets for every configuration that is attached: all loops share a tls.Config, and the next
// revision's has the same keys again, so that a session survives both. It is safe for concurrent use.
//
// Keys differ with the rule for client certificates, its realm: a session that was begun where nobody asks for a certificate is
// no session where one is required. crypto/tls checks the same by itself when it resumes: that a required certificate is there,
// has not expired, and leads to a root of today (CVE-2025-68121 was a gap in that). So a ticket from another realm fails
// twice, and either is a full handshake and no error.
type Tickets struct {
	o TicketOptions

	mu struct {
		sync.Mutex
		roots    [][32]byte // the newest first
		turned   time.Time
		attached []attachment
	}
}

// attachment is a configuration whose keys are turned for as long as somebody uses it.
type attachment struct {
	cfg   weak.Pointer[tls.Config]
	realm string
}

// NewTickets makes the first key from random. It fails only if random does.
func NewTickets(o TicketOptions, now time.Time, random io.Reader) (*Tickets, error) {
	if o.Period == 0 {
		o.Period = 8 * time.Hour
	}
	if o.Kept == 0 {
		o.Kept = 3
	}
	t := &Tickets{o: o}
	if _, err := t.Turn(now, random); err != nil {
		return nil, err
	}
	return t, nil
}

// Turn makes a new key if the current one has had its time, and tells whether it did. To be called now and then, a few times in
// a Period. It fails only if random does, and then the keys stay.
func (t *Tickets) Turn(now time.Time, random io.Reader) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.mu.roots) > 0 && now.Sub(t.mu.turned) < t.o.Period {
		return false, nil
	}
	var root [32]byte
	if _, err := io.ReadFull(random, root[:]); err != nil {
		return false, fmt.Errorf("make a key for session tickets: %w", err)
	}
	t.mu.roots = append([][32]byte{root}, t.mu.roots...)
	t.mu.roots = t.mu.roots[:min(len(t.mu.roots), t.o.Kept)]
	t.mu.turned = now
	alive := t.mu.attached[:0]
	for _, a := range t.mu.attached {
		if cfg := a.cfg.Value(); cfg != nil {
			cfg.SetSessionTicketKeys(t.keys(a.realm))
			alive = append(alive, a)
		}
	}
	clear(t.mu.attached[len(alive):])
	t.mu.attached = alive
	return true, nil
}

// Attach gives cfg the keys of its realm, now and after each turn for as long as cfg is in use.
func (t *Tickets) Attach(cfg *tls.Config, realm string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cfg.SetSessionTicketKeys(t.keys(realm))
	t.mu.attached = append(t.mu.attached, attachment{weak.Make(cfg), realm})
}

// keys derives the keys of a realm. The lock is held.
func (t *Tickets) keys(realm string) [][32]byte {
	keys := make([][32]byte, len(t.mu.roots))
	for i, root := range t.mu.roots {
		key, err := hkdf.Key(sha256.New, root[:], nil, "session tickets of "+realm, len(keys[i]))
		if err != nil {
			panic("tlsconn: a key of 32 bytes cannot be derived: " + err.Error()) // only lengths beyond 8 kB can fail
		}
		copy(keys[i][:], key)
	}
	return keys
}
