package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func (p *program) drain() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "drain",
		GroupID: groupControl,
		Short:   "Have the gateway stop without losing a request",
		Long:    `Have the gateway accept no more, finish what runs and end, as SIGTERM does. The command does not wait for that.`,
		Args:    cobra.NoArgs,
	}
	address := p.adminFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := newRemote(*address, askTimeout).do(cmd.Context(), http.MethodPost, "/api/drain", nil, "application/json"); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.out, "the gateway drains, and ends when it has finished")
		return err
	}
	return cmd
}
