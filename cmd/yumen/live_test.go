package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// running is a gateway that `yumen run`, proxy or demo started in this process.
type running struct {
	listen, admin string
	exit          chan int
	log           chan string // all of it, once it has ended
	stop          context.CancelFunc
}

// serving finds the two addresses in the line that says what runs.
var serving = regexp.MustCompile(`yumen serves.*"listeners": \["\S+ (\S+)"\], "admin": "(\S+)"`)

// start runs a command line until it serves. The gateway is stopped with the test.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{exit: make(chan int, 1), log: make(chan string, 1), stop: cancel}
	lines, writer := io.Pipe()
	p := newProgram(strings.NewReader(""), io.Discard, writer, func(string) (string, bool) { return "", false })
	go func() {
		r.exit <- p.main(ctx, args)
		writer.Close()
	}()
	addresses := make(chan []string, 1)
	go func() {
		var all strings.Builder
		for scanner := bufio.NewScanner(lines); scanner.Scan(); {
			all.WriteString(scanner.Text() + "\n")
			if found := serving.FindStringSubmatch(scanner.Text()); found != nil {
				addresses <- found
			}
		}
		close(addresses)
		r.log <- all.String()
	}()
	found := <-addresses
	if found == nil {
		t.Fatalf("exit %d before it served:\n%s", <-r.exit, <-r.log)
	}
	r.listen, r.admin = found[1], found[2]
	return r
}

// end waits for the end of a gateway that was told to stop.
func (r *running) end(t *testing.T) {
	t.Helper()
	if exit := <-r.exit; exit != 0 {
		t.Errorf("exit %d:\n%s", exit, <-r.log)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // an idle connection would be waited for
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// expect runs a command line and wants it to end well, and to say something.
func expect(t *testing.T, says string, args ...string) {
	t.Helper()
	if o := yumen(t.Context(), "", args...); o.exit != 0 || !strings.Contains(o.out, says) {
		t.Errorf("yumen %s: exit %d, want %q in:\n%s%s", strings.Join(args, " "), o.exit, says, o.out, o.err)
	}
}

func TestADayOfAGateway(t *testing.T) {
	folder := t.TempDir()
	file, pid := filepath.Join(folder, "yumen.yaml"), filepath.Join(folder, "yumen.pid")
	write := func(word string) {
		t.Helper()
		text := "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nwatch: off\nclusters: {app: [127.0.0.1:1]}\nroutes:\n" +
			"  - {name: word, path: /word, respond: {body: " + word + "}}\n  - {path: /*, cluster: app}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	r := start(t, "run", "-c", file, "--pid-file", pid, "--state-dir", filepath.Join(folder, "state"))
	if _, err := os.Stat(pid); err != nil {
		t.Error(err)
	}
	word := func(want string) {
		t.Helper()
		if got := get(t, "http://"+r.listen+"/word"); got != want {
			t.Errorf("the gateway says %q, want %q", got, want)
		}
	}
	word("one")
	api := "--admin=" + r.admin

	expect(t, "ready", "status", api)
	expect(t, "cluster app: 1 of 1 endpoints healthy", "status", api)
	expect(t, "nothing changed", "reload", api)
	if o := yumen(t.Context(), "", "rollback", api); o.exit != 1 || !strings.Contains(o.err, "no earlier revision") {
		t.Errorf("a rollback with nothing to go back to: %+v", o)
	}
	write("two")
	expect(t, "revision 2 is in force", "reload", api)
	word("two")
	expect(t, "revision 3 is in force", "rollback", api)
	word("one")
	expect(t, "rollback to 1", "revisions", api)
	expect(t, "body: two", "revisions", "2", api)
	expect(t, "app", "explain", "GET", "http://"+r.listen+"/x", "-H", "A: b", api)
	expect(t, `"live"`, "explain", "--json", "http://"+r.listen+"/x", api)

	write("[")
	if o := yumen(t.Context(), "", "reload", api); o.exit != 1 || !strings.Contains(o.err, file+":6:") || !strings.Contains(o.err, "has errors") {
		t.Errorf("a broken document: %+v", o)
	}
	if o := yumen(t.Context(), "", "rollback", "77", api); o.exit != 1 || !strings.Contains(o.err, "no such revision") {
		t.Errorf("a revision that is not there: %+v", o)
	}
	word("one")

	expect(t, "drains", "drain", api)
	r.end(t)
	if _, err := os.Stat(pid); err == nil {
		t.Error("the pid file is left")
	}
}

func TestProxyServesWithoutAFile(t *testing.T) {
	r := start(t, "proxy", "127.0.0.1:0", "127.0.0.1:1", "127.0.0.1:2", "--admin", "127.0.0.1:0")
	expect(t, "cluster upstream: 2 of 2 endpoints healthy", "status", "--admin", r.admin)
	r.stop()
	r.end(t)
}

func TestDemoHidesWhatItsCherryDoes(t *testing.T) {
	r := start(t, "demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if got := get(t, "http://"+r.listen+"/hello"); got != "hello from the gateway itself\n" {
		t.Error(got)
	}
	expect(t, "route      user-next", "explain", "http://"+r.listen+"/users/7", "-H", "X-Env: next", "--admin", r.admin)
	for range 12 {
		if got := get(t, "http://"+r.listen+"/users/7"); !strings.HasPrefix(got, "GET /profiles/7, answered by ") {
			t.Error(got)
		}
	}
	r.stop()
	r.end(t)
}

func TestDemoSaysWhichFlagMovesIt(t *testing.T) {
	r := start(t, "proxy", "127.0.0.1:0", "127.0.0.1:1", "--admin", "127.0.0.1:0")
	o := yumen(t.Context(), "", "demo", "--listen", r.listen, "--admin", r.admin)
	for _, want := range []string{r.listen + " is taken", "--listen", r.admin + " is taken", "--admin"} {
		if o.exit != 1 || !strings.Contains(o.err, want) {
			t.Errorf("exit %d, want %q in %s", o.exit, want, o.err)
		}
	}
	r.stop()
	r.end(t)
}

func TestTheAdminAddressComesFromTheEnvironment(t *testing.T) {
	env := func(name string) (string, bool) { return "127.0.0.1:1", name == adminEnv }
	var out, err strings.Builder
	if exit := newProgram(strings.NewReader(""), &out, &err, env).main(t.Context(), []string{"status"}); exit != 1 || !strings.Contains(err.String(), "at 127.0.0.1:1:") {
		t.Errorf("exit %d: %s", exit, err.String())
	}
}

func TestASecondServerIsNotTakenForAnAdminAPI(t *testing.T) {
	r := start(t, "proxy", "127.0.0.1:0", "127.0.0.1:1", "--admin", "127.0.0.1:0")
	if o := yumen(t.Context(), "", "status", "--admin", r.listen); o.exit != 1 || !strings.Contains(o.err, "not how an admin API says no") {
		t.Errorf("%+v", o)
	}
	r.stop()
	r.end(t)
}
