package limit

import (
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/store/quotas"
)

// NewShared makes the source of a limit that gateways share, or says what is wrong with its settings: fields are those of quotas.Problem. Links
// to Redis and tables of keys are kept in the gateway's memory, so that they outlive a configuration.
func NewShared(s quotas.Spec, memory *gateway.Recollection) (*quotas.Source, []quotas.Problem) {
	return quotas.Compile(s, quotas.Memory{
		Link:  func(key string, make func() *quotas.Link) *quotas.Link { return gateway.Recall(memory, key, make) },
		Table: func(key string, make func() *quotas.Table) *quotas.Table { return gateway.Recall(memory, key, make) },
	})
}
