package compress

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
)

// mediaTypes says which content types are encoded: text/html, text/*, application/*+json, */*.
type mediaTypes []mediaType

// mediaType is a pattern, in lower case. Empty parts are any.
type mediaType struct{ kind, subtype, suffix string }

// DefaultTypes are the types that are encoded unless a document says otherwise: text, and what is text by another name. Pictures,
// sound, films and archives are not: they are as small as they get, and encoding them costs time and gains nothing.
var DefaultTypes = []string{
	"text/*", "application/json", "application/*+json", "application/xml", "application/*+xml", "application/javascript",
	"application/x-javascript", "application/x-ndjson", "application/yaml", "application/wasm", "application/vnd.ms-fontobject",
	"image/svg+xml", "font/ttf", "font/otf",
}

// ParseType reads a pattern of content types, or says what is wrong with it.
func ParseType(s string) (cause, fix string) {
	_, cause, fix = parseType(s)
	return cause, fix
}

func parseType(s string) (t mediaType, cause, fix string) {
	const form = "write a type (text/html), all of a kind (text/*) or all with a suffix (application/*+json)"
	kind, subtype, ok := strings.Cut(strings.ToLower(s), "/")
	if !ok || kind == "" || subtype == "" {
		return t, fmt.Sprintf("%q is not a content type", s), form
	}
	if strings.ContainsAny(s, "; \t") {
		return t, fmt.Sprintf("%q has parameters, which types are compared without", s), "write the type alone: " + strings.TrimSpace(strings.Split(s, ";")[0])
	}
	if kind != "*" {
		t.kind = kind
	}
	switch suffix, any := strings.CutPrefix(subtype, "*"); {
	case !any:
		t.subtype = subtype
	case suffix == "":
	case suffix[0] == '+' && len(suffix) > 1:
		t.suffix = suffix
	default:
		return t, fmt.Sprintf("%q is not a pattern of content types", s), form
	}
	if strings.Contains(t.kind+t.subtype+t.suffix, "*") || t.kind == "" && t.subtype != "" {
		return t, fmt.Sprintf("%q is not a pattern of content types", s), form
	}
	return t, "", ""
}

// has tells whether a Content-Type is one of the types, whatever its parameters.
func (list mediaTypes) has(contentType []byte) bool {
	value, _, _ := bytes.Cut(contentType, []byte{';'})
	kind, subtype, ok := bytes.Cut(bytes.Trim(value, " \t"), []byte{'/'})
	if !ok || isGRPC(kind, subtype) {
		return false
	}
	for i := range list {
		if list[i].fits(kind, subtype) {
			return true
		}
	}
	return false
}

func (t *mediaType) fits(kind, subtype []byte) bool {
	switch {
	case t.kind != "" && !foldEqual(kind, t.kind):
		return false
	case t.subtype != "":
		return foldEqual(subtype, t.subtype)
	case t.suffix != "":
		return len(subtype) > len(t.suffix) && foldEqual(subtype[len(subtype)-len(t.suffix):], t.suffix)
	}
	return true
}

// isGRPC tells of messages with a framing of their own, in which each may be compressed by itself.
func isGRPC(kind, subtype []byte) bool {
	const name = "grpc"
	return foldEqual(kind, "application") && len(subtype) >= len(name) && foldEqual(subtype[:len(name)], name)
}

// foldEqual compares with a text in lower case.
func foldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		if message.Lower(b[i]) != lower[i] {
			return false
		}
	}
	return true
}
