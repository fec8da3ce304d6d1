package chain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/yumen-io/yumen/kit/app/chain"
	"github.com/yumen-io/yumen/kit/breaker"
	"github.com/yumen-io/yumen/kit/limit"
)

const key = "0123456789abcdef"

func keys(t testing.TB) chain.Authenticator {
	t.Helper()
	a, err := chain.APIKeys(chain.APIKeysConfig{Keys: []chain.APIKey{
		{SHA256: chain.HashAPIKey(key), Principal: chain.Principal{ID: "acme", Scopes: []string{"orders"}}},
		{SHA256: chain.HashAPIKey("fedcba9876543210"), Principal: chain.Principal{ID: "root", Scopes: []string{"orders", "admin"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func once(t testing.TB, before bool) chain.Limit {
	t.Helper()
	l, err := limit.New(limit.Config{Count: 1, Per: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return chain.Limit{Guard: l, BeforeAuth: before}
}

func echo(_ context.Context, in string) (string, error) { return in, nil }

// The same table through both protocols: same verdict, same word, same part of the chain in the log, same counter.
func TestBothProtocolsSayTheSame(t *testing.T) {
	type with = map[string]string
	auth := func(t *testing.T) chain.Config {
		return chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{keys(t)}}, Methods: map[string]chain.Method{
			"POST /public": {Public: true}, "/shop.Orders/Public": {Public: true},
			"POST /admin": {Scopes: []string{"admin"}}, "/shop.Orders/Admin": {Scopes: []string{"admin"}},
			"POST /orders": {Allow: func(_ context.Context, c *chain.Call) error {
				if len(c.Header("X-Forbid")) > 0 {
					return errors.New("no")
				}
				return nil
			}},
			"/shop.Orders/Create": {Allow: func(_ context.Context, c *chain.Call) error {
				if len(c.Header("X-Forbid")) > 0 {
					return errors.New("no")
				}
				return nil
			}},
		}}
	}
	panics := func(context.Context, string) (string, error) { panic("oh") }
	for _, c := range []struct {
		name   string
		cfg    func(t *testing.T) chain.Config
		do     handler
		calls  int // the last counts
		path   string
		method string
		fields with
		status int
		code   string
		reason string
		by     string
	}{
		{"passes", nil, echo, 1, "/orders", "Create", nil, 200, "OK", "", ""},
		{"key", auth, echo, 1, "/orders", "Create", with{"X-Api-Key": key}, 200, "OK", "", ""},
		{"no key", auth, echo, 1, "/orders", "Create", nil, 401, "Unauthenticated", "credentials_missing", "auth"},
		{"wrong key", auth, echo, 1, "/orders", "Create", with{"X-Api-Key": key + "!"}, 401, "Unauthenticated", "api_key_unknown", "auth"},
		{"long key", auth, echo, 1, "/orders", "Create", with{"X-Api-Key": strings.Repeat("k", 513)}, 401, "Unauthenticated", "api_key_too_long", "auth"},
		{"public", auth, echo, 1, "/public", "Public", nil, 200, "OK", "", ""},
		{"scope missing", auth, echo, 1, "/admin", "Admin", with{"X-Api-Key": key}, 403, "PermissionDenied", "scope_missing", "auth"},
		{"scope there", auth, echo, 1, "/admin", "Admin", with{"X-Api-Key": "fedcba9876543210"}, 200, "OK", "", ""},
		{"not allowed", auth, echo, 1, "/orders", "Create", with{"X-Api-Key": key, "X-Forbid": "1"}, 403, "PermissionDenied", "forbidden", "auth"},
		{"limited", func(t *testing.T) chain.Config { return chain.Config{Limits: []chain.Limit{once(t, false)}} }, echo, 2,
			"/orders", "Create", nil, 429, "ResourceExhausted", "rate_limited", "limit"},
		{"limited as a stranger", func(t *testing.T) chain.Config {
			cfg := auth(t)
			cfg.Limits = []chain.Limit{once(t, true)}
			return cfg
		}, echo, 2, "/orders", "Create", nil, 429, "ResourceExhausted", "rate_limited", "limit"},
		{"panics", nil, panics, 1, "/orders", "Create", nil, 500, "Internal", "panic", ""},
		{"panics until the breaker opens", func(t *testing.T) chain.Config {
			b, err := breaker.New(breaker.Config{Consecutive: 3, Codes: []codes.Code{codes.Unavailable}})
			if err != nil {
				t.Fatal(err)
			}
			return chain.Config{Breaker: chain.Breaker{Breaker: b}}
		}, panics, 4, "/orders", "Create", nil, 503, "Unavailable", "breaker_open", "breaker"},
		{"refusals do not open it", func(t *testing.T) chain.Config {
			b, err := breaker.New(breaker.Config{Consecutive: 3})
			if err != nil {
				t.Fatal(err)
			}
			return chain.Config{Breaker: chain.Breaker{Breaker: b}}
		}, func(context.Context, string) (string, error) {
			return "", &chain.Refusal{Status: 409, Code: codes.AlreadyExists, Reason: "there_already", Text: "It is there already."}
		}, 5, "/orders", "Create", nil, 409, "AlreadyExists", "there_already", ""},
		{"authenticator that cannot tell", func(*testing.T) chain.Config {
			return chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{
				chain.AuthenticatorFunc(func(context.Context, *chain.Call) (*chain.Principal, error) { return nil, errors.New("no database") })}}}
		}, echo, 1, "/orders", "Create", nil, 503, "Unavailable", "auth_unavailable", "auth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.cfg == nil {
				c.cfg = func(*testing.T) chain.Config { return chain.Config{} }
			}
			check := func(protocol string, w *world, got, reason, want string) {
				t.Helper()
				if got != want || reason != c.reason {
					t.Errorf("%s: got %s %q, want %s %q", protocol, got, reason, want, c.reason)
				}
				list := w.log.take("call")
				if len(list) != c.calls {
					t.Fatalf("%s: %d access lines", protocol, len(list))
				}
				last := list[len(list)-1]
				by, _ := last["refused_by"].(string)
				if by != c.by || last["status"] != want {
					t.Errorf("%s: the log has %v", protocol, last)
				}
				if by != "" {
					s := w.chain.Stats()
					n := map[string]uint64{"deadline": s.Deadline, "auth": s.Auth, "limit": s.Limit, "breaker": s.Breaker, "validation": s.Invalid}[by]
					if n == 0 {
						t.Errorf("%s: not counted: %+v", protocol, s)
					}
				}
			}
			w := start(t, c.cfg(t), c.do)
			var status int
			var code, reason string
			for range c.calls {
				status, reason, _ = w.post(t, c.path, c.fields, "")
			}
			check("http", w, fmt.Sprint(status), reason, fmt.Sprint(c.status))
			w = start(t, c.cfg(t), c.do)
			for range c.calls {
				code, reason, _ = w.call(t.Context(), c.method, c.fields, "")
			}
			check("grpc", w, code, reason, c.code)
			if c.method == "Create" && c.fields["X-Forbid"] == "" {
				w = start(t, c.cfg(t), c.do)
				for range c.calls {
					code, reason, _ = w.follow(t.Context(), c.fields, "")
				}
				check("stream", w, code, reason, c.code)
			}
		})
	}
}

func TestWhatTheHandlerIsTold(t *testing.T) {
	cfg := chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{keys(t)}}}
	w := start(t, cfg, func(ctx context.Context, _ string) (string, error) {
		c, p := chain.CallOf(ctx), chain.PrincipalOf(ctx)
		deadline := "none"
		if at, ok := ctx.Deadline(); ok {
			deadline = "30s"
			if time.Until(at) < 20*time.Second {
				deadline = "10s"
			}
		}
		return fmt.Sprintf("%s %s %s by %s, %s", c.Protocol(), c.Method(), p.ID, p.By, deadline), nil
	})
	fields := map[string]string{"X-Api-Key": key}
	for _, c := range []struct{ timeout, want string }{
		{"", "http POST /orders acme by api_key, 30s"},
		{"10s", "http POST /orders acme by api_key, 10s"},
		{"1h", "http POST /orders acme by api_key, 30s"},
		{"3600s", "http POST /orders acme by api_key, 30s"}, // it can only shorten
	} {
		fields["X-Request-Timeout"] = c.timeout
		_, _, resp := w.post(t, "/orders", fields, "")
		if got, _ := io.ReadAll(resp.Body); string(got) != c.want {
			t.Errorf("%q: got %s, want %s", c.timeout, got, c.want)
		}
	}
}

func TestProbesPassWhateverTheChain(t *testing.T) {
	w := start(t, chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{keys(t)}}, Limits: []chain.Limit{once(t, false)}}, echo)
	for range 3 {
		if _, err := healthpb.NewHealthClient(w.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Error(err)
		}
	}
	if code, _, _ := w.call(t.Context(), "Create", nil, ""); code != "Unauthenticated" {
		t.Error(code)
	}
}

func TestAChainWithinItselfPasses(t *testing.T) {
	c := must(t, chain.Config{Limits: []chain.Limit{once(t, false)}})
	calls := 0
	h := c.Handler(c.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ })))
	r, _ := http.NewRequest("GET", "/", nil)
	rec := newRecorder()
	h.ServeHTTP(rec, r)
	if calls != 1 || c.Stats().Calls != 1 {
		t.Errorf("%d calls, %+v", calls, c.Stats())
	}
}

func TestRefusedWithAChallenge(t *testing.T) {
	w := start(t, chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{keys(t)}}}, echo)
	_, _, resp := w.post(t, "/orders", nil, "")
	if got := resp.Header.Get("WWW-Authenticate"); got != "ApiKey" {
		t.Errorf("got %q", got)
	}
}

// The names of fields are the same, so that one search finds both.
func TestAccessLines(t *testing.T) {
	w := start(t, chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{keys(t)}}}, echo)
	fields := map[string]string{"X-Api-Key": key}
	w.post(t, "/orders", fields, "abc")
	w.call(t.Context(), "Create", fields, "abc")
	w.follow(t.Context(), fields, "abc")
	var got []string
	for _, line := range w.log.take("call") {
		var names []string
		for name := range line {
			names = append(names, name)
		}
		slices.Sort(names)
		got = append(got, fmt.Sprint(line["protocol"], line["method"], line["route"], line["status"], line["principal"], line["client"], " ", names))
	}
	slices.Sort(got)
	want := []string{
		"grpcstream/shop.Orders/FollowOKacmebufconn [client duration_us level method msg principal protocol route status time]",
		"grpcunary/shop.Orders/CreateOKacmebufconn [client duration_us level method msg principal protocol route status time]",
		"httpPOSTPOST /orders200acme127.0.0.1 [bytes_out client duration_us level method msg path principal protocol route status time]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSampledLines(t *testing.T) {
	fail := false
	w := start(t, chain.Config{Access: chain.Access{Sample: 1e-18}}, func(context.Context, string) (string, error) {
		if fail {
			return "", errors.New("disk")
		}
		return "", nil
	})
	for range 20 {
		w.post(t, "/orders", nil, "")
		w.call(t.Context(), "Create", nil, "")
	}
	if list := w.log.take("call"); len(list) > 0 {
		t.Errorf("%d lines", len(list))
	}
	fail = true
	w.post(t, "/orders", nil, "")
	w.call(t.Context(), "Create", nil, "")
	list := w.log.take("call")
	if len(list) != 2 || list[0]["error"] != "disk" {
		t.Errorf("failures have lines always: %v", list)
	}
}

func TestInternalErrorsAreNotTold(t *testing.T) {
	w := start(t, chain.Config{}, func(context.Context, string) (string, error) { return "", errors.New("secret table orders_17") })
	status, reason, resp := w.post(t, "/orders", nil, "")
	text, _ := io.ReadAll(resp.Body)
	if status != 500 || reason != "internal" || strings.Contains(string(text), "secret") {
		t.Errorf("%d %s", status, text)
	}
}

func TestWrongSettings(t *testing.T) {
	for _, c := range []struct {
		cfg  chain.Config
		want string
	}{
		{chain.Config{Access: chain.Access{Sample: 2}}, "chain: Access.Sample: 2 is not above 0 and up to 1"},
		{chain.Config{Deadline: chain.Deadline{Max: -2}}, "chain: Deadline.Max: -2ns is below 0 and not Never"},
		{chain.Config{Deadline: chain.Deadline{Off: true, Max: 1}}, "chain: Deadline: it is Off, and there is a Max"},
		{chain.Config{Recovery: chain.Recovery{LinesMax: -1}}, "chain: Recovery.LinesMax: -1 is below 0"},
		{chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{nil}}}, "chain: Auth.Authenticators[0]: there is none"},
		{chain.Config{Limits: []chain.Limit{{}}}, "chain: Limits[0].Guard: there is none"},
		{chain.Config{Methods: map[string]chain.Method{"*": {}}}, `chain: Methods: "*" is no name of a method: what holds for all stands in the parts themselves`},
		{chain.Config{Methods: map[string]chain.Method{"x": {Scopes: []string{"a"}}}}, `chain: Methods["x"]: Scopes and Allow need Auth.Authenticators`},
		{chain.Config{Breaker: chain.Breaker{Off: true, Breaker: &breaker.Breaker{}}}, "chain: Breaker: it is Off, and there is one"},
		{chain.Config{Validation: chain.Validation{BodyMax: -1}}, "chain: Validation.BodyMax: -1 is below 0"},
		{chain.Config{Validation: chain.Validation{Types: []any{struct {
			A int `binding:"min_of"`
		}{}}}}, "chain: Validation.Types[0] (struct { A int \"binding:\\\"min_of\\\"\" }): Undefined validation function 'min_of' on field 'A'"},
	} {
		_, err := chain.New(c.cfg)
		if err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	both := chain.Config{Access: chain.Access{Sample: 2}, Deadline: chain.Deadline{Max: -2}}
	if _, err := chain.New(both); err == nil || !strings.Contains(err.Error(), "Sample") || !strings.Contains(err.Error(), "Max") {
		t.Errorf("all of it at once: %v", err)
	}
}

func TestErrorsKnowTheirStatus(t *testing.T) {
	for _, err := range []error{
		&chain.Refusal{Status: 404, Code: codes.NotFound, Reason: "gone", Text: "It is gone.", RetryAfter: time.Second},
		&chain.ValidationError{Status: 400, Reason: chain.ReasonInvalid, Violations: []chain.Violation{{Field: "a", Rule: "min", Message: "must be 1 or more"}}},
	} {
		if st, ok := status.FromError(err); !ok || len(st.Details()) != 1 {
			t.Errorf("%v: %v", err, st)
		}
	}
}
