package config

import "strings"

// YAML renders the effective configuration: the long form with every default said. Parse reads it back to the same
// Document, but for places and the name of the file.
func (doc *Document) YAML() []byte {
	var text strings.Builder
	emit(&text, documentObject().write(doc), 0)
	text.WriteByte('\n')
	return []byte(text.String())
}
