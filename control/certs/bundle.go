package certs

import (
	"crypto/x509"
	"time"
)

const (
	// bundleBytesMax and bundleMax bound a bundle of authorities: the public ones are about 150, in 250 kB.
	bundleBytesMax = 8 << 20
	bundleMax      = 2000
)

// LoadBundle reads the authorities of a PEM file, to verify the other side's certificates with. One that expired is no
// fault as long as another has not: bundles carry old ones along, and verification leaves them out by itself.
func LoadBundle(path string, now time.Time) (*x509.CertPool, error) {
	text, err := read(path, bundleBytesMax)
	if err != nil {
		return nil, err
	}
	m, err := parseBundle(path, text)
	if err != nil {
		return nil, err
	}
	if err := validNow(path, m.limits, now); err != nil {
		return nil, err
	}
	return m.pool, nil
}

// parseBundle returns the authorities. Their time is that of the one that expires last: when it does, the bundle verifies
// nothing any more. A certificate that is no authority is accepted, since it trusts exactly itself: that is how a self-signed
// one is pinned.
func parseBundle(path string, text []byte) (material, error) {
	list, err := parseCertificates(path, text, bundleMax)
	if err != nil {
		return material{}, err
	}
	m := material{pool: x509.NewCertPool(), authorities: list, limits: list[0]}
	for _, c := range list {
		m.pool.AddCert(c)
		if c.NotAfter.After(m.limits.NotAfter) {
			m.limits = c
		}
	}
	return m, nil
}
