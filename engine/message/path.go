package message

// PathPolicy says how NormalizePath treats what servers behind the gateway disagree about. The zero value is the safest.
type PathPolicy struct {
	EncodedSlash EncodedSlash
	// KeepSlashes leaves runs of '/' as they are; by default they become one, as nearly every server and file system
	// reads them.
	KeepSlashes bool
}

// EncodedSlash is the policy for %2F and %5C. An upstream that decodes a path before it splits it sees segments in it that
// no rule of the gateway saw.
type EncodedSlash uint8

// Policies for %2F and %5C.
const (
	// RejectEncodedSlash refuses both.
	RejectEncodedSlash EncodedSlash = iota
	// KeepEncodedSlash forwards both encoded; to routes they are part of a segment. For APIs that put whole names into
	// one segment (package registries, message brokers), behind which nobody decodes twice.
	KeepEncodedSlash
	// DecodeEncodedSlash makes %2F a '/' before dot segments are resolved. %5C stays refused, like the raw backslash.
	DecodeEncodedSlash
)

// Refusals of NormalizePath.
var (
	badPath       = &Refusal{400, "bad_path", "the path holds a character that must be percent-encoded"}
	badEscape     = &Refusal{400, "bad_escape", "a percent sign in the path is not followed by two hexadecimal digits"}
	controlInPath = &Refusal{400, "control_in_path", "the path holds an encoded control character"}
	encodedSlash  = &Refusal{400, "encoded_slash", "the path holds an encoded slash or backslash, which the route does not allow"}
	aboveRoot     = &Refusal{400, "above_root", "the path leads above its root"}
	dotParameter  = &Refusal{400, "dot_parameter", "a dot segment has parameters"}
)

// NormalizePath gives h the one spelling of its path that is routed, matched by rules, logged and forwarded, so that no
// two of them can disagree. In this order:
//
//   - refused: control characters, space, bytes above ASCII, '#' and '\', raw; %00 to %1F and %7F; a '%' without two
//     hexadecimal digits; %2F and %5C, unless the policy says otherwise
//   - escapes of unreserved characters are decoded, once, and the digits of others written in upper case
//     (RFC 3986 6.2.2); visible characters that a path cannot hold raw (such as '{' and '|', which browsers send) are
//     encoded
//   - runs of slashes become one
//   - "." and ".." segments are resolved (RFC 3986 5.2.4); a path that leads above the root is refused, and so is
//     a dot segment with parameters ("..;x"), which servers that strip parameters would resolve
//
// Otherwise parameters (";x") are kept as part of their segment, reserved characters stay encoded if they came encoded and
// raw if they came raw, and the query is not touched. The result is its own normal form. A path that is in it already, as
// nearly all are, is read once and nothing is written. "*" is left alone.
//
// The error is a *Refusal; h is unchanged then.
func NormalizePath(h *Head, policy PathPolicy) error {
	path := h.PathBytes()
	if isNormal(path, policy) || string(path) == "*" {
		return nil
	}
	if len(path) == 0 || path[0] != '/' {
		return badPath
	}
	start := len(h.raw)
	if err := h.decodePath(h.Path, policy); err != nil {
		h.raw = h.raw[:start]
		return err
	}
	end, err := resolve(h.raw[start:], policy)
	if err != nil {
		h.raw = h.raw[:start]
		return err
	}
	h.raw = h.raw[:start+end]
	h.Path = Span{uint32(start), uint32(end)}
	return nil
}

// class is what a raw byte of a path is.
type class uint8

const (
	forbidden  class = iota
	encode           // visible, but not for raw use in a path
	reserved         // raw and encoded, it means different things
	unreserved       // RFC 3986 2.3: encoded or not, it means the same
	slash
	percent
)

var pathClass = func() (t [256]class) {
	for c := '!'; c <= '~'; c++ {
		t[c] = encode
	}
	for _, c := range "!$&'()*+,;=:@" {
		t[c] = reserved
	}
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~" {
		t[c] = unreserved
	}
	t['/'], t['%'], t['#'], t['\\'] = slash, percent, forbidden, forbidden
	return t
}()

// isNormal tells whether NormalizePath would return the path unchanged.
func isNormal(path []byte, policy PathPolicy) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	for i := 0; i < len(path); i++ {
		switch pathClass[path[i]] {
		case reserved, unreserved:
		case slash:
			rest := path[i+1:]
			if len(rest) == 0 {
				return true
			}
			if rest[0] == '/' && !policy.KeepSlashes || rest[0] == '.' && dotSegment(rest) != notDots {
				return false
			}
		case percent:
			c, ok := unescape(path[i:])
			if !ok || isLowerHex(path[i+1]) || isLowerHex(path[i+2]) || pathClass[c] == unreserved || c < 0x20 || c == 0x7f {
				return false
			}
			if (c == '/' || c == '\\') && policy.EncodedSlash != KeepEncodedSlash {
				return false
			}
			i += 2
		default:
			return false
		}
	}
	return true
}

// decodePath appends the path to h's raw bytes with its escapes decoded or written in their one form.
func (h *Head) decodePath(path Span, policy PathPolicy) error {
	for i := uint32(0); i < path.Len; i++ {
		c := h.raw[path.Off+i]
		switch pathClass[c] {
		case forbidden:
			return badPath
		case encode:
			h.appendEscape(c)
			continue
		case reserved, unreserved, slash:
			h.raw = append(h.raw, c)
			continue
		}
		c, ok := unescape(h.raw[path.Off+i : path.Off+path.Len])
		if !ok {
			return badEscape
		}
		i += 2
		switch {
		case c < 0x20 || c == 0x7f:
			return controlInPath
		case pathClass[c] == unreserved:
			h.raw = append(h.raw, c)
		case c == '/' && policy.EncodedSlash == DecodeEncodedSlash:
			h.raw = append(h.raw, c)
		case (c == '/' || c == '\\') && policy.EncodedSlash != KeepEncodedSlash:
			return encodedSlash
		default:
			h.appendEscape(c)
		}
	}
	return nil
}

func (h *Head) appendEscape(c byte) {
	const digits = "0123456789ABCDEF"
	h.raw = append(h.raw, '%', digits[c>>4], digits[c&15])
}

// resolve removes dot segments and, by policy, empty ones from a decoded path, in place, and returns its new length.
func resolve(path []byte, policy PathPolicy) (int, error) {
	w := 0 // path[:w] is done and ends before a '/'
	for r := 0; r < len(path); {
		// path[r] is a '/', and the segment behind it is the next one.
		end := r + 1
		for end < len(path) && path[end] != '/' {
			end++
		}
		segment, last := path[r+1:end], end == len(path)
		switch dots := dotSegment(segment); {
		case dots == withParameter:
			return 0, dotParameter
		case dots == twoDots:
			if w == 0 {
				return 0, aboveRoot
			}
			for w--; path[w] != '/'; w-- {
			}
			fallthrough
		case dots == oneDot:
			if last {
				path[w] = '/'
				w++
			}
		case len(segment) == 0 && !last && !policy.KeepSlashes:
		default:
			w += copy(path[w:], path[r:end])
		}
		r = end
	}
	return w, nil
}

type dots uint8

const (
	notDots dots = iota
	oneDot
	twoDots
	withParameter
)

// dotSegment says what kind of dot segment b begins with, of which unreserved characters are decoded. A parameter may
// begin with an encoded semicolon, too.
func dotSegment(b []byte) dots {
	n := 0
	for n < len(b) && n < 2 && b[n] == '.' {
		n++
	}
	switch rest := b[n:]; {
	case n == 0:
		return notDots
	case len(rest) == 0 || rest[0] == '/':
		return dots(n)
	case rest[0] == ';' || len(rest) > 2 && rest[0] == '%' && rest[1] == '3' && rest[2]|0x20 == 'b':
		return withParameter
	}
	return notDots
}

// unescape decodes the escape that b begins with.
func unescape(b []byte) (c byte, ok bool) {
	if len(b) < 3 {
		return 0, false
	}
	high, low := hexDigit(b[1]), hexDigit(b[2])
	return high<<4 | low, high < 16 && low < 16
}

// hexDigit returns the value of a hexadecimal digit, and something above 15 for any other byte.
func hexDigit(c byte) byte {
	switch {
	case c-'0' < 10:
		return c - '0'
	case (c|0x20)-'a' < 6:
		return (c | 0x20) - 'a' + 10
	}
	return 0xff
}

func isLowerHex(c byte) bool { return c >= 'a' }
