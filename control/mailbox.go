package control

import "sync"

// mailbox holds the commands for the owner's goroutine. Posting never waits: loops post too, when a snapshot retires. It
// is bounded by who posts: each loop once for a snapshot, each caller of the Controller once at a time.
type mailbox struct {
	wake chan struct{} // one slot

	mu struct {
		sync.Mutex
		commands []func()
		closed   bool
	}
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// post hands a command over. It reports false, and drops the command, once the mailbox is closed.
func (m *mailbox) post(command func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return false
	}
	m.mu.commands = append(m.mu.commands, command)
	select {
	case m.wake <- struct{}{}:
	default:
	}
	return true
}

// run carries out commands until one closes the mailbox; those posted before are still carried out.
func (m *mailbox) run() {
	for range m.wake {
		for {
			m.mu.Lock()
			commands, closed := m.mu.commands, m.mu.closed
			m.mu.commands = nil
			m.mu.Unlock()
			if len(commands) == 0 {
				if closed {
					return
				}
				break
			}
			for _, command := range commands {
				command()
			}
		}
	}
}

// close lets run end.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.closed = true
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// do runs a command on the owner's goroutine and waits for it. It reports false if there is no such goroutine any more.
func (c *Controller) do(command func()) bool {
	done := make(chan struct{})
	if !c.mail.post(func() { defer close(done); command() }) {
		return false
	}
	<-done
	return true
}
