package admin

import (
	"testing"

	"github.com/yumen-io/yumen/gateway"
)

func TestNumbersForPeople(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{0, "", "0"}, {5, "/s", "5/s"}, {100, "%", "100%"}, {0.5, "s", "0.5s"}, {29.928034192, "s", "29.928s"}, {0.32768, "ms", "0.32768ms"},
		{1064960, "B", "1064960B"}, {1048576, "B", "1048576B"}, {50_000_000_000, "B", "50000000000B"}, {123456.7, "ms", "123457ms"},
		{-12.5, "s", "-12.5s"}, {0.0000004, "s", "0s"},
	} {
		if got := numberText(gateway.Number{Value: c.value, Unit: c.unit}); got != c.want {
			t.Errorf("%v: %s, want %s", c.value, got, c.want)
		}
	}
}
