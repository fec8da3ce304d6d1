package registry

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"
)

func header() *pb.ResponseHeader { return &pb.ResponseHeader{} }

func event(key, value string) *clientv3.Event {
	return &clientv3.Event{Type: mvccpb.PUT, Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value)}}
}

const whole = `{"schema":1,"service":"orders","id":"a-1","address":"10.0.0.1:8080","weight":50,"zone":"z","version":"1.2",` +
	`"colour":"blue","protocols":["grpc","http"],"metadata":{"rack":"7"},"started":"2026-01-02T03:04:05Z"}`

func TestAValueAsOthersMayWriteIt(t *testing.T) {
	i, err := decode("orders", "a-1", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	want := Instance{Service: "orders", ID: "a-1", Address: "10.0.0.1:8080", Weight: 50, Zone: "z", Version: "1.2", Colour: "blue",
		Protocols: []string{"grpc", "http"}, Metadata: map[string]string{"rack": "7"}, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if !i.equal(&want) {
		t.Errorf("read %+v\nwant %+v", i, want)
	}
	text, err := encode(&i)
	if err != nil || string(text) != whole {
		t.Errorf("written again (%v)\n%s\nwant\n%s", err, text, whole)
	}
	for cut := range len(whole) {
		if _, err := decode("orders", "a-1", []byte(whole[:cut])); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut at byte %d: %v", cut, err)
		}
	}
}

func TestValuesThatAreSkipped(t *testing.T) {
	text := func(field, value string) string {
		fields := map[string]string{"schema": "1", "service": `"orders"`, "id": `"a"`, "address": `"h:1"`}
		fields[field] = value
		var parts []string
		for k, v := range fields {
			parts = append(parts, fmt.Sprintf("%q:%s", k, v))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	many := func(n int, f string, open, end string) string {
		var parts []string
		for k := range n {
			parts = append(parts, fmt.Sprintf(f, k))
		}
		return open + strings.Join(parts, ",") + end
	}
	for _, c := range []struct{ field, value, word string }{
		{"zone", `"a"`, ""},
		{"unknown", `[1,2]`, ""},
		{"address", `"[2001:db8::1]:443"`, ""},
		{"schema", `2`, "bad_schema"},
		{"schema", `"1"`, "bad_json"},
		{"service", `"other"`, "bad_name"},
		{"id", `"b"`, "bad_name"},
		{"address", `"h"`, "bad_address"},
		{"address", `":1"`, "bad_address"},
		{"address", `"h:0"`, "bad_address"},
		{"address", `"h:65536"`, "bad_address"},
		{"address", `"h:http"`, "bad_address"},
		{"address", `"a b:1"`, "bad_address"},
		{"address", `"http://h:1"`, "bad_address"},
		{"address", `"` + strings.Repeat("x", addressBytesMax) + `:1"`, "bad_address"},
		{"weight", `10000`, ""},
		{"weight", `10001`, "bad_weight"},
		{"weight", `-1`, "bad_json"},
		{"zone", long(wordBytesMax), ""},
		{"zone", long(wordBytesMax + 1), "bad_word"},
		{"version", `"a\nb"`, "bad_word"},
		{"colour", `"\u0000"`, "bad_word"},
		{"protocols", many(protocolsMax, `"p%d"`, "[", "]"), ""},
		{"protocols", many(protocolsMax+1, `"p%d"`, "[", "]"), "too_many_protocols"},
		{"protocols", `[""]`, "bad_protocol"},
		{"protocols", "[" + long(protocolBytesMax+1) + "]", "bad_protocol"},
		{"metadata", many(metadataMax, `"k%d":"v"`, "{", "}"), ""},
		{"metadata", many(metadataMax+1, `"k%d":"v"`, "{", "}"), "too_much_metadata"},
		{"metadata", `{"":"v"}`, "bad_metadata"},
		{"metadata", "{" + long(metaKeyBytesMax+1) + `:"v"}`, "bad_metadata"},
		{"metadata", `{"k":` + long(metaBytesMax+1) + "}", "bad_metadata"},
		{"padding", long(valueBytesMax), "value_too_long"},
	} {
		_, err := decode("orders", "a", []byte(text(c.field, c.value)))
		var m *malformed
		switch {
		case c.word == "" && err != nil:
			t.Errorf("%s %.40s: %v", c.field, c.value, err)
		case c.word != "" && (!errors.As(err, &m) || m.word != c.word || !errors.Is(err, ErrInvalid)):
			t.Errorf("%s %.40s: %v, want %s", c.field, c.value, err, c.word)
		}
	}
}

func TestNamesThatKeysAndFilesCanBear(t *testing.T) {
	for _, c := range []struct {
		name        string
		service, id bool
	}{
		{"orders", true, true}, {"shop.v1.Orders", true, true}, {"a_b-c", true, true}, {"0", true, true},
		{"10.0.0.1:8080", false, true}, {"a@b", false, true},
		{"", false, false}, {".", false, false}, {"..", false, false}, {".hidden", false, false}, {"a/b", false, false},
		{"a b", false, false}, {"ä", false, false}, {"-a", false, false}, {":1", false, false},
		{strings.Repeat("x", nameBytesMax), true, true}, {strings.Repeat("x", nameBytesMax+1), false, false},
	} {
		if got := checkService(c.name) == nil; got != c.service {
			t.Errorf("service %q: %v, want %v", c.name, got, c.service)
		}
		i := Instance{Service: "s", ID: c.name, Address: "h:1", Weight: 1}
		if got := i.check() == nil; got != c.id {
			t.Errorf("id %q: %v, want %v", c.name, got, c.id)
		}
	}
}

func TestInstancesThatAreTooLongAsAWhole(t *testing.T) {
	i := Instance{Service: "s", ID: "a", Address: "h:1", Weight: 1, Metadata: map[string]string{}}
	for n := range metadataMax {
		i.Metadata[fmt.Sprint(n)] = strings.Repeat("x", metaBytesMax)
	}
	if err := i.check(); err != nil {
		t.Fatal(err)
	}
	if _, err := encode(&i); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "value_too_long") {
		t.Errorf("%v, want value_too_long", err)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	word := rapid.StringMatching(`[ -~äß世]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		i := Instance{Service: rapid.StringMatching(`[a-z][a-z0-9.]{0,20}`).Draw(t, "service"), ID: rapid.StringMatching(`[a-z][a-z0-9:]{0,20}`).Draw(t, "id"),
			Address: rapid.StringMatching(`[a-z]{1,10}:[1-9][0-9]{0,3}`).Draw(t, "address"), Weight: rapid.Uint32Range(1, weightMax).Draw(t, "weight"),
			Zone: word.Draw(t, "zone"), Version: word.Draw(t, "version"), Colour: word.Draw(t, "colour"),
			Metadata: rapid.MapOfN(rapid.StringMatching(`[a-z]{1,8}`), rapid.String(), 0, 8).Draw(t, "metadata")}
		text, err := encode(&i)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(i.Service, i.ID, text)
		if err != nil || !got.equal(&i) {
			t.Fatalf("%v: wrote %+v, read %+v", err, i, got)
		}
	})
}

func TestConfigsThatAreRefused(t *testing.T) {
	ok := func() Config { return Config{Endpoints: []string{"127.0.0.1:1"}} }
	for _, c := range []struct {
		field string
		spoil func(*Config)
	}{
		{"", func(*Config) {}},
		{"Endpoints", func(c *Config) { c.Endpoints = nil }},
		{"Endpoints", func(c *Config) { c.Endpoints = make([]string, 65) }},
		{"Endpoints", func(c *Config) { c.Endpoints = []string{"a:1,b:1"} }},
		{"Username", func(c *Config) { c.Username = "root" }},
		{"Prefix", func(c *Config) { c.Prefix = "yumen" }},
		{"Prefix", func(c *Config) { c.Prefix = "/yumen/" }},
		{"TTL", func(c *Config) { c.TTL = time.Millisecond }},
		{"TTL", func(c *Config) { c.TTL = 1500 * time.Millisecond }},
		{"TTL", func(c *Config) { c.TTL = 2 * time.Hour }},
		{"Grace", func(c *Config) { c.Grace = -1 }},
		{"RequestTimeout", func(c *Config) { c.RequestTimeout = time.Hour }},
		{"BackoffMin", func(c *Config) { c.BackoffMin = time.Microsecond }},
		{"BackoffMax", func(c *Config) { c.BackoffMax = time.Millisecond }},
		{"", func(c *Config) { c.BackoffMin = time.Minute }},
	} {
		cfg := ok()
		c.spoil(&cfg)
		_, err := cfg.filled()
		if c.field == "" && err != nil || c.field != "" && (err == nil || !strings.Contains(err.Error(), "Config."+c.field+" ")) {
			t.Errorf("%+v: %v, want a word about %q", cfg, err, c.field)
		}
	}
	bad := Config{TTL: -1, Grace: -1}
	if _, err := New(bad); err == nil || strings.Count(err.Error(), "Config.") != 4 { // TTL is wrong in two ways
		t.Errorf("several faults at once: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"schema":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		i, err := decode("orders", "a-1", text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("not an ErrInvalid: %v", err)
			}
			return
		}
		again, err := encode(&i)
		if errors.Is(err, ErrInvalid) {
			return // what was just short enough is longer with its defaults, or with other escapes
		}
		if err != nil {
			t.Fatal(err)
		}
		if j, err := decode("orders", "a-1", again); err != nil || !j.equal(&i) {
			t.Fatalf("%v: %+v is read again as %+v", err, i, j)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add([]byte("yumen-registry 1 00000000 0\n"))
	f.Add([]byte("yumen-registry 1 f1b2c3d4 2\n{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		instances, s, err := decodeSnapshot(text, "/yumen", "orders")
		if err == nil && len(instances) != len(s.Instances) {
			t.Fatalf("%d of %d instances", len(instances), len(s.Instances))
		}
	})
}
