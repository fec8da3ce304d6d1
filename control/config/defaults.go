package config

import "sync"

// Defaults are what routes and clusters do that do not say otherwise. They are already applied to a Document; they are
// kept for those who show it.
type Defaults struct {
	Timeouts Timeouts
	Retry    Retry
	Etcd     *EtcdServer // nil: none
}

var defaultsObject = sync.OnceValue(func() *object[Defaults] {
	return &object[Defaults]{
		name: "defaults", article: "a",
		about: "What routes and clusters do that do not say otherwise. The nearest word counts: route, then cluster, then defaults.",
		keys: []key[Defaults]{
			always("timeouts", section(timeoutsObject), func(v *Defaults) *Timeouts { return &v.Timeouts },
				`How long things may take.`),
			always("retry", section(retryObject), func(v *Defaults) *Retry { return &v.Retry },
				`When a request that failed is tried again.`),
			may("etcd", etcdServer(), func(v *Defaults) **EtcdServer { return &v.Etcd },
				`The etcd that clusters find their endpoints in, if they do.`),
		},
	}
})
