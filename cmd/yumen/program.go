package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes, as the package says.
const (
	exitFailed = 1
	exitUsage  = 2
)

// program is what commands share of the world outside. Tests give it another.
type program struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
}

func newProgram(in io.Reader, out, err io.Writer, env func(string) (string, bool)) *program {
	return &program{in: in, out: out, err: err, env: env}
}

// main runs one command line and returns the exit code.
func (p *program) main(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !errors.Is(err, errSaid) {
		fmt.Fprintln(p.err, "yumen: "+err.Error())
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// root is the tree of commands.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "yumen",
		Short: "An API gateway",
		Long: `Yumen is an API gateway: it takes HTTP requests, finds their route and passes them to a healthy server.

Begin with "yumen demo", or with two servers of your own: "yumen proxy :8080 a:9000 b:9000".

Exit codes: 0 success; 1 what was asked for could not be done or is not so; 2 the command line was wrong.`,
		// What went wrong is said once, by main, and a page of help under it would hide it.
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misused(cmd, err) })
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run a gateway:"},
		&cobra.Group{ID: groupDocument, Title: "Look at a document:"},
		&cobra.Group{ID: groupControl, Title: "Talk to a running gateway:"},
	)
	root.AddCommand(
		p.run(), p.proxy(), p.demo(),
		p.check(), p.explain(), p.schema(),
		p.status(), p.why(), p.guards(), p.split(), p.mirror(), p.purge(), p.reload(), p.revisions(), p.rollback(), p.drain(), p.upgrade(),
		p.version(),
	)
	judgeArgs(root)
	return root
}

// The groups commands are listed in.
const (
	groupRun      = "run"
	groupDocument = "document"
	groupControl  = "control"
)

// judgeArgs makes wrong arguments of any command a usageError, which cobra reports like every other error.
func judgeArgs(cmd *cobra.Command) {
	if judge := cmd.Args; judge != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := judge(cmd, args); err != nil {
				return misused(cmd, err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		judgeArgs(sub)
	}
}

// usageError is a wrong command line.
type usageError struct{ error }

func misused(cmd *cobra.Command, err error) error {
	return usageError{trouble{err, `see "` + cmd.CommandPath() + ` --help"`}}
}

// errSaid is returned by a command that has already said what is wrong, in its own output.
var errSaid = errors.New("said already")

// trouble is an error with what to do about it.
type trouble struct {
	error
	fix string
}

// Error is two lines: what went wrong, and indented the way out.
func (t trouble) Error() string {
	if t.fix == "" {
		return t.error.Error()
	}
	return t.error.Error() + "\n    " + strings.ReplaceAll(t.fix, "\n", "\n    ")
}

// Unwrap returns the error alone.
func (t trouble) Unwrap() error { return t.error }
