package shed

import (
	"testing"

	"github.com/yumen-io/yumen/internal/mono"
	"time"
)

func TestGroupOf(t *testing.T) {
	for text, want := range map[string]string{
		"0::/\n": "/cg", "0::/system.slice/yumen.service\n": "/cg/system.slice/yumen.service",
		"12:memory:/x\n0::/y\n": "/cg/y", "12:memory:/x\n": "", "": "", "0::/../../etc\n": "/cg/etc",
	} {
		if got := groupOf(text, "/cg"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestField(t *testing.T) {
	for text, want := range map[string]float64{"anon 5\ninactive_file 4096\nfile 1\n": 4096, "inactive_file 7": 7, "inactive_file x\n": 0, "": 0} {
		if got := field([]byte(text), "inactive_file "); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestMemoryIsMeasured(t *testing.T) {
	m := newMemory()
	m.Start()
	defer m.Close()
	m.Tick(mono.Now(), time.Time{})
	if used := m.Used(); !(used >= 0 && used < 100) {
		t.Errorf("used: %v", used)
	}
}

func TestSpecsThatMeanNothing(t *testing.T) {
	s := Spec{}
	s.Config.TurnFrom, s.Config.MemoryFrom = time.Second, 0.99
	if _, problems := Compile(s, nil, nil); len(problems) != 2 || problems[0].Field != "turn_to" || problems[1].Field != "memory_to" {
		t.Errorf("%+v", problems)
	}
}
