package cache

import (
	"time"

	"github.com/yumen-io/yumen/engine/message"
)

// Rules are what a document may change of a cache's decisions. The zero value is RFC 9111 by the letter, without heuristics.
type Rules struct {
	// Targeted are fields that stand in the place of Cache-Control for a cache like ours (RFC 9213), in lower case, the most
	// specific first.
	Targeted []string
	// Heuristic is the part of the time since its last modification for which a response without a word about its lifetime is
	// taken for fresh (RFC 9111 4.2.2), at most heuristicMax. 0: not at all. A tenth is usual.
	Heuristic float64
	// DefaultLifetime is that of responses which say nothing and whose status is one of success or of a redirect that may be kept
	// (200, 203, 204, 300, 301, 308); NegativeLifetime of those that say that there is nothing (404, 405, 410, 414, 501). 0: not
	// kept. Neither holds for requests that say who asks.
	DefaultLifetime, NegativeLifetime time.Duration
	// LifetimeMax bounds every lifetime; 0: no bound.
	LifetimeMax time.Duration
	// StaleIfError is for how long behind its lifetime a response that says nothing about it stands in for an error. 0: not.
	StaleIfError time.Duration
	// StaleWhileRevalidate is for how long behind its lifetime a response that says nothing about it is used while it is asked
	// for anew. 0: not.
	StaleWhileRevalidate time.Duration
	// StoreSetCookie keeps responses that set cookies. Whoever asks next gets the cookie of the first.
	StoreSetCookie bool
	// IgnoreRequest leaves out what a request says in Cache-Control, but for no-store and only-if-cached: a client cannot have the
	// upstream asked then.
	IgnoreRequest bool
}

// heuristicMax bounds a lifetime that was guessed. RFC 9111 4.2.2 wants a day to be noticed.
const heuristicMax = 24 * time.Hour

// Freshness is how long a response may be used, as it was when it came. The zero value is one that is stale at once.
type Freshness struct {
	Lifetime time.Duration
	Age      time.Duration // when it came: corrected_initial_age of RFC 9111 4.2.3
	// Windows behind the lifetime, each counted from its end.
	StaleWhileRevalidate, StaleIfError time.Duration
	// NoStale: never used stale without asking (RFC 9111 5.2.2.2, 5.2.2.8). MaxStale of a request does not change it.
	NoStale bool
	// NoCache: never used without asking (RFC 9111 5.2.2.4).
	NoCache bool
	// Explicit: the response says so itself.
	Explicit bool
}

// AgeAt returns the age of a response that has been kept for a time.
func (f *Freshness) AgeAt(kept time.Duration) time.Duration { return f.Age + max(kept, 0) }

// responseControl returns the directives that count for a response, and whether they take the place of Expires too.
func (r *Rules) responseControl(h *message.Head) (c Control, targeted bool) {
	if len(r.Targeted) > 0 {
		if c, targeted = ReadTargeted(&h.Fields, r.Targeted); targeted {
			return c, true
		}
	}
	return ReadControl(&h.Fields), false
}

// Fresh computes how long a response may be used. asked and came are the times of day of the request and of the response's
// head, delay what passed between; identified tells of a request that says who asks.
func (r *Rules) Fresh(h *message.Head, came Unix, delay time.Duration, identified bool) Freshness {
	c, targeted := r.responseControl(h)
	f := r.lifetime(h, &c, targeted, came, identified)
	f.Age = initialAge(h, came, delay)
	f.NoCache = c.Is(NoCache)
	// s-maxage forbids to use a stale response as proxy-revalidate does (RFC 9111 5.2.2.10); a window beside it that the same
	// response names is a permission all the same, which is how upstreams mean it.
	f.NoStale = c.Is(MustRevalidate | ProxyRevalidate | HasSMaxAge)
	if !c.Is(MustRevalidate | ProxyRevalidate) {
		f.StaleWhileRevalidate = window(&c, HasStaleWhileRevalidate, c.StaleWhileRevalidate, r.StaleWhileRevalidate)
		f.StaleIfError = window(&c, HasStaleIfError, c.StaleIfError, r.StaleIfError)
	}
	return f
}

func window(c *Control, has Directive, said, otherwise time.Duration) time.Duration {
	switch {
	case c.Is(has):
		return said
	case c.Is(HasSMaxAge):
		return 0
	}
	return otherwise
}

// lifetime is RFC 9111 4.2.1: the first of s-maxage, max-age, Expires, and a guess.
func (r *Rules) lifetime(h *message.Head, c *Control, targeted bool, came Unix, identified bool) Freshness {
	f := Freshness{Explicit: true}
	expires, next := h.NextField("expires", 0)
	switch {
	case c.Is(HasSMaxAge):
		f.Lifetime = c.SMaxAge
	case c.Is(HasMaxAge):
		f.Lifetime = c.MaxAge
	case !targeted && next >= 0:
		// What is no date lies in the past (RFC 9111 5.3).
		if at, ok := ParseDate(expires, came); ok {
			f.Lifetime = seconds(at - dateOf(h, came))
		}
	default:
		f.Explicit = false
		f.Lifetime = r.guess(h, c, came, identified)
	}
	if r.LifetimeMax > 0 {
		f.Lifetime = min(f.Lifetime, r.LifetimeMax)
	}
	return f
}

// guess is the lifetime of a response that does not say it.
func (r *Rules) guess(h *message.Head, c *Control, came Unix, identified bool) time.Duration {
	class := classOf(h.Status)
	if class == otherStatus && !c.Is(Public) {
		return 0
	}
	if r.Heuristic > 0 {
		if v, next := h.NextField("last-modified", 0); next >= 0 {
			if at, ok := ParseDate(v, came); ok {
				since := max(seconds(dateOf(h, came)-at), 0)
				return min(time.Duration(r.Heuristic*float64(since)), heuristicMax)
			}
		}
	}
	switch {
	case identified:
		return 0
	case class == positiveStatus:
		return r.DefaultLifetime
	case class == negativeStatus:
		return r.NegativeLifetime
	}
	return 0
}

// statusClass says for which statuses a lifetime may be guessed: those of RFC 9110 15.1, without 206.
type statusClass uint8

const (
	otherStatus statusClass = iota
	positiveStatus
	negativeStatus
)

func classOf(status int) statusClass {
	switch status {
	case 200, 203, 204, 300, 301, 308:
		return positiveStatus
	case 404, 405, 410, 414, 501:
		return negativeStatus
	}
	return otherStatus
}

// initialAge is RFC 9111 4.2.3. An Age that is no number is ignored, and of several the first counts (RFC 9111 5.1).
func initialAge(h *message.Head, came Unix, delay time.Duration) time.Duration {
	apparent := max(seconds(came-dateOf(h, came)), 0)
	var said time.Duration
	if v, next := h.NextField("age", 0); next >= 0 {
		said, _ = parseSeconds(trim(v[:indexByte(v, ',')]))
	}
	return max(apparent, said+max(delay, 0))
}

// dateOf returns when the response was made. Without a date that can be read, it is when it came (RFC 9110 6.6.1).
func dateOf(h *message.Head, came Unix) Unix {
	if v, ok := h.Get(message.Date); ok {
		if at, ok := ParseDate(v, came); ok {
			return at
		}
	}
	return came
}

// seconds turns a number of seconds, which may be any, into a duration.
func seconds(n int64) time.Duration {
	return time.Duration(min(max(n, -secondsMax), secondsMax)) * time.Second
}
