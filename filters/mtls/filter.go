package mtls

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/identity"
)

// The words of refusals.
const (
	ReasonMissing = "client_cert_missing"
	ReasonDenied  = "client_cert_denied"
)

// Reasons are the words that the filter answers with.
func Reasons() []string { return []string{ReasonMissing, ReasonDenied} }

// Filter is a compiled Spec. It is frozen, and shared by all loops.
type Filter struct {
	guard   *gateway.Guard
	match   *matcher
	told    identity.Forward
	scratch gateway.PerLoop[scratch]
}

// seenMax is how many certificates a loop knows what was made of, one for each place in the table (a power of two). What a
// certificate says is worked out once for a connection, as a rule, and not for each of its requests.
const seenMax = 256

// scratch is a loop's.
type scratch struct {
	seen [seenMax]*holder
	who  [claimBytesMax + 16]byte
}

// holder is what was made of a certificate. It is frozen. It keeps its certificate, so that no other has its address.
type holder struct {
	cert   *x509.Certificate
	fits   bool
	claims []claim
}

type claim struct {
	name  string
	value []byte
}

// claimBytesMax bounds a claim (claim_too_long): longer names are left out.
const claimBytesMax = 256

// Claim returns what the certificate says: sub, cn, subject, issuer, serial, fingerprint, and the first of its names as dns and
// uri.
func (h *holder) Claim(name string) ([]byte, bool) {
	for i := range h.claims {
		if h.claims[i].name == name {
			return h.claims[i].value, true
		}
	}
	return nil, false
}

// Compile makes a filter of s, or says everything that is wrong with it.
func Compile(s Spec, guard *gateway.Guard) (*Filter, []Problem) {
	m, problems := compile(&s)
	var fields []identity.Field
	for _, h := range s.Headers {
		fields = append(fields, identity.Field(h))
	}
	told, err := identity.NewForward(fields)
	if err != nil {
		problems = append(problems, Problem{"headers", err.Error(), "write headers: {X-Client: sub}"})
	}
	if problems != nil {
		return nil, problems
	}
	return &Filter{guard: guard, match: m, told: told}, nil
}

// Hooks are what the gateway calls.
func (f *Filter) Hooks() gateway.Hooks { return gateway.Hooks{Name: "mtls", Request: f.Request} }

// Request is the hook.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	j, s := x.Judgement(f.guard), f.scratch.On(x)
	cert := x.ClientCertificate()
	if cert == nil {
		j.Key = x.ClientAddr.AppendTo(append(s.who[:0], "client="...))
		j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, 403, ReasonMissing, "A client certificate is needed here."
		return x.Judge(j)
	}
	h := s.holder(f, cert)
	sub, _ := h.Claim(identity.NameClaim)
	j.Key = append(append(s.who[:0], "client="...), sub...)
	if !h.fits {
		j.Outcome, j.Status, j.Reason, j.Text = gateway.Refused, 403, ReasonDenied, "This client certificate is not let in here."
		return x.Judge(j)
	}
	x.SetClaims(h)
	if f.guard.Mode == gateway.Enforce {
		f.told.Apply(x.Request, h.Claim)
	}
	return x.Judge(j)
}

// holder returns what was made of a certificate, by its serial number's place in the table; whoever was there before has to be
// worked out anew.
func (s *scratch) holder(f *Filter, cert *x509.Certificate) *holder {
	place := 0
	if cert.SerialNumber != nil && len(cert.SerialNumber.Bits()) > 0 {
		place = int(cert.SerialNumber.Bits()[0]) & (seenMax - 1)
	}
	if h := s.seen[place]; h != nil && h.cert == cert {
		return h
	}
	h := f.work(cert)
	s.seen[place] = h
	return h
}

// work works out what a certificate says.
func (f *Filter) work(cert *x509.Certificate) *holder {
	sum := sha256.Sum256(cert.Raw)
	h := &holder{cert: cert, fits: f.match.match(cert, sum)}
	add := func(name, value string) bool {
		if value == "" || len(value) > claimBytesMax || !identity.FieldValue([]byte(value)) {
			return false
		}
		h.claims = append(h.claims, claim{name, []byte(value)})
		return true
	}
	uri, dns := "", ""
	if len(cert.URIs) > 0 {
		uri = cert.URIs[0].String()
	}
	if len(cert.DNSNames) > 0 {
		dns = cert.DNSNames[0]
	}
	fingerprint := hex.EncodeToString(sum[:])
	// Who it is: the name of its workload, if it has one (SPIFFE X.509-SVID section 2), and never less than its fingerprint.
	spiffe := uri
	if !strings.HasPrefix(uri, "spiffe://") {
		spiffe = ""
	}
	for _, name := range []string{spiffe, cert.Subject.CommonName, dns, uri, fingerprint} {
		if add(identity.NameClaim, name) {
			break
		}
	}
	add("cn", cert.Subject.CommonName)
	add("subject", cert.Subject.String())
	add("issuer", cert.Issuer.String())
	add("uri", uri)
	add("dns", dns)
	add("fingerprint", fingerprint)
	if cert.SerialNumber != nil {
		add("serial", cert.SerialNumber.Text(16))
	}
	return h
}

// String says what the filter does.
func (f *Filter) String() string {
	if f.match.any {
		return "a verified client certificate"
	}
	return fmt.Sprintf("a verified client certificate that fits one of %d names and fingerprints", f.match.count)
}
