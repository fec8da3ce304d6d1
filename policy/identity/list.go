package identity

import (
	"bytes"
	"fmt"
	"strings"
)

// ConsumersMax bounds a list (consumers_max): some 50 MB of memory.
const ConsumersMax = 100_000

// Row is a line of a list: a consumer, its secret in whatever form, and what is known of it.
type Row struct {
	Line     int // from 1
	Secret   string
	Identity *Identity
}

// LineError is a line of a list that cannot be used. It never has the secret in it.
type LineError struct {
	Line  int
	Cause string
}

// Error names the line.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Cause) }

// ParseList reads a list of consumers, one to a line:
//
//	# name  secret                attributes
//	acme    sha256:9f86d081884c…  plan=gold tenant=acme
//
// Words are separated by spaces or tabs. A # begins a comment at the start of a line and after a space. The first line that is
// wrong fails the list. The error is a *LineError.
func ParseList(text []byte) ([]Row, error) {
	var rows []Row
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // some editors begin files with it
	for line := 1; len(text) > 0; line++ {
		var row []byte
		row, text, _ = bytes.Cut(text, []byte("\n"))
		words := strings.Fields(string(row))
		for i, w := range words {
			if w[0] == '#' {
				words = words[:i]
				break
			}
		}
		switch {
		case len(words) == 0:
			continue
		case len(words) == 1:
			return nil, &LineError{line, "the line has one word only: write the consumer's name and its secret"}
		case len(rows) >= ConsumersMax:
			return nil, &LineError{line, fmt.Sprintf("there are more than %d consumers", ConsumersMax)}
		}
		var attributes []Attribute
		for i, w := range words[2:] {
			name, value, ok := strings.Cut(w, "=")
			if !ok {
				// The word is not repeated: a secret with a space in it would be.
				return nil, &LineError{line, fmt.Sprintf("word %d is not an attribute: write name=value", i+3)}
			}
			attributes = append(attributes, Attribute{name, value})
		}
		id, err := New(words[0], attributes)
		if err != nil {
			return nil, &LineError{line, err.Error()}
		}
		rows = append(rows, Row{line, words[1], id})
	}
	return rows, nil
}
