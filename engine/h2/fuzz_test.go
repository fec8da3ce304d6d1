package h2

import (
	"strings"
	"testing"
)

// seeds turns scripts into bytes.
func seeds(f *testing.F, scripts ...string) {
	for _, script := range scripts {
		w := newPeer()
		var b []byte
		for _, line := range strings.Split(script, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				b = append(b, w.send(line)...)
			}
		}
		f.Add(b, uint16(len(b)/2), uint16(7))
	}
}

// answerAll gives every stream that is open a part of an answer, whatever state it is in.
func (s *side) answerAll(turn int) {
	for _, x := range s.c.streams.slots {
		if x == nil || !x.reported || x.ending {
			continue
		}
		id := itoa(int(x.id))
		switch {
		case !x.headSent:
			s.act("head " + id + " 200")
		case turn%3 == 0 && x.id%4 == 1:
			s.act("reset " + id + " 8")
		case turn%3 == 2:
			s.act("end " + id + " a=b")
		default:
			s.act("data " + id + " *40000")
		}
	}
	s.c.Flush(&s.out, s.p, 1<<18)
}

// fuzzed runs the same bytes whole and in two pieces. Our side answers a little in between, so that both see the same only as
// far as it did not; what must hold is that nothing panics, memory stays bounded, and all chunks come back.
func fuzzed(t *testing.T, client bool, b []byte, cut, every uint16) {
	at := min(int(cut), len(b))
	var stories [2]string
	for i, pieces := range [][][]byte{{b}, {b[:at], b[at:]}} {
		s := newSide(t, client, standard)
		if client {
			s.act("open GET / end")
			s.act("open POST / len=5")
		}
		for _, piece := range pieces {
			s.receive(piece, true)
		}
		stories[i] = withoutBody(s.story.String())
		if s.out.Len() > standard.RepliesBytesMax+1<<12 {
			t.Errorf("%d bytes wait to be sent", s.out.Len())
		}
		s.finish()
	}
	if stories[0] != stories[1] {
		t.Errorf("cut at %d:\n%s\nwhole:\n%s", at, stories[1], stories[0])
	}

	s := newSide(t, client, standard)
	step := int(every%512) + 1
	for turn := 0; len(b) > 0; turn++ {
		piece := b[:min(step, len(b))]
		b = b[len(piece):]
		s.receive(piece, false)
		if client && s.client.Room() > 0 {
			s.act("open POST / x")
		}
		if !s.failed {
			s.answerAll(turn)
		}
		if most := 1<<20 + 1<<17*s.c.limits.StreamsMax; s.p.InUse() > most*4 {
			t.Fatalf("%d bytes are in use", s.p.InUse())
		}
		if s.out.Len() > 1<<18 {
			s.out.Skip(s.p, s.out.Len())
		}
		for {
			if _, ok := s.c.NextDrained(); !ok {
				break
			}
		}
	}
	s.tellSent() // and the Framer can read it
	s.finish()
}

// Whatever a client sends.
func FuzzServer(f *testing.F) {
	seeds(f,
		hello+"headers 1 end : "+get,
		hello+"settings 4=1 1=0 5=20000\n headers 1 pad=3 split=4 : "+post+"; content-length=5\n data 1 pad=4 : hel\n data 1 end : lo",
		hello+"headers 1 : "+connect+"\n data 1 : x\n window 1 5\n window 0 5\n priority 1 3\n update 1 u=1, i\n rst 1 8\n ping 12345678\n goaway 0 0",
		hello+"headers 1 : "+post+"\n headers 3 dep=1 : "+post+"\n data 1 : x\n data 3 : y\n headers 1 end : a=b\n frame 0xfa 0 0 00")
	f.Fuzz(func(t *testing.T, b []byte, cut, every uint16) { fuzzed(t, false, b, cut, every) })
}

// Whatever an upstream sends, after two requests.
func FuzzClient(f *testing.F) {
	seeds(f,
		"settings 8=1 3=10\n headers 1 : :status=103\n headers 1 : :status=200; content-length=2\n data 1 end : ok",
		"settings 4=100000\n headers 3 : :status=200\n data 3 pad=3 : ok\n headers 3 end : a=b\n headers 1 end : :status=204",
		"settings\n goaway 1 0\n rst 1 7\n window 0 100\n push 1")
	f.Fuzz(func(t *testing.T, b []byte, cut, every uint16) { fuzzed(t, true, b, cut, every) })
}
