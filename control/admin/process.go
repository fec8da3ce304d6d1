package admin

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/yumen-io/yumen/control"
)

// Status is the answer of /api/status.
type Status struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Revision uint64    `json:"revision"` // in force
	Origin   string    `json:"origin"`   // who asked for it
	Name     string    `json:"name"`     // usually the file's
	Since    time.Time `json:"since"`
	Readiness
	// Certificates are those in use, and what becomes of their files and orders.
	Certificates []control.CertificateStatus `json:"certificates"`
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	ready, dependencies := s.controller.Ready()
	current := s.controller.Current()
	answerJSON(w, http.StatusOK, Status{
		Version: s.version, PID: os.Getpid(), Started: s.started,
		Revision: current.Number, Origin: current.Origin, Name: current.Name, Since: current.Time,
		Readiness: Readiness{ready, dependencies}, Certificates: s.controller.Certificates(),
	})
}

// begun is the answer to an order that goes on after it.
type begun struct {
	Status string `json:"status"`
}

// drain begins the end of the process. It cannot wait for it: the end waits for answers of this server.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	s.logger.Info("told to drain by the admin API", "client", r.RemoteAddr)
	go func() {
		if err := s.controller.Drain(context.WithoutCancel(r.Context())); err != nil {
			s.logger.Error("draining", "error", err)
		}
	}()
	answerJSON(w, http.StatusAccepted, begun{"draining"})
}

// upgrade answers when the new process serves. A client that goes away does not stop an upgrade half way.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	s.logger.Info("told to upgrade by the admin API", "client", r.RemoteAddr)
	if err := s.controller.Upgrade(context.WithoutCancel(r.Context())); err != nil {
		answerError(w, r, statusOf(err), failure{Error: err.Error(), Fix: "this process carries on as before"})
		return
	}
	answerJSON(w, http.StatusOK, begun{"the new process serves, this one drains"})
}
