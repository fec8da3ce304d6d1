package block

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/yumen-io/yumen/engine/message"
)

// request makes a head as the gateway forwards it; target is the path and, with a '?' of its own, the query.
func request(method, host, path, query string, fields ...string) *message.Head {
	h := &message.Head{Proto: message.HTTP2}
	h.Method, h.Authority, h.Path = h.StoreString(method), h.StoreString(host), h.StoreString(path)
	if query != "" {
		h.HasQuery, h.Query = true, h.StoreString(query[1:])
	}
	add(h, fields)
	return h
}

func response(status int, length int64, fields ...string) *message.Head {
	h := &message.Head{Proto: message.HTTP2, Status: status, Length: length}
	add(h, fields)
	return h
}

func add(h *message.Head, fields []string) {
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
}

// decoded returns the fields of a block that refers to no dynamic table.
func decoded(tb testing.TB, block []byte) []hpack.HeaderField {
	tb.Helper()
	list, err := hpack.NewDecoder(0, nil).DecodeFull(block)
	if err != nil {
		tb.Fatalf("%x: %v", block, err)
	}
	return list
}

// lines writes fields one behind the other: "name: value; name: value".
func lines(list []hpack.HeaderField) string {
	var all []string
	for _, f := range list {
		all = append(all, f.Name+": "+f.Value)
	}
	return strings.Join(all, "; ")
}

// encode makes a block of literals from lines as above. Values cannot have "; " here: write \s for the space.
func encode(text string) []byte {
	var b []byte
	for line := range strings.SplitSeq(text, "; ") {
		if line == "" {
			continue
		}
		colon := strings.Index(line[1:], ": ") + 1 // the first may be that of a pseudo-field
		name, value := line[:colon], strings.ReplaceAll(line[colon+2:], `\s`, " ")
		b = appendText(appendText(append(b, 0), name), value)
	}
	return b
}

// story reads one block in the given pieces and tells what came of it.
func story(r *Reader, k Kind, pieces ...[]byte) string {
	h := new(message.Head)
	r.Begin(k, h)
	for _, piece := range pieces {
		if err := r.Write(piece); err != nil {
			_, again := r.End()
			return "connection: " + err.Reason + map[bool]string{false: " (and then another)"}[again == err]
		}
	}
	stream, connection := r.End()
	switch {
	case connection != nil:
		return "connection: " + connection.Reason
	case stream != nil:
		return fmt.Sprint(stream.Status, " ", stream.Reason)
	}
	return headStory(k, h)
}

func headStory(k Kind, h *message.Head) string {
	var s strings.Builder
	switch k {
	case Request:
		fmt.Fprintf(&s, "%s %s %s", h.MethodBytes(), h.AuthorityBytes(), h.PathBytes())
		if h.HasQuery {
			fmt.Fprintf(&s, "?%s", h.QueryBytes())
		}
	case Response:
		fmt.Fprint(&s, h.Status)
	}
	if k != Trailers {
		fmt.Fprintf(&s, " len=%d", h.Length)
	}
	if h.Upgrade.Len > 0 {
		fmt.Fprintf(&s, " to=%s", h.Bytes(h.Upgrade))
	}
	return s.String() + fieldStory(&h.Fields)
}

// fieldStory tells the fields that are there, and finds fault with those that are not stored as they should be.
func fieldStory(f *message.Fields) string {
	var s strings.Builder
	raw := f.Bytes(message.Span{Len: uint32(f.RawLen())})
	for _, l := range f.All() {
		line := fmt.Sprintf("%s: %s", f.Bytes(l.Name), f.Bytes(l.Value))
		if at := int(l.Name.Off); string(raw[at:at+len(line)+2]) != line+"\r\n" {
			fmt.Fprintf(&s, " (%q is not a line)", line)
		}
		if l.ID != message.Identify(f.Bytes(l.Name)) {
			fmt.Fprintf(&s, " (%q has the ID %v)", line, l.ID)
		}
		if !l.Gone {
			fmt.Fprintf(&s, " [%s: %s]", strings.ToLower(string(f.Bytes(l.Name))), f.Bytes(l.Value))
		}
	}
	return s.String()
}

// inAllCuts reads a block whole, byte by byte and cut in two at every position, each time on a new connection, and wants the
// same.
func inAllCuts(t *testing.T, l *Limits, k Kind, block []byte, want string) {
	t.Helper()
	tell := func(pieces ...[]byte) string {
		var r Reader
		r.Init(l)
		return story(&r, k, pieces...)
	}
	if got := tell(block); got != want {
		t.Errorf("%s\n got: %s\nwant: %s", printable(block), got, want)
		return
	}
	var single [][]byte
	for i := range block {
		single = append(single, block[i:i+1])
		if got := tell(block[:i], block[i:]); got != want {
			t.Errorf("%s cut at %d\n got: %s\nwant: %s", printable(block), i, got, want)
		}
	}
	if got := tell(single...); got != want {
		t.Errorf("%s byte by byte\n got: %s\nwant: %s", printable(block), got, want)
	}
}

func printable(block []byte) string {
	if len(block) > 300 {
		return fmt.Sprintf("%q... (%d bytes)", block[:300], len(block))
	}
	return fmt.Sprintf("%q", block)
}
