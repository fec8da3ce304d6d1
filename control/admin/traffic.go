package admin

import (
	"net/http"
	"slices"

	"github.com/yumen-io/yumen/control"
)

func (s *Server) listListeners(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, s.controller.Listeners())
}

func (s *Server) listRoutes(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, s.controller.Routes())
}

func (s *Server) listClusters(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, s.controller.Clusters())
}

func (s *Server) getCluster(w http.ResponseWriter, r *http.Request) {
	name, all := r.PathValue("name"), s.controller.Clusters()
	i := slices.IndexFunc(all, func(c control.ClusterStatus) bool { return c.Name == name })
	if i < 0 {
		answerError(w, r, http.StatusNotFound, failure{Error: "there is no cluster " + quote(name), Fix: "GET /api/clusters lists them"})
		return
	}
	answerJSON(w, http.StatusOK, all[i])
}

func (s *Server) drainEndpoint(w http.ResponseWriter, r *http.Request) { s.setDrained(w, r, true) }

func (s *Server) restoreEndpoint(w http.ResponseWriter, r *http.Request) { s.setDrained(w, r, false) }

func (s *Server) setDrained(w http.ResponseWriter, r *http.Request, drained bool) {
	if err := s.controller.DrainEndpoint(r.PathValue("name"), r.PathValue("address"), drained); err != nil {
		answerError(w, r, statusOf(err), failureOf(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
