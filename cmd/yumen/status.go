package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/control/admin"
)

func (p *program) status() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: groupControl,
		Short:   "Show how the gateway is: listeners, certificates, clusters, endpoints",
		Long: `Show how the gateway is: what runs, where it listens, until when its certificates are good, how each endpoint is and why.

The exit code is 1 when the gateway is not ready, as for /readyz of the admin API.`,
		Args: cobra.NoArgs,
	}
	address := p.adminFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		gateway := newRemote(*address, askTimeout)
		var now report
		for path, into := range map[string]any{"/api/status": &now.Status, "/api/listeners": &now.listeners, "/api/clusters": &now.clusters} {
			if err := gateway.get(cmd.Context(), path, nil, into); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprint(p.out, now.text(time.Now())); err != nil {
			return err
		}
		if !now.Ready {
			return errSaid
		}
		return nil
	}
	return cmd
}

// report is all that status shows.
type report struct {
	admin.Status
	listeners []control.ListenerStatus
	clusters  []control.ClusterStatus
}

func (r *report) text(now time.Time) string {
	var b strings.Builder
	word := "ready"
	if !r.Ready {
		word = "NOT READY"
	}
	fmt.Fprintf(&b, "yumen %s, process %d, up %s: %s\n", r.Version, r.PID, age(now, r.Started), word)
	fmt.Fprintf(&b, "revision %d (%s), in force for %s\n", r.Revision, r.Origin, age(now, r.Since))
	for _, d := range r.Dependencies {
		// Clusters and certificates are shown below, with more to say.
		if !d.OK && !strings.HasPrefix(d.Name, "cluster ") && !strings.HasPrefix(d.Name, "certificate ") {
			fmt.Fprintf(&b, "%s: %s\n", d.Name, strings.TrimSpace(d.Why))
		}
	}
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	b.WriteByte('\n')
	for _, l := range r.listeners {
		spoken := strings.Join(l.Protocols, ", ")
		if l.TLS {
			spoken += " over TLS"
		}
		fmt.Fprintf(table, "listener %s\t%s\t%s\t%s\t%d turned away\n", l.Name, l.Bound, spoken, count(int(l.Open), "connection"), l.Turned)
	}
	// Writing to memory does not fail.
	_ = table.Flush()
	if text := admin.CertificatesText(r.Certificates, now); text != "" {
		b.WriteString("\n" + text)
	}
	for _, c := range r.clusters {
		b.WriteString("\n" + admin.EndpointsText(c))
	}
	return b.String()
}

// age is a span for people: in whole seconds.
func age(now, since time.Time) time.Duration { return now.Sub(since).Round(time.Second) }
