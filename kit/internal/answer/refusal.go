package answer

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Refusal is what a client is told whom a guard has refused, in the words and fields that the gateway uses.
type Refusal struct {
	Status int        // of HTTP
	Code   codes.Code // of gRPC
	Text   string     // a sentence for people, which names nobody else
	Reason string     // the word to look it up by
	// After is when to come again; 0: that cannot be said.
	After time.Duration
}

// Write answers a request of HTTP: a line for people, and the word.
func (r *Refusal) Write(w http.ResponseWriter) {
	h := w.Header()
	if r.After > 0 {
		h.Set("Retry-After", strconv.FormatInt(Seconds(r.After), 10))
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(r.Status)
	fmt.Fprintf(w, "%s\nreason: %s\n", r.Text, r.Reason)
}

// GRPC is the status of a call, with a RetryInfo if it is known when to come again.
func (r *Refusal) GRPC() *status.Status {
	st := status.New(r.Code, r.Text+" ("+r.Reason+")")
	if r.After > 0 {
		info := &errdetails.RetryInfo{RetryDelay: durationpb.New(r.After)}
		if with, err := st.WithDetails(protoadapt.MessageV1Of(info)); err == nil {
			return with
		}
	}
	return st
}

// pushback is the trailer by which a server says when a call may be tried again (gRFC A6), in milliseconds.
const pushback = "grpc-retry-pushback-ms"

// Trailer is what a call is told beside its status; nil if it is not known when to come again.
func (r *Refusal) Trailer() metadata.MD {
	if r.After <= 0 {
		return nil
	}
	ms := (r.After + time.Millisecond - 1) / time.Millisecond
	return metadata.Pairs(pushback, strconv.FormatInt(int64(ms), 10))
}

// Seconds is a time in whole seconds, rounded up: whoever comes back then is not too early.
func Seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
