//go:build linux

package http1

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// worker plays one case at a time through its own listener of the gateway to its own upstream, so that what the upstream
// records belongs to that case.
type worker struct {
	gateway  string
	upstream *recorder
	served   int // honest requests so far, for a name each
}

func (w *worker) run(c *testCase) *verdict {
	w.upstream.begin(c)
	o := &outcome{}
	p, err := dialPlayer(w.gateway)
	if err != nil {
		o.client = &dialogue{}
		o.honest = []string{fmt.Sprintf("the gateway is gone: %v", err)}
		return judge(c, o)
	}
	p.send(c, w.upstream)
	p.listen(c)
	if c.Tunnel {
		o.tunnelled = w.tunnel(c, p)
	}
	o.client = p.look(c)
	if c.Close == "must" && !o.client.eof {
		o.afterward = w.after(c, p)
	}
	p.close()
	w.upstream.settle()
	o.honest = w.honest()
	o.requests, o.raw = w.upstream.finish()
	return judge(c, o)
}

// tunnel sends bytes after a 101 and waits for the upstream to send them back.
func (w *worker) tunnel(c *testCase, p *player) bool {
	const ping = "through the gate"
	if _, err := p.c.Write([]byte(ping)); err != nil {
		return false
	}
	return p.until(c, awaitWithin, func(d *dialogue) bool { return string(d.tunnel) == ping })
}

// after sends one more request on a connection that had to close, and says what came of it.
func (w *worker) after(c *testCase, p *player) string {
	before, reached := len(p.look(c).final), w.upstream.reached()
	if _, err := p.c.Write([]byte("GET /after HTTP/1.1\r\nHost: exam.test\r\n\r\n")); err != nil {
		return ""
	}
	p.until(c, 2*furtherWithin, func(d *dialogue) bool { return d.whole() > before || d.eof })
	if d := p.look(c); len(d.final) > before && d.final[before].status < 400 {
		return fmt.Sprintf("a further request was answered with %d", d.final[before].status)
	}
	if w.upstream.reached() > reached {
		return "a further request reached the upstream"
	}
	return ""
}

// honest sends two requests, one after the other, and says what is wrong with their answers. They may land on a
// connection to the upstream that the case has left in a bad state, which is the point.
func (w *worker) honest() []string {
	for range 2 {
		w.served++
		target := honestPrefix + strconv.Itoa(w.served)
		if wrong := w.honestOne(target); wrong != "" {
			return []string{"an honest request afterwards: " + wrong}
		}
	}
	return nil
}

func (w *worker) honestOne(target string) string {
	p, err := dialPlayer(w.gateway)
	if err != nil {
		return err.Error()
	}
	defer p.close()
	raw := "GET " + target + " HTTP/1.1\r\nHost: exam.test\r\n\r\n"
	script := &testCase{Raw: []segment{{Bytes: []byte(raw)}}}
	p.send(script, w.upstream)
	p.until(script, 5*time.Second, func(d *dialogue) bool { return d.whole() > 0 || d.eof })
	a := p.look(script).first()
	got := strings.Join(a.fields.all("X-Target"), ", ")
	if a.status != 200 || !slices.Equal(a.faults, nil) || got != strconv.Quote(target) {
		return fmt.Sprintf("%s got status %d, the answer to %s, %.40q", target, a.status, got, a.body)
	}
	return ""
}
