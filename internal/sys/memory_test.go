package sys

import "testing"

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
	if used := FindMemory().Used(); !(used >= 0 && used < 100) {
		t.Errorf("used: %v", used)
	}
}
