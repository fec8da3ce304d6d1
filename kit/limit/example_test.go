package limit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/yumen-io/yumen/kit/limit"
)

// A server that lets each user ask twice a minute.
func Example() {
	perUser, err := limit.New(limit.Config{Name: "per-user", Count: 2, Per: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	server := httptest.NewServer(perUser.Middleware(func(r *http.Request) string { return r.Header.Get("X-User") })(mux))
	defer server.Close()

	for range 3 {
		r, _ := http.NewRequest("GET", server.URL, nil)
		r.Header.Set("X-User", "ann")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Printf("%d %s %q\n", resp.StatusCode, resp.Header.Get("Ratelimit"), resp.Header.Get("Retry-After"))
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 200 "per-user";r=1;t=30 ""
	// 200 "per-user";r=0;t=60 ""
	// 429 "per-user";r=0;t=60 "30"
}

// Changed while it runs, and asked directly.
func ExampleLimiter_Set() {
	l, err := limit.New(limit.Config{Algorithm: limit.Concurrency, Count: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	first, _ := l.Take(context.Background(), "report", 1)
	_, err = l.Take(context.Background(), "report", 1)
	fmt.Println(errors.Is(err, limit.ErrRefused))
	if err := l.Set(limit.Config{Algorithm: limit.Concurrency, Count: 2}); err != nil {
		fmt.Println(err)
	}
	second, err := l.Take(context.Background(), "report", 1)
	fmt.Println(err, second.Decision.Used, "of", second.Decision.Quota)
	first.Release()
	second.Release()
	// Output:
	// true
	// <nil> 2 of 2
}
