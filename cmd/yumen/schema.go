package main

import (
	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/control/config"
)

func (p *program) schema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		GroupID: groupDocument,
		Short:   "Print the JSON Schema of documents, for editors",
		Example: `  yumen schema > yumen.schema.json
  # then, as the first line of a document:
  # yaml-language-server: $schema=yumen.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := p.out.Write(config.Schema())
			return err
		},
	}
}
