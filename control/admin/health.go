package admin

import (
	"net/http"
	"strings"

	"github.com/yumen-io/yumen/control"
)

// healthz answers that the process is alive. It looks at nothing: what a restart would not cure is no reason for one.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	answerText(w, http.StatusOK, "ok\n")
}

// Readiness is the answer of /readyz in JSON.
type Readiness struct {
	Ready        bool                 `json:"ready"`
	Dependencies []control.Dependency `json:"dependencies"`
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ready, dependencies := s.controller.Ready()
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	if r.URL.Query().Has("verbose") || wantsJSON(r) {
		answerJSON(w, status, Readiness{ready, dependencies})
		return
	}
	answerText(w, status, readyText(ready, dependencies))
}

// readyText is a line for each dependency, those that fail first: a probe's log shows the beginning.
func readyText(ready bool, dependencies []control.Dependency) string {
	var good, bad strings.Builder
	for _, d := range dependencies {
		why, _, _ := strings.Cut(d.Why, "\n") // the whole report of a document that was refused is in the JSON
		switch {
		case d.OK:
			good.WriteString("ok      " + d.Name + ": " + why + "\n")
		case d.Required:
			bad.WriteString("FAILS   " + d.Name + ": " + why + "\n")
		default:
			bad.WriteString("warning " + d.Name + ": " + why + "\n")
		}
	}
	word := "ready\n"
	if !ready {
		word = "not ready\n"
	}
	return word + bad.String() + good.String()
}
