package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/cmd/yumen/demo"
	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/control/upgrade"
)

func (p *program) demo() *cobra.Command {
	var listen, api string
	var process processFlags
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: groupRun,
		Short:   "Run a gateway with three small upstreams, and say what to try",
		Long: `Run a gateway with three small upstreams in this process, one of them failing now and then, and print lines to try. All
of it can be reached from this machine only, unless --listen says otherwise. Ctrl-C ends it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if _, successor := p.env(upgrade.Environment); !successor { // whose predecessor listens there
				if err := errors.Join(free(listen, "--listen"), free(api, "--admin")); err != nil {
					return err
				}
			}
			origins, err := demo.StartOrigins(demo.UpstreamAddresses)
			if err != nil {
				return err
			}
			var addresses [3]string
			for i, o := range origins {
				addresses[i] = o.Address
				defer func() { err = errors.Join(err, o.Close()) }()
			}
			flag := ""
			if api != demo.AdminAddress {
				flag = " --admin " + api
			}
			return p.serve(cmd.Context(), process, source{
				text: demo.Document(listen, api, addresses), name: "demo",
				serving: func(c *control.Controller) {
					fmt.Fprint(p.out, demo.Hints(c.Listeners()[0].Bound, c.AdminAddress(), flag))
				},
			})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", demo.ListenAddress, `where the gateway listens; ":8080" for every address of this machine`)
	cmd.Flags().StringVar(&api, "admin", demo.AdminAddress, "where the admin API listens")
	process.register(cmd)
	return cmd
}

// free says so if an address is taken, and by which flag another can be had. The gateway would say it too, but knows
// nothing of flags.
func free(address, flag string) error {
	ln, err := net.Listen("tcp", address)
	if err == nil {
		return ln.Close()
	}
	fix := "choose another with " + flag + " 127.0.0.1:PORT"
	if errors.Is(err, syscall.EADDRINUSE) {
		return trouble{fmt.Errorf("%s is taken by another program", address), fix}
	}
	return trouble{fmt.Errorf("listening at %s: %w", address, err), fix}
}
