package main

import (
	"net/url"

	"github.com/spf13/cobra"
)

func (p *program) mirror() *cobra.Command {
	var asJSON bool
	var address *string
	cmd := &cobra.Command{
		Use:     "mirror [NAME]",
		GroupID: groupControl,
		Short:   "Show in what the answers of a mirrored version differ",
		Long: `Show what the running gateway's mirrors have copied, and in what the answers to the copies differ from those to the originals.

Each line is a place in which answers differ: how often, how often that was noise (the old version differs from itself there), one
example with the id of its request, and when it was seen last. With a name, up to 100 places of one mirror are shown; otherwise 10 of
each. A mirror whose filter has no name is called after its route: home/mirror.`,
		Example: `  yumen mirror
  yumen mirror next
  yumen mirror next --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/api/mirrors"
			if len(args) == 1 {
				path += "/" + url.PathEscape(args[0])
			}
			return p.showLive(cmd, *address, path, nil, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	address = p.adminFlag(cmd)
	return cmd
}
