//go:build unix

package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestKilledFrozenAndStartedAgain(t *testing.T) {
	s := Start(t)
	if !s.Own() {
		t.Skip("the brokers of KAFKA_BROKERS are not ours to kill")
	}
	ping := func() error {
		client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers()...), kgo.RequestRetries(0))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		return client.Ping(ctx)
	}
	s.Freeze()
	if ping() == nil {
		t.Fatal("a frozen server answered")
	}
	s.Thaw()
	if err := ping(); err != nil {
		t.Fatalf("thawed: %v", err)
	}
	s.Kill()
	if ping() == nil {
		t.Fatal("a killed server answered")
	}
	s.Restart(t)
	if err := ping(); err != nil {
		t.Fatalf("restarted: %v", err)
	}
}
