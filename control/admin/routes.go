package admin

import (
	"fmt"
	"net/http"
	"strings"
)

// endpoint is one thing the API can be asked.
type endpoint struct {
	method  string
	path    string // a pattern of http.ServeMux
	about   string // one line, for the list at /
	handler http.HandlerFunc
}

// endpoints is the whole API, in the order people read it. docs/reference/admin.md says the same at length, and a test
// holds the two together.
func (s *Server) endpoints() []endpoint {
	return []endpoint{
		{"GET", "/healthz", "the process is alive", s.healthz},
		{"GET", "/readyz", "whether it wants requests, and what that depends on (?verbose: as JSON)", s.readyz},
		{"GET", "/metrics", "for Prometheus", s.controller.Metrics().ServeHTTP},
		{"GET", "/api/status", "version, process, revision, dependencies, certificates", s.status},
		{"GET", "/api/config", "the document in force (?effective=true: with every default)", s.getConfig},
		{"PUT", "/api/config", "put a document into force (If-Match: its revision, or *; ?dry_run=true: only check)", s.putConfig},
		{"GET", "/api/revisions", "the documents that were in force", s.listRevisions},
		{"GET", "/api/revisions/{number}", "one of them", s.getRevision},
		{"POST", "/api/rollback", "put the one before back into force (?to=NUMBER: that one)", s.rollback},
		{"POST", "/api/reload", "read the file again", s.reload},
		{"GET", "/api/listeners", "listeners and their connections", s.listListeners},
		{"GET", "/api/routes", "routes", s.listRoutes},
		{"GET", "/api/clusters", "clusters and endpoints: health and why, load, last errors", s.listClusters},
		{"GET", "/api/clusters/{name}", "one cluster", s.getCluster},
		{"PUT", "/api/clusters/{name}/endpoints/{address}/drain", "send an endpoint no new request", s.drainEndpoint},
		{"DELETE", "/api/clusters/{name}/endpoints/{address}/drain", "send it requests again", s.restoreEndpoint},
		{"GET", "/api/explain", "where a request would go, and why (?method= &url= &header=NAME:VALUE &listener=)", s.explain},
		{"GET", "/api/guards", "guards, what they have decided so far, and the numbers they are at", s.listGuards},
		{"GET", "/api/decisions", "what guards decided of late, newest first (?request_id= &guard= &route= &key= &refused=true &max=)", s.listDecisions},
		{"GET", "/api/caches", "caches: what they keep, and how often it was of use", s.listCaches},
		{"POST", "/api/caches/{name}/purge", "take responses out of one (?url= or ?prefix= or ?tag= or ?all=true)", s.purgeCache},
		{"GET", "/api/mirrors", "what mirrors have copied, and in what the answers of both versions differ", s.listMirrors},
		{"GET", "/api/mirrors/{name}", "one mirror", s.getMirror},
		{"GET", "/api/splits", "how requests are split among versions, and what became of them", s.listSplits},
		{"GET", "/api/splits/{name}", "one split", s.getSplit},
		{"PUT", "/api/splits/{name}", "set weights while the document stays", s.setSplit},
		{"DELETE", "/api/splits/{name}", "go back to the weights of the document", s.resetSplit},
		{"POST", "/api/splits/{name}/back", "undo the last change of weights", s.backSplit},
		{"POST", "/api/drain", "stop: accept no more, finish what runs, end", s.drain},
		{"POST", "/api/upgrade", "hand over to a new process of the binary on disk", s.upgrade},
		{"GET", profiles, "profiles of Go's runtime", nil},
	}
}

// routes is the API as a handler.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	methods := make(map[string][]string)
	var order []string
	var list strings.Builder
	list.WriteString("Yumen's admin API\n\n")
	for _, e := range s.endpoints() {
		fmt.Fprintf(&list, "%-6s %-50s %s\n", e.method, e.path, e.about)
		if e.handler == nil {
			continue
		}
		mux.HandleFunc(e.method+" "+e.path, e.handler)
		if methods[e.path] == nil {
			order = append(order, e.path)
		}
		methods[e.path] = append(methods[e.path], e.method)
	}
	for _, path := range order {
		mux.HandleFunc(path, wrongMethod(methods[path]))
	}
	profileRoutes(mux)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { answerText(w, http.StatusOK, list.String()) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answerError(w, r, http.StatusNotFound, failure{Error: "there is nothing at " + quote(r.URL.Path), Fix: "GET / lists what there is"})
	})
	return mux
}

func wrongMethod(allowed []string) http.HandlerFunc {
	allow := strings.Join(allowed, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		answerError(w, r, http.StatusMethodNotAllowed, failure{Error: quote(r.URL.Path) + " does not take " + quote(r.Method), Fix: "use " + allow})
	}
}
