package engine

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// What a client wasted of a loop's time before its connection was cut off, roughly and rather too much: setting up and
// clearing away a connection with what it may do before a budget is used up (decoding a header block that is too large
// takes the longest), and for each request that was begun for nothing what that cost us and an upstream.
const (
	wastedByConn    = 2 * time.Millisecond
	wastedByRequest = 500 * time.Microsecond
)

// debtShare is how much longer it takes to pay than it took to waste: one address can waste a twentieth of a loop's time.
const debtShare = 20

// debtFree is what is lent without a question: a client with a fault in it comes again at once, a flood does not get far.
const debtFree = 100 * time.Millisecond

// The debtors that a loop remembers, in sets of which each address has one. An address is 24 bytes: 8 kB in all. One who is
// forgotten for another has got away with it.
const (
	debtorSets = 64
	debtorWays = 4
)

// waitingMax is how many connections of debtors wait on a loop at a time. They hold a descriptor and 400 bytes each; more
// are closed at once.
const waitingMax = 1024

// debts is a loop's memory of the addresses whose connections broke HTTP/2 or failed their handshake. An attacker pays for
// a flood with the connection it is noticed on, and has the next for a few packets; cutting connections off and taking new
// ones is then the cost of the flood. So their next connections wait, for as long as it takes to pay for what the last
// ones wasted. Connections that stand are not touched, whoever shares the address with the attacker. Loop-owned.
type debts struct {
	seed    maphash.Seed
	debtors [debtorSets][debtorWays]debtor
	waiting int // connections that wait
}

type debtor struct {
	who   netip.Addr
	clear mono.Time // when all is paid
}

func (d *debts) init() { d.seed = maphash.MakeSeed() }

// payer returns whose debts those of an address are: of IPv6 the network that a customer has (RFC 6177).
func payer(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

func (d *debts) set(who netip.Addr) *[debtorWays]debtor {
	return &d.debtors[maphash.Comparable(d.seed, who)%debtorSets]
}

// owe notes what an address has wasted. It never owes more than most.
func (d *debts) owe(a netip.Addr, wasted, most time.Duration, now mono.Time) {
	if most == 0 || !a.IsValid() {
		return
	}
	who := payer(a)
	set := d.set(who)
	at := &set[0]
	for i := range set {
		if set[i].who == who {
			at = &set[i]
			break
		}
		if set[i].clear < at.clear {
			at = &set[i]
		}
	}
	if at.who != who {
		*at = debtor{who: who}
	}
	at.clear = min(max(at.clear, now).Add(wasted*debtShare), now.Add(debtFree+most))
}

// wait returns how long the next connection of an address has to wait.
func (d *debts) wait(a netip.Addr, now mono.Time) time.Duration {
	who := payer(a)
	set := d.set(who)
	for i := range set {
		if set[i].who == who {
			return max(0, set[i].clear.Sub(now)-debtFree)
		}
	}
	return 0
}
