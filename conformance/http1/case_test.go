//go:build linux

package http1

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// testCase is one line of the corpus. Text in it is latin-1: one rune is one byte.
type testCase struct {
	ID    string    `json:"id"`
	Class string    `json:"class"`
	Why   string    `json:"why"`
	RFC   string    `json:"rfc"`
	Level string    `json:"level"` // must, should
	Raw   []segment `json:"raw"`   // what the client sends

	Expect     string   `json:"expect"` // what the RFC allows: accept, reject, either
	House      string   `json:"house"`  // what we want; "" is as Expect
	Judge      string   `json:"judge"`  // resp: accept and reject are read off the response, whatever the class
	Statuses   []int    `json:"statuses"`
	Methods    []string `json:"methods"` // of the requests on the connection, to read the answers by
	RequestMax *int     `json:"max_reqs"`
	RequestMin *int     `json:"min_reqs"`
	Close      string   `json:"close"` // must: the connection serves nothing afterwards
	Tail       string   `json:"tail"`  // what may become of what follows the first request: any, reject
	Order      []string `json:"order"` // targets, in the order of the answers
	SmuggledOK bool     `json:"smug_ok"`
	CodingOK   bool     `json:"te_ok"` // another Transfer-Encoding than chunked may be forwarded
	Deny       bool     `json:"deny"`
	DenySoft   bool     `json:"deny_soft"`
	Tunnel     bool     `json:"tunnel"`
	H2         bool     `json:"h2"` // HTTP/2 frames are a proper answer

	Forwarded      *forwardRules `json:"fwd"`
	HouseForwarded *forwardRules `json:"house_fwd"`
	Response       *answerRules  `json:"resp"`

	Upstream      []segment `json:"up"` // instead of the usual 200, for every request of the case
	UpstreamWhen  string    `json:"up_when"`
	UpstreamClose bool      `json:"up_close"`

	// Notes for a reader of the corpus; what they say is judged by the fields above.
	Needs   string `json:"needs"`
	Note    string `json:"expect_note"`
	Poison  bool   `json:"poison"`
	Lenient *bool  `json:"lenient"`
}

// forwardRules are about the first request that reaches the upstream.
type forwardRules struct {
	Method       *string           `json:"method"`
	Target       *string           `json:"target"`
	TargetIn     []string          `json:"target_in"`
	TargetNot    []string          `json:"target_not"`
	VersionIn    []string          `json:"version_in"`
	Host         *string           `json:"host"`
	HostFold     *string           `json:"host_ci"` // case-insensitive
	HostIn       []string          `json:"host_in"`
	Body         *string           `json:"body"`
	BodyBytes    *int              `json:"body_len"`
	Present      map[string]any    `json:"present"` // name to value, or to true for any
	Absent       []string          `json:"absent"`
	ValueBytes   map[string]int    `json:"len"`
	NotOnly      map[string]string `json:"not_only"` // the field may not be this value alone
	Coding       []string          `json:"te"`
	TETrailers   bool              `json:"te_trailers_only"`
	NotInTarget  *string           `json:"no_char"`
	NotInHead    *string           `json:"no_char_head"`
	UpgradeNever *string           `json:"upgrade_not"`
}

// answerRules are about the first final answer the client sees; status 0 is a connection closed without one.
type answerRules struct {
	Status         *int              `json:"status"`
	StatusIn       []int             `json:"status_in"`
	StatusNot      []int             `json:"status_not"`
	Body           *string           `json:"body"`
	BodyOrError    *string           `json:"body_or_err"`
	Cut            bool              `json:"cut"`      // an error status, or visibly incomplete
	Valid          bool              `json:"valid"`    // well-formed, whatever it is
	CodingClean    bool              `json:"te_clean"` // no Transfer-Encoding but chunked
	Continued      bool              `json:"got_100"`
	Absent         []string          `json:"absent"`
	AbsentValue    map[string]string `json:"absent_val"`
	Count          map[string]int    `json:"count"`
	InterimBounded int               `json:"bounded_interim"` // fewer interim answers than this, or an error
}

// segment is one step of a script, for the client or the upstream. Exactly one of its parts is set.
type segment struct {
	Bytes []byte
	Drip  []byte  // byte by byte
	Gap   float64 // seconds between two bytes of Drip
	Sleep float64 // seconds
	Await string  // 100, final, up
	Fin   bool
	Reset bool
}

func (s *segment) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		s.Bytes = latin1(text)
		return nil
	}
	var step struct {
		Rep   string  `json:"rep"`
		N     int     `json:"n"`
		Sleep float64 `json:"sleep"`
		Drip  string  `json:"drip"`
		Gap   float64 `json:"gap"`
		Await string  `json:"await"`
		Fin   bool    `json:"fin"`
		Reset bool    `json:"rst"`
	}
	if err := strictJSON(data, &step); err != nil {
		return fmt.Errorf("reading a segment: %w", err)
	}
	*s = segment{
		Bytes: latin1(strings.Repeat(step.Rep, step.N)), Drip: latin1(step.Drip), Gap: step.Gap,
		Sleep: step.Sleep, Await: step.Await, Fin: step.Fin, Reset: step.Reset,
	}
	return nil
}

func latin1(text string) []byte {
	out := make([]byte, 0, len(text))
	for _, r := range text {
		out = append(out, byte(r))
	}
	return out
}

func strictJSON(data []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields() // a rule that is not understood must not pass unjudged
	return d.Decode(into)
}

func loadCases(t *testing.T) []*testCase {
	t.Helper()
	f, err := os.Open("testdata/http1-cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []*testCase
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		c := &testCase{}
		if err := strictJSON(lines.Bytes(), c); err != nil {
			t.Fatalf("case %d of the corpus: %v", len(cases)+1, err)
		}
		if c.House == "" {
			c.House = c.Expect
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return cases
}

// method is that of the i-th request on the connection.
func (c *testCase) method(i int) string {
	if i < len(c.Methods) {
		return c.Methods[i]
	}
	return "GET"
}

// answersWanted is how many final answers a well-meant run of the case has.
func (c *testCase) answersWanted() int { return max(1, len(c.Methods)) }

// byResponse says that the request is honest and the upstream is the attacker.
func (c *testCase) byResponse() bool { return c.Judge == "resp" || strings.HasPrefix(c.Class, "resp-") }
