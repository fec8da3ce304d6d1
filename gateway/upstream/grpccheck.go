package upstream

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"

	"github.com/yumen-io/yumen/policy/health"
)

// The health protocol of gRPC: one call that asks and one message that answers, both so small that they are written and read
// here, and the data plane needs no gRPC library.

const (
	grpcHealthPath = "/grpc.health.v1.Health/Check"
	// grpcPrefixLen is the length of what stands before a message: whether it is compressed, and its own length.
	grpcPrefixLen = 5
)

// Statuses that a call can end with, of which there is more to say than their number.
const (
	grpcOK            = "0"
	grpcNotFound      = "5"
	grpcUnimplemented = "12"
)

// serving is a service's state by the protocol: HealthCheckResponse.ServingStatus.
type serving uint64

const servingWell serving = 1

var servingWords = []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

func (s serving) String() string {
	if int(s) < len(servingWords) {
		return servingWords[s]
	}
	return fmt.Sprint("status ", uint64(s))
}

// call asks by a call of Check.
func (c *checker) call(ctx context.Context) (health.Outcome, string) {
	fields := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	resp, body, outcome, text := c.ask(ctx, http.MethodPost, grpcHealthPath, fields, appendHealthRequest(nil, c.probe.Service))
	if outcome != health.OK {
		return outcome, text
	}
	if resp.StatusCode != http.StatusOK {
		return health.WrongStatus, fmt.Sprintf("status %d to a call of %s", resp.StatusCode, grpcHealthPath)
	}
	status, message := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if status == "" { // an answer without a message has all in its head
		status, message = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	switch status {
	case grpcOK:
	case "":
		return health.BadResponse, "the answer to a call has no grpc-status"
	case grpcNotFound:
		return health.WrongStatus, fmt.Sprintf("the server does not know the service %q", c.probe.Service)
	case grpcUnimplemented:
		return health.WrongStatus, "the server has no gRPC health service (UNIMPLEMENTED)"
	default:
		return health.WrongStatus, fmt.Sprintf("gRPC status %.20s: %.200q", status, message)
	}
	state, ok := parseHealthResponse(body)
	switch {
	case !ok:
		return health.BadResponse, "the answer is no message of gRPC's health protocol"
	case state != servingWell:
		return health.WrongStatus, fmt.Sprintf("the service %q is %v", c.probe.Service, state)
	}
	return health.OK, ""
}

// appendHealthRequest appends a HealthCheckRequest: its field 1 is the service, left out if empty.
func appendHealthRequest(b []byte, service string) []byte {
	b = append(b, 0, 0, 0, 0, 0)
	from := len(b)
	if service != "" {
		b = append(b, 1<<3|2)
		b = binary.AppendUvarint(b, uint64(len(service)))
		b = append(b, service...)
	}
	binary.BigEndian.PutUint32(b[from-4:], uint32(len(b)-from))
	return b
}

// parseHealthResponse reads a body that is one HealthCheckResponse. Its field 1 is the state, UNKNOWN if it is left out; fields
// that are not known are passed over, as protobuf has it.
func parseHealthResponse(b []byte) (state serving, ok bool) {
	if len(b) < grpcPrefixLen || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-grpcPrefixLen) {
		return 0, false
	}
	for b = b[grpcPrefixLen:]; len(b) > 0; {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 {
			return 0, false
		}
		b = b[n:]
		skip := uint64(0)
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return 0, false
			}
			if tag>>3 == 1 {
				state = serving(v)
			}
			skip = uint64(n)
		case 1:
			skip = 8
		case 2:
			v, n := binary.Uvarint(b)
			if n <= 0 || v > uint64(len(b)) {
				return 0, false
			}
			skip = uint64(n) + v
		case 5:
			skip = 4
		default:
			return 0, false
		}
		if skip > uint64(len(b)) {
			return 0, false
		}
		b = b[skip:]
	}
	return state, true
}
