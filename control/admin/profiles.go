package admin

import (
	"net/http"
	"net/http/pprof"
	"strings"
)

const profiles = "/debug/pprof/"

// costly reports whether asking for a path makes the gateway work, so that asking is an order.
func costly(path string) bool { return strings.HasPrefix(path, profiles) }

// profileRoutes are Go's own. Importing net/http/pprof also puts them on http.DefaultServeMux, which nothing here serves.
func profileRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+profiles, pprof.Index)
	mux.HandleFunc("GET "+profiles+"cmdline", pprof.Cmdline)
	mux.HandleFunc("GET "+profiles+"profile", pprof.Profile)
	mux.HandleFunc("GET "+profiles+"symbol", pprof.Symbol)
	mux.HandleFunc("GET "+profiles+"trace", pprof.Trace)
}
