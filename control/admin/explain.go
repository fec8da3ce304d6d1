package admin

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/control/compile"
)

// explanation is what the plan says of a request, and how the cluster it goes to is at this moment.
type explanation struct {
	*compile.Explanation
	Live *control.ClusterStatus `json:"live,omitempty"`
}

// explain answers for a request that is described and not sent. It is judged by the plan in force, with the code that
// judges real ones.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	request, bad := explainRequest(r)
	if bad != nil {
		answerError(w, r, http.StatusBadRequest, *bad)
		return
	}
	plan := s.controller.Plan()
	if plan == nil {
		answerError(w, r, http.StatusServiceUnavailable, failure{Error: "no configuration is in force yet"})
		return
	}
	e := explanation{Explanation: plan.Explain(request)}
	for _, c := range s.controller.Clusters() {
		if c.Name == e.Cluster {
			e.Live = &c
		}
	}
	if wantsText(r) {
		text := e.String()
		if e.Live != nil {
			text += "\n" + EndpointsText(*e.Live)
		}
		answerText(w, http.StatusOK, text)
		return
	}
	answerJSON(w, http.StatusOK, e)
}

func explainRequest(r *http.Request) (request compile.ExplainRequest, bad *failure) {
	q := r.URL.Query()
	request = compile.ExplainRequest{Method: q.Get("method"), URL: q.Get("url"), Listener: q.Get("listener")}
	if request.URL == "" {
		return request, &failure{Error: "the question has no url", Fix: "ask as in /api/explain?method=GET&url=http://host/path"}
	}
	if text := q.Get("client"); text != "" {
		client, err := netip.ParseAddr(text)
		if err != nil {
			return request, &failure{Error: "client is " + quote(text) + ", which is not an address"}
		}
		request.Client = client
	}
	for _, field := range q["header"] {
		name, value, ok := strings.Cut(field, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return request, &failure{Error: quote(field) + " is not a header field", Fix: "write it as NAME:VALUE"}
		}
		request.Headers = append(request.Headers, compile.Header{Name: name, Value: strings.TrimSpace(value)})
	}
	return request, nil
}
