package compile

import (
	"slices"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/cors"
)

func corsSpec(said *config.CORSFilter) *cors.Spec {
	s := &cors.Spec{Methods: said.Methods, Headers: said.Headers, Expose: said.Expose, Credentials: said.Credentials, MaxAge: said.MaxAge, PrivateNetwork: said.PrivateNetwork}
	for _, o := range said.Origins {
		s.Origins = append(s.Origins, cors.Origin{Text: o.Text, Regex: o.Regex})
	}
	return s
}

// checkPreflights points at a route whose filter answers preflights that the route does not take.
func (c *compiler) checkPreflights(i int) {
	r := &c.doc.Routes[i]
	takes := func(m config.Text) bool { return m.Value == "OPTIONS" }
	if len(r.Match.Methods) == 0 || slices.ContainsFunc(r.Match.Methods, takes) {
		return
	}
	for _, f := range r.Filters {
		if said, ok := f.Filter.Body.(*config.CORSFilter); ok && said.Guard != config.GuardOff {
			c.warn(c.inMatch(i, "methods", r.Match.Methods[0].Pos), "the route does not take OPTIONS, so that preflights never come to its filter cors", "add OPTIONS to its methods; preflights go no further than the filter")
		}
	}
}
