package cache

import "time"

// Use is what a kept response is good for.
type Use uint8

// Uses.
const (
	// Fresh: it is the answer.
	Fresh Use = iota
	// StaleAllowed: it is the answer although it is stale, because the client bears it (max-stale).
	StaleAllowed
	// Revalidate: it is the answer although it is stale, as long as somebody asks for it anew (RFC 5861 3).
	Revalidate
	// Validate: the upstream is asked whether it is still good.
	Validate
)

// Decide says what a kept response is good for now (RFC 9111 4.2, 5.2.1). age is its age now.
func Decide(f *Freshness, age time.Duration, request *Control) Use {
	left := f.Lifetime - age
	switch {
	case f.NoCache, request.Is(NoCache),
		request.Is(HasMaxAge) && age > request.MaxAge && !(request.Is(HasMaxStale) && left <= 0),
		request.Is(HasMaxAge) && request.MaxAge == 0,
		request.Is(HasMinFresh) && left < request.MinFresh:
		return Validate
	case left > 0:
		return Fresh
	case request.Is(HasMaxStale) && !f.NoStale && -left <= request.MaxStale:
		return StaleAllowed
	case left+f.StaleWhileRevalidate > 0 && !request.Is(HasMaxAge|HasMinFresh):
		return Revalidate
	}
	return Validate
}

// StandsIn tells whether a stale response may be the answer in the place of an error (RFC 5861 4, RFC 9111 4.2.4).
func StandsIn(f *Freshness, age time.Duration, request *Control) bool {
	if f.NoCache || request.Is(NoCache) {
		return false
	}
	return f.Lifetime+f.StaleIfError > age
}

// IsError are the statuses that a stale response may stand in for (RFC 5861 4).
func IsError(status int) bool { return status == 500 || 502 <= status && status <= 504 }

// LeftOut returns what a request says with everything left out that would have the upstream asked.
func (c Control) LeftOut() Control { return Control{Has: c.Has & (NoStore | OnlyIfCached)} }
