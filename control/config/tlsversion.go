package config

import (
	"crypto/tls"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// TLSVersion is a version of TLS. They compare in the order of their age.
type TLSVersion string

// The versions that are spoken.
const (
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// Curve is a key exchange, by its name among the supported groups of TLS (IANA), but for the dash of P-256.
type Curve string

// The key exchanges. The first three join a classical one with ML-KEM.
const (
	X25519MLKEM768     Curve = "X25519MLKEM768"
	SecP256r1MLKEM768  Curve = "SecP256r1MLKEM768"
	SecP384r1MLKEM1024 Curve = "SecP384r1MLKEM1024"
	X25519             Curve = "X25519"
	CurveP256          Curve = "P-256"
	CurveP384          Curve = "P-384"
	CurveP521          Curve = "P-521"
)

var curves = []Curve{X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024, X25519, CurveP256, CurveP384, CurveP521}

// curveWords are names of the same curves elsewhere (SEC 2, X9.62), folded.
var curveWords = map[string]string{
	"secp256r1": "write P-256", "prime256v1": "write P-256", "p256": "write P-256", "curvep256": "write P-256",
	"secp384r1": "write P-384", "p384": "write P-384", "curvep384": "write P-384",
	"secp521r1": "write P-521", "p521": "write P-521", "curvep521": "write P-521",
	"curve25519": "write X25519", "auto": "remove curves: for the usual ones",
}

func curve() kind[Curve] { return choiceOr("curve", curveWords, curves...) }

func curveList() string {
	list := make([]string, len(curves))
	for i, c := range curves {
		list[i] = string(c)
	}
	return strings.Join(list, ", ")
}

// tlsVersion is written in quotes, and read as well without: 1.2 is a number to YAML.
func tlsVersion() kind[TLSVersion] {
	const fix = `write "1.2" or "1.3"`
	return kind[TLSVersion]{
		word: "version of TLS",
		read: func(d *decoder, n *yaml.Node, v *TLSVersion) {
			s, ok := d.scalar(n, `"1.2" or "1.3"`)
			if !ok {
				return
			}
			number := strings.ToLower(s)
			for _, prefix := range []string{"version", "tls", "ssl", "v", "_", "-", " ", "v"} {
				number = strings.TrimPrefix(number, prefix)
			}
			number = strings.ReplaceAll(number, "_", ".")
			switch {
			case s == string(TLS12) || s == string(TLS13):
				*v = TLSVersion(s)
			case number == "1.2" || number == "12":
				d.fail(n, `write "1.2"`, "%s is not how a version of TLS is written", quote(s))
			case number == "1.3" || number == "13":
				d.fail(n, `write "1.3"`, "%s is not how a version of TLS is written", quote(s))
			case slices.Contains([]string{"1", "1.0", "1.1", "10", "11", "3", "3.0"}, number):
				d.fail(n, fix, "%s is broken and not spoken here (RFC 8996)", quote(s))
			default:
				d.fail(n, fix, "%s is not a version of TLS", quote(s))
			}
		},
		write: func(v *TLSVersion) *yaml.Node { return textNode(string(*v)) },
		schema: func(*schemaBuilder) map[string]any {
			return orVariable(map[string]any{"enum": []any{"1.2", "1.3", 1.2, 1.3}})
		},
	}
}

// cipherSuiteNames are the suites of TLS 1.2 that crypto/tls thinks secure. Those of TLS 1.3 cannot be chosen there.
var cipherSuiteNames = sync.OnceValue(func() []string {
	var names []string
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			names = append(names, s.Name)
		}
	}
	return names
})

// cipherSuite is the IANA name of a suite. Suites without forward secrecy, with RC4 or 3DES are known, and refused.
func cipherSuite() kind[string] {
	k := choice("cipher suite", cipherSuiteNames()...)
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *string) {
		target := resolved(n)
		if target.Kind != yaml.ScalarNode || isNull(target) {
			read(d, n, v)
			return
		}
		s, ok := d.expand(target, target.Value)
		if !ok {
			return
		}
		const usual = "remove cipher_suites: for the usual ones"
		switch iana := suiteByOpenSSL(s); {
		case iana != "":
			d.fail(n, "write "+iana, "%s is the name OpenSSL has for a cipher suite", quote(s))
		case isSuite(tls.InsecureCipherSuites(), s):
			d.fail(n, usual, "%s is not secure", quote(s))
		case isSuite(tls.CipherSuites(), s) && !slices.Contains(cipherSuiteNames(), s):
			d.fail(n, "remove it", "%s is of TLS 1.3, whose suites are all good and not chosen", quote(s))
		case strings.ContainsAny(s, ":!+@"):
			d.fail(n, usual+", or list IANA names: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ...]", "%s is a list as OpenSSL has it, not the name of a cipher suite", quote(s))
		default:
			read(d, n, v)
		}
	}
	return k
}

func isSuite(suites []*tls.CipherSuite, name string) bool {
	return slices.ContainsFunc(suites, func(s *tls.CipherSuite) bool { return s.Name == name })
}

// suiteByOpenSSL translates ECDHE-RSA-AES128-GCM-SHA256 and its like. Empty: it is none of them.
func suiteByOpenSSL(s string) string {
	for _, name := range cipherSuiteNames() {
		open := strings.NewReplacer("TLS_", "", "_WITH_", "-", "AES_", "AES", "_CBC", "", "_", "-").Replace(name)
		if s == open || strings.Contains(s, "CHACHA20-POLY1305") && s+"-SHA256" == open {
			return name
		}
	}
	return ""
}

// checkSuites looks whether HTTP/2 is left a suite that it may be spoken over: RFC 9113 section 9.2.2 lets clients hang
// up on those of its appendix A, which are all of TLS 1.2 but the AEAD ones.
func checkSuites(d *decoder, v *Listener, g given[Listener]) {
	if !g.clean || v.TLS == nil || len(v.TLS.CipherSuites) == 0 || !v.Speaks(ProtocolH2) {
		return
	}
	aead := func(s string) bool { return strings.Contains(s, "_GCM_") || strings.Contains(s, "_POLY1305_") }
	if slices.ContainsFunc(v.TLS.CipherSuites, aead) {
		return
	}
	d.at("tls", func() {
		d.at("cipher_suites", func() {
			d.fail(nodeAt(v.TLS.Pos), "add TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 and TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, or write protocols: [http1]",
				"clients refuse HTTP/2 over each of these cipher suites (RFC 9113 section 9.2.2)")
		})
	})
}
