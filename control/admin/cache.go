package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/yumen-io/yumen/control"
	"github.com/yumen-io/yumen/filters/cache"
)

func (s *Server) listCaches(w http.ResponseWriter, r *http.Request) {
	list := s.controller.Caches()
	if wantsText(r) {
		answerText(w, http.StatusOK, cachesText(list))
		return
	}
	answerJSON(w, http.StatusOK, list)
}

// purged is how a purge went.
type purged struct {
	Cache  string `json:"cache"`
	Purged int    `json:"purged"`         // responses, of this gateway's memory
	Told   *bool  `json:"told,omitempty"` // of a cache in Redis: whether the other gateways can know
}

func (s *Server) purgeCache(w http.ResponseWriter, r *http.Request) {
	name, query := r.PathValue("name"), r.URL.Query()
	p := cache.Purge{URL: query.Get("url"), Prefix: query.Get("prefix"), Tag: query.Get("tag")}
	if all := query.Get("all"); all != "" {
		var err error
		if p.All, err = strconv.ParseBool(all); err != nil {
			answerError(w, r, http.StatusBadRequest, failure{Error: "all is " + quote(all), Fix: "all is true or false"})
			return
		}
	}
	n, err := s.controller.Purge(name, p)
	switch {
	case errors.Is(err, control.ErrNoCache):
		answerError(w, r, http.StatusNotFound, failure{Error: "there is no cache " + quote(name), Fix: "GET /api/caches lists them"})
	case err != nil:
		answerError(w, r, http.StatusBadRequest, failure{Error: err.Error(), Fix: "use url, prefix, tag or all=true"})
	case wantsText(r):
		answerText(w, http.StatusOK, fmt.Sprintf("%s taken out of cache %s%s\n", counted(n.Responses, "response was", "responses were"), name, elsewhere(n)))
	default:
		said := purged{Cache: name, Purged: n.Responses}
		if n.Shared {
			said.Told = &n.Told
		}
		answerJSON(w, http.StatusOK, said)
	}
}

// elsewhere says what becomes of other gateways' memories.
func elsewhere(n cache.Purged) string {
	switch {
	case !n.Shared:
		return ""
	case n.Told:
		return "; the other gateways are told"
	}
	return "; Redis cannot be reached, the other gateways are told as soon as it can"
}

// cachesText is a table of caches for people.
func cachesText(list []control.CacheStatus) string {
	if len(list) == 0 {
		return "the configuration has no caches\n"
	}
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "CACHE\tRESPONSES\tBYTES\tHITS\tSTALE\tMISSES\tCOLLAPSED\tSTORED\tEVICTED\tPURGED\tREDIS\n")
	for i := range list {
		c := &list[i]
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", c.Name, c.Responses, c.Bytes, c.Hits, c.Stale, c.Misses, c.Collapsed,
			c.Stored, c.Evicted, c.Purged, tierText(c.Redis))
	}
	// Writing to memory does not fail.
	_ = table.Flush()
	return b.String()
}

// tierText says in a word how Redis is, and what came from there.
func tierText(t *cache.TierView) string {
	switch {
	case t == nil:
		return "-"
	case t.Reachable:
		return fmt.Sprintf("%d hits", t.Hits)
	}
	return "unreachable"
}
