package metrics

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// Filters without a name are one guard for each route: a scrape shows so many and no more, and none twice.
func TestGuardsAreListedOnceAndBounded(t *testing.T) {
	r := newRegistry(t, testConfig(1))
	r.SetSources(Sources{Guards: func(yield func(Guard) bool) {
		for i := range guardsMax + 10 {
			g := Guard{Name: "g" + strconv.Itoa(i), Kind: "limit", Mode: "enforce", Outcomes: func(yield func(string, uint64)) { yield("refused", uint64(i)) }}
			for range 2 { // the same is shown once
				if !yield(g) {
					return
				}
			}
		}
	}})
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	page := w.Body.String()
	if n := strings.Count(page, "\nyumen_guard_decisions_total{"); n != guardsMax {
		t.Errorf("%d series, want %d", n, guardsMax)
	}
	if !strings.Contains(page, `yumen_guard_decisions_total{guard="g7",kind="limit",mode="enforce",outcome="refused"} 7`) {
		t.Error("what guard g7 refused is not shown")
	}
}
