package main

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func (p *program) purge() *cobra.Command {
	var from, prefix, tag string
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:     "purge [CACHE]",
		GroupID: groupControl,
		Short:   "Take responses out of a cache",
		Long: `Take responses out of a cache of the running gateway, by its filter's name: those of a URL, those whose URL begins so, those
that their upstream gave a tag (Surrogate-Key, Cache-Tag), or all. Requests that are under way bring nothing back that is older.

Without a name the caches are listed. One whose filter has no name is called after its route: home/cache.`,
		Example: `  yumen purge pages --url https://shop.example/items/7
  yumen purge pages --tag item-7`,
		Args: cobra.MaximumNArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "url", "", "those of this URL, as clients ask for it")
	flags.StringVar(&prefix, "prefix", "", "those whose URL begins so: https://shop.example/items/")
	flags.StringVar(&tag, "tag", "", "those with this tag")
	flags.BoolVar(&all, "all", false, "all")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	address := p.adminFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query := url.Values{}
		for name, value := range map[string]string{"url": from, "prefix": prefix, "tag": tag} {
			if value != "" {
				query.Set(name, value)
			}
		}
		if all {
			query.Set("all", "true")
		}
		switch {
		case len(args) == 0 && len(query) == 0:
			return p.showLive(cmd, *address, "/api/caches", nil, asJSON)
		case len(args) == 0:
			return misused(cmd, errors.New("which cache? yumen purge lists them"))
		case len(query) != 1:
			return misused(cmd, errors.New("say what to take out: one of --url, --prefix, --tag and --all"))
		}
		accept := "text/plain"
		if asJSON {
			accept = "application/json"
		}
		text, err := newRemote(*address, changeTimeout).do(cmd.Context(), http.MethodPost, "/api/caches/"+url.PathEscape(args[0])+"/purge", query, accept)
		if err != nil {
			return err
		}
		_, err = p.out.Write(text)
		return err
	}
	return cmd
}
