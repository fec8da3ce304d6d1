package h2

import (
	"strings"
	"testing"
)

// What is queued goes out as windows and priorities allow. The stories begin with a connection's window used up by stream
// 99, so that everything behind waits for "window 0 N".
func TestScheduleStories(t *testing.T) {
	request := func(id, priority string) string {
		if priority != "" {
			priority = "; priority=" + priority
		}
		return "headers " + id + " end : " + get + priority + "\n ! head " + id + " 200\n"
	}
	for _, c := range []struct{ name, script, want string }{
		{"without priorities streams share", request("101", "") + request("103", "") + `
			! data 101 *20000
			! data 103 *20000
			! end 101
			! end 103
			window 0 40000
			! flush`, `
			< data 101 *16384
			< data 103 *16384
			< data 101 end *3616
			< data 103 end *3616`},
		{"urgency first, then order for those that are not incremental, RFC 9218 10", request("101", "u=5") + request("103", "u=1") +
			request("105", "u=3, i") + request("107", "u=1") + `
			! data 101 *10
			! data 107 *20000
			! data 103 *20000
			! data 105 *20
			! data 105 *20
			window 0 1000000
			! flush`, `
			< data 103 *16384
			< data 103 *3616
			< data 107 *16384
			< data 107 *3616
			< data 105 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			< data 101 "xxxxxxxxxx"`},
		{"PRIORITY_UPDATE, RFC 9218 7.1", request("101", "") + request("103", "") + `
			! data 101 *10
			! data 103 *10
			update 103 u=0
			update 105 u=0
			window 0 1000
			! flush`, `
			< data 103 "xxxxxxxxxx"
			< data 101 "xxxxxxxxxx"`},
		{"trailers wait behind the body", request("101", "") + `
			! data 101 *10
			! end 101 a=b
			window 0 5
			! flush
			window 0 5
			! flush`, `
			< data 101 "xxxxx"
			< data 101 "xxxxx"
			< headers 101 end a=b`},
		{"a stream that is reset leaves the queue", request("101", "") + request("103", "") + `
			! data 101 *10
			! data 103 *10
			! reset 101 8
			window 0 1000
			! flush`, `
			< rst 101 8
			< data 103 "xxxxxxxxxx"`},
		{"one without a window is passed over", `settings 4=3
			` + request("101", "") + request("103", "") + `
			! data 101 hello
			! data 103 hello
			window 0 1000
			! flush
			! flush
			window 101 1
			! flush
			settings 4=0
			window 101 1
			! flush
			settings 4=4
			! flush`, `
			< settings ack
			< data 101 "hel"
			< data 103 "hel"
			< data 101 "l"
			< settings ack
			< settings ack
			< data 101 "o"
			< data 103 "l"`},
		{"a queue is drained, once", request("101", "") + `
			! data 101 *100000
			! drained
			window 101 1000000
			window 0 60000
			! flush
			! drained
			window 0 10000
			! flush
			! drained
			window 0 10000
			! flush
			! drained`, `
			< data 101 *16384
			< data 101 *16384
			< data 101 *16384
			< data 101 *10848
			< data 101 *10000
			#101 drained
			< data 101 *10000`},
		{"no more than is asked for", request("101", "") + `
			! data 101 *60000
			window 0 60000
			! flush 20000
			! flush 1`, `
			< data 101 *16384
			< data 101 *16384
			< data 101 *16384`},
	} {
		t.Run(c.name, func(t *testing.T) {
			used := hello + "headers 99 end : " + get + "\n window 99 1000000\n ! head 99 200\n ! data 99 *65535\n ! reset 99 8\n"
			story, _ := tell(t, false, standard, used+c.script, nil, false)
			var kept []string
			for _, l := range strings.Split(story[strings.Index(story, "< rst 99 8\n")+len("< rst 99 8\n"):], "\n") {
				if l != "idle" && (l[0] == '<' && !strings.Contains(l, ":status") || strings.HasSuffix(l, "drained")) {
					kept = append(kept, l)
				}
			}
			if got := strings.Join(kept, "\n"); got != indented(c.want) {
				t.Errorf("got:\n%s\nwant:\n%s\nstory:\n%s", got, indented(c.want), story)
			}
		})
	}
}

// The example of RFC 9113 6.9.1 and h2spec: a window of one byte lets one byte through.
func TestTinyWindow(t *testing.T) {
	inAllCuts(t, false, standard, "preface\n settings 4=1\n headers 1 end : "+get+`
		! head 1 200 len=2
		! data 1 ok
		! end 1
		window 1 1
		! flush`, `
		#1 GET exam.test / len=0 end
		< settings ack
		< headers 1 :status=200 content-length=2
		< data 1 "o"
		< data 1 end "k"
		idle`)
}

// What the peer may send is given back in halves of a window, and padding like data, which the codec consumes itself.
func TestWindowsAreGivenBack(t *testing.T) {
	l := NewLimits(Limits{StreamWindow: 65535, ConnWindow: 100000})
	got, _ := tell(t, false, l, hello+"headers 1 : "+post+`
		data 1 : *16384
		data 1 : *16382
		data 1 pad=0 : 
		data 1 : *16384
		data 1 : *849
		! reset 1 8
		data 1 : *16384
		data 1 : *16384
		data 1 : *16384
		data 1 : *848`, nil, false)
	want := indented(`
		#1 POST exam.test / len=-1
		< settings ack
		< window 1 32767
		< window 0 50000
		< rst 1 8
		< window 0 50000
		#1 body *49999
		idle`)
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// More than the windows allow is refused (RFC 9113 6.9.1).
func TestOverrun(t *testing.T) {
	l := NewLimits(Limits{StreamWindow: 65535, ConnWindow: 70000})
	s, w := newSide(t, false, l), newPeer()
	send := func(line string) { s.receive(w.send(line), false) }
	send("preface")
	send("settings")
	send("headers 1 : " + post)
	send("headers 3 : " + post)
	s.c.limits = &Limits{StreamWindow: 1 << 30, ConnWindow: 1 << 30, FrameBytesMax: 16384, budgets: l.budgets, RepliesBytesMax: 1000} // gives nothing back
	for range 3 {
		send("data 1 : *16384")
	}
	send("data 1 : *16383")
	send("data 1 : x")
	wantsLine(t, s.story.String(), "#1 reset 3 stream_overrun")
	send("data 3 : *4464")
	if s.failed {
		t.Error("refused within the window")
	}
	send("data 3 : x")
	s.tellSent()
	wantsEnd(t, s.story.String(), "overrun", 3, FlowControlError)
	s.finish()
}

// The value of a priority, RFC 9218 4.
func TestPriorityField(t *testing.T) {
	for _, c := range []struct {
		value       string
		urgency     uint8
		incremental bool
	}{
		{"", 3, false}, {"u=0", 0, false}, {"u=7, i", 7, true}, {"i", 3, true}, {"i=?0", 3, false}, {"i=?1,u=2", 2, true},
		{" u=5 ;x=y , i;z", 5, true}, {"u=8", 3, false}, {"u=-1", 3, false}, {"u=12", 3, false}, {"u", 3, false}, {"u=", 3, false},
		{"U=1", 3, false}, {",,,", 3, false}, {"u=1,u=2", 2, false}, {strings.Repeat("i,", 40), 3, false},
	} {
		if u, i := parsePriorityField([]byte(c.value)); u != c.urgency || i != c.incremental {
			t.Errorf("%q: u=%d i=%v", c.value, u, i)
		}
	}
}
