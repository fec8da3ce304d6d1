package rewrite

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
)

// piece is a part of a path template: text, and the parameter behind it, if any.
type piece struct {
	literal string // in normal form; begins with a slash and, before a parameter, ends with one
	param   string // as route.Params knows it: a bare wildcard is "*"
	sigil   string // ':' or '*', as written
}

// parseTemplate reads a path with parameters.
func parseTemplate(s string, policy message.PathPolicy) (pieces []piece, cause, fix string) {
	if !strings.HasPrefix(s, "/") {
		return nil, fmt.Sprintf("%q does not begin with a slash", s), "write " + strconv.Quote("/"+s)
	}
	segments := strings.Split(s[1:], "/")
	literal := "" // gathered since the last parameter
	for i, segment := range segments {
		last := i == len(segments)-1
		sigil, name := "", ""
		if segment != "" && (segment[0] == ':' || segment[0] == '*') {
			sigil, name = segment[:1], segment[1:]
		}
		switch {
		case sigil == "":
			text, ok := plain(segment)
			if !ok {
				return nil, fmt.Sprintf("the segment %q mixes text with a ':' or '*'", segment),
					`a parameter is a whole segment, /users/:id; the plain characters are written \: and \*`
			}
			literal += "/" + text
			continue
		case name == "" && sigil == "*":
			name = "*"
		case !isName(name):
			return nil, fmt.Sprintf("the segment %q does not name a parameter", segment), `write :name; a plain colon is written \:`
		}
		if sigil == "*" && !last {
			return nil, fmt.Sprintf("the wildcard %q is not the last segment", segment), "move it to the end, or use a :name of the route"
		}
		text, cause, fix := normalLiteral(literal+"/", policy)
		if cause != "" {
			return nil, cause, fix
		}
		pieces, literal = append(pieces, piece{text, name, sigil}), ""
	}
	if literal != "" {
		text, cause, fix := normalLiteral(literal, policy)
		if cause != "" {
			return nil, cause, fix
		}
		pieces = append(pieces, piece{literal: text})
	}
	return pieces, "", ""
}

// plain replaces \: and \* by the plain characters, and refuses those without a backslash.
func plain(segment string) (text string, ok bool) {
	if !strings.ContainsAny(segment, `\:*`) {
		return segment, true
	}
	var b strings.Builder
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c == ':' || c == '*' {
			return "", false
		}
		if c == '\\' && i+1 < len(segment) && (segment[i+1] == ':' || segment[i+1] == '*') {
			i++
			c = segment[i]
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// isName reports whether s can name a parameter, as policy/route has it.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || '9' < c) {
			return false
		}
	}
	return s != ""
}

// normalPrefix brings a path that others are joined to into normal form, without a slash at its end.
func normalPrefix(s string, policy message.PathPolicy) (normal, cause, fix string) {
	if !strings.HasPrefix(s, "/") {
		return "", fmt.Sprintf("%q does not begin with a slash", s), "write " + strconv.Quote("/"+s)
	}
	normal, cause, fix = normalLiteral(strings.TrimRight(s, "/"), policy)
	normal = strings.TrimRight(normal, "/") // an encoded one, if the policy decodes those
	if cause == "" && normal == "" {
		return "", `"/" is the beginning of every path, so that it changes nothing`, "remove it"
	}
	return normal, cause, fix
}

// normalLiteral brings text of the document into the normal form of a request's path. It refuses what would be resolved:
// nobody writes "/a/../b" to mean "/b".
func normalLiteral(s string, policy message.PathPolicy) (normal, cause, fix string) {
	if strings.ContainsAny(s, "?#") {
		return "", fmt.Sprintf("%q holds a query or a fragment", s), "remove it; the query of the request stays as it is"
	}
	for segment := range strings.SplitSeq(s, "/") {
		// An encoded dot is a dot (RFC 3986 section 6.2.2.2).
		if dots := strings.ReplaceAll(strings.ToLower(segment), "%2e", "."); dots == "." || dots == ".." {
			return "", fmt.Sprintf("%q holds a dot segment", s), "write the path it leads to"
		}
	}
	if s == "" {
		return "", "", ""
	}
	var h message.Head
	h.Path = h.StoreString(s)
	if err := message.NormalizePath(&h, policy); err != nil {
		text := err.Error()
		var refused *message.Refusal
		if errors.As(err, &refused) {
			text = refused.Text
		}
		return "", fmt.Sprintf("%q would be refused in a request: %s", s, text), ""
	}
	return string(h.PathBytes()), "", ""
}

// judgeAuthority says why s cannot be the host, with or without a port, of a request (RFC 9110 section 7.2).
func judgeAuthority(s string) (cause, fix string) {
	if strings.Contains(s, "/") {
		return fmt.Sprintf("%q is more than a host", s), "write example.com or example.com:8080; the path is changed by path, prefix and strip_prefix"
	}
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Sprintf("%q has a port that is none", s), "write example.com or example.com:8080"
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !strings.HasSuffix(inner, "]") || !addr.Is6() || addr.Zone() != "" {
			return fmt.Sprintf("%q is not an IPv6 address in brackets", s), "write [2001:db8::1]"
		}
		return "", ""
	}
	if host == "" || len(host) > 253 {
		return fmt.Sprintf("%q is not a host", s), "write example.com or example.com:8080"
	}
	for i := range len(host) {
		c := host[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && c != '-' && c != '.' && c != '_' {
			return fmt.Sprintf("%q is not a host: it holds %q", s, rune(c)), "write example.com or example.com:8080"
		}
	}
	return "", ""
}
