package chain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/yumen-io/yumen/kit/app/chain"
)

type item struct {
	SKU string `json:"sku" binding:"required"`
	Qty int8   `json:"qty" binding:"min=1,max=99"`
}

type page struct {
	Size int      `form:"size,default=20" binding:"max=100"`
	Sort []string `form:"sort"`
}

type order struct {
	page
	ID     uint64         `uri:"id" binding:"required"`
	Tenant string         `header:"x-tenant"`
	Email  string         `json:"email" binding:"required,email"`
	Items  []item         `json:"items" binding:"dive"`
	Note   *string        `json:"note" form:"note"`
	Since  time.Time      `form:"since"`
	Wait   *time.Duration `form:"wait"`
	Ratio  float32        `form:"ratio"`
	Dry    bool           `form:"dry"`
	hidden int
}

const good = `{"email":"a@b.example","items":[{"sku":"x","qty":2}]}`

// bound sends a request to a server that binds it, and returns what became of it.
func bound[T any](t testing.TB, cfg chain.Config, target, kind, body string, show func(T) string) (int, string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		in, err := chain.Bind[T](r)
		if err != nil {
			chain.Refuse(w, r, err)
			return
		}
		io.WriteString(w, show(in))
	})
	c := must(t, cfg)
	r := httptest.NewRequest("POST", target, strings.NewReader(body))
	r.Header.Set("X-Tenant", "t")
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	c.Handler(mux).ServeHTTP(w, r)
	if w.Code == 200 {
		return 200, w.Body.String()
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("%s: %s", got, w.Body)
	}
	var problem struct {
		Type   string
		Title  string
		Status int
		Reason string
		Errors []chain.Violation
	}
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Status != w.Code || problem.Type != "about:blank" || problem.Title == "" {
		t.Errorf("%v: %s", err, w.Body)
	}
	out := problem.Reason
	for _, v := range problem.Errors {
		out += fmt.Sprintf("; %s %s: %s", v.Field, v.Rule, v.Message)
	}
	if c.Stats().Invalid != 1 {
		t.Error("it is not counted")
	}
	return w.Code, out
}

func TestRequestsAreRead(t *testing.T) {
	const js, form = "application/json", "application/x-www-form-urlencoded"
	for _, c := range []struct{ target, kind, body, want string }{
		{"/orders/7", js, good, "200 7 t 20 [] [{x 2}] nil"},
		{"/orders/7", "application/vnd.shop+json; charset=utf-8", good, "200 7 t 20 [] [{x 2}] nil"},
		{"/orders/7?size=5&sort=a&sort=b&since=2026-01-02T03:04:05Z&wait=1m&ratio=0.5&dry=true&note=n", js, good, "200 7 t 5 [a b] [{x 2}] n 2026 1m0s 0.5 true"},
		{"/orders/7", js, `{"email":"a@b.example","ID":9,"Tenant":"evil","Size":77}`, "200 7 t 20 [] [] nil"}, // not where these come from
		{"/orders/7?note=query", form, "note=body&size=3", "400 invalid_request; email required: is required"},
		{"/orders/7", "", good, "415 unsupported_content;  content_type: must be application/json or application/x-www-form-urlencoded"},
		{"/orders/7", "text/plain", good, "415 unsupported_content;  content_type: must be application/json or application/x-www-form-urlencoded"},
		{"/orders/7", js, "", "400 invalid_request; email required: is required"},
		{"/orders/x?size=many&dry=perhaps", js, good, "400 invalid_request; size type: must be an integer of 64 bits; id type: must be an integer of 64 bits; dry type: must be true or false"},
		{"/orders/7?size=101", js, good, "400 invalid_request; size max: must be 100 or fewer"},
		{"/orders/7", js, `{"email":"nobody","items":[{"sku":"x","qty":1},{"qty":100}]}`,
			"400 invalid_request; email email: must be an e-mail address; items[1].sku required: is required; items[1].qty max: must be 99 or fewer"},
		{"/orders/7", js, `{"email":1}`, "400 invalid_request; email type: must be a text, and is a number"},
		{"/orders/7", js, `{"items":[{"qty":300}]}`, "400 invalid_request; items.qty type: must be an integer of 8 bits, and is a number 300"},
		{"/orders/7", js, `{"emial":"x"}`, "400 invalid_request; emial unknown_field: is not known here"},
		{"/orders/7", js, good + `{}`, "400 invalid_request;  syntax: goes on after its end"},
		{"/orders/7", js, `{"email":`, "400 invalid_request;  syntax: ends too soon"},
		{"/orders/7", js, `{"email";`, "400 invalid_request;  syntax: is no JSON at byte 9: invalid character ';' after object key"},
		{"/orders/7", form, "a=%zz", `400 invalid_request;  syntax: is no form: invalid URL escape "%zz"`},
		{"/orders/7", js, `{"email":"` + strings.Repeat("a", 1000) + `"}`, "413 body_too_large;  max_bytes: must have 1000 bytes or fewer"},
	} {
		status, got := bound(t, chain.Config{Validation: chain.Validation{BodyMax: 1000}}, c.target, c.kind, c.body, func(o order) string {
			note, more := "nil", ""
			if o.Note != nil {
				note = *o.Note
			}
			if o.Wait != nil {
				more = fmt.Sprint(" ", o.Since.Year(), " ", *o.Wait, " ", o.Ratio, " ", o.Dry)
			}
			return fmt.Sprint(o.ID, " ", o.Tenant, " ", o.Size, " ", o.Sort, " ", o.Items, " ", note, more)
		})
		if got := fmt.Sprint(status, " ", got); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.target, c.body, got, c.want)
		}
	}
	_ = order{}.hidden
}

func TestUnknownFieldsByChoice(t *testing.T) {
	cfg := chain.Config{Validation: chain.Validation{UnknownFields: true}}
	if status, got := bound(t, cfg, "/orders/7", "application/json", `{"sku":"x","qty":1,"more":2}`, func(i item) string { return i.SKU }); status != 200 {
		t.Error(got)
	}
}

func TestListsAndPointers(t *testing.T) {
	if status, got := bound(t, chain.Config{}, "/orders/7", "application/json", `[{"sku":"a","qty":1},{"sku":"b"}]`, func(i []item) string { return fmt.Sprint(i) }); status != 400 ||
		got != "invalid_request; [1].qty min: must be 1 or more" {
		t.Error(status, got)
	}
	if status, got := bound(t, chain.Config{}, "/orders/7", "application/json", `{"sku":"a","qty":1}`, func(i *item) string { return i.SKU }); status != 200 || got != "a" {
		t.Error(status, got)
	}
	many := "[" + strings.Repeat(`{},`, 499) + "{}]"
	if status, got := bound(t, chain.Config{}, "/orders/7", "application/json", many, func(i []item) string { return "" }); status != 400 || strings.Count(got, ";") > 101 {
		t.Error(status, strings.Count(got, ";"))
	}
}

func TestSentencesOfTheService(t *testing.T) {
	cfg := chain.Config{Validation: chain.Validation{Message: func(v chain.Violation) string {
		if v.Rule == "required" {
			return "必填"
		}
		return ""
	}}}
	if _, got := bound(t, cfg, "/orders/7", "application/json", `{"qty":0}`, func(i item) string { return i.SKU }); got != "invalid_request; sku required: 必填; qty min: must be 1 or more" {
		t.Error(got)
	}
}

func TestBindOutsideOfAChain(t *testing.T) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(`{"sku":"a"}`))
	r.Header.Set("Content-Type", "application/json")
	_, err := chain.Bind[item](r)
	if e := (*chain.ValidationError)(nil); !errors.As(err, &e) || len(e.Violations) != 1 {
		t.Error(err)
	}
	w := httptest.NewRecorder()
	chain.Refuse(w, r, err)
	if w.Code != 400 {
		t.Error(w.Code)
	}
}

// broken is a body whose client goes away.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestABodyThatEndsTooSoonIsNoViolation(t *testing.T) {
	r := httptest.NewRequest("POST", "/", broken{})
	r.Header.Set("Content-Type", "application/json")
	if _, err := chain.Bind[item](r); !errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(*chain.ValidationError)) {
		t.Error(err)
	}
}

func TestTypesThatCannotBeBound(t *testing.T) {
	type odd struct {
		C chan int `form:"c"`
	}
	_, err := chain.New(chain.Config{Validation: chain.Validation{Types: []any{odd{}, 7, item{}, &order{}, wrapperspb.String("")}}})
	if err == nil || !strings.Contains(err.Error(), "field C: a chan int cannot come from a form") || !strings.Contains(err.Error(), "Types[1] (int)") ||
		strings.Contains(err.Error(), "Types[2]") || strings.Contains(err.Error(), "Types[3]") || strings.Contains(err.Error(), "Types[4]") {
		t.Error(err)
	}
}

func FuzzBind(f *testing.F) {
	f.Add("application/json", good, "size=1&since=x")
	f.Add("application/json", `{"items":[{}]}`, "wait=1")
	f.Add("application/x-www-form-urlencoded", "note=a&size=%zz", "")
	f.Fuzz(func(t *testing.T, kind, body, query string) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader([]byte(body)))
		r.URL.RawQuery = query
		r.Header["Content-Type"] = []string{kind}
		r.SetPathValue("id", "7")
		in, err := chain.Bind[order](r)
		if err != nil {
			if e := (*chain.ValidationError)(nil); !errors.As(err, &e) || e.Status < 400 || len(e.Violations) == 0 {
				t.Errorf("%v", err)
			}
			return
		}
		if in.ID != 7 || in.Email == "" || in.Tenant != "" {
			t.Errorf("%+v", in)
		}
	})
}
