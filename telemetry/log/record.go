package log

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Record is what the data plane knows of one request when it is over. The loop fills in one Record again and again and
// gives it to its Ring, which copies what it needs: the slices may lie in any buffer. Empty texts, times of zero and a
// number of attempts below two are left out of the line.
type Record struct {
	Start     mono.Time     // first byte of the head
	Duration  time.Duration // from Start to the last byte of the response
	FirstByte time.Duration // from the last attempt's start to the first byte of its response

	BytesIn  int64 // head and body from the client
	BytesOut int64 // head and body to the client
	Revision uint64
	Attempts int
	Status   int // 0 when the client left before a response began

	Client netip.AddrPort // a zone is not kept

	// From the configuration.
	Listener string
	Protocol string
	Reason   string
	Guard    string // that was not content with the request
	Shadow   string // that would not have been, if it were enforced
	Route    string
	Cluster  string
	Endpoint string

	// From the wire; trusted in nothing.
	RequestID []byte
	Method    []byte
	Host      []byte
	Path      []byte
	Query     []byte
	UserAgent []byte
	Referer   []byte
	Headers   [HeadersMax][]byte // values of AccessConfig.Headers, in that order
}

// HeadersMax is how many extra headers a record can carry.
const HeadersMax = 8

// The texts of an encoded record, in their order there.
const (
	textRequestID = iota
	textListener
	textMethod
	textHost
	textPath
	textQuery
	textProtocol
	textReason
	textGuard
	textShadow
	textRoute
	textCluster
	textEndpoint
	textUserAgent
	textReferer
	textHeaders // the first of HeadersMax

	texts = textHeaders + HeadersMax
)

// textMax is where each text is cut, in bytes: long enough for what a person or a search needs, short enough that a
// hostile client cannot fill the ring with a few requests. A cut is told by "truncated":true.
var textMax = [texts]uint16{
	textRequestID: 64,
	textListener:  64,
	textMethod:    32,
	textHost:      255, // of a DNS name
	textPath:      2048,
	textQuery:     2048,
	textProtocol:  16,
	textReason:    64,
	textGuard:     64,
	textShadow:    64,
	textRoute:     256,
	textCluster:   128,
	textEndpoint:  128,
	textUserAgent: 256,
	textReferer:   512,

	textHeaders: 256, 256, 256, 256, 256, 256, 256, 256,
}

// An encoded record, little endian:
//
//	 0  u32  size of the whole, a multiple of 8
//	 4  u16  status
//	 6  u16  attempts
//	 8  i64  start, duration, first byte (ns), bytes in, bytes out; u64 revision
//	56  16B  client address, as IPv6
//	72  u16  client port
//	74  u8   kind of client address: 0 none, 4, 6
//	75  u8   1 if a text was cut
//	76  u16  length of each text
//	    ...  the texts
const (
	atStatus    = 4
	atAttempts  = 6
	atStart     = 8
	atDuration  = 16
	atFirstByte = 24
	atBytesIn   = 32
	atBytesOut  = 40
	atRevision  = 48
	atClient    = 56
	atPort      = 72
	atKind      = 74
	atCut       = 75
	atLengths   = 76
	atTexts     = atLengths + 2*texts
)

// shape is the lengths that a record's texts will have once cut.
type shape struct {
	lengths [texts]uint16
	cut     bool
}

// measure finds the shape of rec under limits; a limit of zero leaves the text out, which is no cut.
func (s *shape) measure(rec *Record, limits *[texts]uint16) {
	s.fit(limits, textRequestID, len(rec.RequestID))
	s.fit(limits, textListener, len(rec.Listener))
	s.fit(limits, textMethod, len(rec.Method))
	s.fit(limits, textHost, len(rec.Host))
	s.fit(limits, textPath, len(rec.Path))
	s.fit(limits, textQuery, len(rec.Query))
	s.fit(limits, textProtocol, len(rec.Protocol))
	s.fit(limits, textReason, len(rec.Reason))
	s.fit(limits, textGuard, len(rec.Guard))
	s.fit(limits, textShadow, len(rec.Shadow))
	s.fit(limits, textRoute, len(rec.Route))
	s.fit(limits, textCluster, len(rec.Cluster))
	s.fit(limits, textEndpoint, len(rec.Endpoint))
	s.fit(limits, textUserAgent, len(rec.UserAgent))
	s.fit(limits, textReferer, len(rec.Referer))
	for i := range rec.Headers {
		s.fit(limits, textHeaders+i, len(rec.Headers[i]))
	}
}

func (s *shape) fit(limits *[texts]uint16, text, length int) {
	limit := int(limits[text])
	if length > limit {
		s.cut = s.cut || limit > 0
		length = limit
	}
	s.lengths[text] = uint16(length)
}

// size is what the record takes in the ring.
func (s *shape) size() int {
	n := atTexts
	for _, l := range s.lengths {
		n += int(l)
	}
	return (n + 7) &^ 7
}

// encode writes rec in the measured shape to dst, which is as long as the shape's size.
func (s *shape) encode(dst []byte, rec *Record) {
	_ = dst[atTexts-1]
	le := binary.LittleEndian
	le.PutUint32(dst, uint32(len(dst)))
	le.PutUint16(dst[atStatus:], uint16(rec.Status))
	le.PutUint16(dst[atAttempts:], uint16(min(rec.Attempts, 1<<16-1)))
	le.PutUint64(dst[atStart:], uint64(rec.Start))
	le.PutUint64(dst[atDuration:], uint64(rec.Duration))
	le.PutUint64(dst[atFirstByte:], uint64(rec.FirstByte))
	le.PutUint64(dst[atBytesIn:], uint64(rec.BytesIn))
	le.PutUint64(dst[atBytesOut:], uint64(rec.BytesOut))
	le.PutUint64(dst[atRevision:], rec.Revision)
	address := rec.Client.Addr()
	ip := address.As16()
	copy(dst[atClient:], ip[:])
	le.PutUint16(dst[atPort:], rec.Client.Port())
	dst[atKind] = 0
	if address.Is4() {
		dst[atKind] = 4
	} else if address.IsValid() {
		dst[atKind] = 6
	}
	dst[atCut] = 0
	if s.cut {
		dst[atCut] = 1
	}
	for i, n := range s.lengths {
		le.PutUint16(dst[atLengths+2*i:], n)
	}
	to := dst[atTexts:]
	to = place(to, rec.RequestID, s.lengths[textRequestID])
	to = place(to, rec.Listener, s.lengths[textListener])
	to = place(to, rec.Method, s.lengths[textMethod])
	to = place(to, rec.Host, s.lengths[textHost])
	to = place(to, rec.Path, s.lengths[textPath])
	to = place(to, rec.Query, s.lengths[textQuery])
	to = place(to, rec.Protocol, s.lengths[textProtocol])
	to = place(to, rec.Reason, s.lengths[textReason])
	to = place(to, rec.Guard, s.lengths[textGuard])
	to = place(to, rec.Shadow, s.lengths[textShadow])
	to = place(to, rec.Route, s.lengths[textRoute])
	to = place(to, rec.Cluster, s.lengths[textCluster])
	to = place(to, rec.Endpoint, s.lengths[textEndpoint])
	to = place(to, rec.UserAgent, s.lengths[textUserAgent])
	to = place(to, rec.Referer, s.lengths[textReferer])
	for i := range rec.Headers {
		to = place(to, rec.Headers[i], s.lengths[textHeaders+i])
	}
}

// place copies the first n bytes of text to the front of dst and returns the rest of dst.
func place[T string | []byte](dst []byte, text T, n uint16) []byte {
	if n == 0 {
		return dst
	}
	return dst[copy(dst, text[:n]):]
}

// entry is an encoded record on the writer's side; it lies in the ring.
type entry []byte

func (e entry) num(at int) int64    { return int64(binary.LittleEndian.Uint64(e[at:])) }
func (e entry) short(at int) int    { return int(binary.LittleEndian.Uint16(e[at:])) }
func (e entry) start() mono.Time    { return mono.Time(e.num(atStart)) }
func (e entry) wasCut() bool        { return e[atCut] != 0 }
func (e entry) micros(at int) int64 { return e.num(at) / int64(time.Microsecond) }
func (e entry) client() (a netip.AddrPort, known bool) {
	if e[atKind] == 0 {
		return a, false
	}
	ip := netip.AddrFrom16([16]byte(e[atClient:]))
	if e[atKind] == 4 {
		ip = ip.Unmap()
	}
	return netip.AddrPortFrom(ip, uint16(e.short(atPort))), true
}

// split finds where each text begins; the last is where they end.
func (e entry) split(begins *[texts + 1]uint32) {
	at := uint32(atTexts)
	for i := range texts {
		begins[i] = at
		at += uint32(binary.LittleEndian.Uint16(e[atLengths+2*i:]))
	}
	begins[texts] = at
}
