package basicauth

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Hashes that cost little: tests are about what is done with them.
func bcryptHash(t testing.TB, password string) string {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func argonHash(password string) string {
	salt := []byte("salt and pepper")
	sum := argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)
	return "$argon2id$v=19$m=64,t=1,p=1$" + base64.RawStdEncoding.EncodeToString(salt) + "$" + base64.RawStdEncoding.EncodeToString(sum)
}

func TestNamesAndPasswords(t *testing.T) {
	text := "# people\nalice:" + bcryptHash(t, "wonder") + "\r\n\nbob:" + strings.Replace(bcryptHash(t, "builder"), "$2a$", "$2y$", 1) + ":more\ncarol:" + argonHash("cäröl")
	users, err := ParseFile([]byte(text))
	if err != nil || users.Len() != 3 {
		t.Fatal(users, err)
	}
	for _, c := range []struct {
		name, password string
		want           bool
	}{
		{"alice", "wonder", true}, {"bob", "builder", true}, {"carol", "cäröl", true},
		{"alice", "builder", false}, {"alice", "", false}, {"Alice", "wonder", false}, {"", "wonder", false},
		{"carol", "carol", false}, {"dave", "wonder", false}, {"dave", "builder", false},
	} {
		for decoy := range uint64(4) { // whoever stands in for a name that nobody has must not let anybody in
			id := users.Verify(c.name, []byte(c.password), decoy)
			if got := id != nil; got != c.want || got && id.Name() != c.name {
				t.Errorf("%s:%s: got %v", c.name, c.password, got)
			}
		}
	}
	if none, _ := ParseFile(nil); none.Verify("a", nil, 7) != nil {
		t.Error("an empty file has a user")
	}
}

func TestFilesThatAreWrong(t *testing.T) {
	const salt, sum = "c2FsdHNhbHQ", "c3Vtc3Vtc3Vtc3Vtc3Vtc3Vt"
	good := bcryptHash(t, "x")
	for _, c := range []struct{ text, want string }{
		{"alice", "line 1: there is no colon: write name:hash, as htpasswd does"},
		{":x", "line 1: a consumer has no name"},
		{"a:" + good + "\na:" + good, `line 2: the user "a" is there twice`},
		{"a:$apr1$x$y", `line 1: the hash of "a" is neither bcrypt nor Argon2id: make it anew with htpasswd -B`},
		{"a:{SHA}x", `line 1: the hash of "a" is neither bcrypt nor Argon2id: make it anew with htpasswd -B`},
		{"a:plain", `line 1: the hash of "a" is neither bcrypt nor Argon2id: make it anew with htpasswd -B`},
		{"a:$2y$10$short", `line 1: the hash of "a" is no bcrypt hash`},
		{"a:$2y$31" + good[6:], `line 1: the hash of "a" costs too much: bcrypt with 31, at most 14`}, // hash_cost
		{"a:$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum, `line 1: the hash of "a": only version 19 of Argon2id is known`},
		{"a:$argon2id$v=19$m=9999999,t=1,p=1$" + salt + "$" + sum, `line 1: the hash of "a": Argon2id costs too much: m=9999999, at most 262144`}, // hash_cost
		{"a:$argon2id$v=19$m=64,t=99,p=1$" + salt + "$" + sum, `line 1: the hash of "a": Argon2id costs too much: t=99, at most 16`},              // hash_cost
		{"a:$argon2id$v=19$m=64,t=1,p=17$" + salt + "$" + sum, `line 1: the hash of "a": Argon2id costs too much: p=17, at most 16`},              // hash_cost
		{"a:$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + sum, `line 1: the hash of "a": Argon2id has the parameters m, t and p: "t=0" is none`},
		{"a:$argon2id$v=19$m=64,t=1$" + salt + "$" + sum, `line 1: the hash of "a": Argon2id has the parameters m, t and p`},
		{"a:$argon2id$v=19$m=64,t=1,p=1$x$" + sum, `line 1: the hash of "a": the salt of Argon2id has 8 to 64 bytes in Base64 without padding`},
		{"a:$argon2id$v=19$m=64,t=1,p=1$" + salt + "$x", `line 1: the hash of "a": the sum of Argon2id has 16 to 64 bytes in Base64 without padding`},
		{"a:$argon2id$x", `line 1: the hash of "a": it is no Argon2id hash: write $argon2id$v=19$m=65536,t=3,p=4$SALT$SUM`},
	} {
		if _, err := ParseFile([]byte(c.text)); err == nil || err.Error() != c.want {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte("a:$2y$04$" + strings.Repeat("x", 53) + "\n# b"))
	f.Add([]byte("a:" + argonHash("x")))
	f.Fuzz(func(t *testing.T, text []byte) {
		users, err := ParseFile(text)
		if err == nil && len(users.of) != users.Len() {
			t.Error(users)
		}
	})
}

func basic(s string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(s))
}

func TestCredentialsOfRequests(t *testing.T) {
	long := strings.Repeat("x", credentialBytesMax-2)
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{nil, "missing"},
		{[]string{"Bearer abc"}, "missing"},
		{[]string{basic("a:b")}, "a:b"},
		{[]string{"bAsIc  " + strings.TrimPrefix(basic("a:b"), "Basic ") + " "}, "a:b"},
		{[]string{basic("a:b:c")}, "a:b:c"},
		{[]string{basic("a:")}, "a:"},
		{[]string{basic("ä:ö")}, "ä:ö"},
		{[]string{basic(":b")}, "malformed"},
		{[]string{basic("ab")}, "malformed"},
		{[]string{basic("a:b\x00c")}, "malformed"},
		{[]string{basic("a:b\n")}, "malformed"},
		{[]string{"Basic"}, "malformed"},
		{[]string{"Basic !!!"}, "malformed"},
		{[]string{"Basic " + base64.RawURLEncoding.EncodeToString([]byte("a:??"))}, "malformed"},
		{[]string{basic("a:b"), basic("a:b")}, "malformed"},
		{[]string{basic("a:b"), "Bearer x"}, "malformed"},
		{[]string{basic("a:" + long)}, "a:" + long},
		{[]string{basic("a:" + long + "y")}, "malformed"}, // credentials_malformed
	} {
		h := &message.Head{}
		for _, v := range c.fields {
			h.AddString("Authorization", v)
		}
		var space [decodedBytesMax]byte
		cred, is := read(h, &space)
		got := map[found]string{missing: "missing", malformed: "malformed"}[is]
		if is == present {
			got = fmt.Sprintf("%s:%s", cred.name, cred.password)
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.fields, got, c.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(basic("a:b"))
	f.Add("Basic ====")
	f.Fuzz(func(t *testing.T, value string) {
		h := &message.Head{}
		h.AddString("Authorization", value)
		var space [decodedBytesMax]byte
		if c, is := read(h, &space); is == present && len(c.name) == 0 {
			t.Errorf("%q has no name", value)
		}
	})
}

func TestVerdictsAreRememberedForAWhile(t *testing.T) {
	users, _ := ParseFile([]byte("alice:" + bcryptHash(t, "x")))
	others, _ := ParseFile(nil)
	m, l := newMemory(), &loopMemory{}
	s := m.sumOf(l, credentials{[]byte("alice"), []byte("x")})
	if s == m.sumOf(l, credentials{[]byte("alic"), []byte("ex")}) || s == newMemory().sumOf(l, credentials{[]byte("alice"), []byte("x")}) {
		t.Error("other credentials, or another process, have the same sum")
	}
	at := mono.Time(time.Hour)
	if _, ok := m.recall(l, s, users, at); ok {
		t.Error("recalled before it was known")
	}
	m.keep(s, verdict{users, users.list[0].id, at.Add(time.Minute)})
	for _, c := range []struct {
		of    *loopMemory
		users *Users
		after time.Duration
		want  bool
	}{
		{l, users, 0, true}, {l, users, 59 * time.Second, true}, {new(loopMemory), users, 0, true}, {l, others, 0, false},
		{l, users, time.Minute, false}, {new(loopMemory), users, time.Minute, false},
	} {
		if v, ok := m.recall(c.of, s, c.users, at.Add(c.after)); ok != c.want || ok && v.id == nil {
			t.Errorf("after %v: %v", c.after, ok)
		}
	}
	c := credentials{[]byte("alice"), []byte("x")}
	m.recall(l, s, users, at)
	if n := testing.AllocsPerRun(100, func() { m.recall(l, m.sumOf(l, c), users, at) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m, l := newMemory(), &loopMemory{}
	users, _ := ParseFile(nil)
	for i := range verdictsMax + 1 {
		s := sum{byte(i), byte(i >> 8)}
		m.keep(s, verdict{users: users, until: mono.Never})
		m.recall(l, s, users, 1)
	}
	if len(m.shared.verdicts) > verdictsMax || len(l.verdicts) > verdictsMax {
		t.Error(len(m.shared.verdicts), len(l.verdicts))
	}
	for i := range slackersMax + 1 {
		l.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
	}
	if len(l.slackers) > slackersMax {
		t.Error(len(l.slackers))
	}
}

// credentials_pause
func TestWhoIsWrongOftenHasToPause(t *testing.T) {
	l, at := &loopMemory{}, mono.Time(time.Hour)
	a, b := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2") // of one /64
	other := netip.MustParseAddr("192.0.2.1")
	var pauses []int
	for range 14 {
		l.failed(a, at)
		pauses = append(pauses, int(l.pause(b, at)/time.Second))
	}
	if got := fmt.Sprint(pauses); got != "[0 0 0 0 0 1 2 4 8 16 32 60 60 60]" {
		t.Error(got)
	}
	if l.pause(other, at) != 0 {
		t.Error("somebody else has to pause")
	}
	if l.pause(a, at.Add(time.Minute)) != 0 {
		t.Error("the pause does not end")
	}
	l.failed(a, at.Add(3*time.Minute))
	if l.pause(a, at.Add(3*time.Minute)) != 0 {
		t.Error("failures of long ago are counted")
	}
	for range 9 {
		l.failed(a, at)
	}
	if l.succeeded(a); l.pause(a, at) != 0 {
		t.Error("who was right has to pause")
	}
}
