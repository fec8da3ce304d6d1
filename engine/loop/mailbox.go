package loop

import "sync/atomic"

// mailbox is the only way into a loop from another goroutine: a list of functions that the loop runs in its mailbox
// step, in the order they were posted.
//
// The simple design is a mutex around a slice. It lost because the loop's thread would sometimes wait for a poster that
// the system put to sleep inside its critical section, and with it ten thousand connections. Here posters push onto a
// list with one compare-and-swap, newest first; the loop takes the whole list with one swap and turns it round. Neither
// waits for the other, and since nothing is ever taken out of the middle, a letter met twice cannot be mistaken for
// another (ABA). The price is a small allocation a post; nothing that happens for every request is posted.
//
// The list has no limit of its own: who posts, bounds what it has outstanding.
type mailbox struct {
	head atomic.Pointer[letter] // newest letter; &seal once the loop has ended
	seal letter
}

type letter struct {
	run  func()
	next *letter
}

// put adds f; it returns false if the mailbox was sealed, and then f will never run. Any goroutine.
func (m *mailbox) put(f func()) bool {
	n := &letter{run: f}
	for {
		head := m.head.Load()
		if head == &m.seal {
			return false
		}
		n.next = head
		if m.head.CompareAndSwap(head, n) {
			return true
		}
	}
}

func (m *mailbox) empty() bool { return m.head.Load() == nil }

// run runs what has been posted until now. What these functions post themselves waits for the next call, so a function
// that posts itself again cannot hold up the turn.
func (m *mailbox) run() {
	if !m.empty() {
		runOldestFirst(m.head.Swap(nil))
	}
}

// close runs what has been posted until now; put takes nothing any more. To close only once the box is empty would let
// busy posters keep the loop from ending.
func (m *mailbox) close() { runOldestFirst(m.head.Swap(&m.seal)) }

func runOldestFirst(newest *letter) {
	var oldest *letter
	for n := newest; n != nil; {
		next := n.next
		n.next, oldest, n = oldest, n, next
	}
	for n := oldest; n != nil; n = n.next {
		n.run()
	}
}

// Post hands f to the loop, which runs it in the mailbox step of a coming turn; functions posted by one goroutine run in
// its order. It returns false once the loop has ended, and then f never runs: who posted keeps what f would have freed.
// Safe from any goroutine, the loop's own included. It costs a system call only if the loop may be asleep, and of a
// burst only the first post does.
func (l *Loop) Post(f func()) bool {
	if !l.mail.put(f) {
		return false
	}
	l.wake()
	return true
}

// wake gets the loop out of a blocking poll. The order of the two sides is what makes a wake-up impossible to lose: the
// waker publishes its work and then looks whether the loop is asleep; the loop says that it is asleep and then looks for
// work (sleep). Whichever comes second sees the other.
//
// wakers keeps the wake-up descriptor open under a waker's hands: end waits until it is zero before closing.
func (l *Loop) wake() {
	if !l.asleep.Load() {
		return
	}
	l.wakers.Add(1)
	if l.asleep.CompareAndSwap(true, false) {
		l.poller.wake()
		l.stats.Wakes.Add(1)
	}
	l.wakers.Add(-1)
}
