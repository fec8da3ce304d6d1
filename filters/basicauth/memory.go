package basicauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/identity"
)

const (
	// verdictsMax bounds what is remembered, on each loop and by all together: some 2 MB. One more empties it.
	verdictsMax = 10_000
	// wrongFor is how long credentials that are wrong are not computed again.
	wrongFor = 10 * time.Second
	// waitersMax bounds the requests that wait for one computation (credentials_busy).
	waitersMax = 1000
	// slackersMax bounds the clients on a loop whose failures are counted. One more empties the table.
	slackersMax = 4096
	// failuresFree is how often a client may be wrong before it has to pause, and pauseMax how long at most.
	failuresFree = 5
	pauseMax     = time.Minute
)

// sum names credentials: SHA-256 over a key of this process and both, so that nothing in memory tells a password.
type sum [sha256.Size]byte

// verdict is what was found out about credentials.
type verdict struct {
	users *Users             // by which: others make it worthless
	id    *identity.Identity // nil: wrong
	until mono.Time
}

// memory is what a filter remembers over configurations.
type memory struct {
	key   [32]byte
	loops gateway.PerLoop[loopMemory]

	shared struct {
		sync.Mutex
		verdicts map[sum]verdict
		flights  map[sum]*flight
	}
	// Computations for requests that do not wait for them, in shadow mode: one at a time.
	aside struct {
		sync.Mutex
		busy bool
		done sync.WaitGroup
	}
}

// loopMemory is a loop's own.
type loopMemory struct {
	verdicts map[sum]verdict
	slackers map[netip.Prefix]slacker
	scratch  [len(sum{}) + 8 + credentialBytesMax]byte
	decoded  [decodedBytesMax]byte
	who      [identity.NameBytesMax + 64]byte
}

// slacker is a client that was wrong lately.
type slacker struct {
	failures int
	until    mono.Time // of its pause
}

// flight is a computation under way, and who waits for it.
type flight struct {
	// Under the lock of shared.
	waiters []gateway.Wake

	// Written before anybody is woken.
	id   *identity.Identity
	busy bool // it was not computed: too much waited
}

func newMemory() *memory {
	m := &memory{}
	_, _ = rand.Read(m.key[:]) // never fails
	m.shared.verdicts, m.shared.flights = map[sum]verdict{}, map[sum]*flight{}
	return m
}

// Start is for gateway.Remembered.
func (m *memory) Start() {}

// Close waits for the computation that nobody waits for.
func (m *memory) Close() { m.aside.done.Wait() }

// sumOf names credentials. It allocates nothing.
func (m *memory) sumOf(l *loopMemory, c credentials) sum {
	b := append(l.scratch[:0], m.key[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(c.name)))
	b = append(append(b, c.name...), c.password...)
	return sha256.Sum256(b)
}

// recall returns the verdict on credentials that is good now.
func (m *memory) recall(l *loopMemory, s sum, users *Users, now mono.Time) (verdict, bool) {
	v, ok := l.verdicts[s]
	if ok && v.users == users && now < v.until {
		return v, true
	}
	m.shared.Lock()
	v, ok = m.shared.verdicts[s]
	m.shared.Unlock()
	if !ok || v.users != users || now >= v.until {
		return v, false
	}
	if l.verdicts == nil || len(l.verdicts) >= verdictsMax {
		l.verdicts = map[sum]verdict{}
	}
	l.verdicts[s] = v
	return v, true
}

// keep remembers a verdict. From any goroutine.
func (m *memory) keep(s sum, v verdict) {
	m.shared.Lock()
	defer m.shared.Unlock()
	if len(m.shared.verdicts) >= verdictsMax {
		clear(m.shared.verdicts)
	}
	m.shared.verdicts[s] = v
}

// network is whose failures are counted together: an IPv4 address, or the /64 that one customer has.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := a.BitLen()
	if bits == 128 {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// pause returns how long a client has to wait before its next attempt is looked at.
func (l *loopMemory) pause(a netip.Addr, now mono.Time) time.Duration {
	if len(l.slackers) == 0 {
		return 0
	}
	return max(0, l.slackers[network(a)].until.Sub(now))
}

// failed counts a failure.
func (l *loopMemory) failed(a netip.Addr, now mono.Time) {
	if l.slackers == nil || len(l.slackers) >= slackersMax {
		l.slackers = map[netip.Prefix]slacker{}
	}
	p := network(a)
	s := l.slackers[p]
	if s.until != 0 && now.Sub(s.until) > pauseMax {
		s = slacker{} // long ago
	}
	s.failures++
	s.until = now
	if over := s.failures - failuresFree; over > 0 {
		s.until = now.Add(min(time.Second<<min(over-1, 10), pauseMax))
	}
	l.slackers[p] = s
}

// succeeded forgets a client's failures.
func (l *loopMemory) succeeded(a netip.Addr) {
	if len(l.slackers) > 0 {
		delete(l.slackers, network(a))
	}
}
