package filters

import (
	"slices"

	"github.com/yumen-io/yumen/filters/ip"
)

// Reasons are the words that filters answer with, for metrics and documentation, each once.
func Reasons() []string {
	var list []string
	for _, of := range [][]string{
		ip.Reasons(),
	} {
		list = append(list, of...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
