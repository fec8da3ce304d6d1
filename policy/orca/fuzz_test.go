package orca

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"TEXT cpu_utilization=0.3,named_metrics.yumen.latency_ms=1", `JSON {"cpu_utilization":0.3,"named_metrics":{"yumen.latency_ms":"7"}}`,
		"BIN " + base(whole), "BIN ====", `JSON {"a":{"b":{}}}`, "TEXT =,=",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		before := bytes.Clone(in)
		r, err := Parse(in)
		if !bytes.Equal(before, in) {
			t.Fatal("the value was changed")
		}
		var known *Error
		if err != nil && (!errors.As(err, &known) || r != (Report{})) {
			t.Fatalf("%+v, %v", r, err)
		}
		for _, v := range []float64{r.CPU, r.Memory, r.Application, r.LatencyMS} {
			if !(v >= 0) || math.IsInf(v, 0) {
				t.Fatalf("%+v", r)
			}
		}
		if text, isJSON := bytes.CutPrefix(in, []byte("JSON ")); isJSON && err == nil {
			agree(t, text, &r)
		}
	})
}

// agree compares with the standard library's reader, for what it takes for JSON, too: ours is looser about what it does not keep.
func agree(t *testing.T, text []byte, r *Report) {
	var std map[string]any
	if json.Unmarshal(text, &std) != nil {
		return
	}
	number := func(names ...string) (v float64, said bool) {
		for _, name := range names {
			if got, ok := std[name].(float64); ok {
				return got, true
			}
		}
		return 0, false
	}
	for _, c := range []struct {
		got   float64
		names []string
	}{
		{r.CPU, []string{"cpu_utilization", "cpuUtilization"}}, {r.Memory, []string{"mem_utilization", "memUtilization"}},
		{r.Application, []string{"application_utilization", "applicationUtilization"}},
	} {
		if want, said := number(c.names...); said && want != c.got {
			t.Fatalf("%s: %v, encoding/json says %v", c.names[0], c.got, want)
		}
	}
}
