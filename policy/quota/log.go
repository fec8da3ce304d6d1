package quota

// Log is the exact limit's half in the store, for one key: when each request of the last window was admitted. It is the twin of the
// script that the store runs, and not what the gateway runs. Times are microseconds on the store's clock.
type Log struct {
	at []int64 // ascending, all different
}

// logAhead is how far ahead of the clock an entry may be, in microseconds: those that came together are moved apart, by less than
// this, and a clock that is slewed goes back by less.
const logAhead = second

// LogAnswer is what the store says to some requests that ask together.
type LogAnswer struct {
	Admitted int64 // of them: the first so many
	Used     int64 // of the window, these included
	Wait     int64 // microseconds until there is room for one more; 0 if there is now
}

// LogCountMax is the largest count of an exact limit. A store keeps every request of the window: Redis 7.0 takes 129 bytes for each
// (21 while there are no more than 128), so a key of this count takes 1.3 MB, and a thousand busy clients more than a gigabyte.
const LogCountMax = 10_000

// Admit judges n requests against count in each window.
func (l *Log) Admit(now, window, count, n int64) LogAnswer {
	gone := 0
	for gone < len(l.at) && l.at[gone] <= now-window {
		gone++
	}
	l.at = l.at[gone:]
	for len(l.at) > 0 && l.at[len(l.at)-1] > now+logAhead {
		l.at = l.at[:len(l.at)-1] // the clock went back: they would count for as long as it did
	}
	used := int64(len(l.at))
	admitted := max(min(n, count-used), 0)
	// Entries are told apart by their times: the next goes to the first free microsecond.
	at := now
	if used > 0 {
		at = max(at, l.at[used-1]+1)
	}
	for i := range admitted {
		l.at = append(l.at, at+i)
	}
	used += admitted
	a := LogAnswer{Admitted: admitted, Used: used}
	if used >= count && used > 0 {
		a.Wait = max(l.at[max(used-count, 0)]+window-now, 0)
	}
	return a
}
