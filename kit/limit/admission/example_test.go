package admission_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/yumen-io/yumen/kit/limit/admission"
)

// A server that works on one request at a time and has nobody wait.
func Example() {
	door, err := admission.New(admission.Config{Fixed: 1, Queue: -1})
	if err != nil {
		fmt.Println(err)
		return
	}
	inside, leave := make(chan bool), make(chan bool)
	mux := http.NewServeMux()
	mux.HandleFunc("/report", func(w http.ResponseWriter, r *http.Request) {
		inside <- true
		<-leave
		fmt.Fprintln(w, "done")
	})
	byTenant := func(r *http.Request) admission.Request { return admission.Request{Tenant: r.Header.Get("X-Tenant")} }
	server := httptest.NewServer(door.Middleware(byTenant)(mux))
	defer server.Close()

	get := func() string {
		resp, err := server.Client().Get(server.URL + "/report")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %s", resp.StatusCode, text)
	}
	first := make(chan string)
	go func() { first <- get() }()
	<-inside
	fmt.Print(get())
	leave <- true
	fmt.Print(<-first)
	// Output:
	// 503 Too many requests of yours wait already.
	// reason: admission_queue_full
	// 200 done
}
