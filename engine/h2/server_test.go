package h2

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

const (
	hello = "preface\n settings\n"
	get   = ":method=GET; :scheme=http; :path=/; :authority=exam.test"
	post  = ":method=POST; :scheme=http; :path=/; :authority=exam.test"
	// connect asks for a WebSocket, RFC 8441 5.
	connect = ":method=CONNECT; :protocol=websocket; :scheme=http; :path=/; :authority=exam.test; sec-websocket-version=13"
)

// What a client can send, and what becomes of it. Each script runs behind the preface and empty SETTINGS.
func TestServerStories(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"a request and its answer", "headers 1 end : " + get + `; a=b
			! head 1 200 len=2
			! data 1 ok
			! end 1`, `
			#1 GET exam.test / len=0 a=b end
			< settings ack
			< headers 1 :status=200 content-length=2
			< data 1 end "ok"
			idle`},
		{"an answer without a body", "headers 1 end : " + get + `
			! head 1 204 end`, `
			#1 GET exam.test / len=0 end
			< settings ack
			< headers 1 end :status=204
			idle`},
		{"an answer whose end follows its head", "headers 1 end : " + get + `
			! head 1 200
			! end 1`, `
			#1 GET exam.test / len=0 end
			< settings ack
			< headers 1 :status=200
			< data 1 end ""
			idle`},
		{"a body to HEAD is dropped", "headers 1 end : :method=HEAD; :scheme=http; :path=/; :authority=exam.test" + `
			! head 1 200 len=2
			! data 1 ok
			! end 1`, `
			#1 HEAD exam.test / len=0 end
			< settings ack
			< headers 1 :status=200 content-length=2
			< data 1 end ""
			idle`},
		{"interim answers and trailers", "headers 1 end : " + get + `
			! interim 1 103
			! head 1 200
			! interim 1 103
			! data 1 ok
			! end 1 grpc-status=0`, `
			#1 GET exam.test / len=0 end
			< settings ack
			< headers 1 :status=103
			< headers 1 :status=200
			< data 1 "ok"
			< headers 1 end grpc-status=0
			idle`},
		{"a body, padded, with trailers", "headers 1 pad=3 : " + post + `
			data 1 : hello
			data 1 pad=7 :  world
			data 1 pad=255 : !
			headers 1 end : a=b`, `
			#1 POST exam.test / len=-1
			#1 body "hello world!"
			#1 trailers a=b
			< settings ack`},
		{"a padded end", "headers 1 : " + post + `; content-length=2
			data 1 end pad=9 : ok`, `
			#1 POST exam.test / len=2
			#1 body "ok"
			#1 end
			< settings ack`},
		{"an empty end", "headers 1 : " + post + `; content-length=2
			data 1 : ok
			data 1 end pad=2 : `, `
			#1 POST exam.test / len=2
			#1 body "ok"
			#1 end
			< settings ack`},
		{"a head in pieces", "headers 1 end split=5 pad=3 : " + get + "; cookie=a=b", `
			#1 GET exam.test / len=0 cookie=a=b end
			< settings ack`},
		{"the length told is not that of the body, RFC 9113 8.1.1: too long", "headers 1 : " + post + `; content-length=2
			data 1 end : long`, `
			#1 POST exam.test / len=2
			#1 reset 1 conflicting_length
			< settings ack
			< rst 1 1
			idle`},
		{"too short", "headers 1 : " + post + `; content-length=5
			data 1 : oh
			data 1 end : no`, `
			#1 POST exam.test / len=5
			#1 reset 1 conflicting_length
			< settings ack
			< rst 1 1
			idle`},
		{"too short, behind trailers", "headers 1 : " + post + `; content-length=5
			data 1 : oh
			headers 1 end : a=b`, `
			#1 POST exam.test / len=5
			#1 reset 1 conflicting_length
			< settings ack
			< rst 1 1
			idle`},
		{"no body at all, and it is answered", "headers 1 end : " + post + `; content-length=5
			! head 1 400 end`, `
			#1 refused conflicting_length end
			< settings ack
			< headers 1 end :status=400
			< rst 1 1
			idle`},
		{"a refused request is answered, and what follows on it is dropped", "headers 1 : " + get + `; Upper=case
			data 1 : junk
			! head 1 400 len=3
			! data 1 no!
			! end 1
			data 1 : more
			headers 1 end : a=b
			data 1 : and more
			headers 3 end : ` + get, `
			#1 refused upper_case
			< settings ack
			< headers 1 :status=400 content-length=3
			< data 1 end "no!"
			< rst 1 1
			#3 GET exam.test / len=0 end`},
		{"a head above a limit is answered", "headers 1 end split=16000 : " + get + "; a=*33000" + `
			! head 1 431 end`, `
			#1 refused large_head end
			< settings ack
			< headers 1 end :status=431
			idle`},
		{"a refused request that nobody answers", "headers 1 : " + get + `; connection=close
			! reset 1 1
			data 1 : junk`, `
			#1 refused connection_field
			< settings ack
			< rst 1 1
			idle`},
		{"the client gives up", "headers 1 : " + post + `
			data 1 : hello
			rst 1 8
			window 1 5
			priority 1 3
			rst 1 8`, `
			#1 POST exam.test / len=-1
			#1 reset 8
			< settings ack
			idle`},
		{"we give up: what was under way is dropped, the tables stay in step", "headers 1 : " + post + `; x=first
			! reset 1 8
			data 1 : hello
			headers 1 end : y=second
			headers 3 end : ` + get + "; x=first; y=second", `
			#1 POST exam.test / len=-1 x=first
			< settings ack
			< rst 1 8
			#3 GET exam.test / len=0 x=first y=second end`},
		{"a WebSocket, RFC 8441", "headers 1 : " + connect + `
			! head 1 101
			! data 1 welcome
			data 1 : hello
			data 1 end : bye
			! end 1`, `
			#1 GET exam.test / to=websocket len=-1 sec-websocket-version=13
			< settings ack
			< headers 1 :status=200
			#1 body "hellobye"
			#1 end
			< data 1 "welcome"
			< data 1 end ""
			idle`},
		{"a switch that nobody asked for", "headers 1 end : " + get + `
			! head 1 101`, `
			#1 GET exam.test / len=0 end
			< settings ack
			error ` + ErrSwitch.Error()},
		{"more than was declared", "headers 1 end : " + get + `
			! head 1 200 len=2
			! data 1 long
			! data 1 o
			! end 1
			! reset 1 2`, `
			#1 GET exam.test / len=0 end
			< settings ack
			< headers 1 :status=200 content-length=2
			error ` + ErrLongBody.Error() + `
			error ` + ErrShortBody.Error() + `
			< data 1 "o"
			< rst 1 2
			idle`},
		{"a length and an end", "headers 1 end : " + get + "\n ! head 1 200 len=5 end", `
			#1 GET exam.test / len=0 end
			< settings ack
			error ` + ErrShortBody.Error()},
		{"PING, unknown frames and settings", `ping 12345678
			frame 0xfa 0xff 0 01_02
			frame 0xfa 0xff 7
			settings 0x1234=5
			ping ack unasked1
			settings ack
			settings ack`, `
			< settings ack
			< ping ack=true 12345678
			< settings ack
			idle`},
		{"GOAWAY from a client", "headers 1 end : " + get + "\n goaway 0 2\n ! head 1 200 end", `
			#1 GET exam.test / len=0 end
			goaway 2
			< settings ack
			< headers 1 end :status=200
			idle`},
		{"GOAWAY in two steps, RFC 9113 6.8", "headers 1 end : " + get + `
			! goaway
			! goaway
			headers 3 end : ` + get + `
			! goaway final
			! goaway final
			headers 5 : ` + get + `; a=b
			data 5 end : late
			! head 1 200 end
			! head 3 200 end`, `
			#1 GET exam.test / len=0 end
			< settings ack
			< goaway last=2147483647 0
			#3 GET exam.test / len=0 end
			< goaway last=3 0
			< rst 5 7
			< headers 1 end :status=200
			< headers 3 end :status=200
			idle`},
	} {
		t.Run(c.name, func(t *testing.T) { inAllCuts(t, false, standard, hello+c.script, c.want) })
	}
}

// What ends a connection: the last line, the reason and the code, of each.
func TestServerFaults(t *testing.T) {
	open := "headers 1 : " + post + "\n"
	half := "headers 1 end : " + get + "\n"
	for _, c := range []struct {
		name, script, reason string
		last, code           int
	}{
		{"3.4: another preface", "raw 505249202a20485454502f312e310d0a0d0a", "bad_preface", 0, ProtocolError},
		{"3.4: no SETTINGS behind it", "preface\n ping 12345678", "no_settings", 0, ProtocolError},
		{"3.4: an acknowledgement behind it", "preface\n settings ack", "no_settings", 0, ProtocolError},
		{"4.2: too large", hello + "frame 0 0 1 " + zeros(16385), "large_frame", 0, FrameSizeError},
		{"4.3: no block", hello + "frame 1 5 1 80", "bad_compression", 1, CompressionError},
		{"4.3: half an integer", hello + "frame 1 5 1 82ff", "bad_compression", 1, CompressionError},
		{"5.1: DATA on an idle stream", hello + "data 1 : x", "idle_stream", 0, ProtocolError},
		{"5.1: RST_STREAM on one", hello + "rst 1 8", "idle_stream", 0, ProtocolError},
		{"5.1: WINDOW_UPDATE on one", hello + "window 1 8", "idle_stream", 0, ProtocolError},
		{"5.1: WINDOW_UPDATE on one of ours", hello + open + "window 2 8", "idle_stream", 1, ProtocolError},
		{"5.1: DATA behind both ends", hello + half + "! head 1 200 end\n data 1 : x", "closed_stream", 1, StreamClosed},
		{"5.1: HEADERS behind both ends", hello + half + "! head 1 200 end\n headers 1 end : a=b", "closed_stream", 1, StreamClosed},
		{"5.1.1: an even stream", hello + "headers 2 end : " + get, "bad_stream", 0, ProtocolError},
		{"5.1.1: a smaller stream", hello + "headers 5 end : " + get + "\n headers 3 end : " + get, "bad_stream", 5, ProtocolError},
		{"5.1.1: DATA on one that was passed over", hello + "headers 5 end : " + get + "\n data 3 : x", "closed_stream", 5, StreamClosed},
		{"6.1: DATA on stream 0", hello + "data 0 : x", "bad_stream", 0, ProtocolError},
		{"6.1: padding as long as the frame", hello + open + "frame 0 8 1 03_61_00", "bad_padding", 1, ProtocolError},
		{"6.1: padding without its length", hello + open + "frame 0 8 1", "bad_frame_size", 1, FrameSizeError},
		{"6.2: HEADERS on stream 0", hello + "headers 0 end : " + get, "bad_stream", 0, ProtocolError},
		{"6.2: padding longer than the frame", hello + "frame 1 13 1 05_82", "bad_padding", 0, ProtocolError},
		{"6.2: half a priority", hello + "frame 1 0x25 1 0000", "bad_frame_size", 0, FrameSizeError},
		{"6.3: PRIORITY on stream 0", hello + "priority 0 1", "bad_stream", 0, ProtocolError},
		{"6.3: four bytes, on an idle stream", hello + "frame 2 0 1 00000000", "bad_priority_size", 0, FrameSizeError},
		{"5.3.1: an idle stream depends on itself", hello + "priority 1 1", "self_dependency", 0, ProtocolError},
		{"6.4: RST_STREAM on stream 0", hello + "rst 0 1", "bad_stream", 0, ProtocolError},
		{"6.4: three bytes", hello + open + "frame 3 0 1 000000", "bad_frame_size", 1, FrameSizeError},
		{"6.5: SETTINGS on a stream", hello + "frame 4 0 1", "bad_stream", 0, ProtocolError},
		{"6.5: five bytes", hello + "frame 4 0 0 0001_000000", "bad_frame_size", 0, FrameSizeError},
		{"6.5: an acknowledgement with settings", hello + "frame 4 1 0 0001_00000000", "bad_frame_size", 0, FrameSizeError},
		{"6.5.2: ENABLE_PUSH", hello + "settings 2=2", "bad_setting", 0, ProtocolError},
		{"6.5.2: INITIAL_WINDOW_SIZE", hello + "settings 4=0x80000000", "large_window", 0, FlowControlError},
		{"6.5.2: a small MAX_FRAME_SIZE", hello + "settings 5=16383", "bad_setting", 0, ProtocolError},
		{"6.5.2: a large MAX_FRAME_SIZE", hello + "settings 5=16777216", "bad_setting", 0, ProtocolError},
		{"RFC 8441 3: ENABLE_CONNECT_PROTOCOL", hello + "settings 8=2", "bad_setting", 0, ProtocolError},
		{"RFC 8441 3: and taken back", hello + "settings 8=1 8=0", "bad_setting", 0, ProtocolError},
		{"RFC 9218 2.1: NO_RFC7540_PRIORITIES", hello + "settings 9=2", "bad_setting", 0, ProtocolError},
		{"6.6: a push", hello + open + "push 1", "pushed", 1, ProtocolError},
		{"6.7: PING on a stream", hello + "frame 6 0 1 0000000000000000", "bad_stream", 0, ProtocolError},
		{"6.7: seven bytes", hello + "frame 6 0 0 00000000000000", "bad_frame_size", 0, FrameSizeError},
		{"6.8: GOAWAY on a stream", hello + "frame 7 0 1 0000000000000000", "bad_stream", 0, ProtocolError},
		{"6.8: seven bytes", hello + "frame 7 0 0 00000000000000", "bad_frame_size", 0, FrameSizeError},
		{"6.9: no increment", hello + "window 0 0", "empty_increment", 0, ProtocolError},
		{"6.9: three bytes", hello + "frame 8 0 0 000001", "bad_frame_size", 0, FrameSizeError},
		{"6.9.1: the connection's window overflows", hello + "window 0 0x7fffffff", "large_window", 0, FlowControlError},
		{"6.9.2: a stream's window overflows by SETTINGS", hello + open + "window 1 0x7fff0000\n settings 4=0x7fffffff", "large_window", 1, FlowControlError},
		{"6.10: CONTINUATION of nothing", hello + open + "frame 9 4 1 82", "stray_continuation", 1, ProtocolError},
		{"6.10: CONTINUATION on stream 0", hello + "frame 9 4 0 82", "bad_stream", 0, ProtocolError},
		{"6.10: of another stream", hello + "headers 1 open : " + get + "\n frame 9 4 3 82", "broken_block", 1, ProtocolError},
		{"6.10: something else instead", hello + "headers 1 open : " + get + "\n ping 12345678", "broken_block", 1, ProtocolError},
		{"6.10: something unknown instead", hello + "headers 1 open : " + get + "\n frame 0xfa 0 1", "broken_block", 1, ProtocolError},
		{"RFC 9218 7.1: PRIORITY_UPDATE on a stream", hello + "frame 0x10 0 1 00000001", "bad_stream", 0, ProtocolError},
		{"RFC 9218 7.1: of stream 0", hello + "update 0 u=1", "bad_stream", 0, ProtocolError},
		{"RFC 9218 7.1: three bytes", hello + "frame 0x10 0 0 000001", "bad_frame_size", 0, FrameSizeError},
	} {
		t.Run(c.name, func(t *testing.T) {
			story, length := tell(t, false, standard, c.script, nil, false)
			wantsEnd(t, story, c.reason, c.last, c.code)
			for i := range min(length, 2000) {
				if cut, _ := tell(t, false, standard, c.script, func(at int) bool { return at == i }, true); withoutBody(cut) != withoutBody(story) {
					t.Fatalf("cut at %d\n%s\nwhole\n%s", i, cut, story)
				}
			}
		})
	}
}

// What costs a stream and leaves the connection: RST_STREAM with the code, and a PING behind it is answered.
func TestServerStreamFaults(t *testing.T) {
	open := "headers 1 : " + post + "\n"
	half := "headers 1 end : " + get + "\n"
	for _, c := range []struct {
		name, script string
		stream, code int
		reason       string // of the GotReset; empty if there is none, as the stream was not reported or is gone
	}{
		{"5.1: DATA behind the end", half + "data 1 : x", 1, StreamClosed, "half_closed_stream"},
		{"5.1: HEADERS behind the end", half + "headers 1 end : a=b", 1, StreamClosed, "half_closed_stream"},
		{"5.1: DATA behind RST_STREAM", open + "rst 1 8\n data 1 : x", 1, StreamClosed, ""},
		{"5.1: HEADERS behind RST_STREAM", open + "rst 1 8\n headers 1 end : a=b", 1, StreamClosed, ""},
		{"5.3.1: HEADERS that depend on themselves", "headers 1 end dep=1 : " + get, 1, ProtocolError, ""},
		{"5.3.1: PRIORITY that depends on itself", open + "priority 1 1", 1, ProtocolError, "self_dependency"},
		{"6.3: PRIORITY of four bytes", open + "frame 2 0 1 00000003", 1, FrameSizeError, "bad_priority_size"},
		{"6.3: PRIORITY of six bytes", open + "frame 2 0 1 000000030000", 1, FrameSizeError, "bad_priority_size"},
		{"6.3: PRIORITY of four bytes on a stream that is gone", half + "! head 1 200 end\n frame 2 0 1 00000003", 1, FrameSizeError, ""},
		{"6.9: no increment", open + "window 1 0", 1, ProtocolError, "empty_stream_increment"},
		{"6.9.1: the window overflows", open + "window 1 0x7fffffff", 1, FlowControlError, "large_stream_window"},
		{"8.1: trailers without an end", open + "headers 1 : a=b", 1, ProtocolError, "endless_trailers"},
		{"8.1: trailers that are none", open + "headers 1 end : :path=/", 1, ProtocolError, "trailing_pseudo"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := "#1 reset " + itoa(c.code) + " " + c.reason
			story, _ := tell(t, false, standard, hello+c.script+"\n ping 12345678", nil, false)
			wantsLine(t, story, "< rst "+itoa(c.stream)+" "+itoa(c.code))
			wantsLine(t, story, "< ping ack=true 12345678")
			if c.reason != "" {
				wantsLine(t, story, want)
			}
			inAllCuts(t, false, standard, hello+c.script+"\n ping 12345678", story)
		})
	}
}

// A client that opens more streams than it was told it may is refused those (RFC 9113 5.1.2).
func TestManyStreams(t *testing.T) {
	l := NewLimits(Limits{StreamsMax: 2})
	inAllCuts(t, false, l, hello+"settings ack\n headers 1 end : "+get+"; a=b\n headers 3 : "+post+"\n headers 5 : "+get+`; c=d
		data 5 end : x
		! head 1 200 end
		headers 7 end : `+get+"; c=d", `
		#1 GET exam.test / len=0 a=b end
		#3 POST exam.test / len=-1
		< settings ack
		< rst 5 7
		< headers 1 end :status=200
		#7 GET exam.test / len=0 c=d end`)
}

// A head that does not fit into one frame goes out in several (RFC 9113 6.10), wherever it was encoded.
func TestLargeHeadsAreSplit(t *testing.T) {
	for _, n := range []int{1, 16000, frameSend, 2 * frameSend, buf.Large, 100000} {
		s, w := newSide(t, false, standard), newPeer()
		for _, line := range []string{"preface", "settings", "headers 1 end : " + get} {
			s.receive(w.send(line), false)
		}
		value := bytes.Repeat([]byte{'v'}, n)
		h := &message.Head{Status: 200, Length: 0}
		h.Add([]byte("x-large"), value)
		if err := s.server.AppendHead(&s.out, s.p, 1, h, true); err != nil {
			t.Fatal(err)
		}
		s.story.Reset()
		s.tellSent()
		wantsLine(t, s.story.String(), "< headers 1 end :status=200 x-large="+string(value)+" content-length=0")
		s.finish()
	}
}

// An idle connection keeps little: the table of the peer's header fields aside, which it fills itself.
func TestIdleConnectionIsSmall(t *testing.T) {
	const most = 1 << 10
	if n := reflect.TypeFor[Server]().Size(); n > most {
		t.Errorf("a Server has %d bytes", n)
	}
	if n := reflect.TypeFor[stream]().Size() * freeKept; n > 4<<10 {
		t.Errorf("the streams that are kept have %d bytes", n)
	}
}

// Frames under way on streams that we reset are tolerated however many such streams there were; see graves.
func TestGravesForgetNothingThatHurts(t *testing.T) {
	var g graves
	for i := range uint32(1000) {
		g.bury(2*i+1, byUs)
		for j := range i + 1 {
			if g.how(2*j+1) != byUs {
				t.Fatalf("stream %d is forgotten behind %d", 2*j+1, 2*i+1)
			}
		}
	}
	if len(g.reset) > resetKept {
		t.Errorf("%d streams are remembered", len(g.reset))
	}
}
