package upstream

import (
	"bytes"
	"encoding/binary"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
)

// framed puts gRPC's prefix before a message.
func framed(message []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return append(b, message...)
}

func TestHealthRequestsAreWhatProtobufWrites(t *testing.T) {
	for _, service := range []string{"", "a", "shop.Orders", string(bytes.Repeat([]byte("x"), 300))} {
		message, err := proto.Marshal(&healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := appendHealthRequest(nil, service), framed(message); !bytes.Equal(got, want) {
			t.Errorf("%.20q: %x, want %x", service, got, want)
		}
	}
}

func TestHealthResponses(t *testing.T) {
	for _, c := range []struct {
		message string
		want    serving
		ok      bool
	}{
		{"", 0, true},
		{"\x08\x01", 1, true},
		{"\x08\x02", 2, true},
		{"\x08\x03", 3, true},
		{"\x08\xac\x02", 300, true},
		{"\x08\x02\x08\x01", 1, true}, // the last one counts
		{"\x10\x05\x1a\x03abc\x21abcdefgh\x2dabcd\x08\x01", 1, true},
		{"\x08", 0, false},
		{"\x08\x80", 0, false},
		{"\x00\x01", 0, false}, // no field has the number 0
		{"\x0b\x01", 0, false}, // groups
		{"\x12\x03ab", 0, false},
		{"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a", 0, false},
		{"\x09abc", 0, false},
		{"\x0dab", 0, false},
	} {
		if got, ok := parseHealthResponse(framed([]byte(c.message))); ok != c.ok || ok && got != c.want {
			t.Errorf("%x: %v, %v", c.message, got, ok)
		}
	}
	whole := framed([]byte("\x10\x05\x08\x01"))
	for cut := range whole {
		if _, ok := parseHealthResponse(whole[:cut]); ok {
			t.Errorf("%x is taken for a message", whole[:cut])
		}
	}
}

// What protobuf takes for a message is taken for the same one, and what it does not is not.
func FuzzHealthResponse(f *testing.F) {
	f.Add([]byte("\x08\x01"))
	f.Add([]byte("\x10\x05\x1a\x03abc\x21abcdefgh\x2dabcd\x08\x01"))
	f.Fuzz(func(t *testing.T, message []byte) {
		got, ok := parseHealthResponse(framed(message))
		var want healthpb.HealthCheckResponse
		if err := proto.Unmarshal(message, &want); err != nil {
			return // it may be stricter, as with field numbers out of range and with groups
		}
		if ok && int32(got) != int32(want.Status) && want.Status >= 0 {
			t.Errorf("%x: %v, want %v", message, got, want.Status)
		}
	})
}
