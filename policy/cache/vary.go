package cache

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// VaryMax bounds the names in Vary: a response that depends on more is for one client anyway.
const VaryMax = 16

// varies tells whether Vary can be kept to: not with '*', and not with too many names.
func varies(f *message.Fields) bool {
	n := 0
	for v, next := f.NextField("vary", 0); next >= 0; v, next = f.NextField("vary", next) {
		for len(v) > 0 {
			i := indexByte(v, ',')
			name := trim(v[:i])
			if len(name) == 1 && name[0] == '*' {
				return false
			}
			if len(name) > 0 {
				n++
			}
			v = v[min(i+1, len(v)):]
		}
	}
	return n <= VaryMax
}

// AppendVary appends the names in Vary, in lower case, each behind a zero byte. Order and repetitions are kept: two responses that
// write it differently do not share a key, which costs memory at most.
func AppendVary(b []byte, f *message.Fields) []byte {
	for v, next := f.NextField("vary", 0); next >= 0; v, next = f.NextField("vary", next) {
		for len(v) > 0 {
			i := indexByte(v, ',')
			if name := trim(v[:i]); len(name) > 0 {
				b = append(b, 0)
				for _, c := range name {
					b = append(b, message.Lower(c))
				}
			}
			v = v[min(i+1, len(v)):]
		}
	}
	return b
}

// AppendSelector appends what a request has in the fields that vary (of AppendVary) names, in normal form (RFC 9111 4.1): lines
// are joined, spaces around commas are dropped, and where order and case say nothing members are put in order. Two requests
// with equal selectors are answered by the same response. No value can imitate two: a zero byte stands between them, which no
// value has.
func AppendSelector(b []byte, vary string, f *message.Fields) []byte {
	for len(vary) > 0 {
		vary = vary[1:]
		end := 0
		for end < len(vary) && vary[end] != 0 {
			end++
		}
		b = appendValue(append(b, 0), vary[:end], f)
		vary = vary[end:]
	}
	return b
}

// membersMax bounds how many members are put in order; a longer list stays as it is.
const membersMax = 16

func appendValue(b []byte, name string, f *message.Fields) []byte {
	start, there := len(b), false
	v, next := f.NextField(name, 0)
	if next < 0 {
		return append(b, 1) // no field, which an empty one is not
	}
	for ; next >= 0; v, next = f.NextField(name, next) {
		if there {
			b = append(b, ',')
		}
		there = true
		b = appendList(b, v)
	}
	switch name {
	case "accept", "accept-charset", "accept-encoding", "accept-language":
		sortMembers(b[start:])
	}
	return b
}

// appendList appends v without spaces around commas that stand outside of quotes.
func appendList(b, v []byte) []byte {
	quoted, start := false, len(b)
	for i := 0; i < len(v); i++ {
		c := v[i]
		switch {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted && i+1 < len(v):
			b = append(b, c)
			i++
			c = v[i]
		case c == ',' && !quoted:
			for len(b) > start && isSpace(b[len(b)-1]) {
				b = b[:len(b)-1]
			}
			b = append(b, c)
			for i+1 < len(v) && isSpace(v[i+1]) {
				i++
			}
			continue
		}
		b = append(b, c)
	}
	return b
}

// sortMembers puts the members of a list in order, in lower case, in place.
func sortMembers(b []byte) {
	var starts [membersMax]int
	n, at := 0, 0
	for i := range b {
		b[i] = message.Lower(b[i])
	}
	for {
		if n == membersMax {
			return
		}
		starts[n] = at
		n++
		i := bytes.IndexByte(b[at:], ',')
		if i < 0 {
			break
		}
		at += i + 1
	}
	// Neighbours change places, a member at a time: lists are short, and mostly in order.
	for i := 1; i < n; i++ {
		for j := i; j > 0; j-- {
			end := len(b)
			if j+1 < n {
				end = starts[j+1] - 1
			}
			left, right := b[starts[j-1]:starts[j]-1], b[starts[j]:end]
			if bytes.Compare(left, right) <= 0 {
				break
			}
			rotate(b[starts[j-1]:end], len(left))
			starts[j] = starts[j-1] + len(right) + 1
		}
	}
}

// rotate turns "left,right" into "right,left".
func rotate(b []byte, left int) {
	reverse(b[:left])
	reverse(b[left+1:])
	reverse(b)
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}
