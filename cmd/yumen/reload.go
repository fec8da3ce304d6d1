package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (p *program) reload() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reload",
		GroupID: groupControl,
		Short:   "Have the gateway read its document again",
		Long: `Have the gateway read its document again, and say what became of it. No connection is closed and no request fails; a
document with errors changes nothing. A gateway also does so by itself when the file changes, unless told otherwise.`,
		Args: cobra.NoArgs,
	}
	address := p.adminFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.change(cmd, *address, "/api/reload", nil)
	}
	return cmd
}

// change gives an order that puts a document into force, and says what became of it in the gateway's words.
func (p *program) change(cmd *cobra.Command, address, path string, query url.Values) error {
	text, err := newRemote(address, changeTimeout).do(cmd.Context(), http.MethodPost, path, query, "text/plain")
	var no *refusal
	if errors.As(err, &no) && no.status == http.StatusUnprocessableEntity {
		fmt.Fprintln(p.err, no.text)
		return errors.New("the document has errors, and what was in force still is")
	}
	if err != nil {
		return err
	}
	_, err = p.out.Write(text)
	return err
}
