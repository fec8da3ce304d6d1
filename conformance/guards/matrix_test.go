//go:build linux

package guards

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/yumen-io/yumen/conformance/gateway"
	"golang.org/x/crypto/bcrypt"
)

var update = flag.Bool("update", false, "write the table of docs/guide/faults.md from what happened; read the diff")

// matrixPage has the table that TestFaultMatrix holds the gateway against.
const matrixPage = "../../docs/guide/faults.md"

// faults are the columns of the matrix. What fails is the upstream, or what a guard itself asks.
var faults = []struct{ title, word string }{
	{"refused", "refused"}, {"reset", "torn"}, {"hang", "hang"}, {"slow", "slow"}, {"5xx", "500"}, {"garbage", "garbage"},
	{"cut", "cut"}, {"DNS gone", "dns"}, {"Redis gone", "redis"},
}

// nobody is a name that is never resolved, and for which no server of names is asked (RFC 7686).
const nobody = "nowhere.onion"

// slowness is between what a hedge waits and what a client does, with room for a busy machine on both sides.
const slowness = 250 * time.Millisecond

// papers are what clients show and guards know them by.
type papers struct {
	files    string // folder of keys.json, api-keys, users and secrets
	token    string
	newToken string    // by a key that is not in keys.json
	keys     [2][]byte // the key set without that key, and with it
	person   tls.Certificate
	ca       string // the authority of person
	site     *gateway.Identity
}

func newPapers(t *testing.T) *papers {
	m := &papers{files: t.TempDir(), site: gateway.NewIdentity(t), person: clientCertificate(t, "spiffe://mesh/ns/prod/web")}
	key, next := newECKey(t, "a"), newECKey(t, "b")
	m.token, m.newToken = mint(t, key, nil), mint(t, next, nil)
	for i, keys := range [][]jose.JSONWebKey{{key.Public()}, {key.Public(), next.Public()}} {
		text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		m.keys[i] = text
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	m.ca = write(t, filepath.Join(m.files, "clients.pem"), certificatePEM(m.person.Certificate[0]))
	write(t, filepath.Join(m.files, "keys.json"), string(m.keys[0]))
	write(t, filepath.Join(m.files, "api-keys"), "acme sha256:"+sumOf(acmeKey)+" plan=gold\n")
	write(t, filepath.Join(m.files, "users"), "alice:"+string(hash)+"\n")
	write(t, filepath.Join(m.files, "secrets"), "acme "+acmeKey+"\n")
	return m
}

// shown is the side of a client that has a certificate.
func (m *papers) shown() *tls.Config {
	return &tls.Config{RootCAs: m.site.Roots, ServerName: "localhost", Certificates: []tls.Certificate{m.person}}
}

// matrix is one gateway with a route for each cell.
type matrix struct {
	*papers
	t             *testing.T
	addr          string
	tls           string // address of the listener for TLS
	plain, secure *http.Client

	ill   atomic.Bool // the faults have come
	well  *patient
	ills  map[string]*patient // by fault: well at first
	never map[string]*patient // by fault: never well
	redis *redis
	store map[string]string // addresses of what is asked instead of a Redis, by fault

	choice map[string]string // by cell: the value of X-Key that leads to the endpoint that fails
}

func newMatrix(t *testing.T) *matrix {
	m := &matrix{papers: newPapers(t), t: t, addr: gateway.FreeAddr(t), tls: gateway.FreeAddr(t), ills: map[string]*patient{}, never: map[string]*patient{}, choice: map[string]string{}}
	m.redis = startRedis(t)
	m.store = redisFaults(t, m.redis.addr, startRedis(t).addr)
	m.well = newPatientThat(t, slowness, m.serve("other"))
	for _, f := range faults {
		m.ills[f.word] = newPatientThat(t, slowness, m.serve("own"))
		m.never[f.word] = newPatientThat(t, slowness, m.serve("own"))
		m.never[f.word].fail(f.word)
	}
	return m
}

// connect makes the clients. It follows the gateway's start, so that their connections end before it does.
func (m *matrix) connect() {
	of := func(addr string) *http.Client {
		tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, TLSClientConfig: m.shown(), DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}}
		m.t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr, Timeout: patience}
	}
	m.plain, m.secure = of(m.addr), of(m.tls)
}

// serve is what an upstream does while it is well. Its name is in the answer.
func (m *matrix) serve(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-From", name)
		w.Header().Set("Content-Type", "text/plain")
		switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first {
		case "cache-fresh":
			w.Header().Set("Cache-Control", "max-age=3600")
		case "cache-stale", "cache-stale-if-error":
			w.Header().Set("Cache-Control", "max-age=10")
			w.Header().Set("Age", "20")
		}
		if r.URL.Path == "/keys" {
			keys := m.keys[0]
			if m.ill.Load() {
				keys = m.keys[1]
			}
			_, _ = w.Write(keys)
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("well ", 50))
	}
}

// redisFaults are servers that fail as a Redis might, by fault. Those of dns and redis are none: a name, and the Redis that will be gone;
// behind the slow one is another, which stays.
func redisFaults(t *testing.T, redis, other string) map[string]string {
	saying := func(answer string) func(net.Conn) {
		return func(c net.Conn) {
			b := make([]byte, 4096)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
				_, _ = io.WriteString(c, answer)
			}
		}
	}
	return map[string]string{
		"refused": gateway.FreeAddr(t),
		"torn": serveBytes(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
		}),
		"hang":    serveBytes(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }),
		"500":     serveBytes(t, saying("-LOADING Redis is loading the dataset in memory\r\n")),
		"garbage": serveBytes(t, saying("HTTP/1.1 400 Bad Request\r\n\r\n")),
		"cut": serveBytes(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "$100\r\nonly this")
		}),
		"slow": serveBytes(t, func(c net.Conn) {
			far, err := net.Dial("tcp", other)
			if err != nil {
				return
			}
			defer far.Close()
			go func() { _, _ = io.Copy(c, far); c.Close() }()
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				<-time.After(20 * time.Millisecond)
				if _, err := far.Write(b[:n]); err != nil {
					return
				}
			}
		}),
		"dns":   nobody + ":6379",
		"redis": redis,
	}
}

// document has all rows and faults. Once they are ill, what led to an upstream leads to a name that is not resolved.
func (m *matrix) document(ill bool) string {
	var b strings.Builder
	generation := "well"
	if ill {
		generation = "ill"
	}
	fmt.Fprintf(&b, `limits: {loops: 2}
listeners:
  - {name: plain, address: %q}
  - {name: tls, address: %q, tls: {cert: %q, key: %q, client_certificates: {ca: %q, mode: optional}}}
defaults: {retry: off, timeouts: {first_byte: 1s}}
clusters:
  well: {endpoints: [%q]}
`, m.addr, m.tls, m.site.CertFile, m.site.KeyFile, m.ca, m.well.addr)
	for _, f := range faults {
		addr := m.ills[f.word].addr
		if f.word == "dns" {
			addr = nobody + ":80"
		}
		fmt.Fprintf(&b, "  f-%s: {endpoints: [%q], eject: off}\n", f.word, addr)
		fmt.Fprintf(&b, "  pair-f-%s: {endpoints: [%q, %q], eject: off, balance: {algorithm: maglev, key: {header: X-Key}}}\n", f.word, addr, m.well.addr)
	}
	fmt.Fprintf(&b, "routes:\n- {path: /generation, respond: {status: 200, body: %s}}\n", generation)
	for _, r := range matrixRows {
		for _, f := range faults {
			cluster := "f-" + f.word
			if f.word == "dns" && !ill {
				cluster = "f-redis" // which is well
			}
			dep := m.ills[f.word].addr
			if !r.warm {
				dep = m.never[f.word].addr
			}
			filters := r.filters
			switch {
			case r.redis:
				dep = m.store[f.word]
			case f.word == "dns" && !r.warm:
				filters = strings.ReplaceAll(filters, "http://DEP", "https://"+nobody)
			}
			said := strings.NewReplacer("DEP", dep, "CLUSTER", cluster, "REDIS", m.redis.addr, "FILES", m.files)
			to := cluster
			if r.cluster != "" {
				to = said.Replace(r.cluster)
			}
			fmt.Fprintf(&b, "- {path: /%s/%s, cluster: %s, filters: [%s]", r.name, f.word, to, said.Replace(filters))
			if r.route != "" {
				b.WriteString(", " + r.route)
			}
			b.WriteString("}\n")
		}
	}
	return b.String()
}

// asks sends the request of a row and returns what the client sees. It runs in goroutines of their own.
func (m *matrix) asks(r *matrixRow, fault string) (string, error) {
	method, scheme, client := "GET", "http", m.plain
	if r.body != nil {
		method = "POST"
	}
	if r.secure {
		scheme, client = "https", m.secure
	}
	cell := r.name + "/" + fault
	req, err := http.NewRequest(method, scheme+"://localhost/"+cell, bytes.NewReader(r.body))
	if err != nil {
		return "", err
	}
	if r.fields != nil {
		r.fields(m, req)
	}
	if key := m.choice[cell]; key != "" {
		req.Header.Set("X-Key", key)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("%s: %w", cell, err)
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	said := fmt.Sprint(resp.StatusCode)
	if reason := resp.Header.Get("X-Yumen-Reason"); reason != "" {
		said += " " + reason
	}
	if how := resp.Header.Get("X-Degraded"); how != "" {
		said += " (" + how + ")"
	} else if strings.Contains(resp.Header.Get("Cache-Status"), "hit") {
		said += " (kept)"
	} else if strings.HasPrefix(r.cluster, "pair-") && resp.Header.Get("X-From") == "other" {
		said += " (the other)"
	}
	if err != nil {
		said += ", cut off"
	}
	return said, nil
}

// warm has every row that wants it asked, and finds which key leads to which endpoint.
func (m *matrix) warm() {
	for i := range matrixRows {
		r := &matrixRows[i]
		for _, f := range faults {
			cell := r.name + "/" + f.word
			if r.warm {
				gateway.Eventually(m.t, patience, cell+" is warm", func() error {
					if got, err := m.asks(r, f.word); err != nil || got != "200" {
						return fmt.Errorf("%s, %v", got, err)
					}
					return nil
				})
			}
			for key := 0; strings.HasPrefix(r.cluster, "pair-"); key++ {
				m.choice[cell] = fmt.Sprint("k", key)
				got, err := m.asks(r, f.word)
				if err != nil || key > 50 {
					m.t.Fatal(cell, got, err)
				}
				if got == "200" {
					break
				}
			}
		}
	}
}

// observe asks for all cells, many at a time.
func (m *matrix) observe() map[string]string {
	seen := map[string]string{}
	for _, first := range []bool{true, false} {
		var mu sync.Mutex
		var all sync.WaitGroup
		places := make(chan struct{}, 64)
		for i := range matrixRows {
			r := &matrixRows[i]
			for _, f := range faults {
				if r.first != first || r.instead[f.word] != "" {
					continue
				}
				all.Go(func() {
					places <- struct{}{}
					defer func() { <-places }()
					said, err := m.asksAll(r, f.word)
					if err != nil {
						m.t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					seen[r.name+"/"+f.word] = said
				})
			}
		}
		all.Wait()
	}
	return seen
}

// asksAll sends the requests of a cell.
func (m *matrix) asksAll(r *matrixRow, fault string) (string, error) {
	if r.beside && fault == "hang" {
		type answer struct {
			said string
			err  error
		}
		answers := make(chan answer, 4) // more than loops, of which each has a place
		for range cap(answers) {
			go func() {
				said, err := m.asks(r, fault)
				answers <- answer{said, err}
			}()
		}
		first := <-answers
		last, errs := first, first.err
		for range cap(answers) - 1 {
			last = <-answers
			errs = errors.Join(errs, last.err)
		}
		return last.said + ", others " + first.said, errs // the one that hangs comes last
	}
	var said []string
	for n := 0; n < max(1, r.times) && len(said) < 2; n++ {
		got, err := m.asks(r, fault)
		if err != nil {
			return "", err
		}
		if len(said) == 0 || said[0] != got {
			said = append(said, got)
		}
	}
	return strings.Join(said, ", then "), nil
}

// cells makes of what was seen what the page says: where a guard changes nothing, that is said.
func (m *matrix) cells(seen map[string]string) [][]string {
	var table [][]string
	for _, r := range matrixRows {
		line := []string{r.guard, r.fails}
		for _, f := range faults {
			cell := seen[r.name+"/"+f.word]
			bare := seen["none/"+f.word]
			if r.body != nil {
				bare = seen["post/"+f.word]
			}
			if r.fails == upstream && r.name != "none" && r.name != "post" && cell == bare {
				cell = "passes on: " + cell
			}
			if instead := r.instead[f.word]; instead != "" {
				cell = instead
			}
			if f.word == "redis" && !r.redis && r.fails != upstream && cell == "200" {
				cell = "passes on: 200"
			}
			line = append(line, cell)
		}
		table = append(table, line)
	}
	return table
}

// readMatrix reads the table of the page; before and after are the text around its lines.
func readMatrix(t *testing.T) (before string, table [][]string, after string) {
	text, err := os.ReadFile(matrixPage)
	if err != nil {
		t.Fatal(err)
	}
	head := "| guard | what fails |"
	at := strings.Index(string(text), head)
	if at < 0 {
		t.Fatalf("the page has no line %q", head)
	}
	before = string(text[:at])
	after = string(text[at:])
	for line := range strings.Lines(string(text[at:])) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		after = after[len(line):]
		var cells []string
		for c := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(c))
		}
		table = append(table, cells)
	}
	return before, table, after
}

func writeMatrix(t *testing.T, before string, table [][]string, after string) {
	var b strings.Builder
	b.WriteString(before)
	for _, line := range table {
		b.WriteString("| " + strings.Join(line, " | ") + " |\n")
	}
	if err := os.WriteFile(matrixPage, []byte(b.String()+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// missing fails the test unless each kind of guard there is, and of filter that has no modes, is among these.
func missing(t *testing.T, filters []string) {
	t.Helper()
	for _, kind := range append(guardKinds(t), "compress", "split") {
		if kind != "canary" && !slices.ContainsFunc(filters, func(f string) bool { return strings.HasPrefix(f, kind+":") }) {
			t.Errorf("%s is missing here", kind)
		}
	}
}

// Every guard against every fault, in one gateway with a route for each cell of the page's table: all is well at first, then each
// upstream fails in its way, and each cell is what its client sees.
func TestFaultMatrix(t *testing.T) {
	gateway.Require(t, gateway.TLSListener)
	var all []string
	for _, r := range matrixRows {
		all = append(all, r.filters)
	}
	missing(t, all)
	m := newMatrix(t)
	p := gateway.Start(t, m.document(false), gateway.Options{})
	m.connect()
	m.warm()
	m.ill.Store(true)
	for word, u := range m.ills {
		u.fail(word)
	}
	m.redis.kill()
	p.WriteConfig(m.document(true))
	gateway.Eventually(t, patience, "the name is gone", func() error {
		resp, err := m.plain.Get("http://localhost/generation")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "ill" {
			return errors.Join(err, errors.New(string(text)))
		}
		return nil
	})
	got := [][]string{{"guard", "what fails"}, {"---", "---"}}
	for _, f := range faults {
		got[0] = append(got[0], f.title)
		got[1] = append(got[1], "---")
	}
	got = append(got, m.cells(m.observe())...)
	p.WriteConfig(strings.Replace(m.document(true), m.ills["hang"].addr, "another-"+nobody+":80", 1))
	gateway.Eventually(t, patience, "a document with a name that does not resolve is refused", func() error {
		n, err := p.Metric("yumen_config_reloads_total", `result="failed"`)
		if err == nil && n < 1 {
			err = errors.New("not yet")
		}
		return err
	})
	before, want, after := readMatrix(t)
	if *update {
		writeMatrix(t, before, got, after)
		return
	}
	if len(got) != len(want) {
		t.Errorf("the page has %d lines, and there are %d", len(want), len(got))
	}
	for i := range min(len(got), len(want)) {
		for k := range max(len(got[i]), len(want[i])) {
			g, w := "", ""
			if k < len(got[i]) {
				g = got[i][k]
			}
			if k < len(want[i]) {
				w = want[i][k]
			}
			if g != w {
				t.Errorf("%s, %s fails, %s: %s; the page says %s", got[i][0], got[i][1], got[0][min(k, len(got[0])-1)], g, w)
			}
		}
	}
}
