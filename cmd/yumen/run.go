package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func (p *program) run() *cobra.Command {
	var path string
	var process processFlags
	cmd := &cobra.Command{
		Use:     "run -c FILE",
		GroupID: groupRun,
		Short:   "Run the gateway a document describes",
		Long: `Run the gateway a document describes, until it is told to stop.

Signals:
  SIGHUP           read the document again; a broken one changes nothing
  SIGUSR1          open log files anew, for those who rotate them
  SIGUSR2          hand over to a new process of the binary on disk, without losing a request
  SIGTERM, SIGINT  accept no more, finish what runs, end; a second one ends at once

The exit code is 0 after a stop or an upgrade, 1 if the gateway could not start or was ended before it had finished.`,
		Example: `  yumen run -c yumen.yaml
  yumen run -c /etc/yumen/yumen.yaml --pid-file /run/yumen.pid --log-format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.serve(cmd.Context(), process, source{file: path})
		},
	}
	documentFlag(cmd, &path)
	process.register(cmd)
	return cmd
}

// documentFlag gives a command -c, which it needs.
func documentFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "the document, YAML or JSON (required)")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { // and not MarkFlagRequired, whose error is no usageError
		if *path == "" {
			return misused(cmd, errors.New("no document is given: -c FILE"))
		}
		return nil
	}
	// Fails only if the flag does not exist.
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "json")
}
