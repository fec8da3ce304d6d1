package clienthello

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// vec puts a length of some bytes before what it is the length of.
func vec(width int, parts ...string) string {
	s := strings.Join(parts, "")
	n := binary.BigEndian.AppendUint32(nil, uint32(len(s)))
	return string(n[4-width:]) + s
}

func ext(kind uint16, parts ...string) string {
	return string(binary.BigEndian.AppendUint16(nil, kind)) + vec(2, parts...)
}

// sni and alpn are the extensions as clients send them.
func sni(name string) string { return ext(typeServerName, vec(2, "\x00", vec(2, name))) }

func alpn(names ...string) string {
	list := ""
	for _, name := range names {
		list += vec(1, name)
	}
	return ext(typeALPN, vec(2, list))
}

const suites = "\x13\x01\x13\x02"

var random = strings.Repeat("r", 32)

// body is that of a hello with what may follow the compressions, in makes a message of it, and hello a whole one.
func body(parts ...string) string {
	return "\x03\x03" + random + vec(1, "session") + vec(2, suites) + vec(1, "\x00") + strings.Join(parts, "")
}

func in(kind byte, body string) string { return string(rune(kind)) + vec(3, body) }

func hello(extensions ...string) string { return in(messageHello, body(vec(2, extensions...))) }

// record makes one record of a fragment.
func record(fragment string) string { return "\x16\x03\x01" + vec(2, fragment) }

// samples are what connections begin with, each with what is read from it or the word it is refused with.
var samples = []struct{ input, want string }{
	{record(hello(sni("exam.test"))), "exam.test []"},
	{record(hello(sni("exam.test"), alpn("h2", "http/1.1"))), `exam.test ["h2" "http/1.1"]`},
	{record(hello(alpn("acme-tls/1"), ext(43, "\x02\x03\x04"), sni("exam.test"))), `exam.test ["acme-tls/1"]`},
	{record(hello(alpn("\x0a\x0a", "h2"))), `- ["\n\n" "h2"]`},
	{record(hello()), "- []"},
	{record(in(messageHello, body())), "- []"},
	{record(hello(ext(0xfe0d, strings.Repeat("e", 200)), sni("outer.test"))), "outer.test []"},
	{"\x16\x03\x03" + vec(2, hello(sni("exam.test"))), "exam.test []"},

	// RFC 8446 5.1: several records.
	{record(hello(sni("exam.test"))[:1]) + record(hello(sni("exam.test"))[1:]), "exam.test []"},
	{record(hello(sni("exam.test"))[:60]) + "\x16\x03\x03" + vec(2, hello(sni("exam.test"))[60:]), "exam.test []"},
	{record(hello(sni("exam.test"))[:60]) + record("") + record(hello(sni("exam.test"))[60:]), "bad_tls_record"},
	{record(hello(sni("exam.test"))[:60]) + "\x14\x03\x03\x00\x01\x01" + record(hello(sni("exam.test"))[60:]), "bad_tls_record"},
	{record(hello(sni("exam.test"))[:60]) + "\x17\x03\x03" + vec(2, hello(sni("exam.test"))[60:]), "bad_tls_record"},
	{record(hello(sni("exam.test"))[:60]) + "\x16\x02\x03" + vec(2, hello(sni("exam.test"))[60:]), "bad_tls_record"},
	{record(""), "bad_tls_record"},
	{"\x16\x03\x01\x40\x01", "bad_tls_record"},
	{record(hello(sni("exam.test")) + hello(sni("exam.test"))), "bad_client_hello"},
	{record(hello(sni("exam.test")) + "\x01"), "bad_client_hello"},

	// Something else.
	{"GET / HTTP/1.1\r\n\r\n", "not_tls"},
	{"SSH-2.0-OpenSSH_9.6\r\n", "not_tls"},
	{"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10", "not_tls"}, // SSL 2
	{"\x15\x03\x01\x00\x02\x02\x28", "not_tls"},                 // an alert
	{"\x16\x02\x00\x00\x05", "not_tls"},
	{record(in(2, body())), "bad_client_hello"},

	// RFC 8446 4.1.2: the message.
	{record(in(messageHello, "")), "bad_client_hello"},
	{record(in(messageHello, body()[:33])), "bad_client_hello"},
	{record(in(messageHello, "\x03\x03"+random)), "bad_client_hello"},
	{record(in(messageHello, "\x03\x03"+random+vec(1, strings.Repeat("s", 33))+vec(2, suites)+vec(1, "\x00"))), "bad_client_hello"},
	{record(in(messageHello, "\x03\x03"+random+vec(1, strings.Repeat("s", 32))+vec(2, suites)+vec(1, "\x00"))), "- []"},
	{record(in(messageHello, "\x03\x03"+random+vec(1)+vec(2)+vec(1, "\x00"))), "bad_client_hello"},
	{record(in(messageHello, "\x03\x03"+random+vec(1)+vec(2, "\x13\x01\x13")+vec(1, "\x00"))), "bad_client_hello"},
	{record(in(messageHello, "\x03\x03"+random+vec(1)+vec(2, suites)+vec(1))), "bad_client_hello"},
	{record(in(messageHello, "\x03\x03"+random+vec(1)+vec(2, suites))), "bad_client_hello"},
	{record(in(messageHello, "\x03\x03"+random+vec(1)+"\xff\xff"+suites)), "bad_client_hello"},
	{record(in(messageHello, body("\x00"))), "bad_client_hello"},
	{record(in(messageHello, body(vec(2, sni("exam.test")), "\x00"))), "bad_client_hello"},
	{record(in(messageHello, body("\x00\xff", sni("exam.test")))), "bad_client_hello"},
	{record(hello("\x00\x2b\x00")), "bad_client_hello"},
	{record(hello("\x00")), "bad_client_hello"},
	{record(hello("\x00\x2b\x00\x01")), "bad_client_hello"},

	// RFC 8446 4.2: extensions of one type.
	{record(hello(sni("exam.test"), sni("exam.test"))), "several_server_names"},
	{record(hello(sni("exam.test"), ext(43, "\x02\x03\x04"), sni("other.test"))), "several_server_names"},
	{record(hello(alpn("h2"), alpn("h2"))), "several_extensions"},
	{record(hello(ext(43, "\x02\x03\x04"), sni("exam.test"), ext(43, "\x02\x03\x04"))), "several_extensions"},

	// RFC 6066 3: server_name.
	{record(hello(ext(typeServerName, vec(2, "\x00", vec(2, "exam.test"), "\x00", vec(2, "other.test"))))), "several_server_names"},
	{record(hello(ext(typeServerName, vec(2, "\x00", vec(2, "exam.test"), "\x01", vec(2, "other"))))), "several_server_names"},
	{record(hello(ext(typeServerName, vec(2, "\x00", vec(2, "exam.test"), "\x00")))), "several_server_names"},
	{record(hello(ext(typeServerName, vec(2, "\x01", vec(2, "exam.test"))))), "bad_server_name"},
	{record(hello(ext(typeServerName))), "bad_client_hello"},
	{record(hello(ext(typeServerName, vec(2)))), "bad_client_hello"},
	{record(hello(ext(typeServerName, vec(2, "\x00")))), "bad_client_hello"},
	{record(hello(ext(typeServerName, vec(2, "\x00\x00")))), "bad_client_hello"},
	{record(hello(ext(typeServerName, vec(2, "\x00\x00\x0aexam.test")))), "bad_client_hello"},
	{record(hello(ext(typeServerName, vec(2, "\x00", vec(2, "exam.test")), "\x00"))), "bad_client_hello"},
	{record(hello(sni(""))), "bad_server_name"},

	// RFC 7301 3.1: ALPN.
	{record(hello(ext(typeALPN))), "bad_client_hello"},
	{record(hello(alpn())), "bad_client_hello"},
	{record(hello(alpn(""))), "bad_client_hello"},
	{record(hello(alpn("h2", ""))), "bad_client_hello"},
	{record(hello(ext(typeALPN, vec(2, "\x03h2")))), "bad_client_hello"},
	{record(hello(ext(typeALPN, vec(2, "\x02h2\x01")))), "bad_client_hello"},
	{record(hello(ext(typeALPN, vec(2, "\x02h2"), "\x00"))), "bad_client_hello"},
}

// told says what Parse returned: name and protocols, the reason of a refusal, or "more".
func told(h Hello, done bool, err error) string {
	var r *message.Refusal
	switch {
	case errors.As(err, &r):
		if done || h.ServerName != nil || h.ALPN != nil {
			return "something beside a refusal"
		}
		return r.Reason
	case !done:
		return "more"
	case h.ServerName == nil:
		return fmt.Sprintf("- %q", h.ALPN)
	}
	return fmt.Sprintf("%s %q", h.ServerName, h.ALPN)
}

// checkEachLength compares what is said about the beginnings of b with what is said about all of it: more is asked for
// until the verdict is there, and that stays.
func checkEachLength(t *testing.T, b []byte) {
	t.Helper()
	want, settled := told(Parse(b)), false
	for i := range b {
		got := told(Parse(b[:i:i]))
		if got != want && (settled || got != "more") {
			t.Fatalf("%q\n is %s\nand %s at %d", b, want, got, i)
		}
		settled = got != "more"
	}
}

// Every sample whole, with bytes behind it, and at each length.
func TestParse(t *testing.T) {
	for _, s := range samples {
		if got := told(Parse([]byte(s.input))); got != s.want {
			t.Errorf("%q\n is %s\nnot %s", s.input, got, s.want)
			continue
		}
		checkEachLength(t, []byte(s.input))
		for _, behind := range []string{"\x00", record(hello(sni("other.test"))), "\x14\x03\x03\x00\x01\x01", "\x17\x03\x03\x00\x05early"} {
			if got := told(Parse([]byte(s.input + behind))); got != s.want {
				t.Errorf("%q and %q\n is %s\nnot %s", s.input, behind, got, s.want)
			}
		}
	}
}

// Every sample that is read gives the same in records that are cut anywhere, once and twice.
func TestParseAcrossRecords(t *testing.T) {
	for _, s := range samples {
		m := s.input[min(recordHeader, len(s.input)):]
		if s.input != record(m) || !strings.Contains(s.want, " ") || len(m) > 150 {
			continue // it is not in one record, is refused, or takes long
		}
		for i := 1; i < len(m); i++ {
			for j := i + 1; j <= len(m); j++ {
				b := record(m[:i]) + record(m[i:j])
				if j < len(m) {
					b += record(m[j:])
				}
				if got := told(Parse([]byte(b))); got != s.want {
					t.Fatalf("cut at %d and %d: %q\n is %s\nnot %s", i, j, b, got, s.want)
				}
			}
		}
	}
}

// RFC 6066 3: what is a host name, and how it is written.
func TestServerNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, s := range []struct{ name, want string }{
		{"exam.test", "exam.test"},
		{"EXAM.Test", "exam.test"},
		{"exam.test.", "exam.test"},
		{"a", "a"},
		{"localhost", "localhost"},
		{"_acme.exam.test", "_acme.exam.test"},
		{"xn--bcher-kva.test", "xn--bcher-kva.test"},
		{"1.2.3.4.in-addr.arpa", "1.2.3.4.in-addr.arpa"},
		{"10.test", "10.test"},
		{"a-1", "a-1"},
		{"0xg", "0xg"},
		{label + ".test", label + ".test"},
		{label + "." + label + "." + label + "." + label[:61], label + "." + label + "." + label + "." + label[:61]},
		{label + "." + label + "." + label + "." + label[:61] + ".", label + "." + label + "." + label + "." + label[:61]},

		{".", ""},
		{"..", ""},
		{"exam.test..", ""},
		{".exam.test", ""},
		{"exam..test", ""},
		{"exam.test\x00.other.test", ""},
		{"exam test", ""},
		{"exam.test:443", ""},
		{"exam.test/", ""},
		{"*.exam.test", ""},
		{"bücher.test", ""},
		{"exam.test\r\nx: y", ""},
		{"192.0.2.1", ""},
		{"192.0.2.1.", ""},
		{"10.1", ""},
		{"2130706433", ""},
		{"0x7f000001", ""},
		{"127.0.0.0X1", ""},
		{"0x", ""},
		{"::1", ""},
		{"[::1]", ""},
		{label + "a.test", ""},
		{label + "." + label + "." + label + "." + label[:62], ""},
		{strings.Repeat("a.", 200), ""},
	} {
		want := "bad_server_name"
		if s.want != "" {
			want = s.want + " []"
		}
		if got := told(Parse([]byte(record(hello(sni(s.name)))))); got != want {
			t.Errorf("%q is %s, want %s", s.name, got, want)
		}
	}
}

// helloBytesMax is exact, and a hello that says it is larger is refused before it is there.
func TestLargeClientHelloIsRefused(t *testing.T) {
	fill := func(n int) string { return hello(sni("exam.test"), ext(21, strings.Repeat("\x00", n))) }
	fits := helloBytesMax - len(fill(0))
	if got := told(Parse([]byte(record(fill(fits))))); got != "exam.test []" {
		t.Errorf("%d bytes: %s", len(fill(fits)), got)
	}
	if got := told(Parse([]byte(record(fill(fits + 1)[:100])))); got != "large_client_hello" {
		t.Errorf("%d bytes: %s", len(fill(fits+1)), got)
	}
	if got := told(Parse([]byte("\x16\x03\x01\x02\x00\x01\xff\xff\xff"))); got != "large_client_hello" {
		t.Errorf("9 bytes: %s", got)
	}
	// The largest hello in the most records is not longer than BytesMax.
	m, b := fill(fits), ""
	for i := range recordsMax {
		b += record(m[i*len(m)/recordsMax : (i+1)*len(m)/recordsMax])
	}
	if got := told(Parse([]byte(b))); got != "exam.test []" || len(b) != BytesMax {
		t.Errorf("%d bytes: %s", len(b), got)
	}
}

func TestManyRecordsAreRefused(t *testing.T) {
	m := hello(sni("exam.test"))
	cut := func(records int) []byte {
		b := ""
		for i := range records - 1 {
			b += record(m[i : i+1])
		}
		return []byte(b + record(m[records-1:]))
	}
	if got := told(Parse(cut(recordsMax))); got != "exam.test []" {
		t.Errorf("%d records: %s", recordsMax, got)
	}
	if got := told(Parse(cut(recordsMax + 1))); got != "many_tls_records" {
		t.Errorf("%d records: %s", recordsMax+1, got)
	}
	checkEachLength(t, cut(recordsMax+1))
}

func TestManyExtensionsAreRefused(t *testing.T) {
	extensions := []string{sni("exam.test")}
	for len(extensions) < extensionsMax {
		extensions = append(extensions, ext(uint16(1000+len(extensions))))
	}
	if got := told(Parse([]byte(record(hello(extensions...))))); got != "exam.test []" {
		t.Errorf("%d extensions: %s", len(extensions), got)
	}
	extensions = append(extensions, ext(9999))
	if got := told(Parse([]byte(record(hello(extensions...))))); got != "many_extensions" {
		t.Errorf("%d extensions: %s", len(extensions), got)
	}
}

func TestLargeALPNIsRefused(t *testing.T) {
	long := strings.Repeat("x", 200)
	if h, done, err := Parse([]byte(record(hello(alpn(long, long[:54]))))); !done || err != nil || len(h.ALPN) != 2 || len(h.ALPN[1]) != 54 {
		t.Errorf("%q, %v, %v", h.ALPN, done, err)
	}
	if got := told(Parse([]byte(record(hello(alpn(long, long[:55])))))); got != "large_alpn" {
		t.Error(got)
	}
}

// What was read stays what it was when the bytes are gone.
func TestHelloIsItsOwn(t *testing.T) {
	b := []byte(record(hello(sni("exam.test"), alpn("h2", "http/1.1"))))
	h, done, err := Parse(b)
	clear(b)
	if got := told(h, done, err); got != `exam.test ["h2" "http/1.1"]` {
		t.Error(got)
	}
	h.ALPN[0] = append(h.ALPN[0], "more"...)
	if got := told(h, done, err); got != `exam.test ["h2more" "http/1.1"]` {
		t.Error(got)
	}
}

// As a listener uses it: bytes come in chunks, and those that are there are pulled together.
func TestParseFromAChain(t *testing.T) {
	var (
		c buf.Chain
		p = buf.NewPool(0)
		b = []byte(record(hello(ext(21, strings.Repeat("\x00", 9000)))) + record(""))
	)
	b = append([]byte(record(hello(sni("exam.test"), ext(21, strings.Repeat("\x00", 9000))))), b...)
	whole := len(record(hello(sni("exam.test"), ext(21, strings.Repeat("\x00", 9000)))))
	for i := range b[:whole] {
		if i%1000 == 0 {
			if got := told(Parse(c.Pull(p, min(c.Len(), BytesMax)))); got != "more" {
				t.Fatalf("%d bytes: %s", i, got)
			}
		}
		c.Append(p, b[i:i+1])
	}
	if got := told(Parse(c.Pull(p, min(c.Len(), BytesMax)))); got != "exam.test []" {
		t.Error(got)
	}
	if c.Len() != whole {
		t.Error("bytes were taken")
	}
	c.Release(p)
}

// Waiting and refusing allocate nothing, and what is found its own memory alone.
func TestAllocations(t *testing.T) {
	for _, s := range []struct {
		input string
		want  float64
	}{
		{record(hello()), 0},
		{record(hello(sni("exam.test"), alpn("h2", "http/1.1")))[:80], 0},
		{record(hello(sni("exam.test"), alpn("h2", ""))), 0},
		{record(hello(sni("exam..test"))), 0},
		{record(hello(sni("exam.test"))), 1},
		{record(hello(sni("exam.test"), alpn("h2", "http/1.1"))), 3},
	} {
		b := []byte(s.input)
		if n := testing.AllocsPerRun(100, func() {
			if _, done, err := Parse(b); done && err != nil {
				t.Error(err)
			}
		}); n != s.want {
			t.Errorf("%q: %v allocations, want %v", s.input, n, s.want)
		}
	}
}

func TestRefusalsAreAllListed(t *testing.T) {
	source, err := os.ReadFile("refusals.go")
	if err != nil {
		t.Fatal(err)
	}
	if made := strings.Count(string(source), " = refusal("); made != len(Refusals()) {
		t.Errorf("%d refusals are made, %d are listed", made, len(Refusals()))
	}
	seen := map[string]bool{}
	for _, r := range Refusals() {
		if seen[r.Reason] {
			t.Errorf("%s stands for two refusals", r.Reason)
		}
		seen[r.Reason] = true
	}
}

func BenchmarkParse(b *testing.B) {
	m := hello(sni("www.exam.test"), alpn("h2", "http/1.1"), ext(51, strings.Repeat("k", 1250)), ext(43, "\x04\x03\x04\x03\x03"))
	for _, s := range []struct {
		name, input string
		done        bool
	}{
		{"whole", record(m), true},
		{"waiting", record(m)[:700], false},
		{"records", record(m[:60]) + record(m[60:70]) + record(m[70:80]) + record(m[80:]), true},
	} {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			input := []byte(s.input)
			for b.Loop() {
				if _, done, err := Parse(input); done != s.done || err != nil {
					b.Fatal(done, err)
				}
			}
		})
	}
}
