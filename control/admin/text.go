package admin

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/yumen-io/yumen/control"
)

// CertificatesText is a table of certificates for people, a line each; empty if there are none.
func CertificatesText(list []control.CertificateStatus, now time.Time) string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i := range list {
		s := &list[i]
		names := strings.Join(s.Names, " ")
		if s.Path == "" || s.Kind == control.CertificateAuthorities {
			names = s.Kind
		}
		ends := "a stand-in is shown"
		switch left := s.NotAfter.Sub(now); {
		case s.NotAfter.IsZero():
		case left < 0:
			ends = "ended " + day(s.NotAfter)
		default:
			ends = fmt.Sprintf("until %s (in %s)", day(s.NotAfter), days(left))
		}
		more := s.LastError
		if s.Kind == control.CertificateACME && s.State != "ordering" {
			more = strings.TrimPrefix(more+"; next attempt "+s.NextAttempt.UTC().Format(time.RFC3339), "; ")
		}
		fmt.Fprintf(table, "certificate %s\t%s\t%s\t%s\t%s\n", s.What(), s.State, ends, names, more)
	}
	// Writing to memory does not fail.
	_ = table.Flush()
	return b.String()
}

// days is a span in whole days, the way it is said.
func days(d time.Duration) string {
	switch n := int(d / (24 * time.Hour)); n {
	case 0:
		return "less than a day"
	case 1:
		return "1 day"
	default:
		return fmt.Sprintf("%d days", n)
	}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// EndpointsText is a cluster for people: a line, and a table of its endpoints.
func EndpointsText(c control.ClusterStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cluster %s: %d of %d endpoints healthy, %s\n", c.Name, c.Healthy, len(c.Endpoints), c.Balance)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, e := range c.Endpoints {
		name := e.Address
		if e.Name != "" {
			name += " (" + e.Name + ")"
		}
		why := e.Why
		if e.State != "healthy" && e.LastCheck != "" {
			why += ": " + e.LastCheck
		}
		if e.State == "healthy" && e.LastError != "" {
			why += "; last error: " + e.LastError
		}
		fmt.Fprintf(table, "  %s\t%s\tfor %s\t%d in flight\t%d connections\t%s\n",
			name, e.State, e.For.Round(time.Second), e.InFlight, e.Connections, why)
	}
	// Writing to memory does not fail.
	_ = table.Flush()
	b.WriteString(factorsText(&c))
	for _, d := range c.Discovery {
		fmt.Fprintf(&b, "  %s: %s, %s\n", d.Service, d.State, d.Detail())
	}
	for _, u := range c.Unresolved {
		fmt.Fprintf(&b, "  %s does not resolve: %s\n", u.Name, u.Why)
	}
	return b.String()
}

// counted is a number of things: "1 response was", "2 responses were".
func counted[T int | uint64](n T, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
