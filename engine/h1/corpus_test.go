package h1

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// corpusCase is a case of testdata/http1-cases.jsonl, as far as a codec can judge it.
type corpusCase struct {
	ID       string
	Raw      []any
	Expect   string
	House    string
	Why      string
	RFC      string
	Deny     bool
	DenySoft bool `json:"deny_soft"`
	Up       []any
	UpClose  bool `json:"up_close"`
	Fwd      forwarded
	HouseFwd forwarded `json:"house_fwd"`
	Methods  []string
	Order    []string
	MaxReqs  *int `json:"max_reqs"`
	MinReqs  *int `json:"min_reqs"`
	Tail     string
	Resp     struct {
		Status int
		Body   *string
		Cut    bool
	}
}

type forwarded struct {
	Method   string
	Target   string
	TargetIn []string `json:"target_in"`
	Host     string
	HostCI   string `json:"host_ci"`
	Body     *string
	BodyLen  *int `json:"body_len"`
	Present  map[string]any
	Absent   []string
}

// wholeGateway are the cases that a codec alone cannot judge, with what they need beside it.
var wholeGateway = map[string]string{
	"upgrade-001":      "switching protocols is the gateway's",
	"upgrade-003":      "a pipelined request to a route that answers",
	"upgrade-005":      "a pipelined request to a route that answers",
	"resp-garbage-011": "a reset is the socket's",
}

func TestCorpus(t *testing.T) {
	file, err := os.Open("testdata/http1-cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c corpusCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if c.House == "" {
			c.House = c.Expect
		}
		t.Run(c.ID, func(t *testing.T) {
			switch why := wholeGateway[c.ID]; {
			case why != "":
				t.Skip(why)
			case c.Deny:
				c.judgePath(t)
			case c.Up != nil && !strings.HasPrefix(c.ID, "expect") && !strings.HasPrefix(c.ID, "timing"):
				c.judgeResponse(t)
			default:
				c.judgeRequest(t)
			}
		})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// pieces spells out the segments; waits, which a codec does not have, only separate them.
func pieces(segments []any) []string {
	var list []string
	last := ""
	text := func(v any) string {
		var b []byte
		for _, r := range v.(string) {
			b = append(b, byte(r)) // latin-1
		}
		return string(b)
	}
	for _, s := range segments {
		switch s := s.(type) {
		case string:
			last += text(s)
		case map[string]any:
			switch {
			case s["rep"] != nil:
				last += strings.Repeat(text(s["rep"]), int(s["n"].(float64)))
			case s["drip"] != nil:
				list = append(append(list, last), strings.Split(text(s["drip"]), "")...)
				last = ""
			default:
				list, last = append(list, last), ""
			}
		}
	}
	return append(list, last)
}

// seen is what a recording upstream would have seen of one request.
type seen struct {
	h    message.Head
	body string
	done bool
}

func (c *corpusCase) judgeRequest(t *testing.T) {
	requests, refused := receive(t, pieces(c.Raw))
	verdict := "accept"
	if len(requests) == 0 || !requests[0].done {
		verdict = "reject"
	}
	told := fmt.Sprintf("%s (RFC %s): %q\ngot %s, %v", c.Why, c.RFC, fmt.Sprint(c.Raw...), verdict, refused)
	if len(told) > 600 {
		told = told[:600]
	}
	if c.House != "either" && verdict != c.House {
		t.Fatalf("want %s: %s", c.House, told)
	}
	if verdict == "reject" {
		return
	}
	complete := 0
	for _, r := range requests {
		if r.done {
			complete++
		}
	}
	if c.MaxReqs != nil && complete > *c.MaxReqs || c.MinReqs != nil && complete < *c.MinReqs {
		t.Errorf("%d requests: %s", complete, told)
	}
	if c.Tail == "reject" && refused == nil {
		t.Errorf("the tail is not refused: %s", told)
	}
	for i, want := range c.Order {
		if got := target(&requests[i].h); got != want {
			t.Errorf("request %d is for %s, want %s", i, got, want)
		}
	}
	c.Fwd.check(t, &requests[0])
	c.HouseFwd.check(t, &requests[0])
	c.checkForwardable(t, requests)
}

// judgePath wants the request refused, or its path such that a rule on /denied and below catches it. The soft cases that are
// neither need an upstream that strips parameters or decodes twice.
func (c *corpusCase) judgePath(t *testing.T) {
	requests, _ := receive(t, pieces(c.Raw))
	for i := range requests {
		path := string(requests[i].h.PathBytes())
		if path == "/denied" || strings.HasPrefix(path, "/denied/") {
			continue
		}
		if !c.DenySoft || path != "/denied;x" && path != "/%2564enied" {
			t.Errorf("%q passes a rule on /denied as %q", c.Raw, path)
		}
	}
}

// receive reads what a client sends, answering each request, and returns the requests.
func receive(t testing.TB, pieces []string) (requests []seen, refused error) {
	var (
		in, out buf.Chain
		c       Server
		p       = buf.NewPool(0)
		h       = new(message.Head)
		now     *seen
	)
	c.Init(standard)
	defer func() { in.Release(p) }()
	for _, piece := range pieces {
		in.AppendString(p, piece)
		for {
			e, err := c.Next(&in, p, h)
			if err != nil {
				return requests, err
			}
			if e.Kind == message.None {
				break
			}
			switch e.Kind {
			case message.GotHead:
				if err := message.NormalizePath(h, message.PathPolicy{}); err != nil {
					return requests, err
				}
				requests = append(requests, seen{})
				now = &requests[len(requests)-1]
				now.h = *h
				now.h.Fields = message.Fields{}
				h.Fields.CopyTo(&now.h.Fields)
			case message.GotData:
				now.body += string(in.Pull(p, e.N)[:e.N])
				in.Skip(p, e.N)
			}
			if !e.End {
				continue
			}
			now.done = true
			if err := c.AppendHead(&out, p, 0, response(200, 0), true); err != nil {
				t.Fatal(err)
			}
			out.Release(p)
			if !c.Finished() {
				return requests, nil
			}
		}
	}
	return requests, c.EOF(&in)
}

func (f *forwarded) check(t *testing.T, got *seen) {
	t.Helper()
	h := &got.h
	equal := func(what, got, want string) {
		if want != "" && got != want {
			t.Errorf("%s %q, want %q", what, got, want)
		}
	}
	equal("method", string(h.MethodBytes()), f.Method)
	equal("target", target(h), f.Target)
	equal("host", string(h.AuthorityBytes()), f.Host)
	equal("host", strings.ToLower(string(h.AuthorityBytes())), f.HostCI)
	if f.TargetIn != nil && !strings.Contains(" "+strings.Join(f.TargetIn, " ")+" ", " "+target(h)+" ") {
		t.Errorf("target %q, want one of %q", target(h), f.TargetIn)
	}
	if f.Body != nil && got.body != *f.Body || f.BodyLen != nil && len(got.body) != *f.BodyLen {
		t.Errorf("body %.100q", got.body)
	}
	for _, name := range f.Absent {
		if v, ok := h.Field([]byte(name)); ok {
			t.Errorf("%s: %s is forwarded", name, v)
		}
	}
	for name, want := range f.Present {
		if v, ok := h.Field([]byte(name)); want != true && (!ok || string(v) != want) {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
}

// checkForwardable holds whatever was accepted against the rules for every case: it goes out with one host and one length,
// in whole lines, without this hop's fields, and is read back as what it was.
func (c *corpusCase) checkForwardable(t *testing.T, requests []seen) {
	t.Helper()
	for i := range requests {
		if r := &requests[i]; r.done {
			checkForwarded(t, r)
		}
	}
}

func checkForwarded(t testing.TB, r *seen) {
	t.Helper()
	body := []string(nil)
	if r.h.Length != 0 {
		body = []string{r.body}
	}
	sent, err := write(t, &r.h, nil, body)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(sent, "\r\n\r\n")
	if rest := strings.ReplaceAll(head, "\r\n", ""); strings.ContainsAny(rest, "\r\n\x00") {
		t.Errorf("written: %q", head)
	}
	count := map[string]int{}
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, _, _ := strings.Cut(line, ":")
		count[strings.ToLower(name)]++
	}
	if count["host"] != 1 || count["content-length"]+count["transfer-encoding"] > 1 {
		t.Errorf("written: %q", head)
	}
	for _, name := range []string{"connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"} {
		want := 0
		if r.h.Upgrade.Len > 0 && (name == "connection" || name == "upgrade") {
			want = 1
		}
		if count[name] != want {
			t.Errorf("%s is forwarded %d times: %q", name, count[name], head)
		}
	}
	if r.h.Authority.Len == 0 {
		return // HTTP/1.0 without a host: what goes out is for an upstream that needs none, and for no Server
	}
	var (
		in   buf.Chain
		s    Server
		h    message.Head
		p    = buf.NewPool(0)
		back string
	)
	s.Init(NewLimits(Limits{HeadBytesMax: 100 << 10, TargetBytesMax: 100 << 10, FieldsMax: 102}))
	in.AppendString(p, sent)
	e, err := s.Next(&in, p, &h)
	if err != nil || e.Kind != message.GotHead {
		t.Fatalf("what was written is not read back: %v\n%q", err, sent)
	}
	if string(h.MethodBytes()) != string(r.h.MethodBytes()) || target(&h) != target(&r.h) ||
		string(h.AuthorityBytes()) != string(r.h.AuthorityBytes()) || kept(&h.Fields) != kept(&r.h.Fields) ||
		h.Length != r.h.Length || h.Upgrade.Len != r.h.Upgrade.Len {
		t.Errorf("read back as another: %q", sent)
	}
	for !e.End {
		if e, err = s.Next(&in, p, &h); err != nil || e.Kind == message.None {
			t.Fatalf("what was written is not read back: %v\n%q", err, sent)
		}
		back += string(in.Pull(p, e.N)[:e.N])
		in.Skip(p, e.N)
	}
	if back != r.body || in.Len() > 0 {
		t.Errorf("body read back: %q, want %q, and %d bytes are left over", back, r.body, in.Len())
	}
}

// judgeResponse lets a Client read what the upstream of the case sends. What matters is whether the response ends well.
func (c *corpusCase) judgeResponse(t *testing.T) {
	var (
		in, out buf.Chain
		cl      Client
		p       = buf.NewPool(0)
		h       = new(message.Head)
		body    string
		status  int
		end     bool
	)
	cl.Init(standard)
	method, _, _ := strings.Cut(c.Raw[0].(string), " ")
	if _, err := cl.AppendHead(&out, p, request(method, "exam.test", "/a"), true); err != nil {
		t.Fatal(err)
	}
	err := func() error {
		for _, piece := range pieces(c.Up) {
			in.AppendString(p, piece)
			for {
				e, err := cl.Next(&in, p, h)
				if err != nil {
					return err
				}
				if e.Kind == message.None {
					break
				}
				if e.Kind == message.GotHead {
					status = h.Status
				}
				body += string(in.Pull(p, e.N)[:e.N])
				in.Skip(p, e.N)
				if e.End {
					end = true
					return nil
				}
			}
		}
		if !c.UpClose {
			return nil
		}
		e, err := cl.EOF(&in)
		end = e.End
		return err
	}()
	verdict := "accept"
	if err != nil || !end {
		verdict = "reject"
	}
	if c.House != "either" && verdict != c.House {
		t.Fatalf("%s (RFC %s): %q\ngot %s, %v; want %s", c.Why, c.RFC, c.Up, verdict, err, c.House)
	}
	if verdict == "reject" {
		if cl.Reusable() {
			t.Error("the connection may be used again")
		}
		return
	}
	if c.Resp.Status != 0 && status != c.Resp.Status || c.Resp.Body != nil && body != *c.Resp.Body {
		t.Errorf("got %d %q, want %d %v", status, body, c.Resp.Status, *c.Resp.Body)
	}
	if in.Len() > 0 && cl.Reusable() {
		t.Error("the connection may be used again in spite of stray bytes")
	}
}
