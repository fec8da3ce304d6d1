package compile

import (
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/gateway"
)

func (c *compiler) compileListeners() {
	for i := range c.doc.Listeners {
		c.plan.Listeners = append(c.plan.Listeners, listenerPlan(&c.doc.Listeners[i]))
	}
}

// bodyWindowMin is the shortest time over which the rate of a body is measured: below, what is measured is how packets
// happen to fall together.
const bodyWindowMin = time.Second

func listenerPlan(l *config.Listener) *ListenerPlan {
	server := &engine.ServerConfig{
		H1: h1.NewLimits(h1.Limits{
			HeadBytesMax:   int(l.Limits.HeadBytes),
			TargetBytesMax: int(l.Limits.TargetBytes),
			FieldsMax:      l.Limits.Fields,
		}),
		HeadTimeout: l.Timeouts.Head,
		IdleTimeout: l.Timeouts.Idle,
		SendTimeout: l.Timeouts.BetweenBytes,
		BodyRateMin: l.Timeouts.BodyMinRate,
		BodyWindow:  max(l.Timeouts.BodyGrace, bodyWindowMin),
		RequestsMax: l.Limits.Requests,
	}
	if server.BodyRateMin == 0 {
		// Without a rate, a body must still make some progress.
		server.BodyWindow = l.Timeouts.BetweenBytes
	}
	return &ListenerPlan{
		Name:           l.Name,
		Address:        l.Address.String(),
		Server:         server,
		ConnectionsMax: l.Limits.Connections,
		Gateway: &gateway.Listener{
			Name:         l.Name,
			Scheme:       "http",
			BodyBytesMax: l.Limits.BodyBytes,
			Trust: gateway.Trust{
				From:      l.Trust.ForwardedFrom,
				XFields:   l.Trust.Forwarded == config.ForwardedX || l.Trust.Forwarded == config.ForwardedBoth,
				Forwarded: l.Trust.Forwarded == config.ForwardedRFC || l.Trust.Forwarded == config.ForwardedBoth,
			},
		},
	}
}
