package metrics

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// Splits without a name are one for each route: a scrape shows so many and no more, and none twice.
func TestSplitsAreListedOnceAndBounded(t *testing.T) {
	r := newRegistry(t, testConfig(1))
	r.SetSources(Sources{Splits: func(yield func(Split) bool) {
		for i := range splitsMax + 10 {
			s := Split{Name: "s" + strconv.Itoa(i),
				Each:    func(yield func(variant, status string, n uint64)) { yield("canary", "5xx", uint64(i)) },
				Weights: func(yield func(variant string, share float64)) { yield("canary", 0.05) }}
			for range 2 { // the same is shown once
				if !yield(s) {
					return
				}
			}
		}
	}})
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	page := w.Body.String()
	if n := strings.Count(page, "\nyumen_split_requests_total{"); n != splitsMax {
		t.Errorf("%d series, want %d", n, splitsMax)
	}
	for _, line := range []string{
		`yumen_split_requests_total{split="s7",status="5xx",variant="canary"} 7`, `yumen_split_weight{split="s7",variant="canary"} 0.05`,
	} {
		if !strings.Contains(page, line) {
			t.Errorf("no %s", line)
		}
	}
}
