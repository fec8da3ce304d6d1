package app

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPagesOfAServiceWithDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := ready(t, Config{Name: "orders", Checks: []Check{
			{Name: "mail", Run: func(context.Context) error {
				pass(3 * time.Millisecond)
				return errors.New("dial tcp 10.0.0.9:25:\nrefused")
			}},
			{Name: "redis", Critical: true, Run: func(context.Context) error { pass(time.Millisecond); return nil }},
		}})
		pass(3*time.Second - time.Millisecond)
		const text = `status: degraded
phase: serving for 2.999s
redis: ok for 2.999s, critical, took 1.0 ms
mail: failing for 2.997s, took 3.0 ms, failed 1 times in a row: dial tcp 10.0.0.9:25: refused
`
		for _, path := range []string{"/healthz", "/readyz"} {
			if w := ask(a, path); w.Body.String() != text || w.Code != 200 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v\n%s", path, w.Code, w.Header(), w.Body)
			}
		}
		// What scripts read by name.
		var p struct {
			Status string
			Checks struct{ Redis, Mail struct{ OK bool } }
		}
		w := ask(a, "/healthz?verbose")
		must(t, json.Unmarshal(w.Body.Bytes(), &p))
		if p.Status != "degraded" || !p.Checks.Redis.OK || p.Checks.Mail.OK || !strings.Contains(w.Body.String(), `"checks":{"mail":{"ok":false`) {
			t.Errorf("%s", w.Body)
		}
	})
}

func TestProbesOnThePortOfTheService(t *testing.T) {
	check := Check{Name: "redis", Critical: true, Run: func(context.Context) error { return errors.New("10.0.0.7:6379 refused") }}
	a, _ := run(t, Config{Drain: atOnce, Checks: []Check{check}, HTTP: HTTPConfig{Address: "127.0.0.1:0",
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })}})
	eventually(t, "it listens", func() bool { return a.Addresses().HTTP != "" })
	base := "http://" + a.Addresses().HTTP
	eventually(t, "the check has run", func() bool { return a.checks[0].result().ran })
	for _, c := range []struct {
		path string
		code int
		has  string
	}{
		{"/healthz", 200, "redis: failing"},
		{"/healthz", 200, ": withheld\n"},
		{"/readyz", 503, "status: starting"},
		{"/readyz?verbose", 503, `"error":"withheld"`},
		{"/", 503, "reason: starting"},
		{"/healthz/more", 503, "reason: starting"},
	} {
		code, body := get(t, base+c.path)
		if code != c.code || !strings.Contains(body, c.has) || strings.Contains(body, "6379") {
			t.Errorf("%s: %d %q", c.path, code, body)
		}
	}
}

func TestProbesOnAPortOfTheirOwn(t *testing.T) {
	a, _ := ready(t, Config{Drain: atOnce,
		HTTP: HTTPConfig{Address: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "service") })},
		Admin: AdminConfig{Address: "127.0.0.1:0",
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "operators") })},
		Checks: []Check{{Name: "mail", Run: func(context.Context) error { return errors.New("10.0.0.9:25 refused") }}},
	})
	eventually(t, "the check has run", func() bool { return a.checks[0].result().ran })
	at := a.Addresses()
	for url, want := range map[string]string{
		"http://" + at.HTTP + "/healthz":         "service",
		"http://" + at.HTTP + "/":                "service",
		"http://" + at.Admin + "/metrics":        "operators",
		"http://" + at.Admin + "/healthz":        "10.0.0.9:25 refused",
		"http://" + at.Admin + "/readyz":         "status: degraded",
		"http://" + at.Admin + "/readyz?verbose": `"ready":true`,
	} {
		if code, body := get(t, url); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q", url, code, body)
		}
	}
}

func TestAProbeThatIsNoGet(t *testing.T) {
	a, err := New(Config{NoSignals: true, Logger: silent})
	must(t, err)
	w := httptest.NewRecorder()
	a.probe(w, httptest.NewRequest(http.MethodPost, "/healthz", nil), false, true)
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// get asks on a connection of its own.
func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	return answer.StatusCode, string(text)
}
