package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// source is where an item comes from: a pair or a bundle.
type source struct {
	paths  []string // to watch; the first is the one that says whose the item is
	key    string
	bundle bool
	client bool
	read   func() (texts [][]byte, err error)
	parse  func(texts [][]byte) (material, error)
}

// material is what was made of the texts.
type material struct {
	cert        *tls.Certificate    // of a pair
	pool        *x509.CertPool      // of a bundle
	authorities []*x509.Certificate // in pool
	limits      *x509.Certificate   // whose time is that of the whole
}

// same tells whether two sources are the same files, judged in the same way.
func (s *source) same(other *source) bool {
	return slices.Equal(s.paths, other.paths) && s.bundle == other.bundle && s.client == other.client
}

func pairSource(p Pair) source {
	return source{
		paths: []string{p.Cert, p.Key}, key: p.Key, client: p.Client,
		read: func() ([][]byte, error) {
			certText, keyText, err := p.read()
			return [][]byte{certText, keyText}, err
		},
		parse: func(texts [][]byte) (material, error) {
			cert, err := p.parse(texts[0], texts[1])
			if err != nil {
				return material{}, err
			}
			return material{cert: cert, limits: cert.Leaf}, nil
		},
	}
}

func bundleSource(path string) source {
	return source{
		paths: []string{path}, bundle: true,
		read: func() ([][]byte, error) {
			text, err := read(path, bundleBytesMax)
			return [][]byte{text}, err
		},
		parse: func(texts [][]byte) (material, error) { return parseBundle(path, texts[0]) },
	}
}

// item is one pair or bundle: what is held of it and what became of its files since. Whoever calls its methods holds the
// keeper's lock, but for what comes from source, which is frozen.
type item struct {
	source
	state
}

// state is what changes of an item.
type state struct {
	held  material
	texts [][]byte // that held was made of

	// What the files hold instead, if it cannot be used.
	seen  [][]byte  // last texts; nil entries: they could not be read
	begun time.Time // when they were first seen so; zero: the files hold what is held
	fault error     // said about them; nil: nothing was said yet

	outside error // what was said when held came to be outside its time; nil: it is within
	warned  int   // how many of the warnings before it expires were said, or passed over
	since   time.Time
}

// warnings are how long before the end one is told. One that is more than half of the whole time is left out: a
// certificate that lives for a week is not in danger from its first day on.
var warnings = [...]time.Duration{30 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour}

// open reads the item for the first time. If another keeper holds it, before is how it stands there: it is taken over where
// the files are what they were, and where they cannot be used now.
func (i *item) open(now time.Time, before *state, allowExpired bool, logger *slog.Logger) error {
	texts, err := i.read()
	if err == nil && before != nil && slices.EqualFunc(texts, before.texts, bytes.Equal) {
		i.state = *before
		return nil
	}
	var m material
	if err == nil {
		m, err = i.parse(texts)
	}
	if err == nil {
		if err = validNow(i.paths[0], m.limits, now); allowExpired {
			err = nil
		}
	}
	switch {
	case err != nil && before != nil:
		i.state = *before
		return nil
	case err != nil:
		return err
	}
	i.held, i.texts, i.since = m, texts, now
	i.checkTime(now, logger)
	return nil
}

// look judges what was read now. changed: it is held now. unsettled: it looks wrong, but for too short a time to say so.
func (i *item) look(texts [][]byte, err error, now time.Time, logger *slog.Logger) (changed, unsettled bool) {
	defer func() { i.checkTime(now, logger) }()
	if err == nil && slices.EqualFunc(texts, i.texts, bytes.Equal) {
		if i.fault != nil {
			logger.Info("the certificate file is as it was before", "file", i.paths[0])
			i.fault, i.since = nil, now
		}
		i.seen, i.begun = nil, time.Time{}
		return false, false
	}
	var m material
	if err == nil {
		m, err = i.parse(texts)
	}
	if err == nil {
		err = validNow(i.paths[0], m.limits, now)
	}
	if err == nil {
		i.held, i.texts, i.since = m, texts, now
		i.seen, i.begun, i.fault, i.outside, i.warned = nil, time.Time{}, nil, nil, 0
		logger.Info("a certificate file was replaced and is in use",
			"file", i.paths[0], "names", i.names(), "not_after", m.limits.NotAfter)
		return true, false
	}
	if i.begun.IsZero() || !slices.EqualFunc(texts, i.seen, bytes.Equal) {
		i.seen, i.begun = texts, now
	}
	if now.Sub(i.begun) < settle {
		return false, true
	}
	if i.fault == nil || i.fault.Error() != err.Error() && !sameTimeFault(i.fault, err) {
		logger.Error("a certificate file cannot be used, the certificate before it stays in use",
			"file", i.paths[0], "error", err)
		i.fault, i.since = err, now
	}
	return false, false
}

// sameTimeFault tells whether two errors are about the time in the same way: their texts hold the time and so differ.
func sameTimeFault(a, b error) bool {
	return errors.Is(a, ErrExpired) && errors.Is(b, ErrExpired) || errors.Is(a, ErrNotYetValid) && errors.Is(b, ErrNotYetValid)
}

// checkTime says once that what is held has run out, and once for each of the warnings that it will.
func (i *item) checkTime(now time.Time, logger *slog.Logger) {
	switch err := validNow(i.paths[0], i.held.limits, now); {
	case err != nil:
		if i.outside == nil || !sameTimeFault(i.outside, err) {
			logger.Error("a certificate outside its time is in use, for lack of another",
				"file", i.paths[0], "names", i.names(), "error", err)
			i.setOutside(err, now)
		}
		return
	case i.outside != nil: // it was not valid yet, or the clock was wrong
		i.setOutside(nil, now)
	}
	left, whole := i.held.limits.NotAfter.Sub(now), i.held.limits.NotAfter.Sub(i.held.limits.NotBefore)
	due := i.warned
	for n := i.warned; n < len(warnings); n++ {
		if left <= warnings[n] && 2*warnings[n] <= whole {
			due = n + 1
		}
	}
	if due > i.warned {
		i.warned = due
		logger.Warn("a certificate is about to expire",
			"file", i.paths[0], "names", i.names(), "not_after", i.held.limits.NotAfter, "left", left)
	}
}

func (i *item) setOutside(err error, now time.Time) {
	i.outside = err
	if i.fault == nil { // otherwise the status tells of that
		i.since = now
	}
}

// names are what the certificate in use is for.
func (i *item) names() []string {
	if i.bundle {
		return nil
	}
	leaf := i.held.cert.Leaf
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		names = append(names, nameOf(leaf))
	}
	return names
}

func (i *item) status() Status {
	s := Status{
		Path: i.paths[0], Key: i.key, Bundle: i.bundle, Client: i.client, Names: i.names(),
		NotBefore: i.held.limits.NotBefore, NotAfter: i.held.limits.NotAfter, LastError: i.fault, Since: i.since, Outside: i.outside != nil,
	}
	if s.LastError == nil {
		s.LastError = i.outside
	}
	return s
}
