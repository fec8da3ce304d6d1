package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
)

// signRaw signs by an algorithm and any key, fitting or not: attackers do not ask a library.
func signRaw(alg Algorithm, key any, text []byte) []byte {
	m := methodOf(string(alg))
	if m.hash == 0 {
		return ed25519.Sign(key.(ed25519.PrivateKey), text)
	}
	h := m.newHash()
	h.Write(text)
	sum := h.Sum(nil)
	switch k := key.(type) {
	case []byte:
		mac := hmac.New(m.newHash, k)
		mac.Write(text)
		return mac.Sum(nil)
	case *rsa.PrivateKey:
		if m.pss {
			return must(rsa.SignPSS(rand.Reader, k, m.hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		return must(rsa.SignPKCS1v15(rand.Reader, k, crypto.Hash(m.hash), sum))
	}
	k := key.(*ecdsa.PrivateKey)
	r, s, err := ecdsa.Sign(rand.Reader, k, sum)
	must(0, err)
	size := (k.Curve.Params().BitSize + 7) / 8
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out
}

func publicDER(p pair) []byte { return must(x509.MarshalPKIXPublicKey(p.public())) }
