package etcd

import (
	"fmt"
	"strings"
)

// Cluster is some members that elect a leader.
type Cluster struct {
	Members []*Server
}

// StartCluster runs a cluster of n members, each in a process of its own, and returns when all of them answer.
func StartCluster(t T, n int) *Cluster {
	t.Helper()
	c := &Cluster{}
	var urls []string
	for i := range n {
		s := newServer(t, fmt.Sprintf("m%d", i), Options{})
		c.Members = append(c.Members, s)
		urls = append(urls, s.member.Name+"="+s.member.Peer)
	}
	for _, s := range c.Members {
		s.member.Cluster = strings.Join(urls, ",")
		// Slower than a lone member, which cannot lose an election by being scheduled late.
		s.member.TickMs = 50
		s.run()
	}
	for _, s := range c.Members {
		s.await()
	}
	return c
}

// Endpoints are the addresses of all members' client ports.
func (c *Cluster) Endpoints() (all []string) {
	for _, s := range c.Members {
		all = append(all, s.Endpoints()...)
	}
	return all
}

// Wipe kills all members, removes their data, and starts them again: an empty cluster with another id.
func (c *Cluster) Wipe() {
	for _, s := range c.Members {
		s.t.Helper()
		s.erase()
	}
	for _, s := range c.Members {
		s.run()
	}
	for _, s := range c.Members {
		s.await()
	}
}
