package admin

import (
	"net/http"
	"strconv"

	"github.com/yumen-io/yumen/control/revision"
)

// errNoRevision is the history's.
var errNoRevision = revision.ErrNone

// PastRevision is an item of /api/revisions.
type PastRevision struct {
	revision.Revision
	Current bool `json:"current"` // in force
}

// listRevisions answers with the newest first, which is the one looked for.
func (s *Server) listRevisions(w http.ResponseWriter, _ *http.Request) {
	kept, current := s.controller.Revisions(), s.controller.Current().Number
	list := make([]PastRevision, len(kept))
	for i, r := range kept {
		list[len(kept)-1-i] = PastRevision{r, r.Number == current}
	}
	answerJSON(w, http.StatusOK, list)
}

func (s *Server) getRevision(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	if err != nil {
		answerError(w, r, http.StatusNotFound, failure{Error: quote(r.PathValue("number")) + " is not the number of a revision", Fix: "GET /api/revisions lists them"})
		return
	}
	found, err := s.controller.Revision(number)
	if err != nil {
		answerError(w, r, statusOf(err), failureOf(err))
		return
	}
	w.Header().Set("ETag", tagOf(found.Number))
	answerDocument(w, found.Text)
}
