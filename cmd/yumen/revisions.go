package main

import (
	"fmt"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/control/admin"
)

func (p *program) revisions() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revisions [REVISION]",
		GroupID: groupControl,
		Short:   "List the documents that were in force, or print one",
		Args:    cobra.MaximumNArgs(1),
	}
	address := p.adminFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		gateway := newRemote(*address, askTimeout)
		if len(args) == 1 {
			if n, err := strconv.ParseUint(args[0], 10, 64); err != nil || n == 0 {
				return misused(cmd, fmt.Errorf("%q is not the number of a revision", args[0]))
			}
			text, err := gateway.do(cmd.Context(), http.MethodGet, "/api/revisions/"+args[0], nil, "*/*")
			if err != nil {
				return err
			}
			_, err = p.out.Write(text)
			return err
		}
		var list []admin.PastRevision
		if err := gateway.get(cmd.Context(), "/api/revisions", nil, &list); err != nil {
			return err
		}
		table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "REVISION\tTIME\tORIGIN\tDOCUMENT\t")
		for _, r := range list {
			mark := ""
			if r.Current {
				mark = "in force"
			}
			fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", r.Number, r.Time.Local().Format(time.DateTime), r.Origin, r.Name, mark)
		}
		return table.Flush()
	}
	return cmd
}
