package chain

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"

	"google.golang.org/grpc/codes"
)

// Access is the line that the log gets for a call. Its fields are the same for HTTP and gRPC:
//
//	protocol        http, grpc
//	method          GET; unary, stream
//	route           the pattern by which it was routed; gRPC's full method
//	path            of HTTP, as it came; not of gRPC
//	status          200; OK
//	duration_us     microseconds until the handler returned
//	bytes_out       of the body; not of gRPC
//	client          the address of who has connected
//	principal       the id of who has authenticated
//	refused_by      the part of the chain that ended the call: deadline, auth, limit, breaker, validation
//	reason          the word that the client was told, where the chain itself answered
//	error           what stands behind it, which the client was not told
//
// and what the Logger adds: kit/observe's the ids of the trace.
type Access struct {
	Off bool
	// Sample is the share of calls that get a line, above 0 and up to 1. Those that failed by the service's fault (500 to 599;
	// UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS, DEADLINE_EXCEEDED) have one always. 0: 1.
	Sample float64
}

func (c *Chain) readAccess() error {
	a := &c.cfg.Access
	if a.Sample == 0 {
		a.Sample = 1
	}
	if !(a.Sample > 0 && a.Sample <= 1) {
		return bad("Access.Sample: %v is not above 0 and up to 1", a.Sample)
	}
	c.sampleBelow = ^uint64(0)
	if a.Sample < 1 {
		c.sampleBelow = uint64(a.Sample * (1 << 63) * 2)
	}
	c.random = rand.Uint64
	return nil
}

// lines tells whether a call gets one.
func (c *Chain) lines(s *state, failed bool) bool {
	if c.cfg.Access.Off || !c.log.Enabled(s, slog.LevelInfo) {
		return false
	}
	return failed || c.cfg.Access.Sample == 1 || c.random() < c.sampleBelow
}

func (c *Chain) logHTTP(s *state, r *http.Request, status int) {
	if !c.lines(s, status >= 500) {
		return
	}
	c.line(s, r.Method, strconv.Itoa(status), r.URL.Path, s.at.Bytes())
}

func (c *Chain) logGRPC(s *state, code codes.Code) {
	failed := false
	switch code {
	case codes.Unknown, codes.Internal, codes.Unavailable, codes.DataLoss, codes.DeadlineExceeded:
		failed = true
	}
	if !c.lines(s, failed) {
		return
	}
	method := "unary"
	if s.call.stream {
		method = "stream"
	}
	c.line(s, method, code.String(), "", -1)
}

func (c *Chain) line(s *state, method, status, path string, bytes int64) {
	call := &s.call
	now := c.now()
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("protocol", call.protocol), slog.String("method", method), slog.String("route", call.method))
	if path != "" {
		attrs = append(attrs, slog.String("path", path))
	}
	attrs = append(attrs, slog.String("status", status), slog.Int64("duration_us", max(0, now.Sub(call.begun).Microseconds())))
	if bytes >= 0 {
		attrs = append(attrs, slog.Int64("bytes_out", bytes))
	}
	attrs = append(attrs, slog.String("client", call.Address()))
	if call.principal != nil {
		attrs = append(attrs, slog.String("principal", call.principal.ID))
	}
	if call.stage != StageNone {
		attrs = append(attrs, slog.String("refused_by", call.stage.String()))
	}
	if call.reason != "" {
		attrs = append(attrs, slog.String("reason", call.reason))
	}
	if call.cause != nil {
		attrs = append(attrs, slog.String("error", call.cause.Error()))
	}
	// Not through LogAttrs, which would look up this line of code for each call.
	record := slog.NewRecord(now, slog.LevelInfo, "call", 0)
	record.AddAttrs(attrs...)
	_ = c.log.Handler().Handle(s, record)
}
