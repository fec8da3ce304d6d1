package cache

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/yumen-io/yumen/store/redisconn"
)

// Purges of several gateways. Each is a note in a stream in Redis, with a number; every gateway reads the streams on, from where it was, and
// purges its memory too. The time of a note is what responses in Redis are held against: see ledger.

const (
	// notesRead is how many notes are read in one round trip.
	notesRead = 512
	// notesTold is how many are told at the same time.
	notesTold = 64
)

// share has Redis and the other gateways told of a purge. It waits for nothing; the channel is closed when they can know.
func (t *Tier) share(kind, value string) <-chan struct{} {
	p := t.ledger.add(kind, value)
	t.signal()
	return p.told
}

// tellAll is a goroutine that tells Redis of purges as they come, while it can be reached.
func (t *Tier) tellAll(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-t.tell:
		}
		if l := t.link.Load(); l != nil {
			if err := t.tellPending(l); err != nil {
				t.lose(l, err)
			}
		}
	}
}

// tellPending tells Redis what it has not been told. What it may have been told when the connection failed is told again: a purge too many
// costs little.
func (t *Tier) tellPending(l *tierLink) error {
	t.telling.Lock()
	defer t.telling.Unlock()
	for {
		t.ledger.Lock()
		list := t.ledger.pending
		list = append([]*purgeNote(nil), list[:min(len(list), notesTold)]...)
		for _, p := range list {
			p.sent = true
		}
		t.ledger.Unlock()
		if len(list) == 0 {
			return nil
		}
		said := t.tellList(l, list)
		for i, p := range list {
			if said[i].err != nil {
				return said[i].err
			}
			t.ledger.Lock()
			t.ledger.note(p.kind, p.value, said[i].at)
			t.ledger.pending = t.ledger.pending[1:]
			t.ledger.Unlock()
			t.counts.told.Add(1)
			close(p.told)
		}
	}
}

// toldAt is when Redis was told of a purge, by its clock, or why it could not be told.
type toldAt struct {
	at  stamp
	err error
}

// tellList tells Redis of some purges: the first alone, which finds out whether something else lies where notes go, and then the others at
// the same time, which follow one another on the connection without waiting. After an outage there may be thousands, and nothing is read
// back before the last.
func (t *Tier) tellList(l *tierLink, list []*purgeNote) []toldAt {
	said := make([]toldAt, len(list))
	if said[0].at, said[0].err = t.tellOne(l, list[0]); said[0].err != nil {
		return said
	}
	var all sync.WaitGroup
	for i, p := range list[1:] {
		to := &said[i+1]
		all.Go(func() { to.at, to.err = t.tellOne(l, p) })
	}
	all.Wait()
	return said
}

func (t *Tier) tellOne(l *tierLink, p *purgeNote) (at stamp, err error) {
	stream := &t.notes[0]
	if p.kind == purgeURL {
		stream = &t.notes[1]
		for range 2 { // a second time if something else lay there
			ctx, cancel := t.inTime(0)
			key := t.key(p.value)
			err := t.gone.Exec(ctx, l, []string{key}, []string{decimal(urlNoteKept.Milliseconds())}).Error()
			cancel()
			if err == nil {
				break
			}
			if !t.mend(l, key, err) {
				return 0, err
			}
		}
	}
	for tries := 0; ; tries++ {
		ctx, cancel := t.inTime(0)
		said := []string{decimal(ledgerMax), decimal(notesKept.Milliseconds()), t.node, p.kind, p.value}
		id, err := t.note.Exec(ctx, l, []string{stream.count, stream.key}, said).ToString()
		cancel()
		if err == nil {
			ms, _ := parseID(id)
			return stamp(ms), nil
		}
		if tries > 0 || !t.mend(l, stream.key, err) || !t.mend(l, stream.count, err) {
			return 0, err
		}
	}
}

// learn reads the notes that came since the last time, waiting for some if there are none, and purges what they mean. more: there may be
// more of them.
func (t *Tier) learn(l *tierLink, wait time.Duration) (more bool, err error) {
	ctx, cancel := t.inTime(wait)
	defer cancel()
	count := l.B().Xread().Count(notesRead)
	var cmd rueidis.Completed
	if wait > 0 {
		cmd = count.Block(wait.Milliseconds()).Streams().Key(t.notes[0].key, t.notes[1].key).Id(t.notes[0].last, t.notes[1].last).Build()
	} else {
		cmd = count.Streams().Key(t.notes[0].key, t.notes[1].key).Id(t.notes[0].last, t.notes[1].last).Build()
	}
	got, err := l.Do(ctx, cmd).AsXRead()
	if rueidis.IsRedisNil(err) {
		got, err = nil, nil
	}
	if err != nil {
		// What lies there may have replaced purges: all is purged instead.
		for i := range t.notes {
			if !t.mend(l, t.notes[i].key, err) {
				return false, err
			}
		}
		t.missed()
		t.share(purgeAll, "")
		return true, nil
	}
	var list []mark
	missed := false
	for i := range t.notes {
		s := &t.notes[i]
		for _, n := range got[s.key] {
			m, own, ok := t.hear(s, n)
			switch {
			case !ok:
				missed = true
			case own:
			case m.url != "":
				t.store.Invalidate([]byte(m.url))
			default:
				list = append(list, m.mark)
			}
		}
		more = more || len(got[s.key]) == notesRead
	}
	if missed {
		t.missed()
	} else if len(list) > 0 {
		t.store.counts.purged.Add(uint64(t.store.purge(list)))
	}
	return more, nil
}

// missed is called when purges cannot be known: everything may have been meant, here and in Redis.
func (t *Tier) missed() {
	t.counts.gaps.Add(1)
	t.store.counts.purged.Add(uint64(t.store.PurgeAll()))
}

// heard is a purge of some node.
type heard struct {
	mark
	url string
}

// hear takes one note. Not ok: notes before it were missed, or it says nothing that is known. Those that were there before this node began
// are of no concern to its memory, like its own.
func (t *Tier) hear(s *noteStream, n rueidis.XRangeEntry) (m heard, own, ok bool) {
	s.last = n.ID
	at, _ := parseID(n.ID)
	number, err := strconv.ParseInt(n.FieldValues["n"], 10, 64)
	kind, value := n.FieldValues["kind"], n.FieldValues["value"]
	first := s.number == 0 && !t.caughtUp
	// Number 1 follows anything: Redis has lost what it had, and with it everything that was purged.
	ok = err == nil && (first || number == s.number+1 || number == 1)
	own = n.FieldValues["by"] == t.node || !t.caughtUp
	s.number = number
	switch kind {
	case purgeAll:
	case purgeTag:
		m.tag = value
	case purgePrefix:
		m.prefix = value
	case purgeURL:
		m.url = value
	default:
		ok = false
	}
	t.ledger.Lock()
	if !ok || first && number > 1 { // those before it are not known
		t.ledger.floor = max(t.ledger.floor, stamp(at))
	}
	if kind != purgeURL { // Redis has forgotten those already
		t.ledger.note(kind, value, stamp(at))
	}
	t.ledger.Unlock()
	if !own {
		t.counts.heard.Add(1)
	}
	return m, own, ok
}

// parseID returns the two parts of the id of a note: a time in milliseconds, and a number within it.
func parseID(id string) (ms, n int64) {
	before, after, _ := strings.Cut(id, "-")
	ms, _ = strconv.ParseInt(before, 10, 64)
	n, _ = strconv.ParseInt(after, 10, 64)
	return ms, n
}

// rewind is called on a new connection: if the streams are not those that were read, because Redis has lost them and its clock is behind, they
// are read from their beginning.
func (t *Tier) rewind(l *tierLink) error {
	for i := range t.notes {
		s := &t.notes[i]
		ctx, cancel := t.inTime(0)
		newest, err := l.Do(ctx, l.B().Xrevrange().Key(s.key).End("+").Start("-").Count(1).Build()).AsXRange()
		cancel()
		if err != nil && !rueidis.IsRedisNil(err) {
			if redisconn.IsOfAll(err) {
				return err
			}
			continue // something else lies there: whoever reads it sees to that
		}
		if len(newest) > 0 {
			ms, n := parseID(newest[0].ID)
			if lastMs, lastN := parseID(s.last); ms > lastMs || ms == lastMs && n >= lastN {
				continue
			}
		}
		s.last = "0-0"
	}
	return nil
}
