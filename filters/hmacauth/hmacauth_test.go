package hmacauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/identity"
)

const created = 1618884473

func request(method, authority, path, query string, fields ...string) (*message.Head, []byte) {
	h := &message.Head{}
	h.SetAuthority(authority)
	at := h.RawLen()
	h.StoreString(path)
	h.SetPath(at)
	if query != "" {
		h.Query, h.HasQuery = h.StoreString(query), true
	}
	for _, l := range fields {
		name, value, _ := strings.Cut(l, ": ")
		h.AddString(name, value)
	}
	return h, []byte(method)
}

func keys(t testing.TB, secrets ...string) *Keys {
	t.Helper()
	k := NewKeys()
	for i := 0; i < len(secrets); i += 2 {
		id, err := identity.New(secrets[i], nil)
		if err == nil {
			err = k.Add(id, []byte(secrets[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func filter(t testing.TB, s Spec) *Filter {
	t.Helper()
	f, problems := Compile(s, &gateway.Guard{Name: "tested"}, nil)
	if f == nil {
		t.Fatal(problems)
	}
	return f
}

// RFC 9421 B.2.5, with the shared secret of B.1.5.
func TestTheExampleOfTheRFC(t *testing.T) {
	secret, _ := base64.StdEncoding.DecodeString("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
	f := filter(t, Spec{Keys: keys(t, "test-shared-secret", string(secret)), Components: []string{"@authority", "date"}})
	h, method := request("POST", "example.com", "/foo", "param=Value&Pet=dog", "Date: Tue, 20 Apr 2021 02:07:55 GMT", "Content-Type: application/json",
		`Signature-Input: sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"`,
		"Signature: sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:")
	id, reason := f.verify(h, method, time.Unix(created, 0), &loopMemory{})
	if reason != "" || id.Name() != "test-shared-secret" {
		t.Error(reason)
	}
}

// RFC 4231, test cases 1 to 7 for HMAC-SHA-256 are what crypto/hmac is tested with: it is the twin.
func TestMACAgainstTheLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := SecretBytesMin; n < 200; n++ {
		secret, text := make([]byte, n), make([]byte, r.IntN(300))
		for i := range secret {
			secret[i] = byte(r.Uint32())
		}
		for i := range text {
			text[i] = byte(r.Uint32())
		}
		k := keys(t, "a", string(secret))
		library := hmac.New(sha256.New, secret)
		library.Write(text)
		b := append(make([]byte, sha256.BlockSize), text...)
		if k.signs([]byte("a"), b, library.Sum(nil)) == nil {
			t.Fatalf("a secret of %d bytes makes another MAC", n)
		}
		if k.signs([]byte("b"), b, library.Sum(nil)) != nil || k.signs([]byte("a"), b, nil) != nil {
			t.Fatal("somebody else may sign")
		}
	}
}

const secret = "0123456789abcdef0123456789abcdef"

// sign signs as a client would, by the obvious way: what is written here is not the code under test.
func sign(base string, params string) (inputField, signatureField string) {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(base + `"@signature-params": ` + params))
	return "Signature-Input: s=" + params, "Signature: s=:" + base64.StdEncoding.EncodeToString(m.Sum(nil)) + ":"
}

func TestSignatures(t *testing.T) {
	const (
		four = `"@method": GET` + "\n" + `"@authority": a.test` + "\n" + `"@path": /x` + "\n" + `"@query": ?q=1` + "\n"
		list = `("@method" "@authority" "@path" "@query")`
		rest = `;created=1618884473;keyid="acme"`
	)
	with := func(base, params string, more ...string) []string {
		in, s := sign(base, params)
		return append([]string{in, s}, more...)
	}
	good := with(four, list+rest)
	for _, c := range []struct {
		name   string
		fields []string
		change func(h *message.Head)
		now    int64
		want   string
	}{
		{"none", nil, nil, 0, ReasonMissing},
		{"good", good, nil, 0, ""},
		{"all parameters", with(four, list+`;keyid="acme";expires=1618884480;created=1618884473;nonce="x";alg="hmac-sha256";tag="app"`), nil, 0, ""},
		{"a default port, upper case", good, func(h *message.Head) { h.SetAuthority("A.test:443") }, 0, ""},
		{"another host", good, func(h *message.Head) { h.SetAuthority("b.test") }, 0, ReasonWrong},
		{"another query", good, func(h *message.Head) { h.Query = h.StoreString("q=2") }, 0, ReasonWrong},
		{"a field", with(`"x-a": 1, 2`+"\n"+four, `("x-a" "@method" "@authority" "@path" "@query")`+rest, "X-A:  1 ", "x-a: 2"), nil, 0, ""},
		{"a field that is not there", with(four+`"x-a": `+"\n", `("@method" "@authority" "@path" "@query" "x-a")`+rest), nil, 0, ReasonIncomplete},
		{"less than has to be", with(`"@method": GET`+"\n", `("@method")`+rest), nil, 0, ReasonIncomplete},
		{"nothing", with("", "()"+rest), nil, 0, ReasonIncomplete},
		{"a body that is not signed", good, func(h *message.Head) { h.Length = 3 }, 0, ReasonIncomplete},
		{"a body of unknown length", good, func(h *message.Head) { h.Length = message.UnknownLength }, 0, ReasonIncomplete},
		{"somebody else", with(four, list+`;created=1618884473;keyid="beta"`), nil, 0, ReasonWrong},
		{"nobody", with(four, list+`;created=1618884473;keyid="nobody"`), nil, 0, ReasonWrong},
		{"another algorithm", with(four, list+rest+`;alg="hmac-sha1"`), nil, 0, ReasonMalformed},
		{"no date", with(four, list+`;keyid="acme"`), nil, 0, ReasonMalformed},
		{"no key", with(four, list+`;created=1618884473`), nil, 0, ReasonMalformed},
		{"a parameter of a component", with(four, `("@method";req "@authority" "@path" "@query")`+rest), nil, 0, ReasonMalformed},
		{"a component twice", with(four, `("@method" "@method" "@authority" "@path" "@query")`+rest), nil, 0, ReasonMalformed},
		{"an unknown parameter", with(four, list+rest+`;x=1`), nil, 0, ReasonMalformed},
		{"a date twice", with(four, list+rest+`;created=1618884474`), nil, 0, ReasonMalformed},
		{"upper case", with(`"X-A": 1`+"\n"+four, `("X-A" "@method" "@authority" "@path" "@query")`+rest, "X-A: 1"), nil, 0, ReasonIncomplete},
		{"an unknown component", with(`"@status": 1`+"\n"+four, `("@status" "@method" "@authority" "@path" "@query")`+rest), nil, 0, ReasonIncomplete},
		{"at its last second", good, nil, 300, ""},
		{"a second later", good, nil, 301, ReasonExpired},
		{"from the future, a little", good, nil, -30, ""},
		{"from the future", good, nil, -31, ReasonEarly},
		{"expires, in time", with(four, list+rest+`;expires=1618884475`), nil, 2, ""},
		{"expired", with(four, list+rest+`;expires=1618884475`), nil, 3, ReasonExpired},
		{"the fields twice", append(with(four, list+rest), good...), nil, 0, ReasonMalformed},
		{"no signature", good[:1], nil, 0, ReasonMalformed},
		{"no input", good[1:], nil, 0, ReasonMalformed},
		{"of another label", []string{good[0], strings.Replace(good[1], "s=", "t=", 1)}, nil, 0, ReasonMalformed},
		{"of two, the one whose key is known", []string{strings.Replace(good[0], "s=", `t=();created=1;keyid="x", s=`, 1), "Signature: t=:AA==:, " + strings.TrimPrefix(good[1], "Signature: ")}, nil, 0, ""},
		{"of two, an algorithm that is known", []string{strings.Replace(good[0], "s=", `t=();created=1;keyid="acme";alg="rsa-pss-sha512", s=`, 1), good[1]}, nil, 0, ""},
		{"too many", []string{strings.Replace(good[0], "s=", strings.Repeat(`t=();created=1;keyid="x", `, signaturesMax)+"s=", 1), good[1]}, nil, 0, ReasonMalformed},
		{"too long", []string{good[0] + strings.Repeat(" ", inputBytesMax), good[1]}, nil, 0, ReasonMalformed},
		{"a short MAC", []string{good[0], "Signature: s=:AAAA:"}, nil, 0, ReasonWrong},
		{"no MAC", []string{good[0], "Signature: s=::"}, nil, 0, ReasonWrong},
		{"a long MAC", []string{good[0], "Signature: s=:" + strings.Repeat("A", 88) + ":"}, nil, 0, ReasonMalformed},
		{"not Base64", []string{good[0], "Signature: s=:!!:"}, nil, 0, ReasonMalformed},
	} {
		f := filter(t, Spec{Keys: keys(t, "acme", secret, "beta", "fedcba9876543210")})
		h, method := request("GET", "a.test", "/x", "q=1", c.fields...)
		if c.change != nil {
			c.change(h)
		}
		if _, got := f.verify(h, method, time.Unix(created+c.now, 0), &loopMemory{}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// Each byte of a good request that is changed makes it a wrong one.
func TestEachByteIsSigned(t *testing.T) {
	in, s := sign("\"@method\": GET\n\"@authority\": a.test\n\"@path\": /x\n\"@query\": ?\n", `("@method" "@authority" "@path" "@query");created=1618884473;keyid="acme";nonce="n"`)
	f, l := filter(t, Spec{Keys: keys(t, "acme", secret)}), &loopMemory{}
	for field, text := range []string{in, s} {
		name := strings.Index(text, ": ") + 2
		for i := name; i < len(text); i++ {
			changed := text[:i] + string(text[i]^1) + text[i+1:]
			lines := []string{in, s}
			lines[field] = changed
			h, method := request("GET", "a.test", "/x", "", lines...)
			if id, _ := f.verify(h, method, time.Unix(created, 0), l); id != nil && field+i != 0 {
				// The last digit of Base64 has bits that mean nothing.
				if !strings.HasPrefix(text[i:], "=:") && !strings.HasSuffix(text[:i+3], "=:") {
					t.Errorf("%q is as good as %q", changed, text)
				}
			}
		}
		for i := name; i < len(text); i++ {
			lines := []string{in, s}
			lines[field] = text[:i]
			h, method := request("GET", "a.test", "/x", "", lines...)
			if id, _ := f.verify(h, method, time.Unix(created, 0), l); id != nil {
				t.Errorf("%q is enough", text[:i])
			}
		}
	}
}

func TestAllowsAndAllocates(t *testing.T) {
	in, s := sign("\"@method\": GET\n\"@authority\": a.test\n\"@path\": /x\n\"@query\": ?\n", `("@method" "@authority" "@path" "@query");created=1618884473;keyid="acme"`)
	f, l := filter(t, Spec{Keys: keys(t, "acme", secret)}), &loopMemory{}
	h, method := request("GET", "a.test", "/x", "", in, s)
	now := time.Unix(created, 0)
	if n := testing.AllocsPerRun(100, func() {
		if _, reason := f.verify(h, method, now, l); reason != "" {
			t.Fatal(reason)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	in, s := sign("\"@method\": GET\n\"@authority\": a.test\n\"@path\": /x\n\"@query\": ?\n", `("@method" "@authority" "@path" "@query");created=1618884473;keyid="acme"`)
	f, l := filter(b, Spec{Keys: keys(b, "acme", secret)}), &loopMemory{}
	h, method := request("GET", "a.test", "/x", "", in, s)
	now := time.Unix(created, 0)
	b.ReportAllocs()
	for b.Loop() {
		f.verify(h, method, now, l)
	}
}

func TestASignatureIsGoodOnce(t *testing.T) {
	f, l := filter(t, Spec{Keys: keys(t, "acme", secret), ReplaysMax: 10}), &loopMemory{}
	for i, want := range []string{"", ReasonReplayed, ReasonReplayed} {
		in, s := sign("\"@method\": GET\n\"@authority\": a.test\n\"@path\": /x\n\"@query\": ?\n", `("@method" "@authority" "@path" "@query");created=1618884473;keyid="acme"`)
		h, method := request("GET", "a.test", "/x", "", in, s)
		if _, got := f.verify(h, method, time.Unix(created, 0), l); got != want {
			t.Errorf("request %d: got %q, want %q", i+1, got, want)
		}
	}
}

// signature_memory_full, and what is remembered over turns.
func TestReplaysAreRememberedForAPeriod(t *testing.T) {
	r, at := newReplays(3), time.Unix(created, 0)
	r.turn(at, time.Minute)
	f := func(want string, words ...uint64) {
		t.Helper()
		var got []string
		for _, w := range words {
			got = append(got, []string{"fresh", "replayed", "full"}[r.take(w)])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v: got %v, want %s", words, got, want)
		}
	}
	f("fresh replayed fresh fresh full replayed", 0, 1, 5, 13, 21, 13)
	r.turn(at.Add(59*time.Second), time.Minute)
	f("full replayed", 21, 5)
	r.turn(at.Add(60*time.Second), time.Minute)
	f("replayed replayed replayed", 1, 5, 13)
	// What was tried again is remembered anew: it takes place, and harms nobody.
	r.turn(at.Add(30*time.Second), time.Minute) // the clock was set back: nothing is forgotten
	f("replayed", 5)
	r.turn(at.Add(90*time.Second), time.Minute)
	f("replayed fresh", 5, 21)
	r.turn(at.Add(150*time.Second), time.Minute)
	f("replayed", 21)
	r.turn(at.Add(210*time.Second), time.Minute)
	r.turn(at.Add(270*time.Second), time.Minute)
	f("fresh", 21)
}

// Of many who use one signature at once, while the tables turn, one may.
func TestReplaysAtOnce(t *testing.T) {
	r, at := newReplays(1<<12), time.Unix(created, 0)
	r.turn(at, time.Minute)
	const loops, words = 4, 500
	var fresh [words][loops]bool
	var done sync.WaitGroup
	for loop := range loops {
		done.Go(func() {
			for w := range words {
				fresh[w][loop] = r.take(uint64(w)*0x9e3779b97f4a7c15+1) == use(0)
			}
		})
	}
	r.turn(at.Add(time.Minute), time.Minute) // in the middle of it, or not: what holds does not depend on it
	done.Wait()
	for w := range fresh {
		n := 0
		for _, is := range fresh[w] {
			if is {
				n++
			}
		}
		if n > 1 {
			t.Errorf("%d may use word %d", n, w)
		}
	}
}

func TestDigests(t *testing.T) {
	sum := sha256.Sum256([]byte("body"))
	good := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	for _, c := range []struct {
		field string
		len   int // 0: none
	}{
		{good, 32}, {"sha-512=:" + strings.Repeat("A", 86) + "==:", 64}, {good + ", sha-512=:" + strings.Repeat("A", 86) + "==:", 64},
		{"md5=:AAAA:, " + good, 32}, {"md5=:AAAA:", 0}, {"", 0}, {"sha-256=:AAAA:", 0}, {"sha-256", 0}, {"sha-256=AAAA", 0}, {good + ",", 0}, {"sha-256=:" + strings.Repeat("A", 300) + ":", 0},
	} {
		d, ok := parseDigest([]byte(c.field))
		if ok != (c.len > 0) || ok && d.len != c.len {
			t.Errorf("%q: got %d, %v", c.field, d.len, ok)
		}
	}
}

// A body is let out at its end, in one piece or a byte at a time, and only if it is the one that was signed.
func TestBodiesAreHeldUntilTheyAreKnown(t *testing.T) {
	p := new(buf.Pool)
	sum := sha256.Sum256([]byte("the body"))
	f := filter(t, Spec{Keys: keys(t, "acme", secret), BodyBytesMax: 8})
	for _, c := range []struct {
		text string
		want verdict
		out  string
	}{{"the body", right, "the body"}, {"the bodY", wrong, ""}, {"the bod", wrong, ""}, {"", wrong, ""}, {"the body!", tooLarge, ""}} {
		for _, step := range []int{1, 3, 100} {
			d := digest{len: len(sum)}
			copy(d.want[:], sum[:])
			l := &loopMemory{}
			b := f.newBody(nil, l, d)
			var in, out buf.Chain
			for text := c.text; len(text) > 0; {
				n := min(step, len(text))
				in.AppendString(p, text[:n])
				if err := b.Data(&in, n, &out, p); err != nil || in.Len() != 0 || out.Len() != 0 {
					t.Fatal(err, in.Len(), out.Len())
				}
				text = text[n:]
			}
			err := b.End(&out, p)
			if got := string(out.Pull(p, out.Len())); err != nil || b.settled != c.want || got != c.out {
				t.Errorf("%q by %d: %v %q %v", c.text, step, b.settled, got, err)
			}
			out.Release(p)
			b.Release(p, true)
			if p.InUse() != 0 || len(l.free) != 1 {
				t.Errorf("%d bytes are held", p.InUse())
			}
		}
	}
}

func TestFilesOfSecrets(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "0"},
		{"acme " + secret + " plan=gold\nbeta " + secret, "2"},
		{"acme short", `line 1: the secret of "acme" has 5 bytes: write 16 to 512, such as: openssl rand -base64 32`},                         // secret_too_short
		{"acme " + strings.Repeat("x", 513), `line 1: the secret of "acme" has 513 bytes: write 16 to 512, such as: openssl rand -base64 32`}, // secret_too_long
		{"acme " + secret + "\nacme " + secret, `line 2: the key "acme" is there twice`},
	} {
		k, err := ParseFile([]byte(c.text))
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(k.Len())
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

func TestSpecsThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{}, "keys: there are no keys, so that nobody could be let in"},
		{Spec{Keys: keys(t, "acme", secret), Components: []string{"@target-uri"}}, `components[0]: "@target-uri" is no component that is known here`},
		{Spec{Keys: keys(t, "acme", secret), Components: []string{"@path", "X-A"}}, `components[1]: "X-A" is not the name of a component`},
	} {
		f, problems := Compile(c.spec, &gateway.Guard{}, nil)
		if f != nil || len(problems) != 1 || problems[0].Field+": "+problems[0].Cause != c.want {
			t.Errorf("got %v, want %s", problems, c.want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	in, s := sign("\"@method\": GET\n\"@authority\": a.test\n\"@path\": /x\n\"@query\": ?\n", `("@method" "@authority" "@path" "@query");created=1618884473;keyid="acme"`)
	input, signature := strings.TrimPrefix(in, "Signature-Input: "), strings.TrimPrefix(s, "Signature: ")
	f.Add(input, signature)
	f.Add(`s=();created=-1;keyid="acme", t=("a" "b")`, "s=:AA==:, t=::")
	flt, l := filter(f, Spec{Keys: keys(f, "acme", secret)}), &loopMemory{}
	f.Fuzz(func(t *testing.T, a, b string) {
		h, method := request("GET", "a.test", "/x", "", "Signature-Input: "+a, "Signature: "+b)
		// Whoever has no secret has the one signature of the seed: every good one says the same.
		if id, _ := flt.verify(h, method, time.Unix(created, 0), l); id != nil && string(l.in.raw) != input[len("s="):] {
			t.Errorf("%q %q is good", a, b)
		}
	})
}

func FuzzParseDigest(f *testing.F) {
	f.Add([]byte("sha-256=:AAAA:, md5=:AA==:"))
	f.Fuzz(func(t *testing.T, field []byte) {
		if d, ok := parseDigest(field); ok && d.len != 32 && d.len != 64 {
			t.Error(d.len)
		}
	})
}
