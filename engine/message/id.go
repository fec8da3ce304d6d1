package message

import "strings"

// ID names a field that some part of the gateway looks at, so that finding it is a comparison of bytes, not of text.
// Zero is any other field.
type ID uint8

// The known fields.
const (
	OtherField ID = iota
	Accept
	Authorization
	CacheControl
	Connection
	ContentEncoding
	ContentLength
	ContentType
	Cookie
	Date
	Expect
	Forwarded
	Host
	HTTP2Settings
	KeepAlive
	Location
	Origin
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	Referer
	RetryAfter
	Server
	SetCookie
	TE
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Via
	XForwardedClientCert
	XForwardedFor
	XForwardedHost
	XForwardedPort
	XForwardedProto
	XRealIP
	XRequestID
	idCount
)

var idNames = [idCount]string{
	Accept: "Accept", Authorization: "Authorization", CacheControl: "Cache-Control", Connection: "Connection",
	ContentEncoding: "Content-Encoding", ContentLength: "Content-Length", ContentType: "Content-Type",
	Cookie: "Cookie", Date: "Date", Expect: "Expect", Forwarded: "Forwarded", Host: "Host",
	HTTP2Settings: "HTTP2-Settings", KeepAlive: "Keep-Alive", Location: "Location", Origin: "Origin",
	ProxyAuthenticate: "Proxy-Authenticate", ProxyAuthorization: "Proxy-Authorization",
	ProxyConnection: "Proxy-Connection", Referer: "Referer", RetryAfter: "Retry-After", Server: "Server",
	SetCookie: "Set-Cookie", TE: "TE", Trailer: "Trailer", TransferEncoding: "Transfer-Encoding",
	Upgrade: "Upgrade", UserAgent: "User-Agent", Via: "Via", XForwardedClientCert: "X-Forwarded-Client-Cert", XForwardedFor: "X-Forwarded-For",
	XForwardedHost: "X-Forwarded-Host", XForwardedPort: "X-Forwarded-Port", XForwardedProto: "X-Forwarded-Proto",
	XRealIP: "X-Real-IP", XRequestID: "X-Request-ID",
}

// idLower are the names in lower case, so that comparing folds one side only.
var idLower = func() (t [idCount]string) {
	for id, name := range idNames {
		t[id] = strings.ToLower(name)
	}
	return t
}()

// String returns the field's name as the gateway writes it, empty for OtherField.
func (id ID) String() string { return idNames[id] }

// Identify returns the ID of a field name, compared without regard to ASCII case, OtherField if it is none of the known.
// The length leaves one to five candidates, the first letter hardly ever more than one.
func Identify(name []byte) ID {
	if len(name) == 0 {
		return OtherField
	}
	switch len(name) {
	case 2:
		return is(name, TE)
	case 3:
		return is(name, Via)
	case 4:
		switch Lower(name[0]) {
		case 'h':
			return is(name, Host)
		case 'd':
			return is(name, Date)
		}
	case 6:
		switch Lower(name[0]) {
		case 'a':
			return is(name, Accept)
		case 'c':
			return is(name, Cookie)
		case 'e':
			return is(name, Expect)
		case 'o':
			return is(name, Origin)
		case 's':
			return is(name, Server)
		}
	case 7:
		switch Lower(name[0]) {
		case 'r':
			return is(name, Referer)
		case 't':
			return is(name, Trailer)
		case 'u':
			return is(name, Upgrade)
		}
	case 8:
		return is(name, Location)
	case 9:
		switch Lower(name[0]) {
		case 'f':
			return is(name, Forwarded)
		case 'x':
			return is(name, XRealIP)
		}
	case 10:
		switch Lower(name[0]) {
		case 'c':
			return is(name, Connection)
		case 'k':
			return is(name, KeepAlive)
		case 's':
			return is(name, SetCookie)
		case 'u':
			return is(name, UserAgent)
		}
	case 11:
		return is(name, RetryAfter)
	case 12:
		switch Lower(name[0]) {
		case 'c':
			return is(name, ContentType)
		case 'x':
			return is(name, XRequestID)
		}
	case 13:
		switch Lower(name[0]) {
		case 'a':
			return is(name, Authorization)
		case 'c':
			return is(name, CacheControl)
		}
	case 14:
		switch Lower(name[0]) {
		case 'c':
			return is(name, ContentLength)
		case 'h':
			return is(name, HTTP2Settings)
		}
	case 15:
		return is(name, XForwardedFor)
	case 16:
		switch Lower(name[15]) {
		case 'g':
			return is(name, ContentEncoding)
		case 'n':
			return is(name, ProxyConnection)
		case 't':
			if id := is(name, XForwardedHost); id != OtherField {
				return id
			}
			return is(name, XForwardedPort)
		}
	case 17:
		switch Lower(name[0]) {
		case 't':
			return is(name, TransferEncoding)
		case 'x':
			return is(name, XForwardedProto)
		}
	case 23:
		return is(name, XForwardedClientCert)
	case 18:
		return is(name, ProxyAuthenticate)
	case 19:
		return is(name, ProxyAuthorization)
	}
	return OtherField
}

func is(name []byte, id ID) ID {
	known := idLower[id]
	if len(known) != len(name) {
		return OtherField
	}
	for i := range name {
		if Lower(name[i]) != known[i] {
			return OtherField
		}
	}
	return id
}
