package limit

import (
	"fmt"
	"strings"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/limit"
)

// describe says for people what the rules allow.
func describe(rules []Rule) string {
	var b strings.Builder
	for i := range rules {
		r := &rules[i]
		if i > 0 {
			b.WriteString("; ")
		}
		if r.Rate != nil {
			b.WriteString(rateText(r))
		}
		if r.AtOnce != 0 {
			if r.Rate != nil {
				b.WriteString(", and ")
			}
			b.WriteString(atOnceText(r))
		}
		if r.KeyUnsaid {
			b.WriteString(" (by default; key: all counts all together)")
		}
	}
	return b.String()
}

// rateText is a rule's rate in words: at most 100/s, 200 at a time, for each client_address.
func rateText(r *Rule) string {
	s := fmt.Sprintf("at most %d%s", r.Rate.Count, unitText(r.Rate.Per))
	l, err := limit.New(*r.Rate)
	switch {
	case err != nil:
	case r.Rate.Algorithm == limit.TokenBucket:
		s += fmt.Sprintf(", %d at a time", l.Quota())
	case r.Rate.Algorithm == limit.LeakyBucket:
		s += fmt.Sprintf(", %d at a time, others wait up to %v", l.Quota(), l.MaxDelay())
	case r.Rate.Algorithm == limit.SlidingWindow:
		s += ", in a sliding window"
	}
	return s + forEach(r.Key)
}

func atOnceText(r *Rule) string {
	return fmt.Sprintf("at most %d at once", r.AtOnce) + forEach(r.Key)
}

func forEach(p gateway.KeyParts) string {
	if len(p) == 0 {
		return " for all together"
	}
	return " for each " + keyText(p)
}

// sources are the parts' words in documents.
var sources = map[gateway.KeyBy]string{gateway.ByClientAddress: "client_address", gateway.ByHeader: "header", gateway.ByCookie: "cookie",
	gateway.ByPathParam: "path_param", gateway.ByClaim: "claim", gateway.ByHost: "host", gateway.ByMethod: "method",
	gateway.ByPath: "path", gateway.ByRoute: "route", gateway.ByListener: "listener"}

// keyText is what a rule counts by: claim tenant, client_address.
func keyText(p gateway.KeyParts) string {
	parts := make([]string, len(p))
	for i := range p {
		parts[i] = strings.TrimSuffix(sources[p[i].By]+" "+p[i].Name, " ")
	}
	return strings.Join(parts, ", ")
}

// unitText is the unit of a rate.
func unitText(per time.Duration) string {
	switch per {
	case time.Minute:
		return "/m"
	case time.Hour:
		return "/h"
	}
	return "/s"
}
