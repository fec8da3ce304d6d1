package compile

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// targetPiece is a part of a redirect's target.
type targetPiece struct {
	gateway.Piece
	sigil string // ':' or '*' of a parameter, as written
}

// placeholders are the words in braces that a target may hold. A brace cannot stand in a URL for itself.
var placeholders = map[string]gateway.PieceOf{
	"host": gateway.OfHost, "path": gateway.OfPath, "query": gateway.OfQuery, "scheme": gateway.OfScheme,
}

// parseTarget reads the target of a redirect:
//
//	/users/:id/*rest{query}           parameters of the route's path, each a whole segment; a wildcard comes last
//	https://{host}{path}{query}       {host} without its port, {path} with its slash, {query} with its question mark
//
// What comes from a request must not be able to change where a client goes: the host of a target is the document's, or the
// one the client asked for, and a path never begins with two slashes, which clients take for a host. policy is the one by
// which the paths of requests are brought to normal form.
func parseTarget(s string, policy message.PathPolicy) (pieces []targetPiece, cause, fix string) {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return nil, fmt.Sprintf("%q holds what a URL cannot", s), "percent-encode it"
		}
	}
	begin := 0 // of the path
	if strings.HasPrefix(s, "//") {
		return nil, fmt.Sprintf("%q begins with two slashes, which clients take for the beginning of a host", s), "write https://example.com/new or /new"
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok && !strings.HasPrefix(scheme, "/") {
		begin = len(s)
		if i := strings.IndexAny(rest, "/?#"); i >= 0 {
			begin = len(s) - len(rest) + i
		}
		if begin == len(s)-len(rest) {
			return nil, fmt.Sprintf("%q has no host", s), "write https://example.com/new or /new"
		}
	}
	end := len(s)
	if i := strings.IndexAny(s[begin:], "?#"); i >= 0 {
		end = begin + i
	}
	literal := ""
	flush := func() {
		if literal != "" {
			pieces = append(pieces, targetPiece{Piece: gateway.Piece{Literal: literal}})
			literal = ""
		}
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '{':
			word, _, closed := strings.Cut(s[i+1:], "}")
			of, known := placeholders[word]
			if !closed || !known {
				return nil, fmt.Sprintf("%q holds a brace that opens none of {host}, {path}, {query}, {scheme}", s), "write one of them, or %7B for a brace"
			}
			if of == gateway.OfPath && afterSlash(pieces, literal, begin == 0) {
				return nil, fmt.Sprintf("%q has a slash before {path}, which begins with one: clients take two for the beginning of a host", s), "remove the slash"
			}
			flush()
			pieces = append(pieces, targetPiece{Piece: gateway.Piece{Of: of}})
			i += len(word) + 2
		case (c == ':' || c == '*') && begin < i && i < end && s[i-1] == '/':
			segment := s[i:end]
			if n := strings.IndexAny(segment, "/{"); n >= 0 {
				segment = segment[:n]
			}
			behind := s[i+len(segment) : end]
			if cause, fix = checkParam(segment, behind == "" || behind == "{query}"); cause != "" {
				return nil, cause, fix
			}
			flush()
			pieces = append(pieces, targetPiece{gateway.Piece{Of: gateway.OfParam, Name: paramName(segment)}, segment[:1]})
			i += len(segment)
		default:
			literal += string(c)
			i++
		}
	}
	flush()
	if begin == 0 && strings.HasPrefix(shortest(pieces, policy), "//") {
		return nil, fmt.Sprintf("%q could become a path that begins with two slashes, which clients take for the beginning of a host", s),
			"write https://{host} before it"
	}
	if _, err := url.Parse(sample(pieces)); err != nil {
		return nil, fmt.Sprintf("%q is not a URL: a client would see %q", s, sample(pieces)), "write https://example.com/new or /new"
	}
	return pieces, "", ""
}

// afterSlash tells whether the text before a piece may end with a slash, in view of pieces that may be empty: the query,
// and of a path the host, which an HTTP/1.0 client may leave out.
func afterSlash(pieces []targetPiece, literal string, relative bool) bool {
	for i := len(pieces) - 1; literal == "" && i >= 0; i-- {
		if of := pieces[i].Of; of != gateway.Literal && of != gateway.OfQuery && (of != gateway.OfHost || !relative) {
			return false
		}
		literal = pieces[i].Literal
	}
	return strings.HasSuffix(literal, "/")
}

// checkParam judges a segment that begins with ':' or '*'.
func checkParam(segment string, last bool) (cause, fix string) {
	name := segment[1:]
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || '9' < c) {
			return fmt.Sprintf("the segment %q does not name a parameter", segment), "write :name; a plain colon at the beginning is written %3A"
		}
	}
	switch {
	case segment == ":":
		return `the segment ":" does not name a parameter`, "write :name; a plain colon at the beginning is written %3A"
	case segment[0] == '*' && !last:
		return fmt.Sprintf("the wildcard %q is not the last segment of the path", segment), "move it to the end, or use a :name of the route"
	}
	return "", ""
}

// shortest is a target in which everything is empty that a request can leave empty, and in which a wildcard begins with
// a slash if a request can make it: where slashes are kept, /old//evil.example leaves /evil.example for /old/*rest.
func shortest(pieces []targetPiece, policy message.PathPolicy) string {
	var b strings.Builder
	for _, p := range pieces {
		switch {
		case p.Of == gateway.Literal:
			b.WriteString(p.Literal)
		case p.sigil == "*" && policy.KeepSlashes, p.Of == gateway.OfPath:
			b.WriteByte('/')
		case p.sigil == ":" || p.Of == gateway.OfScheme:
			b.WriteByte('x')
		}
	}
	return b.String()
}

// sample is a target that a client might see.
func sample(pieces []targetPiece) string {
	var b strings.Builder
	for _, p := range pieces {
		b.WriteString(p.Literal)
		b.WriteString([...]string{gateway.Literal: "", gateway.OfHost: "example.com", gateway.OfPath: "/a", gateway.OfQuery: "?b=c",
			gateway.OfScheme: "http", gateway.OfParam: "d"}[p.Of])
	}
	return b.String()
}

func paramsOf(pieces []targetPiece) []string {
	var list []string
	for _, p := range pieces {
		if p.Of == gateway.OfParam {
			list = append(list, p.sigil+strings.TrimPrefix(p.Name, "*"))
		}
	}
	return list
}

func templateOf(pieces []targetPiece) gateway.Template {
	t := make(gateway.Template, len(pieces))
	for i, p := range pieces {
		t[i] = p.Piece
	}
	return t
}
