package demo

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/config"
)

func TestDocumentHasTheAddressesAskedFor(t *testing.T) {
	for _, c := range []struct{ listen, admin string }{
		{ListenAddress, AdminAddress},
		{":80", ":81"},
		{"[::1]:8080", "[::1]:9901"},
	} {
		doc, problems := config.Parse("demo", Document(c.listen, c.admin, [3]string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"}), nil)
		if doc == nil {
			t.Fatalf("%v: %v", c, problems)
		}
		if got := doc.Listeners[0].Address.String(); got != c.listen {
			t.Errorf("listens at %s, want %s", got, c.listen)
		}
		if got := doc.Admin.Address.String(); got != c.admin {
			t.Errorf("admin at %s, want %s", got, c.admin)
		}
		for _, cluster := range doc.Clusters {
			for _, e := range cluster.Endpoints {
				if e.Address.Port > 3 {
					t.Errorf("cluster %s still has %s", cluster.Name, e.Address)
				}
			}
		}
	}
}

func TestDocumentAsItStandsHasNoProblem(t *testing.T) {
	if _, problems, err := config.Load("demo.yaml", nil); err != nil || len(problems) > 0 {
		t.Errorf("problems %v, error %v", problems, err)
	}
}

func TestHints(t *testing.T) {
	const golden = "testdata/hints.txt"
	got := Hints(ListenAddress, AdminAddress, "") + "\n----\n" + Hints(":80", "[::1]:9902", " --admin [::1]:9902")
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestOriginsTakeAnotherPortWhereOneIsTaken(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	address := strings.TrimPrefix(taken.URL, "http://")
	origins, err := StartOrigins([3]string{address, "127.0.0.1:0", "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range origins {
		if o.Address == address {
			t.Error("apple listens where another server does")
		}
		if err := o.Close(); err != nil {
			t.Errorf("%s: %v", o.Name, err)
		}
	}
}

// What ten requests in a row meet, by number.
func TestCherryFailsNowAndThen(t *testing.T) {
	o := &Origin{Name: "cherry", ills: ills{failing: true}, began: time.Now()}
	server := httptest.NewServer(o)
	defer server.Close()
	var got []string
	for range 10 {
		resp, err := http.Get(server.URL + "/x?y=1")
		if err != nil {
			// net/http asks again by itself on a connection that was kept, which one more request shows.
			got = append(got, "cut")
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK && !strings.HasPrefix(string(body), "GET /x?y=1, answered by cherry\n") {
			t.Errorf("body %q", body)
		}
		got = append(got, resp.Status[:3])
	}
	if text := strings.Join(got, " "); !strings.Contains(text, "500") || !strings.Contains(text, "200") {
		t.Errorf("%s: neither well nor unwell", text)
	}
}

func TestSickAt(t *testing.T) {
	o := &Origin{ills: ills{cycle: 40 * time.Second, sick: 10 * time.Second}}
	for _, c := range []struct {
		age  time.Duration
		want bool
	}{
		{0, false},
		{29 * time.Second, false},
		{30 * time.Second, true},
		{39 * time.Second, true},
		{40 * time.Second, false},
		{75 * time.Second, true},
	} {
		if got := o.sickAt(c.age); got != c.want {
			t.Errorf("sickAt(%v) = %v, want %v", c.age, got, c.want)
		}
	}
	if (&Origin{}).sickAt(time.Hour) {
		t.Error("apple is never sick")
	}
}
