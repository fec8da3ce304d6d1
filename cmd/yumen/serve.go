package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/control/admin"
	"github.com/yumen-io/yumen/control/upgrade"
)

// processFlags are the flags of commands that are a gateway.
type processFlags struct {
	pidFile   string
	stateDir  string
	logFormat string
	logLevel  string
}

func (f *processFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.pidFile, "pid-file", "", "write the process id here; after an upgrade it is the new process's")
	flags.StringVar(&f.stateDir, "state-dir", "", "keep revisions here, whatever the document says")
	flags.StringVar(&f.logFormat, "log-format", "console", "how the log is written: console or json")
	flags.StringVar(&f.logLevel, "log-level", "info", "the least important lines of the log: debug, info, warn or error")
	// These fail only if the flag does not exist.
	_ = cmd.MarkFlagDirname("state-dir")
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"console", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
}

// source is where a gateway's first document comes from.
type source struct {
	file string // a path, which is watched; empty: text

	text []byte
	name string // what problems call text
	// serving, if not nil, is called once with the running gateway.
	serving func(*control.Controller)
}

// serve runs a gateway in this process until it has stopped.
func (p *program) serve(ctx context.Context, f processFlags, from source) error {
	started := time.Now()
	// Before anything else opens descriptors. Signals that mean something later must not end the process until then.
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	inherited, err := upgrade.Inherit()
	if err != nil {
		return err
	}
	logger, err := p.newLogger(f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	slog.SetDefault(logger) // what filters fetch and follow on their own has this one
	controller, err := control.New(control.Options{
		File: from.file, Document: from.text, DocumentName: from.name, Env: p.env,
		Version: buildVersion(), Logger: logger, RevisionDir: f.stateDir, PIDFile: f.pidFile, Inherited: inherited,
		Admin: func(c *control.Controller, address string) control.AdminServer {
			s := admin.New(admin.Config{Controller: c, Address: address, Version: buildVersion(), Started: started, Logger: logger})
			return control.AdminServer{Serve: s.Serve, Shutdown: s.Shutdown}
		},
	})
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	controller.CatchSignals()
	result, err := controller.Start(ctx)
	if err != nil {
		return errors.Join(p.startFailed(result, err), controller.Stop())
	}
	if text := result.Report.String(); text != "" {
		fmt.Fprint(p.err, text) // warnings
	}
	announce(logger, controller, started)
	if from.serving != nil {
		from.serving(controller)
	}
	return controller.Run(ctx)
}

// startFailed says why there is no gateway: what is wrong with its document, or with the world.
func (p *program) startFailed(result control.Result, err error) error {
	switch {
	case errors.Is(err, control.ErrInvalid):
		fmt.Fprint(p.err, result.Report.String())
		return trouble{errors.New("the gateway was not started: its document has errors"), ""}
	case errors.Is(err, syscall.EADDRINUSE):
		return trouble{err, "another process has the address; \"ss -ltnp\" says which"}
	case errors.Is(err, syscall.EACCES):
		return trouble{err, "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"}
	}
	return err
}

// announce logs the line that says what runs.
func announce(logger *slog.Logger, c *control.Controller, started time.Time) {
	plan := c.Plan()
	endpoints := 0
	for _, cluster := range plan.Clusters {
		endpoints += len(cluster.Endpoints)
	}
	var listeners []string
	for _, l := range c.Listeners() {
		listeners = append(listeners, l.Name+" "+l.Bound)
	}
	api := c.AdminAddress()
	if api == "" {
		api = "off"
	}
	logger.Info("yumen serves", "version", buildVersion(), "listeners", listeners, "admin", api,
		"routes", len(plan.Document.Routes), "clusters", len(plan.Clusters), "endpoints", endpoints,
		"revision", c.Current().Number, "after", time.Since(started).Round(time.Millisecond).String())
}
