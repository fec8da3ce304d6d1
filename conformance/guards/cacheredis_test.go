//go:build linux

package guards

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// sharedHost is what clients call all of the gateways: the URL is the key.
const sharedHost = "shared.test"

// sharing is a gateway with a cache that it shares. Its clients call it sharedHost, wherever it listens.
type sharing struct {
	*kept
	listens string
}

// startCaches starts gateways that share a cache through Redis.
func startCaches(t *testing.T, n int, r *redis, settings string, o *origin) []sharing {
	t.Helper()
	list := make([]sharing, n)
	for i := range list {
		addr := gateway.FreeAddr(t)
		p := gateway.Start(t, cacheDocument(addr, fmt.Sprintf("{redis: {address: %q, %s}}", r.addr, settings), o), gateway.Options{})
		tr := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}}
		t.Cleanup(tr.CloseIdleConnections)
		list[i] = sharing{&kept{t, sharedHost, p, &http.Client{Transport: tr, Timeout: patience}}, addr}
		list[i].number("redis_reachable", func(v float64) bool { return v == 1 })
	}
	return list
}

// number waits until a number of the cache is as wanted.
func (k *kept) number(name string, ok func(v float64) bool) {
	k.t.Helper()
	gateway.Eventually(k.t, patience, name+" is as wanted", func() error {
		v, err := k.p.Metric("yumen_guard_number", fmt.Sprintf("number=%q", name))
		if err == nil && !ok(v) {
			err = fmt.Errorf("%s is %v", name, v)
		}
		return err
	})
}

func atLeast(n float64) func(v float64) bool { return func(v float64) bool { return v >= n } }

// says sends commands to Redis as people type them, and returns what it answers to the last, a line for each part.
func (r *redis) says(commands ...string) (lines []string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for _, c := range commands {
		fmt.Fprintf(conn, "%s\r\n", c)
		if lines, err = reply(in); err != nil {
			r.t.Fatal(c, ": ", err)
		}
	}
	return lines
}

// reply reads an answer of Redis that has no lists in lists.
func reply(in *bufio.Reader) (lines []string, err error) {
	line, err := in.ReadString('\n')
	line = strings.TrimSuffix(line, "\r\n")
	var n int
	switch {
	case err != nil:
		return nil, err
	case strings.HasPrefix(line, "*"):
		fmt.Sscan(line[1:], &n)
		for range n {
			part, err := reply(in)
			if err != nil {
				return nil, err
			}
			lines = append(lines, part...)
		}
		return lines, nil
	case strings.HasPrefix(line, "$"):
		fmt.Sscan(line[1:], &n)
		if n < 0 {
			return []string{""}, nil
		}
		text := make([]byte, n+2)
		for at := 0; at < len(text); {
			m, err := in.Read(text[at:])
			if err != nil {
				return nil, err
			}
			at += m
		}
		return []string{string(text[:n])}, nil
	}
	return []string{line}, nil
}

// What one gateway has asked for the others need not: it is the same answer, as old as it is.
func TestGatewaysShareACache(t *testing.T) {
	r := startRedis(t)
	o := startOrigin(t, `Cache-Control: max-age=600; ETag: "v"; Vary: Accept-Language; Surrogate-Key: item-7; X-Own: 1`)
	k := startCaches(t, 2, r, "wait: 1s, timeout: 1s", o)
	k[0].asks("GET /a", "Accept-Language: en", "200 answer 1 | "+stored)
	k[0].asks("GET /a", "Accept-Language: de", "200 answer 2 | fwd=vary-miss; stored")
	k[0].number("redis_stored", atLeast(2))
	k[1].asks("GET /a", "Accept-Language: en", "200 answer 1 | hit; ttl=TTL")
	k[1].asks("GET /a", "Accept-Language: de", "200 answer 2 | hit; ttl=TTL")
	k[1].asks("GET /a", `Accept-Language: de; If-None-Match: "v"`, "304 | hit; ttl=TTL")
	k[1].asks("GET /b", "Cache-Control: only-if-cached", "504 Nothing is kept for this request, and it asks for nothing else. | detail=not_cached")
	o.say("Cache-Control: private")
	k[1].asks("GET /p", "", "200 answer 3 | fwd=uri-miss; detail=private")
	if o.asked.Load() != 3 {
		t.Errorf("the origin was asked %d times", o.asked.Load())
	}
	_, text, err := k[1].p.AdminGet("/api/caches")
	if err != nil || !strings.Contains(string(text), `"reachable": true`) {
		t.Errorf("%s, %v", text, err)
	}
	// A gateway that begins with an empty memory finds what is there, by HEAD and in parts too.
	late := startCaches(t, 1, r, "wait: 1s, timeout: 1s", o)[0]
	late.asks("HEAD /a", "Accept-Language: en", "200 | hit; ttl=TTL")
	late.asks("GET /a", "Accept-Language: de; Range: bytes=0-2", "206 ans | hit; ttl=TTL")
	late.number("redis_hits", func(v float64) bool { return v == 2 })
}

// A purge on one gateway is one on the other, and so is a change that went through one.
func TestPurgesOfSharedCaches(t *testing.T) {
	r := startRedis(t)
	o := startOrigin(t, "Cache-Control: max-age=600; Surrogate-Key: item")
	k := startCaches(t, 2, r, "wait: 1s", o)
	for i, purge := range []func(){
		func() { k[1].purge("url=" + url.QueryEscape("http://"+sharedHost+"/a")) },
		func() { k[1].purge("prefix=" + url.QueryEscape("http://"+sharedHost+"/")) },
		func() { k[1].purge("tag=item") },
		func() { k[1].purge("all=true") },
		func() {
			k[1].asks("POST /a", "", fmt.Sprintf("200 answer %d | fwd=method", o.asked.Load()+1))
		},
	} {
		for _, g := range k {
			ask(t, g.client, g.addr, "GET /a", "", nil)
			g.asks("GET /a", "", fmt.Sprintf("200 answer %d | hit; ttl=TTL", o.asked.Load()))
		}
		heard, err := k[0].p.Metric("yumen_guard_number", `number="redis_heard"`)
		if err != nil {
			t.Fatal(err)
		}
		purge()
		k[0].number("redis_heard", atLeast(heard+1))
		k[0].number("responses", func(v float64) bool { return v == 0 })
		before := o.asked.Load()
		k[0].asks("GET /a", "", fmt.Sprintf("200 answer %d | %s", before+1, stored))
		if i == 0 { // and the other one has it from there, or asks by itself if it was not in Redis yet
			k[0].asks("GET /a", "", fmt.Sprintf("200 answer %d | hit; ttl=TTL", before+1))
		}
		k[0].purge("all=true")
		k[1].number("responses", func(v float64) bool { return v == 0 })
	}
}

// Redis is killed, frozen and started again under load: no request fails, none waits for long, and it is used again by itself.
func TestSharedCacheWhileRedisFails(t *testing.T) {
	r := startRedis(t)
	o := startOrigin(t, "Cache-Control: max-age=600")
	k := startCaches(t, 2, r, "wait: 50ms", o)
	var loads []*gateway.Running
	for _, g := range k {
		loads = append(loads, gateway.Load{Addr: g.listens, Clients: 8, Request: func(client, n int) string {
			return fmt.Sprintf("GET /%d/%d HTTP/1.1\r\nHost: exam.test\r\n\r\n", client%4, n)
		}}.Start(0))
	}
	goOn := func() {
		t.Helper()
		for _, l := range loads {
			from := l.Done()
			await(t, "the load goes on", func() bool { return l.Done() >= from+200 })
		}
	}
	reachable := func(want float64) {
		t.Helper()
		for _, g := range k {
			g.number("redis_reachable", func(v float64) bool { return v == want })
		}
	}
	goOn()
	for range 2 {
		r.kill()
		reachable(0)
		goOn()
		r.start()
		reachable(1)
		goOn()
		r.freeze()
		reachable(0)
		goOn()
		r.thaw()
		reachable(1)
		goOn()
	}
	for _, l := range loads {
		if tally := l.Stop(); tally.Failures() > 0 {
			t.Error(tally)
		}
	}
	k[0].asks("GET /after", "", fmt.Sprintf("200 answer %d | %s", o.asked.Load()+1, stored))
	stored, err := k[0].p.Metric("yumen_guard_number", `number="redis_stored"`)
	if err != nil || stored == 0 {
		t.Errorf("%v stored, %v", stored, err)
	}
}

// A purge while Redis is gone reaches the other gateways when it is back.
func TestPurgesWhileRedisIsGone(t *testing.T) {
	r := startRedis(t)
	o := startOrigin(t, "Cache-Control: max-age=600")
	k := startCaches(t, 2, r, "wait: 1s, timeout: 1s", o)
	k[0].asks("GET /a", "", "200 answer 1 | "+stored)
	k[0].number("redis_stored", atLeast(1))
	k[1].asks("GET /a", "", "200 answer 1 | hit; ttl=TTL")
	r.freeze()
	k[1].number("redis_reachable", func(v float64) bool { return v == 0 })
	if n := k[1].purge("all=true"); n != 1 {
		t.Errorf("%d purged", n)
	}
	k[0].asks("GET /a", "", "200 answer 1 | hit; ttl=TTL") // it cannot know
	r.thaw()
	k[0].number("redis_heard", atLeast(1))
	k[0].number("responses", func(v float64) bool { return v == 0 })
	k[0].asks("GET /a", "", "200 answer 2 | "+stored)
}

// Whatever is found in Redis that is not what a gateway wrote is nothing, and goes.
func TestGarbageInASharedCache(t *testing.T) {
	r := startRedis(t)
	o := startOrigin(t, "Cache-Control: max-age=600")
	k := startCaches(t, 2, r, "wait: 1s, timeout: 1s", o)
	k[0].asks("GET /a", "", "200 answer 1 | "+stored)
	k[0].number("redis_stored", atLeast(1))
	var key string
	for _, line := range r.says("KEYS yumen:cache:pages:*") {
		key = line
	}
	var field string
	for _, line := range r.says("HKEYS " + key) {
		if len(line) > 1 {
			field = line
		}
	}
	for i, spoil := range [][]string{
		{"SET " + key + " garbage"},
		{"DEL " + key, "LPUSH " + key + " garbage"},
		{"DEL " + key, "HSET " + key + " v garbage"},
		{"DEL " + key, "HSET " + key + ` v "" ` + field + " garbage"},
		{"DEL " + key, "HSET " + key + ` v "" ` + field + " " + strings.Repeat("9", 100)},
	} {
		r.says(spoil...)
		k[1].asks(fmt.Sprintf("GET /a?%d", i), "", fmt.Sprintf("200 answer %d | %s", o.asked.Load()+1, stored))
		resp := ask(t, k[1].client, k[1].addr, "GET /a", "Cache-Control: only-if-cached", nil)
		if resp.StatusCode != 504 {
			t.Errorf("%q is answered with: %s", spoil, resp.Status)
		}
	}
	k[1].number("redis_garbage", atLeast(4))
	k[1].number("redis_reachable", func(v float64) bool { return v == 1 })
}

// A document that changes everything else, or takes Redis away and gives it back, keeps what is in memory.
func TestSharedCacheKeepsItsMemory(t *testing.T) {
	r := startRedis(t)
	o := startOrigin(t, "Cache-Control: max-age=600")
	k := startCache(t, "on", o)
	k.asks("GET /a", "", "200 answer 1 | "+stored)
	for i, settings := range []string{fmt.Sprintf("{redis: %q}", r.addr), fmt.Sprintf("{redis: {address: %q, wait: 20ms}}", r.addr), "{max_size: 8MiB}"} {
		k.p.WriteConfig(cacheDocument(k.addr, settings, o) + fmt.Sprintf("defaults: {timeouts: {request: %ds}}\n", 30+i))
		gateway.Eventually(t, patience, "the change is in force", func() error {
			_, text, err := k.p.AdminGet("/api/config")
			if err == nil && !strings.Contains(string(text), fmt.Sprintf("request: %ds", 30+i)) {
				err = errors.New("not yet")
			}
			return err
		})
		k.asks("GET /a", "", "200 answer 1 | hit; ttl=TTL")
	}
}
