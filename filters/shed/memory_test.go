package shed

import (
	"testing"

	"github.com/yumen-io/yumen/internal/mono"
	"time"
)

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
