package transcode

import (
	"errors"
	"fmt"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
)

// template is a path of google.api.http:
//
//	Template  = "/" Segments [ Verb ] ;
//	Segments  = Segment { "/" Segment } ;
//	Segment   = "*" | "**" | LITERAL | Variable ;
//	Variable  = "{" FieldPath [ "=" Segments ] "}" ;
//	FieldPath = IDENT { "." IDENT } ;
//	Verb      = ":" LITERAL ;
type template struct {
	segments  []segment
	verb      string
	variables []capture
}

// segment is a literal in normal form (message.NormalizePath), or a wildcard.
type segment struct {
	kind    segmentKind
	literal string
}

type segmentKind uint8

const (
	literalSegment segmentKind = iota
	oneSegment                 // *
	restSegment                // **
)

// capture is a variable: the segments from:to of the template are the value of a field.
type capture struct {
	field    string // a path with points
	from, to int
}

const (
	// segmentsMax bounds a template, and so the places that a match notes. The longest of Google's own have 14.
	segmentsMax = 32
	// variablesMax bounds the variables of a template, for Captures has room for all.
	variablesMax = 16
)

// parseTemplate reads a template, or says what is wrong and where.
func parseTemplate(text string) (*template, error) {
	p := &templateParser{text: text}
	if !p.pass('/') {
		return nil, errors.New("a path begins with '/'")
	}
	t := &template{}
	if p.at < len(text) { // "/" alone is the root
		if err := p.segments(t, false); err != nil {
			return nil, fmt.Errorf("%w, at character %d", err, p.at+1)
		}
	}
	if p.pass(':') {
		verb, err := normalLiteral(text[p.at:])
		if err != nil || strings.ContainsAny(text[p.at:], "/:*{}") {
			return nil, fmt.Errorf("the verb %q is no literal", text[p.at:])
		}
		t.verb, p.at = verb, len(text)
	}
	switch {
	case p.at < len(text):
		return nil, fmt.Errorf("%q does not belong here, at character %d", text[p.at], p.at+1)
	case len(t.segments) > segmentsMax:
		return nil, fmt.Errorf("more than %d segments", segmentsMax)
	case len(t.variables) > variablesMax:
		return nil, fmt.Errorf("more than %d variables", variablesMax)
	}
	for i, s := range t.segments {
		if s.kind == restSegment && i < len(t.segments)-1 {
			return nil, errors.New("** is not the last segment")
		}
	}
	return t, nil
}

type templateParser struct {
	text string
	at   int
}

func (p *templateParser) pass(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *templateParser) segments(t *template, inVariable bool) error {
	for {
		if err := p.segment(t, inVariable); err != nil {
			return err
		}
		if !p.pass('/') {
			return nil
		}
	}
}

func (p *templateParser) segment(t *template, inVariable bool) error {
	rest := p.text[p.at:]
	switch {
	case strings.HasPrefix(rest, "**"):
		p.at += 2
		t.segments = append(t.segments, segment{kind: restSegment})
	case strings.HasPrefix(rest, "*"):
		p.at++
		t.segments = append(t.segments, segment{kind: oneSegment})
	case strings.HasPrefix(rest, "{"):
		if inVariable {
			return errors.New("a variable in a variable")
		}
		return p.variable(t)
	default:
		end := strings.IndexAny(rest, "/*{}")
		if end < 0 {
			end = len(rest)
		}
		// What follows a colon in the last segment is the verb; before that, colons are text.
		if colon := strings.LastIndexByte(rest[:end], ':'); !inVariable && end == len(rest) && colon >= 0 {
			end = colon
		}
		literal, err := normalLiteral(rest[:end])
		if err != nil {
			return err
		}
		p.at += end
		t.segments = append(t.segments, segment{literal: literal})
	}
	return nil
}

func (p *templateParser) variable(t *template) error {
	p.at++
	end := strings.IndexAny(p.text[p.at:], "=}")
	if end < 0 {
		return errors.New("a '{' without its '}'")
	}
	v := capture{field: p.text[p.at : p.at+end], from: len(t.segments)}
	if !isFieldPath([]byte(v.field)) {
		return fmt.Errorf("%q is no path of fields", v.field)
	}
	for _, other := range t.variables {
		if other.field == v.field {
			return fmt.Errorf("the variable %s is there twice", v.field)
		}
	}
	p.at += end
	if p.pass('=') {
		if err := p.segments(t, true); err != nil {
			return err
		}
	} else {
		t.segments = append(t.segments, segment{kind: oneSegment})
	}
	if !p.pass('}') {
		return errors.New("a '}' is missing")
	}
	v.to = len(t.segments)
	t.variables = append(t.variables, v)
	return nil
}

// normalLiteral gives a literal the form that it has in the paths of requests.
func normalLiteral(text string) (string, error) {
	h := &message.Head{}
	h.Path = h.StoreString("/" + text)
	if err := message.NormalizePath(h, message.PathPolicy{EncodedSlash: message.KeepEncodedSlash}); err != nil {
		return "", fmt.Errorf("%q cannot be a segment of a path: %w", text, err)
	}
	literal := string(h.PathBytes()[1:])
	if literal == "" {
		return "", errors.New("an empty segment")
	}
	return literal, nil
}

// several tells whether v may take in more than one segment, by the rules of which it is decoded then.
func (t *template) several(v capture) bool {
	return v.to-v.from != 1 || t.segments[v.from].kind == restSegment
}

// shape is what two templates have in common that match the same paths.
func (t *template) shape() string {
	var b strings.Builder
	for _, s := range t.segments {
		b.WriteByte('/')
		switch s.kind {
		case literalSegment:
			b.WriteString(s.literal) // a '*' in it is percent-encoded
		case oneSegment:
			b.WriteByte('*')
		case restSegment:
			b.WriteString("**")
		}
	}
	if len(t.segments) == 0 {
		b.WriteByte('/')
	}
	if t.verb != "" {
		b.WriteByte(':')
		b.WriteString(t.verb)
	}
	return b.String()
}
