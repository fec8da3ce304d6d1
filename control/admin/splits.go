package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/filters/split"
)

// weightsBytesMax bounds the body of an order: sixteen variants with long names are a few kB.
const weightsBytesMax = 64 << 10

func (s *Server) listSplits(w http.ResponseWriter, r *http.Request) {
	answerSplits(w, r, s.controller.Splits(), false)
}

func (s *Server) getSplit(w http.ResponseWriter, r *http.Request) {
	all, name := s.controller.Splits(), r.PathValue("name")
	i := slices.IndexFunc(all, func(o control.SplitStatus) bool { return o.Name == name })
	if i < 0 {
		answerError(w, r, http.StatusNotFound, noSplit(name))
		return
	}
	answerSplits(w, r, all[i:i+1], true)
}

// setSplit takes {"weights": {"canary": "10%"}}.
func (s *Server) setSplit(w http.ResponseWriter, r *http.Request) {
	var said struct {
		Weights map[string]string `json:"weights"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, weightsBytesMax))
	d.DisallowUnknownFields()
	err := d.Decode(&said)
	if err == nil && len(said.Weights) == 0 {
		err = errors.New("there are none")
	}
	order := control.SplitOrder{Weights: map[string]float64{}}
	for name, text := range said.Weights {
		share, bad := shareOf(text)
		if bad != nil {
			err = fmt.Errorf("%s: %w", quote(name), bad)
		}
		order.Weights[name] = share
	}
	if err != nil {
		answerError(w, r, http.StatusBadRequest, failure{Error: "reading the weights: " + err.Error(), Fix: `send {"weights": {"canary": "10%"}}`})
		return
	}
	s.orderSplit(w, r, order)
}

func (s *Server) backSplit(w http.ResponseWriter, r *http.Request) {
	s.orderSplit(w, r, control.SplitOrder{Back: true})
}

func (s *Server) resetSplit(w http.ResponseWriter, r *http.Request) {
	s.orderSplit(w, r, control.SplitOrder{Document: true})
}

func (s *Server) orderSplit(w http.ResponseWriter, r *http.Request, o control.SplitOrder) {
	name := r.PathValue("name")
	status, err := s.controller.OrderSplit(name, o)
	switch {
	case errors.Is(err, control.ErrNoSplit):
		answerError(w, r, http.StatusNotFound, noSplit(name))
	case errors.Is(err, split.ErrNothingBefore):
		answerError(w, r, http.StatusConflict, failure{Error: err.Error()})
	case errors.Is(err, control.ErrStopping):
		answerError(w, r, http.StatusServiceUnavailable, failure{Error: err.Error(), Fix: "another process takes over: ask again in a moment"})
	case err != nil:
		answerError(w, r, http.StatusBadRequest, failure{Error: err.Error(), Fix: "GET /api/splits lists splits and their variants"})
	default:
		answerSplits(w, r, []control.SplitStatus{status}, true)
	}
}

func noSplit(name string) failure {
	return failure{Error: "there is no split " + quote(name), Fix: "GET /api/splits lists them"}
}

// shareOf reads a weight: 10%, 0.01%. The sign is asked for as in documents: 1 may mean all or a hundredth.
func shareOf(text string) (float64, error) {
	digits, ok := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || strings.Trim(digits, "0123456789.") != "" || n > 100 {
		return 0, errors.New(quote(text) + " is not a weight from 0% to 100%")
	}
	return n / 100, nil
}

func answerSplits(w http.ResponseWriter, r *http.Request, list []control.SplitStatus, one bool) {
	switch {
	case wantsText(r):
		answerText(w, http.StatusOK, splitsText(list))
	case one:
		answerJSON(w, http.StatusOK, list[0])
	default:
		answerJSON(w, http.StatusOK, list)
	}
}

// canaryText says how a canary is, and how it came there.
func canaryText(b *strings.Builder, name string, c *split.CanaryStatus) {
	fmt.Fprintf(b, "%s: the canary %s is %s, step %d of %d", name, c.Variant, c.State, c.Step, c.Steps)
	if c.Shadow {
		b.WriteString(", in shadow mode")
	}
	if c.State == "running" {
		fmt.Fprintf(b, ", waiting: %s", c.Waiting)
	}
	b.WriteString("\n")
	// Of one that was begun often the last times are enough.
	const lines = 10
	for _, r := range c.Transitions[max(len(c.Transitions)-lines, 0):] {
		fmt.Fprintf(b, "  %s  %s: %s\n", r.At.UTC().Format("2006-01-02 15:04:05"), r.Cause, r.Text)
	}
}

// splitsText is a table of the variants of splits for people, and under it who set weights that are not the document's, and canaries.
func splitsText(list []control.SplitStatus) string {
	if len(list) == 0 {
		return "the configuration has no splits\n"
	}
	var b, notes strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "SPLIT\tVARIANT\tCLUSTER\tWEIGHT\tDOCUMENT\tREQUESTS\tERRORS\tP50\tP99\n")
	for i := range list {
		s := &list[i]
		for _, v := range s.Variants {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%.1fms\t%.1fms\n", s.Name, v.Name, v.Cluster, v.Weight, v.Document, v.Requests, v.Errors, v.P50MS, v.P99MS)
		}
		if s.SetBy != "" {
			fmt.Fprintf(&notes, "%s: set by %s at %s; %d to undo\n", s.Name, s.SetBy, s.SetAt.UTC().Format("2006-01-02 15:04:05"), s.Before)
		}
		if s.NotKept != "" {
			fmt.Fprintf(&notes, "%s: a restart forgets what was set: %s\n", s.Name, s.NotKept)
		}
		if c := s.Canary; c != nil {
			canaryText(&notes, s.Name, c)
		}
	}
	// Writing to memory does not fail.
	_ = table.Flush()
	return b.String() + notes.String()
}
