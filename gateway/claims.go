package gateway

import "crypto/x509"

// Claims is what is known of who asks, from whoever has verified it.
type Claims interface {
	// Claim returns a claim as text. Its name is a key, or a path of keys with dots between. The bytes are good until the
	// exchange ends.
	Claim(name string) ([]byte, bool)
}

// SetClaims is for filters that find out who asks. What a later one says takes the place of what an earlier one said.
func (x *Exchange) SetClaims(c Claims) { x.claims = c }

// Claim returns a claim of who asks; false if there is none of that name, or nobody has looked who it is.
func (x *Exchange) Claim(name string) ([]byte, bool) {
	if x.claims == nil {
		return nil, false
	}
	return x.claims.Claim(name)
}

// ClientCertificate returns the certificate that the client showed on its connection and that was verified as the listener asks
// for; nil if there is none. It must not be changed. What a proxy in front says of its own clients' is not among it.
func (x *Exchange) ClientCertificate() *x509.Certificate { return x.clientCert }
