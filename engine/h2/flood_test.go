package h2

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/h2/block"
	"github.com/yumen-io/yumen/engine/message"
)

// flood runs a script and, behind it, the same lines again and again. It returns after how many of them the connection was
// refused, and why; without a refusal, most.
func flood(t *testing.T, l *Limits, client bool, script string, most int, again func(i int) string) (times int, reason string) {
	t.Helper()
	s, w := newSide(t, client, l), newPeer()
	run := func(lines string) {
		for _, line := range strings.Split(lines, "\n") {
			line = strings.TrimSpace(line)
			if act, ok := strings.CutPrefix(line, "! "); ok {
				s.act(act)
			} else if line != "" {
				s.receive(w.send(line), false)
			}
		}
	}
	run(script)
	for times = 0; times < most && !s.failed; times++ {
		run(again(times))
		s.story.Reset()
		s.out.Release(s.p)
	}
	if s.failed {
		reason = s.c.fatal.Reason
	}
	s.finish()
	return times, reason
}

func always(line string) func(int) string { return func(int) string { return line } }

// Each budget ends a connection that only spends, at its number, and never one that works.
func TestFloods(t *testing.T) {
	opened := hello + "settings ack\n headers 1 : " + post
	l := NewLimits(Limits{ResetsMax: 20, EmptyDataMax: 20, SettingsMax: 20, PingsMax: 20, PrioritiesMax: 20, WindowUpdatesMax: 20,
		UselessMax: 20, PaddingBytesMax: 20 * 255})
	// request is the i-th of many, with what stands before its end.
	request := func(between string) func(int) string {
		return func(i int) string {
			id := 2*i + 3
			return fmt.Sprintf("headers %d : %s\n", id, post) + strings.ReplaceAll(between, "ID", itoa(id)) +
				fmt.Sprintf("\n data %d end : ok\n ! head %d 200 len=2\n ! data %d ok\n ! end %d", id, id, id, id)
		}
	}
	for _, c := range []struct {
		budget, reason string
		flood, work    func(i int) string
	}{
		{"rapid reset, CVE-2023-44487", "many_resets", func(i int) string { return fmt.Sprintf("headers %d : %s\n rst %d 8", 2*i+3, post, 2*i+3) },
			func(i int) string {
				return fmt.Sprintf("headers %d end : %s\n rst %d 8\n headers %d end : %s\n ! head %d 200 end", 4*i+3, get, 4*i+3, 4*i+5, get, 4*i+5)
			}},
		{"MadeYouReset, CVE-2025-8671", "many_resets", func(i int) string { return fmt.Sprintf("headers %d : %s\n window %d 0", 2*i+3, post, 2*i+3) }, nil},
		{"malformed requests", "many_resets", func(i int) string {
			return fmt.Sprintf("headers %d end : :path=/\n ! head %d 400 end", 2*i+3, 2*i+3)
		}, nil},
		{"streams above the limit", "many_resets", func(i int) string { return fmt.Sprintf("headers %d : %s", 200+2*i+1, post) }, nil},
		{"empty DATA, CVE-2019-9518", "many_empty_data", always("data 1 : "), always("data 1 : \n data 1 : x")},
		{"DATA of padding", "many_empty_data", always("data 1 pad=1 : "), nil},
		{"SETTINGS, CVE-2019-9515", "many_settings", always("settings 4=5"), request("settings 4=65535")},
		{"PING, CVE-2019-9512", "many_pings", always("ping 12345678"), request("ping 12345678")},
		{"PINGs along with data", "many_pings", always("ping 12345678"), always("ping 12345678\n data 1 : x")},
		{"PRIORITY, CVE-2019-9513", "many_priorities", always("priority 3 1"), request("priority ID 1\n priority ID 1")},
		{"PRIORITY_UPDATE", "many_priorities", always("update 1 u=1"), request("update ID u=1")},
		{"WINDOW_UPDATE", "many_window_updates", always("window 1 1"), request("window ID 9\n window 0 9")},
		{"frames of unknown types", "many_useless_frames", always("frame 0xfa 0 0 00"), request("frame 0xfa 0 0")},
		{"acknowledgements of nothing", "many_useless_frames", always("settings ack"), nil},
		{"RST_STREAM on a stream that is gone", "many_useless_frames", always("rst 3 8"), nil},
		{"heads on a stream that we reset", "many_useless_frames", always("headers 3 : a=b"), nil},
		{"GOAWAY", "many_useless_frames", always("goaway 0 0"), nil},
		{"padding", "much_padding", always("data 1 pad=255 : x"), always("data 1 pad=255 : *300")},
		{"padded heads", "much_padding", func(i int) string { return fmt.Sprintf("headers %d pad=255 : a=b", 200+2*i+1) }, request("data ID pad=200 : x")},
	} {
		t.Run(c.budget, func(t *testing.T) {
			script := opened
			if strings.HasPrefix(c.budget, "heads on") {
				script += "\n headers 3 end : " + get + "\n ! reset 3 8"
			}
			if strings.HasPrefix(c.budget, "RST_STREAM") {
				script += "\n headers 3 end : " + get + "\n ! head 3 200 end"
			}
			limits := l
			if c.budget == "padded heads" || c.budget == "streams above the limit" {
				script = hello + "settings ack"
				few := *l
				few.StreamsMax = 0 // NewLimits would make it 100
				few.ResetsMax = 20
				limits = &few
				if c.reason == "much_padding" {
					few.budgets[resets] = 1000
				}
			}
			if times, reason := flood(t, limits, false, script, 50, c.flood); reason != c.reason || times < 10 || times > 30 {
				t.Errorf("refused for %q after %d", reason, times)
			}
			if c.work == nil {
				return
			}
			if times, reason := flood(t, l, false, opened, 500, c.work); reason != "" {
				t.Errorf("work was refused for %q after %d", reason, times)
			}
		})
	}
}

// A window that is opened byte by byte for a body that waits, CVE-2019-9511: each byte goes out, and is paid for. One that
// is opened by as much as is worth a frame is not.
func TestWindowDribble(t *testing.T) {
	l := NewLimits(Limits{WindowUpdatesMax: 20})
	script := "preface\n settings 4=0\n headers 1 end : " + get + "\n ! head 1 200\n ! data 1 *10000\n ! end 1"
	if times, reason := flood(t, l, false, script, 50, always("window 1 1\n ! flush")); reason != "many_window_updates" || times != 21 {
		t.Errorf("refused for %q after %d", reason, times)
	}
	script = "preface\n settings\n headers 1 end : " + get + "\n ! head 1 200"
	if times, reason := flood(t, l, false, script, 500, always("window 1 2000\n window 0 2000\n ! data 1 *2000\n ! flush")); reason != "" {
		t.Errorf("work was refused for %q after %d", reason, times)
	}
}

// CONTINUATION frames without end, CVE-2024-27316: many, also empty ones, and large ones.
func TestContinuationFlood(t *testing.T) {
	start := hello + "headers 1 open : " + get
	for _, c := range []struct {
		continuation, reason string
		most                 int
	}{
		{"frame 9 0 1", "many_continuations", 17},
		{"frame 9 0 1 8282", "many_continuations", 17},
		{"frame 9 0 1 " + strings.Repeat("82", 16384), "large_block", 4},
	} {
		l := NewLimits(Limits{})
		l.Block.ListBytesMax = 1 << 30 // what package block would find first
		if times, reason := flood(t, l, false, start, 100, always(c.continuation)); reason != c.reason || times != c.most {
			t.Errorf("refused for %q after %d", reason, times)
		}
	}
}

// A header block that becomes many times as large as it came (the HPACK bomb).
func TestHeaderBomb(t *testing.T) {
	bomb := hello + "headers 1 end : " + get + "; x=*4000"
	times, reason := flood(t, standard, false, bomb, 5, func(i int) string {
		return "frame 1 5 " + itoa(2*i+3) + " " + strings.Repeat("be", 16000)
	})
	if reason != "hpack_bomb" || times > 2 {
		t.Errorf("refused for %q after %d", reason, times)
	}
}

// A client that asks for answers and reads none of them: what waits to be sent is bounded, whatever else waits there too.
func TestUnreadReplies(t *testing.T) {
	l := NewLimits(Limits{PingsMax: 1 << 30, SettingsMax: 1 << 30, ResetsMax: 1 << 30})
	for _, line := range []string{"ping 12345678", "settings"} {
		s, w := newSide(t, false, l), newPeer()
		s.receive(w.send("preface"), false)
		s.receive(w.send("settings"), false)
		for range 10000 {
			s.receive(w.send(line), false)
		}
		if !s.failed || s.c.fatal.Reason != "unread_replies" || s.out.Len() > l.RepliesBytesMax+100 {
			t.Errorf("%s: %v, %d bytes wait", line, s.failed, s.out.Len())
		}
		s.finish()
	}
	// One that reads, slowly, and always has 60 kB of body before it, is none.
	s, w := newSide(t, false, l), newPeer()
	s.receive(w.send("preface"), false)
	s.receive(w.send("settings 4=0x7fffffff"), false)
	s.receive(w.send("window 0 0x7fff0000"), false)
	s.receive(w.send("headers 1 end : "+get), false)
	s.act("head 1 200")
	for range 10000 {
		s.act("data 1 *1000")
		s.receive(w.send("ping 12345678"), false)
		if s.out.Len() > 60<<10 {
			s.out.Skip(s.p, s.out.Len()-60<<10)
		}
	}
	if s.failed {
		t.Errorf("who reads is refused for %q", s.c.fatal.Reason)
	}
	s.finish()
}

// Whoever is refilled may send a PING for ever, at its pace.
func TestRefill(t *testing.T) {
	l := NewLimits(Limits{PingsMax: 20})
	if times, reason := flood(t, l, false, hello, 1000, always("ping 12345678\n ping 12345678\n ! refill")); reason != "" {
		t.Errorf("refused for %q after %d", reason, times)
	}
}

// An upstream that sends interim responses without end loses the stream.
func TestManyInterim(t *testing.T) {
	s, w := newSide(t, true, standard), newPeer()
	s.receive(w.send("settings"), false)
	s.act("open GET / end")
	for range standard.InterimMax {
		s.receive(w.send("headers 1 : :status=103"), false)
	}
	if s.c.Open() != 1 {
		t.Fatal(s.story.String())
	}
	s.receive(w.send("headers 1 : :status=103"), false)
	wantsLine(t, s.story.String(), "#1 reset 11 many_interim")
	s.finish()
}

// Every refusal there is has a word, and is in the list that metrics and documents are made from.
func TestRefusalsAreAllListed(t *testing.T) {
	seen := map[*message.Refusal]bool{}
	for _, r := range Refusals() {
		if seen[r] || r.Reason == "" || r.Text == "" {
			t.Errorf("%+v", r)
		}
		seen[r] = true
	}
	source, err := os.ReadFile("refusals.go")
	if err != nil {
		t.Fatal(err)
	}
	if made := strings.Count(string(source), " = newFault("); made != len(Refusals())-len(block.Refusals()) {
		t.Errorf("%d faults are made, %d are listed", made, len(Refusals())-len(block.Refusals()))
	}
	for _, f := range floods {
		if !seen[f.Refusal] {
			t.Errorf("%s is not listed", f.Reason)
		}
	}
}
