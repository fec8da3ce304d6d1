//go:build linux

package drills

import (
	"bytes"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// streamsOpen is how many streams a client of HTTP/2 has open at a time.
const streamsOpen = 8

// streams is the client's side of an HTTP/2 connection on which every stream is a GET.
type streams struct {
	net.Conn
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	path    string
	next    uint32
	status  map[uint32]string // of open streams; empty until there is one
	last    uint32            // that the peer will answer, by its GOAWAY
	goaway  bool
	refused int
}

// outcome is how the streams of a connection ended.
type outcome struct {
	goaway  bool
	refused int // given back untouched: REFUSED_STREAM, or above the last of a GOAWAY
}

func newStreams(c net.Conn, path string) *streams {
	s := &streams{Conn: c, framer: http2.NewFramer(c, c), path: path, next: 1, status: map[uint32]string{}}
	s.encoder = hpack.NewEncoder(&s.block)
	s.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return s
}

// hello sends the preface, and opens the window of the connection for good.
func (s *streams) hello() error {
	if _, err := s.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	if err := s.framer.WriteSettings(); err != nil {
		return err
	}
	return s.framer.WriteWindowUpdate(0, 1<<30)
}

// open begins a request.
func (s *streams) open() error {
	s.block.Reset()
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "exam.test"}, {Name: ":path", Value: s.path},
	} {
		if err := s.encoder.WriteField(f); err != nil {
			return err
		}
	}
	id := s.next
	s.next += 2
	s.status[id] = ""
	return s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: s.block.Bytes(), EndStream: true, EndHeaders: true})
}

// run keeps streams open while more says so and the peer lets it, and returns when all have ended. An error is a request that
// was lost: that got no whole answer and was not given back.
func (s *streams) run(more func() bool, answered func()) (outcome, error) {
	err := s.hello()
	for err == nil {
		for err == nil && !s.goaway && len(s.status) < streamsOpen && more() {
			err = s.open()
		}
		if len(s.status) == 0 {
			break
		}
		if err == nil {
			err = s.read(answered)
		}
	}
	if s.goaway && len(s.status) == 0 {
		err = nil // the peer may close when it has answered everything
	}
	return outcome{s.goaway, s.refused}, err
}

// read takes in one frame.
func (s *streams) read(answered func()) error {
	s.SetDeadline(time.Now().Add(patience))
	f, err := s.framer.ReadFrame()
	if err != nil {
		return fmt.Errorf("%d streams open: %w", len(s.status), err)
	}
	id, over := f.Header().StreamID, false
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return s.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return s.framer.WritePing(true, f.Data)
		}
	case *http2.MetaHeadersFrame:
		if s.status[id] == "" {
			s.status[id] = f.PseudoValue("status")
		}
		over = f.StreamEnded()
	case *http2.DataFrame:
		over = f.StreamEnded()
	case *http2.RSTStreamFrame:
		if f.ErrCode != http2.ErrCodeRefusedStream {
			return fmt.Errorf("a stream was reset: %v", f.ErrCode)
		}
		delete(s.status, id)
		s.refused++
	case *http2.GoAwayFrame:
		if f.ErrCode != http2.ErrCodeNo {
			return fmt.Errorf("GOAWAY %v", f.ErrCode)
		}
		s.goaway, s.last = true, f.LastStreamID
		for id := range s.status {
			if id > s.last {
				delete(s.status, id)
				s.refused++
			}
		}
	}
	if over {
		if status := s.status[id]; status != "200" {
			return fmt.Errorf("status %s", status)
		}
		delete(s.status, id)
		answered()
	}
	return nil
}
