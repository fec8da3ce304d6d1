package block

import "github.com/yumen-io/yumen/engine/message"

// hopFields are those that HTTP/1 has for its connections. HTTP/2 has frames instead, and whoever sends one of them has
// translated what it should have read (RFC 9113 8.2.2).
const hopFields = 1<<message.Connection | 1<<message.HTTP2Settings | 1<<message.KeepAlive | 1<<message.ProxyConnection |
	1<<message.TransferEncoding | 1<<message.Upgrade

// line takes a field. It is stored as HTTP/1 writes it, so that a codec can copy it.
func (r *Reader) line(name, value string) *message.Refusal {
	r.ordinary = true
	if err := checkName(name); err != nil {
		return err
	}
	h := r.h
	h.AddString(name, value)
	all := h.All()
	f := &all[len(all)-1]
	if err := checkValue(h.Bytes(f.Value)); err != nil {
		return err
	}
	if f.ID == message.Cookie && r.kind == Request {
		if r.crumbs++; r.crumbs > r.limits.CrumbsMax {
			return cookieCrumbs
		}
		return nil
	}
	if r.fields++; r.fields > r.limits.FieldsMax {
		return manyFields
	}
	switch {
	case hopFields>>f.ID&1 != 0:
		return connectionField
	case r.kind == Trailers:
		f.Gone = forbiddenInTrailers(name)
		return nil
	}
	switch f.ID {
	case message.ContentLength:
		return r.length(f, value)
	case message.TE: // RFC 9113 8.2.2. A request's stays, for the next hop in HTTP/2 may need it: gRPC's servers do.
		if !fold(value, "trailers") {
			return badTE
		}
		f.Gone = r.kind == Response
	case message.Host:
		if r.kind == Request {
			return r.hostField(f, value)
		}
		f.Gone = true
	case message.Expect: // 100-continue is forwarded: the upstream's 100 comes back (RFC 9110 10.1.1)
		if r.kind == Request && !fold(value, "100-continue") {
			return badExpectation
		}
	case message.OtherField:
		if name == "sec-websocket-version" {
			r.version13 = value == "13" && !r.versioned
			r.versioned = true
		}
	}
	return nil
}

// length takes a Content-Length. Here it frames nothing and is written anew for the next hop, so it may be there twice, if
// it says the same (RFC 9110 8.6).
func (r *Reader) length(f *message.Field, value string) *message.Refusal {
	f.Gone = true
	n, ok := parseLength(value)
	switch {
	case !ok:
		return badLength
	case r.h.Length != message.UnknownLength && r.h.Length != n:
		return severalLengths
	}
	r.h.Length = n
	return nil
}

func (r *Reader) hostField(f *message.Field, value string) *message.Refusal {
	f.Gone = true
	if r.hosted {
		return severalHosts
	}
	n, err := hostLen(value)
	if err != nil {
		return err
	}
	r.hosted = true
	r.host = message.Span{Off: f.Value.Off, Len: uint32(n)}
	return nil
}

// joinCookies makes one Cookie field of its crumbs, as every other version has it (RFC 9113 8.2.3).
func joinCookies(h *message.Head) {
	crumbs := h.All()
	line, at := h.BeginLine(message.Cookie)
	empty := len(line)
	for i := range crumbs {
		f := &crumbs[i]
		if f.ID != message.Cookie {
			continue
		}
		f.Gone = true
		if f.Value.Len == 0 {
			continue
		}
		if len(line) > empty {
			line = append(line, "; "...)
		}
		line = append(line, h.Bytes(f.Value)...)
	}
	h.EndLine(line, at, message.Cookie)
}

// forbiddenInTrailers tells of a name in lower case whether a recipient would act on such a field before it has read the
// body: framing, routing, authentication, content format, caching (RFC 9110 6.5.1), and what gateways tell upstreams
// about the client. As in HTTP/1 they are dropped and not refused: RFC 9110 6.5.1 lets a recipient ignore them, and real
// servers send Date.
func forbiddenInTrailers(name string) bool {
	switch name {
	case "age", "authorization", "cache-control", "connection", "content-encoding", "content-length", "content-range",
		"content-type", "cookie", "date", "expect", "expires", "forwarded", "host", "http2-settings", "if-match",
		"if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "keep-alive", "location",
		"max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "proxy-connection", "range",
		"retry-after", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "vary", "via", "warning",
		"www-authenticate", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
		"x-real-ip", "x-request-id":
		return true
	}
	return false
}
