package admin

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/yumen-io/yumen/control"
)

// factorsText is a table of what the weights of a load_aware cluster are made of, in the words of kit/rpc's page; empty for other
// clusters, and before anything is known.
func factorsText(c *control.ClusterStatus) string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	rows := 0
	for _, e := range c.Endpoints {
		f := e.Factors
		if f == nil {
			continue
		}
		if rows++; rows == 1 {
			b.WriteString("  share = load x latency x success, held by floor and ratio cap, x warm, smoothed; weight = base x share\n")
			fmt.Fprintln(table, "  endpoint\trequests to it\tweight\tbase\tshare\ttarget\tload\tlatency\tsuccess\twarm\tslowness\tcpu\tmem\tms\tcalls\tfailed\treason\t")
		}
		fmt.Fprintf(table, "  %s\t%.1f %%\t%.1f\t%.0f\t%.2f\t%.2f\t", e.Address, 100*f.Expected, f.Weight, f.Base, f.Share, f.Target)
		fmt.Fprintf(table, "%.2f\t%.2f\t%.2f\t%.2f\t%.1f\t", f.LoadFactor, f.LatencyFactor, f.SuccessFactor, f.WarmFactor, f.Slowness)
		fmt.Fprintf(table, "%s\t%s\t%.1f\t%d\t%d\t%s\t\n", reportedShare(f.CPU), reportedShare(f.Memory), f.LatencyMS, f.Calls, f.Failed, f.Reason)
	}
	// Writing to memory does not fail.
	_ = table.Flush()
	return b.String()
}

// reportedShare is a share that an endpoint has reported, or a dash.
func reportedShare(v float64) string {
	if v < 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}
