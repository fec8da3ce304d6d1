package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Attribute is something known of a consumer, as other guards use it for a claim.
type Attribute struct {
	Pos
	Name, Value string
}

// attributes is a map of what is known of a consumer. What they may be is judged where identities are made.
func attributes() kind[[]Attribute] {
	value := text("text", fieldValue)
	k := part(value, func(v *Attribute) *string { return &v.Value })
	return mapOf(k, func(v *Attribute) *string { return &v.Name }, func(v *Attribute) *Pos { return &v.Pos },
		func(*decoder, *yaml.Node, string) bool { return true }, asWritten)
}

const claimHeadersAbout = `Fields by which the upstream is told who asks: a name of a field to the name of a claim, X-Consumer: sub. What the client says in them is dropped, in every spelling a server could take for them, and a claim that is not there leaves its field out. None by default.`

// claimHeaders is a map of names of fields to names of claims.
func claimHeaders() kind[[]Field] {
	claim := text("claim", notEmpty)
	k := part(claim, func(v *Field) *string { return &v.Value })
	// X_Consumer and X-Consumer are one name to servers that turn one into the other.
	same := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	return mapOf(k, func(v *Field) *string { return &v.Name }, func(v *Field) *Pos { return &v.Pos },
		func(d *decoder, n *yaml.Node, name string) bool {
			return d.passes(n, name, []check{fieldNameText, ownField})
		}, same)
}

// isWrittenOut tells whether a text of the document stands there itself, and does not come from a variable.
func isWrittenOut(n *yaml.Node) bool { return !strings.Contains(resolved(n).Value, "${") }
