package filters

import (
	"slices"

	"github.com/yumen-io/yumen/filters/apikey"
	"github.com/yumen-io/yumen/filters/breaker"
	"github.com/yumen-io/yumen/filters/cache"
	"github.com/yumen-io/yumen/filters/cors"
	"github.com/yumen-io/yumen/filters/cache"
	"github.com/yumen-io/yumen/filters/ip"
	"github.com/yumen-io/yumen/filters/limit"
)

// Reasons are the words that filters answer with, for metrics and documentation, each once.
func Reasons() []string {
	var list []string
	for _, of := range [][]string{
		apikey.Reasons(),
		cors.Reasons(),
		cache.Reasons(),
		breaker.Reasons(),
		cache.Reasons(),
		ip.Reasons(),
		limit.Reasons(),
	} {
		list = append(list, of...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
