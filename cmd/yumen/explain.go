package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/control/compile"
)

func (p *program) explain() *cobra.Command {
	var path, listener string
	var headers []string
	var asJSON bool
	var address *string
	cmd := &cobra.Command{
		Use:     "explain [-c FILE] [METHOD] URL",
		GroupID: groupDocument,
		Short:   "Say where a request would go, and why; sends nothing",
		Long: `Say where a request would go, and why: the route chosen, those that were refused and what for, filters, cluster,
balancing, timeouts and retries. Nothing is sent.

A URL can be a path alone: then only routes of every host fit, unless -H 'Host: NAME' gives one.

With -c it is a document that is asked, otherwise the running gateway, which also says how its endpoints are.`,
		Example: `  yumen explain -c yumen.yaml GET http://example.com/users/7 -H 'X-Env: next'
  yumen explain -c yumen.yaml GET /users/7
  yumen explain http://example.com/users/7`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := compile.ExplainRequest{Method: http.MethodGet, URL: args[len(args)-1], Listener: listener}
			if len(args) == 2 {
				request.Method = args[0]
			}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if name = strings.TrimSpace(name); !ok || name == "" {
					return misused(cmd, fmt.Errorf("%q is not a header field; write it as 'NAME: VALUE'", h))
				}
				request.Headers = append(request.Headers, compile.Header{Name: name, Value: strings.TrimSpace(value)})
			}
			if path != "" && cmd.Flags().Changed("admin") {
				return misused(cmd, errors.New("-c asks a document and --admin a running gateway: keep one of them"))
			}
			if path == "" {
				return p.explainLive(cmd, *address, request, asJSON)
			}
			return p.explainDocument(path, request, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&path, "config", "c", "", "ask this document instead of the running gateway")
	flags.StringArrayVarP(&headers, "header", "H", nil, "a header field of the request, 'NAME: VALUE'; may be repeated")
	flags.StringVar(&listener, "listener", "", "the listener it arrives at (default: the one with the port of the URL, or the first)")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	address = p.adminFlag(cmd)
	// Fails only if the flag does not exist.
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "json")
	return cmd
}

func (p *program) explainDocument(path string, request compile.ExplainRequest, asJSON bool) error {
	plan, report, err := p.compile(path)
	if err != nil {
		return err
	}
	if plan == nil {
		fmt.Fprint(p.err, report.String())
		return errors.New("the document has errors, so that nobody can say where a request would go")
	}
	explanation := plan.Explain(request)
	if !asJSON {
		_, err = fmt.Fprint(p.out, explanation.String())
		return err
	}
	enc := json.NewEncoder(p.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(explanation)
}

func (p *program) explainLive(cmd *cobra.Command, address string, request compile.ExplainRequest, asJSON bool) error {
	query := url.Values{"method": {request.Method}, "url": {request.URL}}
	if request.Listener != "" {
		query.Set("listener", request.Listener)
	}
	for _, h := range request.Headers {
		query.Add("header", h.Name+":"+h.Value)
	}
	return p.showLive(cmd, address, "/api/explain", query, asJSON)
}
