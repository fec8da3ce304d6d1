package gateway

import (
	"math"
	"strconv"
	"time"
)

// A client may say how long it waits: a call of gRPC by grpc-timeout, any other request by X-Request-Timeout, a number with the unit
// ms or s, as 250ms or 1.5s. The time is a budget: filters that wait, the queue for a connection, attempts and the pauses
// between them are all charged to it, no attempt begins that could hardly finish, and each upstream is told what is left. It can
// only shorten what the route allows. A value of another form says nothing and is passed on as it came.

// requestTimeoutField is its name, in lower case as NextField wants it.
const requestTimeoutField = "x-request-timeout"

// readTimeout finds out how long the client waits.
func (x *Exchange) readTimeout() {
	if value, at := x.Request.NextField(requestTimeoutField, 0); at >= 0 {
		x.patience = parsePatience(value)
	}
}

// parsePatience reads a number and its unit; 0 if it is none, or asks for nothing.
func parsePatience(b []byte) time.Duration {
	unit := time.Second
	n := len(b)
	if n == 0 || n > 16 || b[n-1] != 's' {
		return 0
	}
	n--
	if n > 0 && b[n-1] == 'm' {
		unit = time.Millisecond
		n--
	}
	digits, seen, scale := b[:n], false, 0
	var value int64
	for _, c := range digits {
		switch {
		case c == '.' && scale == 0 && seen:
			scale = 1
			continue
		case c < '0' || c > '9':
			return 0
		case scale >= 1000 || value > math.MaxInt32*1000:
			continue // finer than anything here is measured, or longer
		}
		seen = true
		value = value*10 + int64(c-'0')
		scale *= 10
	}
	if !seen || len(digits) > 0 && digits[len(digits)-1] == '.' {
		return 0
	}
	scale = max(scale, 1)
	if value > math.MaxInt64/int64(unit) {
		return math.MaxInt64
	}
	return time.Duration(value) * unit / time.Duration(scale)
}

// passTimeout tells the upstream how much of its client's patience is left. It returns false if that is nothing.
func (x *Exchange) passTimeout() bool {
	if x.patience == 0 {
		return true
	}
	b, ok := appendPatience(x.w.scratch[:0], x.began.Add(x.patience).Sub(x.w.now()), x.grpc)
	if !ok {
		return false
	}
	field := requestTimeoutField
	if x.grpc {
		field = grpcTimeoutField
	}
	x.w.scratch = b
	x.Request.SetField([]byte(field), b)
	return true
}

// appendPatience appends what is left in the words of a call or of another request, rounded down: the upstream never waits longer.
// It returns false if that is nothing: a time of 0 would say nothing.
func appendPatience(b []byte, left time.Duration, call bool) ([]byte, bool) {
	switch {
	case call && left > 0:
		return appendTimeout(b, left), true
	case !call && left >= time.Millisecond:
		return append(strconv.AppendInt(b, left.Milliseconds(), 10), "ms"...), true
	}
	return b, false
}
