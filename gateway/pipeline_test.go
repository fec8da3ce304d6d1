package gateway_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/policy/retry"
)

var seedFlag = flag.Uint64("seed", 0, "of the tests with random faults; 0 picks one and prints it")

func seedOf(t *testing.T) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with -seed %d", seed)
		}
	})
	return seed
}

// faultyOrigin answers each request with its path, and goes wrong at random.
type faultyOrigin struct {
	seed  uint64
	conns atomic.Uint64
	posts sync.Map // path to how often it was read whole, *atomic.Int64
}

// answerTo is the body that belongs to a path: long enough at times to travel in several pieces.
func answerTo(path string) string {
	return strings.Repeat(path+" ", 1+len(path)*int(path[len(path)-1])%200)
}

func (o *faultyOrigin) treat(c *net.TCPConn, br *bufio.Reader) {
	rnd := rand.New(rand.NewPCG(o.seed, o.conns.Add(1)))
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if req.Method == "POST" {
			n, _ := o.posts.LoadOrStore(req.URL.Path, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
		body := answerTo(req.URL.Path)
		whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if rnd.IntN(3) == 0 {
			half := len(body) / 2
			whole = fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\nT: t\r\n\r\n",
				half, body[:half], len(body)-half, body[half:])
			if half == 0 {
				whole = fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
			}
		}
		pause := func() { <-time.After(time.Duration(rnd.IntN(4000)) * time.Microsecond) }
		switch fault := rnd.IntN(100); {
		case fault < 10:
			pause()
			io.WriteString(c, whole)
		case fault < 20:
			at := rnd.IntN(len(whole))
			io.WriteString(c, whole[:at])
			pause()
			io.WriteString(c, whole[at:])
		case fault < 25: // the last answer
			io.WriteString(c, strings.Replace(whole, "\r\n", "\r\nConnection: close\r\n", 1))
			return
		case fault < 28: // its end says so without a word
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n\r\n%s", body)
			return
		case fault < 31:
			return // without an answer
		case fault < 34:
			c.SetLinger(0)
			return
		case fault < 36: // within the answer
			io.WriteString(c, whole[:rnd.IntN(len(whole))])
			return
		case fault < 38:
			io.WriteString(c, whole[:rnd.IntN(len(whole))])
			pause()
			c.SetLinger(0)
			return
		case fault < 40: // after the answer
			io.WriteString(c, whole)
			return
		case fault < 42:
			io.WriteString(c, "what?\r\n\r\n")
		case fault < 44:
			io.WriteString(c, whole+"and more\r\n")
		case fault < 46:
			io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+whole)
		case fault < 47: // never
			io.Copy(io.Discard, br)
			return
		default:
			io.WriteString(c, whole)
		}
	}
}

// Responses can never be mixed up: whatever the upstreams do, an answer that is complete is that of its request; a POST is
// carried out once at most; nothing hangs, and nothing is left over.
func TestResponsesAreNeverMixedUp(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	for _, pipeline := range []int{1, 4, 32} {
		for _, connsMax := range []int{0, 3} {
			t.Run(fmt.Sprintf("pipeline %d of %d", pipeline, connsMax), func(t *testing.T) {
				t.Parallel()
				origins := []*faultyOrigin{{seed: seed}, {seed: seed + 1}}
				s := usual(serve(t, origins[0].treat), serve(t, origins[1].treat))
				s.pool.Pipeline, s.pool.ConnsMax, s.pool.QueueMax = pipeline, connsMax, 1000
				s.routes[0].firstByte, s.routes[0].betweenBytes = 300*time.Millisecond, 300*time.Millisecond
				s.routes[0].retry = retry.Config{Attempts: 4, BackoffBase: time.Millisecond}
				r := start(t, s)
				var good, clean, cut, gone atomic.Int64
				var clients sync.WaitGroup
				for i := range 16 {
					clients.Go(func() {
						rnd := rand.New(rand.NewPCG(seed, uint64(1000+i)))
						client := http.Client{Transport: &http.Transport{}, Timeout: patience}
						defer client.CloseIdleConnections()
						for n := range 30 {
							path, method, body := fmt.Sprintf("/%d-%d", i, n), "GET", ""
							if rnd.IntN(8) == 0 {
								method, body = "POST", path
							}
							ctx, cancel := context.WithCancel(context.Background())
							if rnd.IntN(30) == 0 {
								time.AfterFunc(time.Duration(rnd.IntN(2000))*time.Microsecond, cancel)
							}
							req, _ := http.NewRequestWithContext(ctx, method, "http://"+r.addr+path, strings.NewReader(body))
							resp, err := client.Do(req)
							var got []byte
							if err == nil {
								got, err = io.ReadAll(resp.Body)
								resp.Body.Close()
							}
							switch {
							case ctx.Err() != nil:
								gone.Add(1)
							case err != nil && strings.Contains(err.Error(), "deadline"):
								t.Errorf("%s %s: %v", method, path, err)
							case err != nil:
								cut.Add(1)
							case resp.StatusCode == 200:
								good.Add(1)
								if string(got) != answerTo(path) {
									t.Errorf("%s %s was answered with %q", method, path, got)
								}
							case resp.StatusCode >= 500 && resp.Header.Get("X-Yumen-Reason") != "":
								clean.Add(1)
							default:
								t.Errorf("%s %s: %s %q", method, path, resp.Status, got)
							}
							cancel()
						}
					})
				}
				clients.Wait()
				t.Logf("%d answered, %d refused, %d cut, %d gone", good.Load(), clean.Load(), cut.Load(), gone.Load())
				if n := good.Load(); n < 16*30*3/4 {
					t.Errorf("only %d requests of %d had their answers", n, 16*30)
				}
				executed := map[string]int64{}
				for _, o := range origins {
					o.posts.Range(func(path, n any) bool {
						executed[path.(string)] += n.(*atomic.Int64).Load()
						return true
					})
				}
				for path, n := range executed {
					if n > 1 {
						t.Errorf("POST %s was carried out %d times", path, n)
					}
				}
				r.nothingHeld(t)
			})
		}
	}
}
