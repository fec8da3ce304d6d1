package main

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (p *program) why() *cobra.Command {
	var guard, route, key string
	var asJSON bool
	var address *string
	cmd := &cobra.Command{
		Use:     "why [REQUEST_ID]",
		GroupID: groupControl,
		Short:   "Say what guards decided about a request, and by which numbers",
		Long: `Say what the running gateway's guards decided about a request, and by which numbers.

The id is what the gateway's own answers have in X-Request-ID (those of upstreams too, with request_id: {answer: on} in the document), and the
access log in request_id. Without one, the latest decisions are shown.
Every refusal, delay and degradation is recorded, those of guards in shadow mode too; what guards let pass, of a sample.`,
		Example: `  yumen why 5f0c9a1be0d4f7a20000000000000131
  yumen why --guard per-tenant --key tenant=a`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			for name, value := range map[string]string{"guard": guard, "route": route, "key": key} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if len(args) == 1 {
				query.Set("request_id", args[0])
			}
			return p.showLive(cmd, *address, "/api/decisions", query, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&guard, "guard", "", "only of this guard")
	flags.StringVar(&route, "route", "", "only of this route")
	flags.StringVar(&key, "key", "", "only about this key, as the records show it: tenant=a")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	address = p.adminFlag(cmd)
	return cmd
}

func (p *program) guards() *cobra.Command {
	var asJSON bool
	var address *string
	cmd := &cobra.Command{
		Use:     "guards",
		GroupID: groupControl,
		Short:   "List the guards, and what they have decided so far",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.showLive(cmd, *address, "/api/guards", nil, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	address = p.adminFlag(cmd)
	return cmd
}

// showLive prints what the running gateway answers, as text or as JSON.
func (p *program) showLive(cmd *cobra.Command, address, path string, query url.Values, asJSON bool) error {
	accept := "text/plain"
	if asJSON {
		accept = "application/json"
	}
	text, err := newRemote(address, askTimeout).do(cmd.Context(), http.MethodGet, path, query, accept)
	if err != nil {
		return err
	}
	_, err = p.out.Write(text)
	return err
}
