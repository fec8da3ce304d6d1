package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/control/compile"
)

// changed is the answer to a change that went well, or would go well.
type changed struct {
	Revision uint64            `json:"revision"` // in force now
	Changed  bool              `json:"changed"`  // false: it was so already
	DryRun   bool              `json:"dry_run,omitempty"`
	Later    []string          `json:"later,omitempty"` // parts that take effect with the next upgrade or restart
	Problems []compile.Problem `json:"problems,omitempty"`
}

// broken is the answer to a document with errors.
type broken struct {
	failure
	Problems []compile.Problem `json:"problems"`
}

func (s *Server) getConfig(w http.ResponseWriter, r *http.Request) {
	effective, err := flag(r, "effective")
	if err != nil {
		answerError(w, r, http.StatusBadRequest, failure{Error: err.Error()})
		return
	}
	current, plan := s.controller.Current(), s.controller.Plan()
	if plan == nil {
		answerError(w, r, http.StatusServiceUnavailable, failure{Error: "no configuration is in force yet"})
		return
	}
	if effective {
		// Without a tag: it is not the text that a change would be based on.
		answerDocument(w, plan.Document.YAML())
		return
	}
	w.Header().Set("ETag", tagOf(current.Number))
	answerDocument(w, current.Text)
}

// answerDocument sends a document (RFC 9512).
func answerDocument(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(text)
}

// tagOf is the entity tag of a revision's text.
func tagOf(number uint64) string { return `"` + strconv.FormatUint(number, 10) + `"` }

func (s *Server) putConfig(w http.ResponseWriter, r *http.Request) {
	dryRun, err := flag(r, "dry_run")
	if err != nil {
		answerError(w, r, http.StatusBadRequest, failure{Error: err.Error()})
		return
	}
	change := control.Change{Origin: "admin", DryRun: dryRun}
	if !s.expectation(w, r, &change) {
		return
	}
	if change.Text, err = readDocument(w, r); err != nil {
		status := http.StatusBadRequest
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		answerError(w, r, status, failure{Error: "reading the document: " + err.Error()})
		return
	}
	result, err := s.controller.Apply(r.Context(), change)
	s.answerChange(w, r, result, err, dryRun)
}

// readDocument reads the body, unless it says itself that it is too large.
func readDocument(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > configBytesMax {
		return nil, &http.MaxBytesError{Limit: configBytesMax}
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, configBytesMax))
}

// expectation reads If-Match (RFC 9110 section 13.1.1) into the change, or answers what is wrong with it. A change that
// does not say what it is based on would undo somebody else's sooner or later, so that one must say so: *.
func (s *Server) expectation(w http.ResponseWriter, r *http.Request, change *control.Change) bool {
	values := r.Header.Values("If-Match")
	if len(values) == 0 && change.DryRun {
		return true
	}
	if len(values) == 0 {
		answerError(w, r, http.StatusPreconditionRequired, failure{
			Error: "the request does not say which revision it changes",
			Fix:   "send If-Match with the ETag of GET /api/config, or If-Match: * to replace whatever is in force",
		})
		return false
	}
	current := s.controller.Current().Number
	var named uint64
	for tag := range strings.SplitSeq(strings.Join(values, ","), ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return true
		}
		// Without quotes too: nothing else can be meant, and it is what one types.
		number, err := strconv.ParseUint(strings.Trim(tag, `"`), 10, 64)
		if err != nil || number == 0 {
			answerError(w, r, http.StatusBadRequest, failure{
				Error: "If-Match is " + quote(tag) + ", which is not the ETag of a revision",
				Fix:   `send it as GET /api/config gave it: "7"`,
			})
			return false
		}
		if named == 0 || number == current {
			named = number
		}
	}
	change.Expect = named
	return true
}

func (s *Server) rollback(w http.ResponseWriter, r *http.Request) {
	var to uint64
	if text := r.URL.Query().Get("to"); text != "" {
		var err error
		if to, err = strconv.ParseUint(text, 10, 64); err != nil || to == 0 {
			answerError(w, r, http.StatusBadRequest, failure{Error: quote(text) + " is not the number of a revision", Fix: "GET /api/revisions lists them"})
			return
		}
	}
	result, err := s.controller.Rollback(r.Context(), to)
	s.answerChange(w, r, result, err, false)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	result, err := s.controller.Reload(r.Context())
	s.answerChange(w, r, result, err, false)
}

// answerChange says what became of a change.
func (s *Server) answerChange(w http.ResponseWriter, r *http.Request, result control.Result, err error, dryRun bool) {
	if result.Revision != 0 {
		w.Header().Set("ETag", tagOf(result.Revision))
	}
	if err == nil {
		if wantsText(r) {
			answerText(w, http.StatusOK, changeText(result, dryRun))
			return
		}
		answerJSON(w, http.StatusOK, changed{result.Revision, result.Changed, dryRun, result.Later, problemsOf(result.Report)})
		return
	}
	if !errors.Is(err, control.ErrInvalid) {
		answerError(w, r, statusOf(err), failureOf(err))
		return
	}
	if wantsText(r) {
		answerText(w, http.StatusUnprocessableEntity, result.Report.String())
		return
	}
	answerJSON(w, http.StatusUnprocessableEntity, broken{failureOf(err), problemsOf(result.Report)})
}

func problemsOf(report *compile.Report) []compile.Problem {
	if report == nil {
		return nil
	}
	return report.Problems
}

func changeText(result control.Result, dryRun bool) string {
	var b strings.Builder
	switch {
	case dryRun && result.Changed:
		fmt.Fprintf(&b, "the document is sound and would replace revision %d\n", result.Revision)
	case dryRun:
		fmt.Fprintf(&b, "the document is sound and is that of revision %d, which is in force\n", result.Revision)
	case result.Changed:
		fmt.Fprintf(&b, "revision %d is in force\n", result.Revision)
	default:
		fmt.Fprintf(&b, "nothing changed: revision %d, in force, is the same\n", result.Revision)
	}
	for _, part := range result.Later {
		fmt.Fprintf(&b, "takes effect with the next upgrade or restart: %s\n", part)
	}
	if result.Report != nil && len(result.Report.Problems) > 0 {
		b.WriteString(result.Report.String())
	}
	return b.String()
}

// flag reads a query parameter that is true or false, and true if it only stands there.
func flag(r *http.Request, name string) (bool, error) {
	q := r.URL.Query()
	if !q.Has(name) {
		return false, nil
	}
	text := q.Get(name)
	if text == "" {
		return true, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s is %s, want true or false", name, quote(text))
	}
	return v, nil
}

// statusOf is the status for an error of the controller.
func statusOf(err error) int {
	var conflict *control.ConflictError
	switch {
	case errors.As(err, &conflict):
		return http.StatusPreconditionFailed
	case errors.Is(err, control.ErrInvalid):
		return http.StatusUnprocessableEntity
	case errors.Is(err, errNoRevision), errors.Is(err, control.ErrNothingEarlier), errors.Is(err, control.ErrNoEndpoint):
		return http.StatusNotFound
	case errors.Is(err, control.ErrNoFile):
		return http.StatusConflict
	case errors.Is(err, control.ErrStopping), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// failureOf says an error of the controller, with what to do about it where that is known.
func failureOf(err error) failure {
	f := failure{Error: err.Error()}
	var conflict *control.ConflictError
	switch {
	case errors.As(err, &conflict):
		f.Fix = "read /api/config again and make the change on top of it"
	case errors.Is(err, errNoRevision), errors.Is(err, control.ErrNothingEarlier):
		f.Fix = "GET /api/revisions lists those that are kept"
	case errors.Is(err, control.ErrNoEndpoint):
		f.Fix = "GET /api/clusters lists clusters and the addresses of their endpoints"
	case errors.Is(err, control.ErrNoFile):
		f.Fix = "PUT the document to /api/config instead"
	}
	return f
}
