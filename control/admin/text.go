package admin

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/yumen-io/yumen/control"
)

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
	for _, u := range c.Unresolved {
		fmt.Fprintf(&b, "  %s does not resolve: %s\n", u.Name, u.Why)
	}
	return b.String()
}
