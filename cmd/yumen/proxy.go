package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/cmd/yumen/demo"
	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
)

func (p *program) proxy() *cobra.Command {
	var doc proxyDocument
	var show bool
	var process processFlags
	cmd := &cobra.Command{
		Use:     "proxy LISTEN ENDPOINT...",
		GroupID: groupRun,
		Short:   "Run a gateway in front of some servers, without a file",
		Long: `Run a gateway that takes requests at one address and passes them to the servers given.

It is "run" with a document made from the command line; --print shows that document, to begin a file of one's own with.`,
		Example: `  yumen proxy :8080 10.0.0.1:9000 10.0.0.2:9000
  yumen proxy :8080 a:9000 b:9000 --health-path /healthz --balance least_request
  yumen proxy :8080 a:9000 b:9000 --print > yumen.yaml`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc.listen, doc.endpoints = args[0], args[1:]
			if show {
				_, err := fmt.Fprint(p.out, doc.text())
				return err
			}
			parsed, problems := config.Parse(commandLine, []byte(doc.text()), p.env)
			if plan, report := compile.Compile(parsed, problems, nil, nil); plan == nil {
				fmt.Fprint(p.err, report.String())
				return misused(cmd, errors.New("no gateway can be made from this command line"))
			}
			return p.serve(cmd.Context(), process, source{text: []byte(doc.text()), name: commandLine})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&doc.balance, "balance", "", "which server takes the next request: round_robin, least_request, two_choices, random, maglev")
	flags.StringVar(&doc.healthPath, "health-path", "", "ask each server for this path, and leave out those that do not answer well")
	flags.DurationVar(&doc.healthInterval, "health-interval", 0, "how often (default 5s)")
	flags.StringVar(&doc.admin, "admin", demo.AdminAddress, `where the admin API listens; "off" for none`)
	flags.StringVar(&doc.accessLog, "access-log", "", "a JSON line for each request: stdout, stderr or a file")
	flags.IntVar(&doc.pipeline, "pipeline", 0, "safe requests that share a connection to a server at a time (default off)")
	flags.BoolVar(&show, "print", false, "print the document instead of running it")
	process.register(cmd)
	return cmd
}

// commandLine is what problems call the document of proxy, where others have a file.
const commandLine = "command line"

// proxyDocument is what the command line of proxy can say.
type proxyDocument struct {
	listen         string
	endpoints      []string
	balance        string
	healthPath     string
	healthInterval time.Duration
	admin          string
	accessLog      string
	pipeline       int
}

// text is the document. Words are quoted, as YAML quotes like JSON, so that none can be more than a word; whether they
// make sense is for the parser to say, which says it better.
func (d *proxyDocument) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: %s\n", strconv.Quote(d.listen))
	if d.admin != demo.AdminAddress {
		fmt.Fprintf(&b, "admin: %s\n", strconv.Quote(d.admin))
	}
	b.WriteString("clusters:\n  upstream:\n    endpoints:\n")
	for _, e := range d.endpoints {
		fmt.Fprintf(&b, "      - %s\n", strconv.Quote(e))
	}
	if d.balance != "" {
		fmt.Fprintf(&b, "    balance: %s\n", strconv.Quote(d.balance))
	}
	if d.healthPath != "" || d.healthInterval != 0 {
		b.WriteString("    health:\n")
		if d.healthPath != "" {
			fmt.Fprintf(&b, "      path: %s\n", strconv.Quote(d.healthPath))
		}
		if d.healthInterval != 0 {
			fmt.Fprintf(&b, "      interval: %s\n", d.healthInterval)
		}
	}
	if d.pipeline != 0 {
		fmt.Fprintf(&b, "    pipeline: %d\n", d.pipeline)
	}
	b.WriteString("routes:\n  - path: /*\n    cluster: upstream\n")
	if d.accessLog != "" {
		fmt.Fprintf(&b, "access_log: %s\n", strconv.Quote(d.accessLog))
	}
	return b.String()
}
