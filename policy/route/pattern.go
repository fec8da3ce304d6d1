package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const (
	// paramsMax is how many values a pattern may capture; they are kept in an array of this size in every exchange.
	paramsMax = 16
	// segmentsMax bounds the depth of the walk.
	segmentsMax = 64
	// patternBytesMax is the longest path pattern. Request targets beyond this are refused by most servers anyway.
	patternBytesMax = 4096
	// hostBytesMax and labelBytesMax are the limits of DNS (RFC 1035 section 2.3.4).
	hostBytesMax  = 253
	labelBytesMax = 63
)

// segmentKind orders segments from specific to general.
type segmentKind uint8

const (
	literal segmentKind = iota
	param
	wildcard
)

// segment is what a pattern says between two slashes.
type segment struct {
	kind segmentKind
	text string // of a literal, in normal form; empty only as the last one, for a trailing slash
}

// pattern is a parsed path pattern.
type pattern struct {
	segments []segment
	// key is equal for patterns that match the same paths: the pattern in normal form without the names.
	key string
	// names of what is captured, in order.
	names []string
}

// static reports whether the pattern is one path; then key is that path.
func (p *pattern) static() bool { return len(p.names) == 0 }

// parsePattern reads a path pattern.
func parsePattern(s string) (pattern, error) {
	var p pattern
	switch {
	case s == "":
		return p, errors.New("the path is missing; write /* for every path")
	case s[0] != '/':
		return p, fmt.Errorf("the path has to begin with '/': write %q", "/"+strings.TrimPrefix(s, "*/"))
	case len(s) > patternBytesMax:
		return p, fmt.Errorf("the path has %d bytes, at most %d are allowed", len(s), patternBytesMax)
	case strings.ContainsAny(s, "?#"):
		return p, errors.New("a path holds neither '?' nor '#'; the query is matched by match.query")
	}
	texts := strings.Split(s[1:], "/")
	if len(texts) > segmentsMax {
		return p, fmt.Errorf("the path has %d segments, at most %d are allowed", len(texts), segmentsMax)
	}
	var key strings.Builder
	for i, text := range texts {
		seg, name, err := parseSegment(text, i == len(texts)-1)
		if err != nil {
			return pattern{}, err
		}
		key.WriteByte('/')
		switch seg.kind {
		case literal:
			key.WriteString(seg.text)
		default:
			for _, n := range p.names {
				if n == name {
					return pattern{}, fmt.Errorf("the name %q is used twice", name)
				}
			}
			p.names = append(p.names, name)
			// A zero byte cannot stand in a literal, it would be escaped there.
			key.WriteString([...]string{param: "\x00:", wildcard: "\x00*"}[seg.kind])
		}
		p.segments = append(p.segments, seg)
	}
	if len(p.names) > paramsMax {
		return pattern{}, fmt.Errorf("the path captures %d values, at most %d are allowed", len(p.names), paramsMax)
	}
	p.key = key.String()
	return p, nil
}

// parseSegment reads what stands between two slashes. The name is that of a parameter or wildcard.
func parseSegment(s string, last bool) (seg segment, name string, err error) {
	switch {
	case s == "" && !last:
		return seg, "", errors.New("the path has an empty segment (two slashes in a row)")
	case s == "." || s == "..":
		return seg, "", fmt.Errorf("the segment %q never occurs: paths are matched after dot segments were removed", s)
	case strings.HasPrefix(s, ":"):
		if !isName(s[1:]) {
			return seg, "", fmt.Errorf("the segment %q needs a parameter name of letters, digits and '_' after the colon; \\: is a plain colon", s)
		}
		return segment{kind: param}, s[1:], nil
	case strings.HasPrefix(s, "*"):
		if s != "*" && !isName(s[1:]) {
			return seg, "", fmt.Errorf("the segment %q needs a name of letters, digits and '_' after the star, or none; \\* is a plain star", s)
		}
		if !last {
			return seg, "", fmt.Errorf("the wildcard %q has to be the last segment; one segment in the middle is matched by :name", s)
		}
		if s == "*" {
			return segment{kind: wildcard}, "*", nil
		}
		return segment{kind: wildcard}, s[1:], nil
	}
	text, err := normalLiteral(s)
	if err == nil && (text == "." || text == "..") {
		err = fmt.Errorf("the segment %q never occurs: paths are matched after dot segments were removed", s)
	}
	return segment{literal, text}, "", err
}

// isName reports whether s can name a parameter.
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

// normalLiteral brings the text of a segment to the normal form of RFC 3986 section 6.2.2.
func normalLiteral(s string) (string, error) {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		escaped := false
		switch {
		case c == '\\' && i+1 < len(s) && (s[i+1] == ':' || s[i+1] == '*'):
			i++
			b.WriteByte(s[i])
			continue
		case c == '\\':
			return "", fmt.Errorf("the segment %q has a backslash that is not before ':' or '*'; a plain one is written %%5C", s)
		case c == ':' || c == '*':
			return "", fmt.Errorf("the segment %q mixes text with %q: a parameter or wildcard is a whole segment, and the plain character is written \\%c", s, c, c)
		case c == '%':
			if i+2 >= len(s) || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
				return "", fmt.Errorf("the segment %q has a '%%' without two hex digits; a plain one is written %%25", s)
			}
			c, escaped = unhex(s[i+1])<<4|unhex(s[i+2]), true
			i += 2
		}
		if c < ' ' || c == 0x7f {
			return "", fmt.Errorf("the segment %q holds a control character; no path that is let in does", s)
		}
		// Reserved characters mean one thing plain and another escaped, so they stay as written. Everything that is
		// neither reserved nor unreserved can only be escaped.
		if isUnreserved(c) || !escaped && strings.IndexByte("!$&'()+,;=@", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String(), nil
}

// isUnreserved reports whether c needs no escape anywhere (RFC 3986 section 2.3).
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// unhex returns the value of a hex digit, or 0xff.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// host is a parsed host pattern.
type host struct {
	kind segmentKind // literal: exactly name; wildcard with a name: every host that ends in it; without: every host
	name string      // of a wildcard with the dot in front
}

// parseHost reads a host pattern.
func parseHost(s string) (host, error) {
	if s == "" || s == "*" {
		return host{kind: wildcard}, nil
	}
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if strings.HasPrefix(name, "[") {
		return parseHostIPv6(s, name)
	}
	h := host{kind: literal, name: name}
	if rest, ok := strings.CutPrefix(name, "*."); ok {
		h, name = host{kind: wildcard, name: "." + rest}, rest
	}
	if _, err := netip.ParseAddr(name); err == nil && strings.Contains(name, ":") {
		return host{}, fmt.Errorf("the host %q is an IPv6 address and needs brackets: [%s]", s, name)
	}
	if bare, _, ok := strings.Cut(name, ":"); ok {
		return host{}, fmt.Errorf("the host %q has a port; hosts are matched without: write %q", s, bare)
	}
	if len(name) > hostBytesMax {
		return host{}, fmt.Errorf("the host %q has %d bytes, at most %d are possible", s, len(name), hostBytesMax)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return host{}, fmt.Errorf("the host %q has an empty label", s)
		}
		if len(label) > labelBytesMax {
			return host{}, fmt.Errorf("the host %q has a label of %d bytes, at most %d are possible", s, len(label), labelBytesMax)
		}
		for i := range len(label) {
			switch c := label[i]; {
			case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_':
			case c == '*':
				return host{}, fmt.Errorf("the host %q has a star in an odd place: it can only be the whole first label, as in *.example.com", s)
			case c >= 0x80:
				return host{}, fmt.Errorf("the host %q has characters outside ASCII: write its xn-- form", s)
			default:
				return host{}, fmt.Errorf("the host %q has the character %q, which no host name has", s, c)
			}
		}
	}
	return h, nil
}

// parseHostIPv6 reads an address in brackets and brings it to the form of RFC 5952.
func parseHostIPv6(s, name string) (host, error) {
	inner, rest, ok := strings.Cut(name[1:], "]")
	addr, err := netip.ParseAddr(inner)
	switch {
	case !ok || err != nil || !addr.Is6() || addr.Zone() != "":
		return host{}, fmt.Errorf("the host %q is not an IPv6 address in brackets", s)
	case strings.HasPrefix(rest, ":"):
		return host{}, fmt.Errorf("the host %q has a port; hosts are matched without: write %q", s, "["+addr.String()+"]")
	case rest != "":
		return host{}, fmt.Errorf("the host %q goes on after the bracket", s)
	}
	return host{kind: literal, name: "[" + addr.String() + "]"}, nil
}

// String returns the pattern in its normal form.
func (h host) String() string {
	if h.kind == wildcard {
		return "*" + h.name
	}
	return h.name
}
