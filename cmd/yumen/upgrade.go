package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func (p *program) upgrade() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "upgrade",
		GroupID: groupControl,
		Short:   "Have the gateway hand over to a new process of the binary on disk",
		Long: `Have the gateway start the binary on disk and hand its sockets over, as SIGUSR2 does; the old process drains and ends
once the new one serves. If the new one does not come up, the old one carries on, and the command says why.`,
		Args: cobra.NoArgs,
	}
	address := p.adminFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := newRemote(*address, changeTimeout).do(cmd.Context(), http.MethodPost, "/api/upgrade", nil, "application/json"); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.out, "a new process serves; the old one drains and ends")
		return err
	}
	return cmd
}
