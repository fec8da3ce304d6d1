package control

import copies "github.com/yumen-io/yumen/filters/mirror"

// MirrorStatus is a mirror of the configuration in force: what it has copied, and what comparing found.
type MirrorStatus struct {
	Name    string             `json:"name"`
	Mode    string             `json:"mode"`
	Numbers map[string]float64 `json:"numbers"`
	// Report is nil where nothing is compared.
	Report *copies.Report `json:"report,omitempty"`
}

// Mirrors returns the mirrors of the configuration in force, in the order of the document.
func (c *Controller) Mirrors() []MirrorStatus {
	list := []MirrorStatus{}
	for _, g := range c.Guards() {
		if g.Kind != copies.Kind {
			continue
		}
		s := MirrorStatus{Name: g.Name, Mode: g.Mode, Numbers: g.Numbers}
		if r, ok := g.Detail.(copies.Report); ok {
			s.Report = &r
		}
		list = append(list, s)
	}
	return list
}
