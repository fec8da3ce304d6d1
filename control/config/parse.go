package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Load reads the file at path and parses it. The error is about reading only: no file, no permission, not a file, more
// than 64 MiB.
func Load(path string, env func(string) (string, bool)) (*Document, []Problem, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	doc, problems := Parse(path, text, env)
	return doc, problems, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only: nothing is lost if it fails
	// The size is measured by reading, not asked for: pipes have none, and files grow.
	text, err := io.ReadAll(io.LimitReader(f, textMax+1))
	if err != nil {
		return nil, err
	}
	if len(text) > textMax {
		return nil, fmt.Errorf("%s is larger than %s", path, formatSize(textMax))
	}
	return text, nil
}

// Parse reads a document. name is what problems call it; env looks up variables, and nil has none. The Document is nil
// exactly when a problem is an error; problems are in the order of the text. Parse does no I/O, and may be called from
// any goroutine.
func Parse(name string, text []byte, env func(string) (string, bool)) (*Document, []Problem) {
	d := &decoder{file: name, env: env, doc: &Document{File: name}, valuesMax: valuesMax}
	return d.parse(text)
}

func (d *decoder) parse(text []byte) (*Document, []Problem) {
	if root := d.readYAML(text); root != nil {
		documentObject().fillWith(d, d.doc)
		documentObject().read(d, root, d.doc)
	}
	sortProblems(d.problems)
	if d.hidden > 0 {
		d.problems = append(d.problems, Problem{File: d.file, Cause: fmt.Sprintf("%d more problems are not shown", d.hidden)})
	}
	if anyError(d.problems) {
		return nil, d.problems
	}
	return d.doc, d.problems
}

// readYAML returns the root of the one document in text, or nil after reporting why there is none.
func (d *decoder) readYAML(text []byte) *yaml.Node {
	if p, ok := refuse(text); !ok {
		p.File = d.file
		d.problems = append(d.problems, p)
		return nil
	}
	var doc, second yaml.Node
	reader := yaml.NewDecoder(bytes.NewReader(text))
	err := decodeYAML(reader, &doc)
	if err == nil {
		if err = decodeYAML(reader, &second); err == nil {
			at := &second
			if len(second.Content) > 0 {
				at = second.Content[0]
			}
			d.fail(at, `remove the line "---", or give each gateway a file of its own`, "the file holds more than one YAML document")
			return nil
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil {
		p := explain(text, err)
		p.File = d.file
		d.problems = append(d.problems, p)
		return nil
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		d.fail(&yaml.Node{Line: 1, Column: 1}, `begin with listen: ":8080"`, "the document is empty")
		return nil
	}
	return doc.Content[0]
}

// decodeYAML guards against a panic of the library: documents arrive over the admin API too, and a text that its
// scanner did not foresee is a bad document, not the end of the gateway.
func decodeYAML(reader *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML reader gave up: %v", r)
		}
	}()
	return reader.Decode(into)
}

// refuse looks at the bytes before the YAML reader does: whether they are text at all, and not more than it can take.
func refuse(text []byte) (p Problem, ok bool) {
	if len(text) > textMax {
		return Problem{Cause: fmt.Sprintf("the document is larger than %s", formatSize(textMax))}, false
	}
	tokens := 0
	for i, c := range text {
		switch {
		case c == '\n' || c == ',' || c == '[' || c == '{':
			tokens++
		case (c == '-' || c == ':' || c == '?') && i+1 < len(text) && (text[i+1] == ' ' || text[i+1] == '\t'):
			tokens++
		case c < ' ' && c != '\t' && c != '\r' || c == 0x7f:
			line, column := lineColumn(text, i)
			return Problem{
				Line: line, Column: column, Cause: fmt.Sprintf("the document holds the control character %#02x", c),
				Fix: "remove it; the file should be UTF-8 text",
			}, false
		}
	}
	if tokens > tokensMax {
		return Problem{Cause: fmt.Sprintf("the document holds more than %d values", tokensMax)}, false
	}
	if utf8.Valid(text) {
		return Problem{}, true
	}
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	line, column := lineColumn(text, at)
	return Problem{Line: line, Column: column, Cause: "the document is not UTF-8", Fix: "save the file as UTF-8"}, false
}

// lineColumn is the place of a byte, both from 1, the column in characters.
func lineColumn(text []byte, offset int) (line, column int) {
	before := text[:offset]
	line = 1 + bytes.Count(before, []byte("\n"))
	start := bytes.LastIndexByte(before, '\n') + 1
	return line, 1 + utf8.RuneCount(before[start:])
}
