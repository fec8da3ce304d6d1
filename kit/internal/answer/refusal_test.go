package answer_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/internal/answer"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
)

func TestWhoIsRefusedIsToldWhenToComeAgain(t *testing.T) {
	for _, c := range []struct {
		after                time.Duration
		field, trailer, info string
	}{
		{0, "", "", ""},
		{1500 * time.Millisecond, "2", "1500", "1.5s"},
		{time.Nanosecond, "1", "1", "1ns"},
	} {
		r := answer.Refusal{Status: 503, Code: codes.Unavailable, Text: "Come later.", Reason: "overloaded", After: c.after}
		w := httptest.NewRecorder()
		r.Write(w)
		if w.Code != 503 || w.Header().Get("Retry-After") != c.field || w.Body.String() != "Come later.\nreason: overloaded\n" {
			t.Errorf("%v: %d %v %s", c.after, w.Code, w.Header(), w.Body)
		}
		trailer, info := "", ""
		if v := r.Trailer().Get("grpc-retry-pushback-ms"); len(v) > 0 {
			trailer = v[0]
		}
		st := r.GRPC()
		if d := st.Details(); len(d) > 0 {
			info = d[0].(*errdetails.RetryInfo).RetryDelay.AsDuration().String()
		}
		if st.Code() != codes.Unavailable || st.Message() != "Come later. (overloaded)" || trailer != c.trailer || info != c.info {
			t.Errorf("%v: %v, trailer %q, info %q", c.after, st, trailer, info)
		}
	}
}
