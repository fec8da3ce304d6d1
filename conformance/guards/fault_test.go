//go:build linux

package guards

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

const faultDocument = `listeners: [{address: %q, protocols: [http1, h2c]}]
clusters:
  app: {endpoints: [%q]}
filters:
  abort: {fault: {when: {headers: {x-fault: "on"}}, abort: 503, budget: 3, after: 1h}}
  delay: {fault: {when: {headers: {x-fault: ""}}, delay: 150ms, after: 1h}}
  reset: {fault: {delay: 1ms, reset: on, after: 1h}}
  cut: {fault: {cut: 1kB, after: 1h}}
  share: {fault: {abort: 599, budget: {share: 10%%}, after: 1h}}
  expired: {fault: {abort: 503, expires: 2020-01-01T00:00:00Z}}
  shadow: {fault: {abort: 503, delay: 10s, budget: 2, mode: shadow}}
  stopped: {fault: {when: {headers: {x-fault: ""}}, abort: 503, after: 1h, stop_when: {error_ratio: 5%%, over: 5s}}}
  call: {fault: {abort: grpc_resource_exhausted, after: 1h}}
  slow: {fault: {when: {headers: {x-fault: ""}}, slow: 2MB/s, after: 1h}}
  trickle: {fault: {slow: 100B/s, cut: 20B, budget: 4}}
  slow-shadow: {fault: {slow: 1B/s, budget: 5, mode: shadow}}
  clients: {fault: {when: {clients: 10.0.0.0/8}, abort: 503, after: 1h}}
routes:
  - {path: /abort/*, filters: [abort], cluster: app}
  - {path: /delay/*, filters: [delay], cluster: app}
  - {path: /reset/*, filters: [reset], cluster: app}
  - {path: /cut/*, filters: [cut], cluster: app}
  - {path: /share/*, filters: [share], cluster: app}
  - {path: /expired/*, filters: [expired], cluster: app}
  - {path: /shadow/*, filters: [shadow], cluster: app}
  - {path: /stopped/*, filters: [stopped], cluster: app}
  - {path: /slow/*, filters: [slow], cluster: app}
  - {path: /trickle/*, filters: [trickle], cluster: app}
  - {path: /slow-shadow/*, filters: [slow-shadow], cluster: app}
  - {path: /clients/*, filters: [clients], cluster: app}
  - {path: /call/*, filters: [call], cluster: app}
`

func TestFaultsAreInjected(t *testing.T) {
	var ill atomic.Bool
	upstream := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() {
			w.WriteHeader(500)
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/large"):
			fmt.Fprint(w, strings.Repeat("x", 100_000))
		default:
			fmt.Fprint(w, "fine")
		}
	})
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(faultDocument, addr, upstream), gateway.Options{})
	c := plainClient(t)
	say := func(request, fields string) string {
		t.Helper()
		method, target, _ := strings.Cut(request, " ")
		req, err := http.NewRequest(method, "http://"+addr+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name, value, ok := strings.Cut(fields, ": "); ok {
			req.Header.Set(name, value)
		}
		resp, err := c.Do(req)
		if err != nil {
			if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset") {
				return "reset"
			}
			return err.Error()
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		cut := ""
		if err != nil {
			cut = fmt.Sprintf(" cut after %d", len(text))
			text = nil
		}
		line, _, _ := strings.Cut(string(text), "\n")
		return fmt.Sprintf("%d [%s]%s %.40s", resp.StatusCode, resp.Header.Get("X-Yumen-Fault"), cut, line)
	}
	f := func(request, fields, want string) {
		t.Helper()
		if got := say(request, fields); got != want {
			t.Errorf("%s %s: %s, want %s", request, fields, got, want)
		}
	}
	const aborted = "503 [abort] A fault was injected on purpose."
	f("GET /abort/a", "", "200 [] fine")
	f("GET /abort/a", "X-Fault: off", "200 [] fine")
	f("GET /abort/a", "X-Fault: on", aborted)
	f("GET /delay/a", "X-Fault: 1", "200 [delay] fine")
	f("GET /delay/a", "", "200 [] fine")
	f("GET /reset/a", "", "reset")
	f("GET /cut/small", "", "200 [cut] fine")
	f("HEAD /cut/large", "", "200 [cut] ")
	f("GET /expired/a", "", "200 [] fine")
	f("GET /clients/a", "", "200 [] fine")
	f("GET /slow/large", "", "200 [] "+strings.Repeat("x", 40))
	f("GET /slow/large", "X-Fault: 1", "200 [slow] "+strings.Repeat("x", 40))
	f("HEAD /slow/large", "X-Fault: 1", "200 [slow] ")
	f("GET /trickle/small", "", "200 [slow, cut] fine")
	f("GET /trickle/large", "", "200 [slow, cut] cut after 20 ")
	f("GET /slow-shadow/large", "", "200 [] "+strings.Repeat("x", 40))
	for range 5 {
		f("GET /shadow/a", "", "200 [] fine")
	}
	if got := say("GET /cut/large", ""); got != "200 [cut] cut after 1000 " {
		t.Errorf("a large answer: %s", got)
	}
	injected := 0
	for range 100 {
		if strings.HasPrefix(say("GET /share/a", ""), "599 [abort]") {
			injected++
		}
	}
	if injected < 5 || injected > 30 { // ten, and on each loop those that a hundred requests earn
		t.Errorf("%d of 100 at 10 %%", injected)
	}

	t.Run("over HTTP/2", func(t *testing.T) {
		tr := &http.Transport{Protocols: new(http.Protocols)}
		tr.Protocols.SetUnencryptedHTTP2(true)
		defer tr.CloseIdleConnections()
		h2 := &http.Client{Transport: tr, Timeout: patience}
		if resp, err := h2.Get("http://" + addr + "/reset/a"); err == nil {
			t.Errorf("a reset stream: status %d", resp.StatusCode)
		}
		resp := ask(t, h2, addr, "GET /cut/large", "", nil)
		if text, err := io.ReadAll(resp.Body); err == nil || len(text) != 1000 {
			t.Errorf("a cut answer: %d bytes, %v", len(text), err)
		}
		resp = ask(t, h2, addr, "GET /slow/large", "X-Fault: 1", nil)
		if text, err := io.ReadAll(resp.Body); err != nil || len(text) != 100_000 {
			t.Errorf("a slow answer: %d bytes, %v", len(text), err)
		}
		resp = ask(t, h2, addr, "GET /trickle/large", "", nil)
		if text, err := io.ReadAll(resp.Body); err == nil || len(text) != 20 {
			t.Errorf("a slow and cut answer: %d bytes, %v", len(text), err)
		}
		resp = ask(t, h2, addr, "POST /call/service/Method", "Content-Type: application/grpc; Te: trailers", strings.NewReader("\x00\x00\x00\x00\x00"))
		if got := fmt.Sprint(resp.StatusCode, resp.Header["Grpc-Status"], resp.Header["X-Yumen-Fault"]); got != "200 [8] [abort]" {
			t.Errorf("a call: %s", got)
		}
		resp = ask(t, h2, addr, "GET /call/a", "", nil)
		if resp.StatusCode != 503 {
			t.Errorf("no call: %d", resp.StatusCode)
		}
	})
	t.Run("what is done is recorded", func(t *testing.T) {
		status, text, err := p.AdminGet("/api/decisions?kind=fault")
		if err != nil || status != 200 {
			t.Fatal(status, err)
		}
		for _, want := range []string{"fault_abort", "fault_delay", "fault_reset", "fault_cut", "fault_slow", `"rate"`, `"spent"`} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s is not among the decisions: %.600s", want, text)
			}
		}
		if n, err := p.Metric("yumen_guard_decisions_total", `guard="shadow"`, `mode="shadow"`, `outcome="refused"`); err != nil || n != 2 {
			t.Errorf("shadow mode has a budget of its own, of two: %v, %v", n, err)
		}
	})
	t.Run("whoever leaves a slow answer", func(t *testing.T) {
		resp := ask(t, c, addr, "GET /trickle/large", "", nil)
		if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		gateway.Eventually(t, patience, "nothing runs", func() error {
			if n, err := p.Metric("yumen_requests_running"); err != nil || n != 0 {
				return fmt.Errorf("%v, %v", n, err)
			}
			return nil
		})
		f("GET /trickle/large", "", "200 [] "+strings.Repeat("x", 40)) // the budget is spent
	})
	t.Run("a reload refills no budget", func(t *testing.T) {
		f("GET /abort/a", "X-Fault: on", aborted)
		document := strings.Replace(fmt.Sprintf(faultDocument, addr, upstream), "abort: 503, budget: 3", "abort: 502, budget: 3", 1)
		p.WriteConfig(document)
		gateway.Eventually(t, patience, "the new document is in force", func() error {
			if n, err := p.Metric("yumen_config_revision"); err != nil || n != 2 {
				return fmt.Errorf("revision %v, %v", n, err)
			}
			return nil
		})
		f("GET /abort/a", "X-Fault: on", "502 [abort] A fault was injected on purpose.")
		f("GET /abort/a", "X-Fault: on", "200 [] fine")
	})
	t.Run("others suffer, and it stops for good", func(t *testing.T) {
		f("GET /stopped/a", "X-Fault: 1", aborted)
		ill.Store(true)
		gateway.Eventually(t, patience, "the experiment is stopped", func() error {
			for range 60 {
				say("GET /stopped/a", "")
			}
			if n, err := p.Metric("yumen_guard_number", `guard="stopped"`, `number="stopped"`); err != nil || n != 1 {
				return fmt.Errorf("%v, %v", n, err)
			}
			return nil
		})
		ill.Store(false)
		f("GET /stopped/a", "X-Fault: 1", "200 [] fine")
		if _, text, err := p.AdminGet("/api/guards"); err != nil || !strings.Contains(string(text), "error_ratio") {
			t.Errorf("%v: %.400s", err, text)
		}
	})
	t.Run("each end is told in the log, once", func(t *testing.T) {
		for fault, cause := range map[string]string{"expired": "expired", "trickle": "used_up", "stopped": "stopped"} {
			gateway.Eventually(t, patience, fault+" has ended", func() error {
				if n, err := p.Metric("yumen_guard_number", `guard="`+fault+`"`, `number="`+cause+`"`); err != nil || n != 1 {
					return fmt.Errorf("%v, %v", n, err)
				}
				return nil
			})
			var lines []string
			for line := range strings.Lines(p.Log()) {
				if strings.Contains(line, `"fault": "`+fault+`"`) {
					lines = append(lines, line)
				}
			}
			if len(lines) != 1 || !strings.Contains(lines[0], `"cause": "`+cause+`"`) || !strings.Contains(lines[0], `"spent": `) {
				t.Errorf("%s: %q", fault, lines)
			}
		}
	})
	t.Run("whoever is held and leaves", func(t *testing.T) {
		short := &http.Client{Timeout: 20 * time.Millisecond}
		req, err := http.NewRequest("GET", "http://"+addr+"/delay/a", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Fault", "1")
		if resp, err := short.Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("status %d within 20 ms", resp.StatusCode)
		}
		f("GET /delay/a", "X-Fault: 1", "200 [delay] fine")
	})
}
