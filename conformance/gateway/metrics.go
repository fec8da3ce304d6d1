//go:build linux

package gateway

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Metric adds up the samples of a family whose labels include all that are given, each written name="value". A family
// that is not there, or has no such sample, is an error: a misspelt name must not pass as 0.
func (p *Process) Metric(family string, labels ...string) (float64, error) {
	status, page, err := p.AdminGet("/metrics")
	if err != nil {
		return 0, fmt.Errorf("reading /metrics: %w", err)
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("reading /metrics: status %d", status)
	}
	var sum float64
	found := false
	for line := range strings.Lines(string(page)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		name, inner, _ := strings.Cut(series, "{")
		if !ok || name != family || !holdsAll(inner, labels) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("sample %q: %w", line, err)
		}
		sum += n
		found = true
	}
	if !found {
		return 0, fmt.Errorf("/metrics has no %s with %v", family, labels)
	}
	return sum, nil
}

func holdsAll(inner string, labels []string) bool {
	for _, label := range labels {
		if !strings.Contains(inner, label) {
			return false
		}
	}
	return true
}
