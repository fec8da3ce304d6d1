package retry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/yumen-io/yumen/kit/retry"
)

// A client that asks a second time when a server is busy for a moment.
func Example() {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "hello")
	}))
	defer server.Close()

	r, err := retry.New(retry.Config{
		Statuses:   []int{502, 503, 504},
		OnDecision: func(d retry.Decision) { fmt.Println("again:", d.Again, d.Reason, d.Status) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client := &http.Client{Transport: r.RoundTripper(nil, nil)}
	defer client.CloseIdleConnections()
	resp, err := client.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	fmt.Println(resp.StatusCode, "after", asked.Load(), "tries")
	// Output:
	// again: true status 503
	// 200 after 2 tries
}
