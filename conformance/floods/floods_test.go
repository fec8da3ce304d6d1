//go:build linux

package floods

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
	"github.com/yumen-io/yumen/conformance/peer"
)

// What is asked of the gateway under attack.
const (
	// growthMax is how much memory an attack may cost: eight connections with a hundred streams each, at 256 kB for a
	// stream whose reader is away, would be three times as much if nothing bounded a connection.
	growthMax = 64 << 20
	// slowdownMax is how much longer the honest client may wait, at its 99th percentile.
	slowdownMax = 3
	// judgeLatencyFrom is the length of an attack, in seconds, from which on that is judged.
	judgeLatencyFrom = 10
)

// subject is what is attacked.
type subject struct {
	plain, secure string // addresses; "" if it has no such listener
	config        *tls.Config
	rss           func() (int64, error)
}

// TestFloods plays one attack after the other against one gateway, as an evening would bring them.
func TestFloods(t *testing.T) {
	upstream, distant := startChild(t, roleEnv+"="+roleUpstream).line(), startChild(t, roleEnv+"="+roleDistant).line()
	var s subject
	if *peerFlag == "" {
		s = startYumen(t, upstream, distant)
	} else {
		s = startHAProxy(t, upstream, distant)
	}
	duration := time.Duration(*seconds) * time.Second
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			victim := s.plain
			if a.overTLS {
				victim = s.secure
			}
			if victim == "" {
				gateway.Require(t, a.needs)
				t.Skip("the subject has no such listener")
			}
			s.endure(t, &a, victim, duration)
		})
	}
}

// undisturbed is the honest client alone for a while, and its 99th percentile.
func (s *subject) undisturbed(t *testing.T, overTLS bool, duration time.Duration) time.Duration {
	t.Helper()
	over := make(chan struct{})
	go func() {
		<-time.After(duration)
		close(over)
	}()
	calm := s.honest(overTLS).ask(over)
	if len(calm.failed) > 0 || len(calm.latencies) == 0 {
		t.Fatalf("requests fail without any attack: %s", calm.String())
	}
	return calm.p99()
}

func (s *subject) honest(overTLS bool) *honest {
	if overTLS {
		return newHonest(s.secure, s.config)
	}
	return newHonest(s.plain, nil)
}

// endure lets the attack rage beside the honest client, and judges.
func (s *subject) endure(t *testing.T, a *attack, victim string, duration time.Duration) {
	t.Helper()
	calm := s.undisturbed(t, a.overTLS, duration)
	client := s.honest(a.overTLS)
	defer client.client.CloseIdleConnections()
	if err := client.once(); err != nil {
		t.Fatalf("before the attack: %v", err)
	}
	rssBefore := s.memory(t)
	attacker := startChild(t, roleEnv+"="+roleAttacker, attackEnv+"="+a.name, victimEnv+"="+victim)

	over, watched := make(chan struct{}), make(chan experience, 1)
	go func() { watched <- client.ask(over) }()
	rssMax := rssBefore
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(duration); ; {
		select {
		case <-tick.C:
			rssMax = max(rssMax, s.memory(t))
			continue
		case <-end:
		}
		break
	}
	close(over)
	lived := <-watched
	var did harm
	said := attacker.end()
	if err := json.Unmarshal([]byte(said), &did); err != nil {
		t.Fatalf("the attacker said %q: %v", said, err)
	}
	t.Logf("%-20s %s; %d connections, %d of them closed by the victim, %d frames; memory +%.1f MB", a.name, lived.String(),
		did.Connections, did.Closed, did.Frames, float64(rssMax-rssBefore)/1e6)

	if did.Frames == 0 {
		t.Error("the attacker got nothing out: nothing was shown")
	}
	// A newcomer is served too, at once.
	gateway.Eventually(t, patience, "a new client is served", func() error {
		fresh := s.honest(a.overTLS)
		defer fresh.client.CloseIdleConnections()
		return fresh.once()
	})
	if *peerFlag != "" {
		return // a peer is looked at, not judged
	}
	if len(lived.failed) > 0 || len(lived.latencies) == 0 {
		t.Error("the honest client was not answered")
	}
	if grown := rssMax - rssBefore; grown > growthMax {
		t.Errorf("memory grew by %d MB, want at most %d", grown>>20, int64(growthMax)>>20)
	}
	if *seconds < judgeLatencyFrom {
		return
	}
	// What the machine itself did meanwhile is seen before and after: the worse of the two is what it gave.
	calm = max(calm, s.undisturbed(t, a.overTLS, duration))
	t.Logf("%-20s p99 %v: %.1f times", "undisturbed", calm.Round(time.Microsecond), float64(lived.p99())/float64(calm))
	if lived.p99() > slowdownMax*calm {
		t.Errorf("p99 %v, want at most %d times the undisturbed %v", lived.p99(), slowdownMax, calm)
	}
}

func (s *subject) memory(t *testing.T) int64 {
	t.Helper()
	n, err := s.rss()
	if err != nil {
		t.Fatalf("the victim's memory: %v", err)
	}
	return n
}

func startYumen(t *testing.T, upstream, distant string) subject {
	gateway.Require(t, gateway.H2CListener)
	s := subject{plain: gateway.FreeAddr(t)}
	listeners := fmt.Sprintf("  - {name: plain, address: %q, protocols: [h2c, http1]}\n", s.plain)
	if gateway.Speaks(t, gateway.TLSListener) {
		id := gateway.NewIdentity(t)
		s.secure, s.config = gateway.FreeAddr(t), id.ClientConfig()
		listeners += fmt.Sprintf("  - {name: secure, address: %q, tls: {certificates: [{cert: %q, key: %q}]}}\n", s.secure, id.CertFile, id.KeyFile)
	}
	p := gateway.Start(t, fmt.Sprintf("listeners:\n%sclusters: {app: {endpoints: [%q], eject: off}, distant: {endpoints: [%q], eject: off}}\n"+
		"routes: [{path: /*, cluster: app}, {path: /large, cluster: distant}]\n", listeners, upstream, distant), gateway.Options{})
	s.rss = p.RSS
	return s
}

func startHAProxy(t *testing.T, upstream, distant string) subject {
	id := gateway.NewIdentity(t)
	s := subject{plain: gateway.FreeAddr(t), secure: gateway.FreeAddr(t), config: id.ClientConfig()}
	pid := peer.HAProxy(t, fmt.Sprintf("frontend f\n  bind %s proto h2\n  bind %s ssl crt %s alpn h2\n  use_backend d if { path /large }\n  default_backend b\n"+
		"backend b\n  server s %s\nbackend d\n  server s %s", s.plain, s.secure, id.PairFile, upstream, distant), s.plain, s.secure)
	s.rss = func() (int64, error) { return gateway.ResidentBytes(pid) }
	return s
}
