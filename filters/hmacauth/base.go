package hmacauth

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// baseBytesMax bounds what is signed (signature_base): a head with its names twice.
const baseBytesMax = 64 << 10

// derived are the components that are no header fields.
var derived = map[string]bool{"@method": true, "@authority": true, "@path": true, "@query": true}

// appendBase appends the signature base of a request (RFC 9421 2.5). It returns false if a component is not there, or is none that is
// known.
func appendBase(b []byte, in *input, method []byte, h *message.Head) ([]byte, bool) {
	for _, c := range in.components[:in.count] {
		b = append(append(append(b, '"'), c...), "\": "...)
		var ok bool
		if b, ok = appendComponent(b, c, method, h); !ok || len(b) > baseBytesMax {
			return b, false
		}
		b = append(b, '\n')
	}
	b = append(b, `"@signature-params": `...)
	return append(b, in.raw...), true
}

func appendComponent(b, name, method []byte, h *message.Head) ([]byte, bool) {
	switch string(name) {
	case "@method":
		return append(b, method...), true
	case "@authority":
		return appendAuthority(b, h.AuthorityBytes()), true
	case "@path":
		return append(b, h.PathBytes()...), true
	case "@query": // 2.2.7: a query that is not there is signed as "?"
		return append(append(b, '?'), h.QueryBytes()...), true
	}
	if name[0] == '@' {
		return b, false
	}
	for _, c := range name {
		if message.Lower(c) != c {
			return b, false // 2.1: names of fields are in lower case
		}
	}
	found := false
	all := h.All()
	for i := range all {
		f := &all[i]
		if f.Gone || !message.EqualFold(h.Bytes(f.Name), name) {
			continue
		}
		if found {
			b = append(b, ", "...)
		}
		found = true
		b = append(b, bytes.Trim(h.Bytes(f.Value), " \t")...)
	}
	return b, found
}

// appendAuthority writes host and port as 2.2.3 has them: in lower case, and without the port that the scheme means anyway.
func appendAuthority(b, authority []byte) []byte {
	for _, port := range []string{":443", ":80"} {
		if rest, ok := bytes.CutSuffix(authority, []byte(port)); ok && len(rest) > 0 {
			authority = rest
			break
		}
	}
	for _, c := range authority {
		b = append(b, message.Lower(c))
	}
	return b
}
