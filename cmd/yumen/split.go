package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func (p *program) split() *cobra.Command {
	var all string
	var back, document, asJSON bool
	cmd := &cobra.Command{
		Use:     "split [NAME [VARIANT=WEIGHT...]]",
		GroupID: groupControl,
		Short:   "Show how requests are split among versions, and change it",
		Long: `Show how the running gateway splits requests among versions, and change the weights at once, while the document stays.

Variants that are not named share the rest as they do now. What is set lasts, over upgrades and restarts too, until a document
with other variants or weights of the split comes into force. A split whose filter has no name is called after its
route: home/split.`,
		Example: `  yumen split
  yumen split shop canary=10%
  yumen split shop --all green
  yumen split shop --back`,
	}
	flags := cmd.Flags()
	flags.StringVar(&all, "all", "", "give this variant everything")
	flags.BoolVar(&back, "back", false, "undo the last change")
	flags.BoolVar(&document, "document", false, "go back to the weights of the document")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	address := p.adminFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		orders := 0
		for _, said := range []bool{all != "", back, document, len(args) > 1} {
			if said {
				orders++
			}
		}
		switch {
		case orders > 1:
			return misused(cmd, errors.New("say one thing: weights, --all, --back or --document"))
		case len(args) == 0 && orders > 0:
			return misused(cmd, errors.New("which split? yumen split lists them"))
		case len(args) == 0:
			return p.showLive(cmd, *address, "/api/splits", nil, asJSON)
		}
		weights := map[string]string{}
		for _, said := range args[1:] {
			name, weight, ok := strings.Cut(said, "=")
			if !ok || name == "" || weights[name] != "" {
				return misused(cmd, fmt.Errorf("%q is not the weight of a variant, each once; write it as canary=10%%", said))
			}
			weights[name] = weight
		}
		if all != "" {
			weights[all] = "100%"
		}
		path, method := "/api/splits/"+url.PathEscape(args[0]), http.MethodGet
		var body []byte
		switch {
		case back:
			path, method = path+"/back", http.MethodPost
		case document:
			method = http.MethodDelete
		case len(weights) > 0:
			var err error
			if body, err = json.Marshal(map[string]any{"weights": weights}); err != nil {
				return err
			}
			method = http.MethodPut
		}
		accept := "text/plain"
		if asJSON {
			accept = "application/json"
		}
		text, err := newRemote(*address, askTimeout).send(cmd.Context(), method, path, nil, bytes.NewReader(body), accept)
		if err != nil {
			return err
		}
		_, err = p.out.Write(text)
		return err
	}
	return cmd
}
