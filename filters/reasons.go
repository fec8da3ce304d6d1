package filters

import "slices"

// Reasons are the words that filters answer with, for metrics and documentation, each once.
func Reasons() []string {
	var list []string
	for _, of := range [][]string{} {
		list = append(list, of...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
