package config

import (
	"net/netip"
	"sync"

	"go.yaml.in/yaml/v3"
)

// IPFilter lets clients in by their addresses.
type IPFilter struct {
	Pos
	Allow, Deny           []netip.Prefix
	AllowFiles, DenyFiles []string
	Others                IPOthers
	Guard                 GuardMode
}

func (v *IPFilter) guardMode() GuardMode { return v.Guard }

// IPOthers is what becomes of addresses that are in no list.
type IPOthers string

// What can become of them.
const (
	AllowOthers IPOthers = "allow"
	DenyOthers  IPOthers = "deny"
)

var ipFilterObject = sync.OnceValue(func() *object[IPFilter] {
	type T = IPFilter
	return &object[T]{
		name: "ip", article: "an",
		about: "Lets clients in by their addresses: of all networks in the lists the longest that has the address decides. The address is the one that trust: finds out. IPv4-mapped IPv6 addresses are the IPv4 addresses in them. Whoever is not let in is answered 403.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("allow", oneOrMore(prefix()), func(v *T) *[]netip.Prefix { return &v.Allow }, `Networks, or single addresses, that are let in.`),
			may("deny", oneOrMore(prefix()), func(v *T) *[]netip.Prefix { return &v.Deny }, `Networks, or single addresses, that are not. Where a file allows the same network that another one denies, it is denied.`),
			may("allow_files", oneOrMore(fileName()), func(v *T) *[]string { return &v.AllowFiles }, `Files with networks to let in: one to a line, # begins a comment. They are followed: a changed file counts at once; one with a mistake is reported, and what was read before stays.`),
			may("deny_files", oneOrMore(fileName()), func(v *T) *[]string { return &v.DenyFiles }, `Files with networks not to let in, as in allow_files.`),
			may("others", choice("word", AllowOthers, DenyOthers), func(v *T) *IPOthers { return &v.Others }, `What becomes of addresses in no list: allow or deny. By default deny if there is a list of those to allow, else allow: who lists friends means nobody else.`),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if g.clean && len(v.Allow)+len(v.Deny)+len(v.AllowFiles)+len(v.DenyFiles) == 0 {
				d.fail(n, "write ip: {allow: 10.0.0.0/8}, or ip: {deny_files: blocked.txt}", "the filter has no networks")
			}
			refuseTwiceAt(d, g, "allow_files", v.AllowFiles)
			refuseTwiceAt(d, g, "deny_files", v.DenyFiles)
			if v.Others == "" {
				v.Others = AllowOthers
				if len(v.Allow)+len(v.AllowFiles) > 0 {
					v.Others = DenyOthers
				}
			}
		},
	}
})
