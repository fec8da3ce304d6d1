package chain

import (
	"fmt"
	"testing"
	"time"
)

// The form is the gateway's; 0 is for the service to judge, and says that no time is left.
func TestRequestTimeouts(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "none"}, {"s", "none"}, {"ms", "none"}, {"5", "none"}, {"5m", "none"}, {"5us", "none"}, {"-5s", "none"}, {"5 s", "none"},
		{".5s", "none"}, {"5.s", "none"}, {"1.2.3s", "none"}, {"1e3s", "none"}, {"0000000000000001s", "none"},
		{"0s", "0s"}, {"0ms", "0s"}, {"0.0s", "0s"},
		{"250ms", "250ms"}, {"1.5s", "1.5s"}, {"1s", "1s"}, {"0.5ms", "500µs"}, {"1.23456s", "1.234s"}, {"007s", "7s"}, {"3600s", "1h0m0s"},
		{"99999999999999s", "2562047h47m16.854775807s"},
	} {
		d, said := parseTimeout(c.text)
		got := "none"
		if said {
			got = d.String()
		}
		if got != c.want {
			t.Errorf("%q: got %s, want %s", c.text, got, c.want)
		}
	}
}

func FuzzRequestTimeout(f *testing.F) {
	for _, text := range []string{"250ms", "1.5s", "0s", "99999999999999s", "1.2.3s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, said := parseTimeout(text)
		if d < 0 || !said && d != 0 {
			t.Errorf("%q: %v, %v", text, d, said)
		}
		var number float64
		if said && len(text) <= 10 { // the slow twin, where numbers are exact enough
			unit := "s"
			if text[len(text)-2] == 'm' {
				unit = "ms"
			}
			if _, err := fmt.Sscanf(text[:len(text)-len(unit)], "%g", &number); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			want := number * float64(time.Second)
			if unit == "ms" {
				want /= 1000
			}
			if diff := want - float64(d); diff < -1000 || diff > float64(time.Millisecond) { // finer than thousandths is cut off
				t.Errorf("%q: %v, want %v", text, d, time.Duration(want))
			}
		}
	})
}
