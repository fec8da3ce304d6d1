package acme

import (
	"crypto/x509"
	"time"
)

const (
	// renewalSpread is the share of a certificate's life over which renewals are spread, so that certificates ordered in one
	// hour, here or all over the world, are not renewed in one hour too.
	renewalSpread = 1.0 / 30
	// renewalPauseMax is the least time between two certificates of a group, or a third of a short life: a clock that is
	// wrong can make a certificate due when it is new, and authorities count.
	renewalPauseMax = time.Hour

	// backoffMin and backoffBase make the first attempts after a failure: full jitter over 4 minutes, then 8, and so on.
	// That is about five in the first hour, which is what Let's Encrypt allows to fail for a name.
	backoffMin  = 10 * time.Second
	backoffBase = 4 * time.Minute
	// backoffMax is how long an order may be put off although somebody may have mended what was wrong.
	backoffMax = 4 * time.Hour
	// waitMax is how long an authority can ask to wait. The longest windows of rate limits are a week.
	waitMax = 7 * 24 * time.Hour
	// leasePoll is how often one looks whether another is done ordering.
	leasePoll = 15 * time.Second
	// lookMax is how long the Manager waits without a look at the clock: machines sleep, and clocks are set.
	lookMax = time.Hour
)

// renewAt is when a certificate is to be renewed: after two thirds of its life, and a little.
func renewAt(leaf *x509.Certificate, random float64) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotBefore.Add(life/3*2 + time.Duration(random*renewalSpread*float64(life)))
}

// renewNewAt is renewAt for a certificate that was ordered just now, here or by another process.
func renewNewAt(leaf *x509.Certificate, now time.Time, random float64) time.Time {
	at := renewAt(leaf, random)
	if soonest := now.Add(min(renewalPauseMax, leaf.NotAfter.Sub(leaf.NotBefore)/3)); at.Before(soonest) {
		return soonest
	}
	return at
}

// backoff is how long to wait after so many failures in a row, at least one.
func backoff(failures int, random float64) time.Duration {
	window := backoffMax
	if n := failures - 1; n < 16 { // beyond, the shift would only run over
		window = min(backoffBase<<n, backoffMax)
	}
	return backoffMin + time.Duration(random*float64(window))
}
