package compile

import (
	"os"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/control/etcd"
)

// etcdPlan puts the password and what the files hold in, and reports what is missing.
func (c *compiler) etcdPlan(said *config.EtcdService, priority int, where at) *etcd.Service {
	from := said.Server
	p := &etcd.Service{Service: said.Service, Zone: said.Zone, Colour: said.Colour, Version: said.Version, Priority: uint8(priority),
		Server: etcd.Server{Username: from.Username, Prefix: from.Prefix, Timeout: from.Timeout, Grace: from.Grace}}
	scheme := ""
	if from.TLS != nil {
		scheme = "https://"
		files := &redisFiles{said: *from.TLS, host: from.Addresses[0].Host}
		if problem := files.check(); problem != nil {
			c.fail(at{from.Pos, where.path + ".server." + problem.field}, problem.cause, problem.fix)
		} else {
			p.Server.TLS, p.Server.TLSName = files.mu.last, files.name()
		}
	}
	for _, a := range from.Addresses {
		p.Server.Addresses = append(p.Server.Addresses, scheme+a.String())
	}
	if from.PasswordEnv != "" {
		var there bool
		if p.Server.Password, there = os.LookupEnv(from.PasswordEnv); !there || p.Server.Password == "" {
			c.fail(at{from.Pos, where.path + ".server.password_env"}, "the environment variable "+from.PasswordEnv+" is not set",
				"start the gateway with it, or remove the line")
		}
	}
	return p
}
