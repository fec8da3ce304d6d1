package admin

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// failure is the body of every answer that is not a success.
type failure struct {
	Error string `json:"error"`         // what was asked, and why not
	Fix   string `json:"fix,omitempty"` // what to do instead
}

func (f failure) text() string {
	if f.Fix == "" {
		return f.Error + "\n"
	}
	return f.Error + "\n    " + f.Fix + "\n"
}

// answerError answers in the form the client accepts.
func answerError(w http.ResponseWriter, r *http.Request, status int, f failure) {
	if wantsText(r) {
		answerText(w, status, f.text())
		return
	}
	answerJSON(w, status, f)
}

// answerJSON is for programs first; the indentation is for those who look with curl.
func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // nosniff is set, and <, > and & are common in patterns
	// A write that fails means that the client is gone, who would be the one to tell.
	_ = enc.Encode(v)
}

func answerText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// wantsText reports whether the client prefers plain text to JSON. JSON is for those who do not say.
func wantsText(r *http.Request) bool {
	text, jsn := acceptance(r, "text/plain"), acceptance(r, "application/json")
	return text > jsn
}

// wantsJSON is the other way round, where plain text is for those who do not say.
func wantsJSON(r *http.Request) bool {
	return acceptance(r, "application/json") > acceptance(r, "text/plain")
}

// acceptance is the quality a client gives a media type (RFC 9110 section 12.5.1): the most specific range counts. What
// cannot be read counts for nothing.
func acceptance(r *http.Request, media string) float64 {
	quality, rank := 0.0, 0
	major, _, _ := strings.Cut(media, "/")
	for _, field := range r.Header.Values("Accept") {
		for element := range strings.SplitSeq(field, ",") {
			name, params, err := mime.ParseMediaType(element)
			if err != nil {
				continue
			}
			q := 1.0
			if s, said := params["q"]; said {
				if q, err = strconv.ParseFloat(s, 64); err != nil {
					continue
				}
			}
			ranks := map[string]int{media: 3, major + "/*": 2, "*/*": 1}
			if n := ranks[name]; n > rank {
				quality, rank = q, n
			}
		}
	}
	return quality
}

// quote shows a client's own words in a message: bounded, and unable to look like anything else.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
