package h2

import (
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// What an upstream can send, and what becomes of it. Each script runs behind empty SETTINGS of its own.
func TestClientStories(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"a request and its answer", `! open GET / end
			headers 1 : :status=200; content-length=2; a=b
			data 1 end : ok`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			#1 200 len=2 a=b
			#1 body "ok"
			#1 end
			idle`},
		{"interim answers and trailers", `! open GET / end
			headers 1 : :status=103; a=b
			headers 1 : :status=200
			data 1 : ok
			headers 1 end : grpc-status=0`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			#1 103 len=0 a=b
			#1 200 len=-1
			#1 body "ok"
			#1 trailers grpc-status=0
			idle`},
		{"a request with a body", `! open POST / len=5
			! data 1 hello
			! end 1
			headers 1 end : :status=204`, `
			< settings ack
			< headers 1 :method=POST :scheme=http :authority=exam.test :path=/ content-length=5
			< data 1 end "hello"
			#1 204 len=0 end
			idle`},
		{"the answer to HEAD", `! open HEAD / end
			headers 1 : :status=200; content-length=5
			data 1 end : `, `
			< settings ack
			< headers 1 end :method=HEAD :scheme=http :authority=exam.test :path=/
			#1 200 len=5
			#1 end
			idle`},
		{"an answer to HEAD with a body", `! open HEAD / end
			headers 1 : :status=200; content-length=5
			data 1 end : hello`, `
			< settings ack
			< headers 1 end :method=HEAD :scheme=http :authority=exam.test :path=/
			#1 200 len=5
			#1 reset 1 forbidden_body
			< rst 1 1
			idle`},
		{"a 304 that tells the length", `! open GET / end
			headers 1 end : :status=304; content-length=5`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			#1 304 len=5 end
			idle`},
		{"a length without a body", `! open GET / end
			headers 1 end : :status=200; content-length=5`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			#1 reset 1 conflicting_length
			< rst 1 1
			idle`},
		{"an interim answer that ends", `! open GET / end
			headers 1 end : :status=100`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			#1 reset 1 bad_interim
			< rst 1 1
			idle`},
		{"a body before its head", `! open GET / end
			data 1 end : x`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			#1 reset 1 data_before_head
			< rst 1 1
			idle`},
		{"HTTP/1's switch", `! open GET / end
			headers 1 : :status=101`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			#1 reset 1 bad_switch
			< rst 1 1
			idle`},
		{"refused, unprocessed", `! open GET / end
			rst 1 7`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			#1 reset 7
			idle`},
		{"the answer is complete before the request", `! open POST /
			headers 1 end : :status=200
			rst 1 0`, `
			< settings ack
			< headers 1 :method=POST :scheme=http :authority=exam.test :path=/
			#1 200 len=0 end
			#1 reset 0
			idle`},
		{"we give up", `! open GET / end
			! reset 1 8
			headers 1 : :status=200; x=kept
			data 1 end : ok
			! open GET / end
			headers 3 end : :status=200; x=kept`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			< rst 1 8
			< headers 3 end :method=GET :scheme=http :authority=exam.test :path=/
			#3 200 len=0 x=kept end
			idle`},
		{"GOAWAY: what is above its number can be sent again, RFC 9113 6.8", `! open GET /1 end
			! open GET /3 end
			! open GET /5 end
			goaway 1 0
			goaway 1 0
			! open GET /7 end
			headers 1 end : :status=200`, `
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/1
			< headers 3 end :method=GET :scheme=http :authority=exam.test :path=/3
			< headers 5 end :method=GET :scheme=http :authority=exam.test :path=/5
			#3 reset 7
			#5 reset 7
			goaway 0
			goaway 0
			error ` + ErrBusy.Error() + `
			#1 200 len=0 end
			idle`},
		{"a WebSocket, RFC 8441", `settings 8=1
			! open GET / upgrade
			headers 1 : :status=200
			data 1 : welcome
			! data 1 hello
			! end 1
			data 1 end : bye`, `
			< settings ack
			< settings ack
			< headers 1 :method=CONNECT :protocol=websocket :scheme=http :authority=exam.test :path=/
			#1 101 to=websocket len=-1
			< data 1 end "hello"
			#1 body "welcomebye"
			#1 end
			idle`},
		{"a WebSocket refused", `settings 8=1
			! open GET / upgrade
			headers 1 : :status=403; content-length=2
			data 1 end : no
			! reset 1 8`, `
			< settings ack
			< settings ack
			< headers 1 :method=CONNECT :protocol=websocket :scheme=http :authority=exam.test :path=/
			#1 403 len=2
			#1 body "no"
			#1 end
			< rst 1 8
			idle`},
		{"a WebSocket with an upstream that does not know how", `! open GET / upgrade`, `
			< settings ack
			error ` + ErrSwitch.Error() + `
			idle`},
		{"a body that is declared and denied", `! open POST / end len=3`, `
			< settings ack
			error ` + ErrShortBody.Error() + `
			idle`},
		{"as many streams as the upstream allows", `settings 3=1
			! open GET / end
			! open GET / end
			headers 1 end : :status=200
			! open GET / end`, `
			< settings ack
			< settings ack
			< headers 1 end :method=GET :scheme=http :authority=exam.test :path=/
			error ` + ErrBusy.Error() + `
			#1 200 len=0 end
			< headers 3 end :method=GET :scheme=http :authority=exam.test :path=/`},
	} {
		t.Run(c.name, func(t *testing.T) {
			inAllCuts(t, true, standard, "settings\n"+c.script, c.want)
		})
	}
}

func TestClientFaults(t *testing.T) {
	for _, c := range []struct {
		name, script, reason string
		code                 int
	}{
		{"3.4: no SETTINGS first", "ping 12345678", "no_settings", ProtocolError},
		{"an answer in HTTP/1", "raw 485454502f312e3120343030204261640d0a0d0a", "no_settings", ProtocolError},
		{"6.5.2: ENABLE_PUSH from a server", "settings 2=1", "bad_setting", ProtocolError},
		{"8.4: a push", "settings\n ! open GET / end\n push 1", "pushed", ProtocolError},
		{"5.1: an answer to nothing", "settings\n headers 1 end : :status=200", "idle_stream", ProtocolError},
		{"5.1: a stream of the server's", "settings\n headers 2 end : :status=200", "idle_stream", ProtocolError},
		{"5.1: an answer behind the answer", "settings\n ! open GET / end\n headers 1 end : :status=200\n headers 1 end : :status=200", "closed_stream", StreamClosed},
		{"RFC 9218 7.1: PRIORITY_UPDATE from a server", "settings\n update 1 u=1", "bad_stream", ProtocolError},
	} {
		t.Run(c.name, func(t *testing.T) {
			story, _ := tell(t, true, standard, c.script, nil, false)
			wantsEnd(t, story, c.reason, 0, c.code)
		})
	}
}

// Room counts what the upstream allows, what is open, and the numbers that are left (RFC 9113 5.1.1).
func TestRoom(t *testing.T) {
	var c Client
	var out buf.Chain
	p := buf.NewPool(0)
	c.Init(standard, "http")
	if n := c.Room(); n != assumedStreams {
		t.Errorf("there is room for %d before SETTINGS came", n)
	}
	c.lastPeer = idMax - 4
	h := new(message.Head)
	for want := 2; want > 0; want-- {
		if n := c.Room(); n != want {
			t.Errorf("there is room for %d, not %d", n, want)
		}
		if _, err := c.Open(&out, p, h, true); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Open(&out, p, h, true); err != ErrBusy || c.lastPeer != idMax {
		t.Error(err, c.lastPeer)
	}
	c.Release(p)
	out.Release(p)
}
