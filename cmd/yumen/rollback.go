package main

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

func (p *program) rollback() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rollback [REVISION]",
		GroupID: groupControl,
		Short:   "Put an earlier document back into force",
		Long: `Put an earlier document back into force: the newest with another text, or the one of the number given, of those that
"revisions" lists. It becomes a new revision. The file the gateway was started with stays as it is, so mend it too: the
next change of it brings its text back.`,
		Args: cobra.MaximumNArgs(1),
	}
	address := p.adminFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{}
		if len(args) == 1 {
			if n, err := strconv.ParseUint(args[0], 10, 64); err != nil || n == 0 {
				return misused(cmd, fmt.Errorf("%q is not the number of a revision", args[0]))
			}
			query.Set("to", args[0])
		}
		return p.change(cmd, *address, "/api/rollback", query)
	}
	return cmd
}
