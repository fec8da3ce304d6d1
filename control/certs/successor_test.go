package certs

import (
	"crypto/x509"
	"testing"
)

// A keeper follows another. What both have and nobody touched is the same; what is broken or expired by now goes on as it was
// and is told of; what is new must be in order.
func TestKeeperAfterAnother(t *testing.T) {
	f := newFolder(t)
	good, later, other := issue(t, nil, "a.test", nil), issue(t, nil, "a.test", nil), issue(t, nil, "b.test", nil)
	a, b := f.pair("a", good), f.pair("b", other)
	roots := f.put("roots.pem", issue(t, nil, "root", authority).pem())
	s := openStage(f, Config{Pairs: []Pair{a, b}, Bundles: []string{roots}})
	before := s.Set()

	f.put("a.pem", "-----BEGIN CERTIFICATE-----")
	next := openStage(f, Config{Pairs: []Pair{b, a}, Bundles: []string{roots}, Before: s.Keeper})
	set := next.Set()
	if set.Certificates[0] != before.Certificates[1] || set.Certificates[1] != before.Certificates[0] || set.Pools[0] != before.Pools[0] ||
		!set.Authorities[0][0].Equal(before.Authorities[0][0]) {
		t.Error("something became another")
	}
	next.settled()
	want(t, "log", next.said(), "cannot be used")
	if st := next.Statuses()[1]; st.LastError == nil {
		t.Error("the status does not tell of the broken file")
	}

	// A third knows what the second said, and takes the file that was mended meanwhile.
	third := openStage(f, Config{Pairs: []Pair{a}, Before: next.Keeper})
	if st := third.Statuses()[0]; st.LastError == nil {
		t.Error("the fault was forgotten")
	}
	f.pair("a", later)
	third.waitFor(third.serves(later))

	f.put("c.pem", "nonsense")
	if k, err := open(f, Config{Pairs: []Pair{a, {Cert: f.in("c.pem"), Key: f.in("a.key")}}, Before: third.Keeper}); err == nil {
		k.Close()
		t.Error("a new file that is broken is taken")
	}
	// The same files for another purpose are something else.
	if k, err := open(f, Config{Pairs: []Pair{{Cert: a.Cert, Key: a.Key, Client: true}}, Before: third.Keeper}); err == nil {
		k.Close()
		t.Error("a certificate for servers is shown as a client's")
	}
}

func TestKeeperAfterAnotherWhoseCertificateRanOut(t *testing.T) {
	f := newFolder(t)
	short := issue(t, nil, "a.test", func(c *x509.Certificate) { c.NotAfter = noon.Add(day) })
	p := f.pair("a", short)
	s := openStage(f, Config{Pairs: []Pair{p}})
	s.pass(2 * day)
	s.poll()
	s.said()
	next, err := open(f, Config{Pairs: []Pair{p}, Before: s.Keeper})
	do(t, err)
	defer next.Close()
	if st := next.Statuses()[0]; st.LastError == nil {
		t.Error("it is not said that the certificate ran out")
	}
	if said := next.said(); said != "" {
		t.Errorf("said again: %s", said)
	}
}
