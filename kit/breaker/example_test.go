package breaker_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/yumen-io/yumen/kit/breaker"
)

// A client that stops asking a server that fails.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "the database is gone", http.StatusServiceUnavailable)
	}))
	defer server.Close()

	b, err := breaker.New(breaker.Config{Consecutive: 3, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: b.RoundTripper(nil, func(*http.Request) string { return "users" })}
	defer client.CloseIdleConnections()
	for range 4 {
		resp, err := client.Get(server.URL)
		var refusal *breaker.Error
		if errors.As(err, &refusal) {
			fmt.Println(refusal.Decision.State, "by", refusal.Decision.Cause, "after", refusal.Decision.Numbers.Failures, "failures")
			continue
		} else if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}
	// Output:
	// 503
	// 503
	// 503
	// open by consecutive after 3 failures
}
