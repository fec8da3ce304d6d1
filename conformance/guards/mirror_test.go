//go:build linux

package guards

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
	"github.com/yumen-io/yumen/filters/mirror"
)

// witness is an upstream that remembers what it was asked.
type witness struct {
	addr string
	mu   sync.Mutex
	seen []string
}

func newWitness(t *testing.T, answer http.HandlerFunc) *witness {
	u := &witness{}
	u.addr = serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		line := fmt.Sprintf("%s %s %s", r.Method, r.Host, r.URL)
		for _, name := range []string{"X-Yumen-Mirror", "Authorization", "X-Set", "X-Before", "X-Behind", "Expect", "Te"} {
			for _, v := range r.Header.Values(name) {
				line += "; " + name + ": " + v
			}
		}
		if len(body) > 0 {
			line += fmt.Sprintf("; %d bytes %.10s", len(body), body)
		}
		if err != nil {
			line += "; " + err.Error()
		}
		u.mu.Lock()
		u.seen = append(u.seen, line)
		u.mu.Unlock()
		answer(w, r)
	})
	return u
}

// count tells how many requests it was asked that have this in them.
func (u *witness) count(text string) (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range u.seen {
		if strings.Contains(s, text) {
			n++
		}
	}
	return n
}

// guardNumber reads one of a guard's numbers from the page of metrics.
func guardNumber(t *testing.T, p *gateway.Process, guard, number string) float64 {
	t.Helper()
	n, err := p.Metric("yumen_guard_number", fmt.Sprintf("guard=%q", guard), fmt.Sprintf("number=%q", number))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// becomes waits until a guard's number is this.
func becomes(t *testing.T, p *gateway.Process, guard, number string, want float64) {
	t.Helper()
	gateway.Eventually(t, patience, fmt.Sprintf("%s of %s is %v", number, guard, want), func() error {
		if n := guardNumber(t, p, guard, number); n != want {
			return fmt.Errorf("it is %v", n)
		}
		return nil
	})
}

func TestCopiesOfRequests(t *testing.T) {
	old := newWitness(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "old") })
	next := newWitness(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/large") {
			w.Write(make([]byte, 8<<20))
			return
		}
		w.WriteHeader(500)
	})
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 1}
clusters: {old: %q, next: %q, gone: %q}
filters:
  plain: {mirror: next}
  all: {mirror: {cluster: next, methods: [GET, POST], unsafe_methods: true, max_body: 20KiB, headers: {remove: authorization, set: {x-set: "1"}}}}
  bodiless: {mirror: {cluster: next, methods: [GET, POST], unsafe_methods: true, max_body: off}}
  half: {mirror: {cluster: next, share: 50%%}}
  gone: {mirror: gone}
  watched: {mirror: {cluster: next, mode: shadow}}
  none: {mirror: {cluster: next, mode: off}}
routes:
  - {path: /plain/*, filters: [headers: {request: {set: {x-before: b}}}, plain, headers: {request: {set: {x-behind: b}}}], cluster: old}
  - {path: /large/*, filters: [plain], cluster: old}
  - {path: /all/*, filters: [all], cluster: old}
  - {path: /bodiless/*, filters: [bodiless], cluster: old}
  - {path: /half/*, filters: [half], cluster: old}
  - {path: /gone/*, filters: [gone], cluster: old}
  - {path: /watched/*, filters: [watched], cluster: old}
  - {path: /none/*, filters: [none], cluster: old}
`, addr, old.addr, next.addr, gateway.FreeAddr(t)), gateway.Options{})
	c := plainClient(t)
	send := func(request, fields string, body io.Reader) {
		t.Helper()
		resp := ask(t, c, addr, request, fields, body)
		text, err := io.ReadAll(resp.Body)
		want := "old"
		if strings.HasPrefix(request, "HEAD") {
			want = ""
		}
		if err != nil || resp.StatusCode != 200 || string(text) != want {
			t.Fatalf("%s: %d %.80q, %v", request, resp.StatusCode, text, err)
		}
	}
	unknownLength := func(n int) io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("x", n))) }
	host := addr
	for _, s := range []struct {
		request, fields string
		body            io.Reader
		want            string // that next is asked; empty: nothing
	}{
		{"GET /plain/a?b=c", "Authorization: Basic x", nil, "GET " + host + " /plain/a?b=c; X-Yumen-Mirror: plain; Authorization: Basic x; X-Before: b"},
		{"HEAD /plain/head", "", nil, "HEAD " + host + " /plain/head; X-Yumen-Mirror: plain; X-Before: b"},
		{"POST /plain/post", "", strings.NewReader("a"), ""},
		{"GET /plain/copy", "X-Yumen-Mirror: other", nil, ""},
		{"GET /large/a", "", nil, "GET " + host + " /large/a; X-Yumen-Mirror: plain"},
		{"POST /all/declared", "Authorization: Basic x", strings.NewReader("declared"), "POST " + host + " /all/declared; X-Yumen-Mirror: all; X-Set: 1; 8 bytes declared"},
		{"POST /all/unknown", "", unknownLength(20 << 10), "POST " + host + " /all/unknown; X-Yumen-Mirror: all; X-Set: 1; 20480 bytes xxxxxxxxxx"},
		{"POST /all/expects", "Expect: 100-continue", strings.NewReader("expected"), "POST " + host + " /all/expects; X-Yumen-Mirror: all; X-Set: 1; 8 bytes expected"},
		{"POST /all/large", "", strings.NewReader(strings.Repeat("x", 20<<10+1)), ""},
		{"POST /all/long", "", unknownLength(1 << 20), ""},
		{"POST /bodiless/some", "", strings.NewReader("a"), ""},
		{"POST /bodiless/none", "", nil, "POST " + host + " /bodiless/none; X-Yumen-Mirror: bodiless"},
		{"GET /gone/a", "", nil, ""},
		{"GET /watched/a", "", nil, ""},
		{"GET /none/a", "", nil, ""},
	} {
		send(s.request, s.fields, s.body)
		if s.want != "" {
			gateway.Eventually(t, patience, s.request+" is copied", func() error {
				if next.count(s.want) == 0 {
					return fmt.Errorf("not among %q", next.seen)
				}
				return nil
			})
		}
	}
	for guard, numbers := range map[string]map[string]float64{
		"plain":    {"sent": 3, "answered": 3, "answered_5xx": 2, "already_mirrored": 1, "in_flight": 0},
		"all":      {"sent": 3, "answered": 3, "body_too_large": 2, "in_flight": 0},
		"bodiless": {"sent": 1, "answered": 1, "body_too_large": 1, "in_flight": 0},
		"gone":     {"sent": 1, "failed": 1, "in_flight": 0},
		"watched":  {"sent": 0, "would_send": 1, "in_flight": 0},
	} {
		if guard == "plain" { // the large answer is left when the loop comes by
			send("GET /plain/by", "", nil)
			numbers["sent"], numbers["answered"], numbers["answered_5xx"] = 4, 4, 3
		}
		for number, want := range numbers {
			becomes(t, p, guard, number, want)
		}
	}
	if len(next.seen) != 8 {
		t.Errorf("copies: %q", next.seen)
	}
	if n := old.count("X-Yumen-Mirror: "); n != 1 { // the client's own
		t.Errorf("%d originals are marked", n)
	}
	for range 400 {
		send("GET /half/a", "", nil)
	}
	gateway.Eventually(t, patience, "all copies are answered", func() error {
		if a, s := guardNumber(t, p, "half", "answered"), guardNumber(t, p, "half", "sent"); a != s || s < 120 || s > 280 {
			return fmt.Errorf("%v of %v", a, s)
		}
		return nil
	})
}

// A cluster that hangs, is frozen or takes no connection holds as many copies as it may, and no original waits for it: each copy may
// take longer than the clients of this test are patient.
func TestACopyNeverSlowsTheOriginal(t *testing.T) {
	old := newWitness(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "old") })
	ended := make(chan struct{})
	hanging := serve(t, func(w http.ResponseWriter, r *http.Request) { <-ended })
	trickling := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-ended
	})
	t.Cleanup(func() { close(ended) }) // before the servers are waited for
	nextAddr := gateway.FreeAddr(t)
	next := gateway.Start(t, fmt.Sprintf("listen: %q\nroutes: [{path: /*, respond: 200}]\n", nextAddr), gateway.Options{})
	addr := gateway.FreeAddr(t)
	const some = 4
	mirror := func(cluster string) string {
		return fmt.Sprintf("{mirror: {cluster: %s, in_flight: %d, timeout: 1m, methods: [GET, POST], unsafe_methods: true}}", cluster, some)
	}
	document := fmt.Sprintf(`listen: %q
limits: {loops: 1}
clusters: {old: %q, hanging: %q, trickling: %q, frozen: %q}
defaults: {timeouts: {first_byte: 1m, between_bytes: 1m}}
filters: {hanging: %s, trickling: %s, frozen: %s}
routes:
  - {path: /hanging, filters: [hanging], cluster: old}
  - {path: /trickling, filters: [trickling], cluster: old}
  - {path: /frozen, filters: [frozen], cluster: old}
`, addr, old.addr, hanging, trickling, nextAddr, mirror("hanging"), mirror("trickling"), mirror("frozen"))
	p := gateway.Start(t, document, gateway.Options{})
	c := plainClient(t)
	next.Signal(syscall.SIGSTOP)
	t.Cleanup(func() { next.Signal(syscall.SIGCONT) })
	body := strings.Repeat("x", 60_000)
	const rounds = 100
	for range rounds {
		for _, request := range []string{"POST /hanging", "POST /trickling", "POST /frozen"} {
			resp := ask(t, c, addr, request, "", strings.NewReader(body))
			if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(text) != "old" {
				t.Fatalf("%s: %d %q, %v", request, resp.StatusCode, text, err)
			}
		}
	}
	for _, guard := range []string{"hanging", "trickling", "frozen"} {
		for number, want := range map[string]float64{"sent": some, "in_flight": some, "in_flight_full": rounds - some, "answered": 0, "failed": 0} {
			becomes(t, p, guard, number, want)
		}
	}
	next.Signal(syscall.SIGCONT)
	becomes(t, p, "frozen", "answered", some)
	becomes(t, p, "frozen", "in_flight", 0)
	// A changed document goes on counting, and with fewer at once.
	p.WriteConfig(strings.ReplaceAll(document, "in_flight: 4", "in_flight: 1"))
	gateway.Eventually(t, patience, "the new document counts", func() error {
		_, text, err := p.AdminGet("/api/config")
		if err == nil && !strings.Contains(string(text), "in_flight: 1") {
			err = fmt.Errorf("%.2000s", text)
		}
		return err
	})
	ask(t, c, addr, "POST /hanging", "", strings.NewReader(body))
	becomes(t, p, "hanging", "in_flight_full", rounds-some+1)
	becomes(t, p, "hanging", "in_flight", some)
}

// An old version whose answers have a clock in them, and a new one with two mistakes: these are found, and the clock is not.
func TestAnswersOfTwoVersionsAreCompared(t *testing.T) {
	var clock atomic.Int64
	version := func(name, price string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			write := func(format string, args ...any) {
				if r.Header.Get("Accept-Encoding") != "gzip" {
					fmt.Fprintf(w, format, args...)
					return
				}
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				fmt.Fprintf(z, format, args...)
				z.Close()
			}
			switch r.URL.Path {
			case "/same":
				write(`{"name": "x"}`)
			case "/order": // of members, which says nothing
				write("%s", map[string]string{"old": `{"a": 1, "b": [1.0]}`, "next": `{"b":[1],"a":1e0}`}[name])
			case "/clock":
				write(`{"at": %d, "items": [{"id": %d}]}`, clock.Add(1), clock.Add(1))
			case "/ignored":
				write(`{"version": %q}`, name)
			case "/price", "/zipped":
				write(`{"at": %d, "items": [{"price": 1, "token": "a"}, {"price": %s, "token": %q}]}`, clock.Add(1), price, name)
			case "/status":
				if name == "next" {
					w.Header().Set("Content-Type", "text/plain")
					w.WriteHeader(500)
				}
			case "/large":
				w.Write(make([]byte, 100_000))
			case "/cut":
				if name == "next" {
					w.Header().Set("Content-Length", "100")
				}
				write("{}")
			}
		}
	}
	old, next := newWitness(t, version("old", "2")), newWitness(t, version("next", "3"))
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 1}
clusters: {old: %q, next: %q}
filters:
  m: {mirror: {cluster: next, methods: [GET, POST], unsafe_methods: true, compare: {json: {ignore: $.version}, max_body: 64KiB}}}
routes:
  - {path: /answered, filters: [m], respond: 200}
  - {path: /*, filters: [m], cluster: old}
`, addr, old.addr, next.addr), gateway.Options{})
	c := plainClient(t)
	for _, s := range []struct{ request, fields, verdict string }{
		{"GET /same", "", "equal"},
		{"GET /order", "", "equal"},
		{"GET /clock", "", "noise"},
		{"GET /ignored", "", "equal"},
		{"GET /price", "", "different"},
		{"GET /zipped", "Accept-Encoding: gzip", "different"},
		{"GET /status", "", "different"},
		{"POST /price", "", "different"},
		{"GET /large", "", "uncompared_too_large"},
		{"GET /answered", "", "uncompared_original_failed"},
		{"GET /cut", "", "uncompared_copy_failed"},
	} {
		before := guardNumber(t, p, "m", s.verdict)
		resp := ask(t, c, addr, s.request, s.fields, nil)
		if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %d, %v", s.request, resp.StatusCode, err)
		}
		gateway.Eventually(t, patience, s.request+" is "+s.verdict, func() error {
			if n := guardNumber(t, p, "m", s.verdict); n != before+1 {
				_, text, err := p.AdminGet("/api/guards")
				return fmt.Errorf("%v, %v: %s", n, err, text)
			}
			return nil
		})
	}
	if n := old.count("POST"); n != 1 {
		t.Errorf("the old version was asked %d times for what may be done once", n)
	}
	_, text, err := p.AdminGet("/api/guards")
	if err != nil {
		t.Fatal(err)
	}
	var guards []struct {
		Detail mirror.Report `json:"detail"`
	}
	if err := json.Unmarshal(text, &guards); err != nil || len(guards) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	r := guards[0].Detail
	var places []string
	for _, d := range r.Places {
		places = append(places, fmt.Sprintf("%s %s %s->%s %d", d.Path, d.Kind, d.Was, d.Is, d.Different))
	}
	want := []string{"$.items[].price value 2->3 3", "$.items[].token value ***->*** 3", "header.content-type value application/json->text/plain 1", "status value 200->500 1"}
	for _, w := range want {
		if !slices.Contains(places, w) {
			t.Errorf("%s is not among %q", w, places)
		}
	}
	if e := r.Examples; len(e) != 4 || e[3].Path != "/price" || e[3].Method != "GET" || len(e[3].Differences) != 2 || e[3].RequestID == "" || r.Old.P50 <= 0 || r.New.P99 <= 0 {
		t.Errorf("%+v", r)
	}
	becomes(t, p, "m", "in_flight", 0)
}
