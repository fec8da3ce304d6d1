package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/ip"
	"github.com/yumen-io/yumen/policy/cidr"
)

func (c *compiler) ipSpec(said *config.IPFilter) (*ip.Spec, error) {
	s := &ip.Spec{Allow: said.Allow, Deny: said.Deny, DenyOthers: said.Others == config.DenyOthers}
	for _, list := range []struct {
		paths []string
		deny  bool
	}{{said.AllowFiles, false}, {said.DenyFiles, true}} {
		for _, path := range list.paths {
			table, err := follow(c, "networks", path, networks)
			if err != nil {
				return nil, err
			}
			s.Files = append(s.Files, ip.File{Path: path, Deny: list.deny, Table: table})
		}
	}
	return s, nil
}

// networks reads a file of networks.
func networks(text []byte) (*cidr.Table, error) {
	entries, err := cidr.ParseList(nil, text)
	if err != nil {
		return nil, err
	}
	return cidr.Compile(entries), nil
}
