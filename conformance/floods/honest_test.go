//go:build linux

package floods

import (
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// honestBody is what the upstream answers to /.
const honestBody = "an answer of some twenty bytes\n"

// pace is the pause between two requests of the honest client: 500 a second tell the 99th percentile of a second apart
// from its maximum, and leave the machine idle.
const pace = 2 * time.Millisecond

// honest is a client that asks at a steady pace over one HTTP/2 connection.
type honest struct {
	url    string
	client *http.Client
}

// newHonest makes one; config is nil for h2c.
func newHonest(addr string, config *tls.Config) *honest {
	protocols := new(http.Protocols)
	h := &honest{url: "https://" + addr + "/"}
	if config == nil {
		h.url = "http://" + addr + "/"
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP2(true)
	}
	h.client = &http.Client{Transport: &http.Transport{Protocols: protocols, TLSClientConfig: config}, Timeout: patience / 2}
	return h
}

// experience is what the honest client lived through.
type experience struct {
	latencies []time.Duration
	failed    map[string]int
}

// ask goes on until it is told to stop.
func (h *honest) ask(over <-chan struct{}) experience {
	e := experience{failed: map[string]int{}}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return e
		case <-tick.C:
		}
		began := time.Now()
		if err := h.once(); err != nil {
			e.failed[err.Error()]++
			continue
		}
		e.latencies = append(e.latencies, time.Since(began))
	}
}

func (h *honest) once() error {
	resp, err := h.client.Get(h.url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the body: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d (%s)", resp.StatusCode, resp.Header.Get("X-Yumen-Reason"))
	case resp.ProtoMajor != 2 || string(body) != honestBody:
		return fmt.Errorf("%s with body %q", resp.Proto, body)
	}
	return nil
}

func (e *experience) p99() time.Duration {
	if len(e.latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(e.latencies))
	return sorted[len(sorted)*99/100]
}

func (e *experience) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d answered, p99 %v", len(e.latencies), e.p99().Round(time.Microsecond))
	for _, reason := range slices.Sorted(maps.Keys(e.failed)) {
		fmt.Fprintf(&b, "; %d x %s", e.failed[reason], reason)
	}
	return b.String()
}
