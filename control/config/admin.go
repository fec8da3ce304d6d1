package config

import (
	"sync"

	"go.yaml.in/yaml/v3"
)

// Admin is where the admin API answers.
type Admin struct {
	Pos
	Address Address
}

var adminObject = sync.OnceValue(func() *object[Admin] {
	return &object[Admin]{
		name: "admin", article: "an",
		about: "Where the admin API answers: metrics, health, configuration, explain.",
		pos:   func(v *Admin) *Pos { return &v.Pos },
		keys: []key[Admin]{
			def("address", localAddress(), func(v *Admin) *Address { return &v.Address }, Address{"127.0.0.1", 9901},
				`Where it listens. Who reaches it can change the gateway, so that only this machine can by default.`),
		},
		short: &short[Admin]{
			about:  "an address, or off",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *Admin) { localAddress().read(d, n, &v.Address) },
			schema: func(b *schemaBuilder) map[string]any { return localAddress().schema(b) },
		},
		check: func(d *decoder, n *yaml.Node, v *Admin, g given[Admin]) {
			if !v.Address.IsLoopback() {
				at := n
				if value := g.value("address"); value != nil {
					at = value
				}
				d.warn(at, "use 127.0.0.1, or be sure that only those who may change the gateway can reach it",
					"the admin API listens at %s, which other machines can reach", v.Address)
			}
		},
	}
})
