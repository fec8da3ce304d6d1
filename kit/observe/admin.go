package observe

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// profileMax bounds how long a profile that somebody asks for runs.
const profileMax = 5 * time.Minute

// Admin answers /debug/pprof/ and, with Metrics, /metrics. It is for a port that only operators reach. Importing
// net/http/pprof would also put profiles on http.DefaultServeMux, and so perhaps before the world; this package does not.
//
//	/debug/pprof/                   the names of all profiles
//	/debug/pprof/profile?seconds=30 CPU
//	/debug/pprof/trace?seconds=1    execution trace
//	/debug/pprof/heap, goroutine, allocs, block, mutex, threadcreate; ?debug=1 for text, ?gc=1 for a heap after a collection
func Admin(m *Metrics) http.Handler {
	mux := http.NewServeMux()
	if m != nil {
		mux.Handle("GET /metrics", m.Handler())
	}
	mux.HandleFunc("GET /debug/pprof/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "profile\ntrace\n")
		for _, p := range pprof.Profiles() {
			fmt.Fprintf(w, "%s %d\n", p.Name(), p.Count())
		}
	})
	mux.HandleFunc("GET /debug/pprof/profile", func(w http.ResponseWriter, r *http.Request) {
		timed(w, r, 30*time.Second, func() error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
	})
	mux.HandleFunc("GET /debug/pprof/trace", func(w http.ResponseWriter, r *http.Request) {
		timed(w, r, time.Second, func() error { return trace.Start(w) }, trace.Stop)
	})
	mux.HandleFunc("GET /debug/pprof/{name}", func(w http.ResponseWriter, r *http.Request) {
		p := pprof.Lookup(r.PathValue("name"))
		if p == nil {
			http.Error(w, "there is no profile of that name", http.StatusNotFound)
			return
		}
		if r.FormValue("gc") == "1" && p.Name() == "heap" {
			runtime.GC()
		}
		debug, _ := strconv.Atoi(r.FormValue("debug")) // what is no number is 0
		if w.Header().Set("Content-Type", "application/octet-stream"); debug > 0 {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		_ = p.WriteTo(w, debug) // the client may have left
	})
	return mux
}

// timed runs a profile for as long as the request says, or until its client leaves.
func timed(w http.ResponseWriter, r *http.Request, d time.Duration, start func() error, stop func()) {
	if text := r.FormValue("seconds"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds > 0 && seconds <= profileMax.Seconds()) {
			http.Error(w, fmt.Sprintf("seconds must be above 0 and at most %.0f", profileMax.Seconds()), http.StatusBadRequest)
			return
		}
		d = time.Duration(seconds * float64(time.Second))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := start(); err != nil {
		http.Error(w, "another profile is running", http.StatusConflict)
		return
	}
	defer stop()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the server's may be shorter; not every writer has one
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}
