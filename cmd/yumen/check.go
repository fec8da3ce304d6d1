package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/control/descriptors"
)

func (p *program) check() *cobra.Command {
	var path string
	var asJSON, noFiles bool
	cmd := &cobra.Command{
		Use:     "check -c FILE",
		GroupID: groupDocument,
		Short:   "Say everything that is wrong with a document",
		Long: `Say everything that is wrong with a document: keys that do not exist, values of a wrong type, names that lead
nowhere, routes that are ambiguous or never reached, and certificates that are missing, expired or do not go with their
key. Nothing is bound, resolved or sent.

Files are looked for where the gateway would look for them; with --no-files they are left alone, for a machine that does not
have them.

The exit code is 0 for a document that can be used, also with warnings, and 1 for one with errors. "-c -" reads standard
input.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			began := time.Now()
			plan, report, err := p.compile(path)
			if err != nil {
				return err
			}
			if plan != nil && !noFiles {
				control.CheckFiles(plan.Document, report, nil, began)
			}
			if asJSON {
				return p.checkJSON(report)
			}
			// Problems are the output of this command, not an accident of it.
			if _, err := io.WriteString(p.out, report.String()); err != nil {
				return err
			}
			if report.Errors() {
				return errSaid
			}
			_, err = fmt.Fprintln(p.out, sound(path, plan, time.Since(began)))
			return err
		},
	}
	documentFlag(cmd, &path)
	cmd.Flags().BoolVar(&noFiles, "no-files", false, "do not read the certificates that the document names")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the problems as JSON")
	return cmd
}

// judged gets descriptor sets that are files. Servers that would have to be asked are left alone.
var judged = &descriptors.Reader{Offline: true}

// compile reads and compiles a document. A document with errors is no error, but has no plan.
func (p *program) compile(path string) (*compile.Plan, *compile.Report, error) {
	if path == "-" {
		text, err := io.ReadAll(p.in)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the document from standard input: %w", err)
		}
		doc, problems := config.Parse("<stdin>", text, p.env)
		plan, report := compile.Compile(doc, problems, judged.Get, nil)
		return plan, report, nil
	}
	doc, problems, err := config.Load(path, p.env)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, trouble{err, "begin one with: yumen proxy :8080 a:9000 b:9000 --print > " + path}
	}
	if err != nil {
		return nil, nil, err
	}
	plan, report := compile.Compile(doc, problems, judged.Get, nil)
	return plan, report, nil
}

// verdict is what check prints as JSON. It can be read back into the same type.
type verdict struct {
	OK bool `json:"ok"`
	compile.Report
}

func (p *program) checkJSON(report *compile.Report) error {
	enc := json.NewEncoder(p.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	problems := report.Problems
	if problems == nil {
		problems = []compile.Problem{} // a list, and never null
	}
	if err := enc.Encode(verdict{!report.Errors(), compile.Report{Problems: problems, Hidden: report.Hidden}}); err != nil {
		return err
	}
	if report.Errors() {
		return errSaid
	}
	return nil
}

// sound is the line for a document that can be used.
func sound(path string, plan *compile.Plan, took time.Duration) string {
	endpoints := 0
	for _, c := range plan.Clusters {
		endpoints += len(c.Endpoints)
	}
	return fmt.Sprintf("%s can be used: %s, %s, %s with %s (checked in %s)", path,
		count(len(plan.Listeners), "listener"), count(len(plan.Document.Routes), "route"),
		count(len(plan.Clusters), "cluster"), count(endpoints, "endpoint"), took.Round(time.Millisecond))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
