package jwt

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
)

// RFC 7515 appendix A.1 to A.4, RFC 8037 appendix A.4 and A.5.
func TestVectorsOfTheRFCs(t *testing.T) {
	const payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	for _, c := range []struct {
		name Algorithm
		jwk  string
		text string
	}{
		{HS256, `{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`,
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + payload + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
		{RS256, `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs` +
			`D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4L` +
			`T6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`,
			"eyJhbGciOiJSUzI1NiJ9." + payload + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAc" +
				"QjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvW" +
				"h6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
		{ES256, `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9." + payload + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
		{ES512, `{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",` +
			`"y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}`,
			"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZC" +
				"PEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"},
		{EdDSA, `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
	} {
		set, err := ParseSet([]byte(`{"keys":[`+c.jwk+`]}`), true)
		if err != nil {
			t.Fatal(c.name, err)
		}
		m := methodOf(string(c.name))
		last := strings.LastIndexByte(c.text, '.')
		signed, sig := []byte(c.text[:last]), unb64(c.text[last+1:])
		if !m.verify(set.Keys[0], signed, sig) {
			t.Errorf("%s: the RFC's own signature is refused", c.name)
		}
		for i := range len(sig) * 8 {
			sig[i/8] ^= 1 << (i % 8)
			if i%13 == 0 && m.verify(set.Keys[0], signed, sig) {
				t.Errorf("%s: bit %d of the signature makes no difference", c.name, i)
			}
			sig[i/8] ^= 1 << (i % 8)
		}
		for n := range len(sig) {
			if n%5 == 0 && m.verify(set.Keys[0], signed, sig[:n]) {
				t.Errorf("%s: %d bytes of %d are enough", c.name, n, len(sig))
			}
		}
		if m.verify(set.Keys[0], signed, append(sig, 0)) {
			t.Errorf("%s: a byte may follow", c.name)
		}
	}
}

func TestEachAlgorithmTakesWhatAnotherLibrarySigned(t *testing.T) {
	for _, name := range Algorithms() {
		p := pairs()[name]
		r := testRules(name)
		text := p.sign(nil, goodClaims)
		if name != Ed25519 {
			text = joseToken(p, goodClaims)
		}
		if got := accept(text, now, keySet(t, p), &r); got != "sub=alice" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A key is used with algorithms of its family only, whatever a token says.
func TestNoKeyServesAnotherFamily(t *testing.T) {
	for _, signs := range Algorithms() {
		for _, claims := range Algorithms() {
			p := pairs()[signs]
			fits := methodOf(string(signs)).family == methodOf(string(claims)).family
			if fits {
				continue
			}
			r := testRules(Algorithms()...)
			text := p.sign(map[string]any{"alg": claims}, goodClaims)
			if got := accept(text, now, keySet(t, p), &r); got != "jwt_algorithm" {
				t.Errorf("signed by %s, says %s: %s", signs, claims, got)
			}
		}
	}
}

// The classic: an HMAC whose secret is the text of the public key, in any form in which it is published.
func TestAPublicKeyIsNoSecret(t *testing.T) {
	p := pairs()[RS256]
	public := &p.private.(*rsa.PrivateKey).PublicKey
	der := must(x509.MarshalPKIXPublicKey(public))
	pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for i, known := range [][]byte{pemText, []byte(strings.TrimSpace(string(pemText))), der, public.N.Bytes(), jwks(p), {}} {
		for _, alg := range []Algorithm{HS256, HS384, HS512} {
			forged := pair{p.kid, alg, known}.sign(nil, goodClaims)
			for _, r := range []rules{testRules(RS256), testRules(Algorithms()...)} {
				if got := accept(forged, now, keySet(t, p), &r); got != "jwt_algorithm" {
					t.Errorf("secret %d, %s: %s", i, alg, got)
				}
			}
		}
	}
}

func TestOnlyListedAlgorithmsAreAccepted(t *testing.T) {
	for _, name := range Algorithms() {
		p := pairs()[name]
		for _, listed := range Algorithms() {
			r := testRules(listed)
			want := "jwt_algorithm"
			if name == listed {
				want = "sub=alice"
			}
			if got := accept(p.sign(nil, goodClaims), now, keySet(t, p), &r); got != want {
				t.Errorf("%s where %s is listed: %s", name, listed, got)
			}
		}
	}
}

// RFC 7519 section 6.1, and its spellings.
func TestTokensWithoutASignatureAreRefused(t *testing.T) {
	p := pairs()[RS256]
	r := testRules(Algorithms()...)
	for _, alg := range []any{"none", "None", "NONE", "nOnE", "", "none ", nil, 1, true, []string{"RS256"}, map[string]string{"alg": "RS256"}, "rs256", "RS256 ", "RS256\x00", "HS257"} {
		for _, signatureText := range []string{"", "AA", strings.Split(p.sign(nil, goodClaims), ".")[2]} {
			text := strings.Split(p.sign(map[string]any{"alg": alg}, goodClaims), ".")
			got := accept(text[0]+"."+text[1]+"."+signatureText, now, keySet(t, p), &r)
			if got != "jwt_algorithm" && got != "jwt_malformed" {
				t.Errorf("alg %v, signature %q: %s", alg, signatureText, got)
			}
		}
	}
	signed := strings.Split(p.sign(nil, goodClaims), ".")
	for _, text := range []string{signed[0] + "." + signed[1] + ".", signed[0] + "." + signed[1], signed[0] + ".." + signed[2]} {
		if got := accept(text, now, keySet(t, p), &r); got != "jwt_malformed" {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// With the same digest, RSA has two paddings: one must not do for the other. A signature of zeros is that of CVE-2022-21449.
func TestSignaturesOfTheWrongShape(t *testing.T) {
	for _, c := range []struct{ says, padding Algorithm }{{PS256, RS256}, {RS256, PS256}, {RS256, RS384}, {PS512, PS256}} {
		p := pairs()[RS256]
		p.alg = c.says
		whole := p.sign(nil, goodClaims)
		signed := whole[:strings.LastIndexByte(whole, '.')]
		r := testRules(RS256, PS256, RS384, PS512)
		if got := accept(signed+"."+p.signature(c.padding, signed), now, keySet(t, p), &r); got != "jwt_signature" {
			t.Errorf("%v: %s", c, got)
		}
	}
	for _, name := range Algorithms() {
		p := pairs()[name]
		whole := p.sign(nil, goodClaims)
		signed := whole[:strings.LastIndexByte(whole, '.')]
		r := testRules(name)
		for n := range 300 {
			if n == 0 {
				continue
			}
			if got := accept(fmt.Sprintf("%s.%s", signed, b64(make([]byte, n))), now, keySet(t, p), &r); got != "jwt_signature" {
				t.Fatalf("%s: %d zero bytes: %s", name, n, got)
			}
		}
	}
}
