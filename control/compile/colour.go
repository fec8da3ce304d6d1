package compile

import (
	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/colour"
	"github.com/yumen-io/yumen/policy/split"
)

func colourSpec(said *config.ColourFilter) *colour.Spec {
	s := &colour.Spec{Refuse: said.Invalid == config.ColourRefuse}
	if v := said.TraceID; v != nil {
		s.TraceID = &colour.Colour{Header: v.Header, Accept: v.Accept, Pattern: v.Pattern}
	}
	if v := said.UserID; v != nil {
		s.UserID, s.Claim = &colour.Colour{Header: v.Header, Accept: v.Accept, Pattern: v.Pattern}, v.Claim
	}
	if v := said.DeviceType; v != nil {
		s.DeviceType = &colour.Colour{Header: v.Header, Accept: v.Accept}
	}
	if v := said.Group; v != nil {
		s.Group = &colour.Group{Colour: colour.Colour{Header: v.Header, Accept: v.Accept}, Key: keyParts(v.Key), Salt: v.Salt}
		for _, g := range v.Groups {
			weight := float64(split.Unsaid)
			if g.Weight != nil {
				weight = g.Weight.Fraction()
			}
			s.Group.Groups = append(s.Group.Groups, split.Variant{Name: g.Name, Weight: weight})
		}
	}
	return s
}
