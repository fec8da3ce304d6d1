package shed_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/limit/shed"
)

// A server that gives batches up first. Measure stands for a process in which goroutines wait for 20 ms; leave it out.
func Example() {
	s, err := shed.New(shed.Config{Measure: func() (time.Duration, float64) { return 20 * time.Millisecond, 0.5 }})
	if err != nil {
		fmt.Println(err)
		return
	}
	byPath := func(r *http.Request) limit.Priority {
		if r.URL.Path == "/batch" {
			return limit.Low
		}
		return limit.High
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	server := httptest.NewServer(s.Middleware(byPath)(mux))
	defer server.Close()
	for _, path := range []string{"/batch", "/page"} {
		resp, err := server.Client().Get(server.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(path, resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	// Output:
	// /batch 503 3
	// /page 200
}
