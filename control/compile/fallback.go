package compile

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/fallback"
	"github.com/yumen-io/yumen/gateway"
)

func (c *compiler) fallbackSpec(said *config.FallbackFilter) (*fallback.Spec, error) {
	s := &fallback.Spec{RetryAfter: said.RetryAfter}
	for _, on := range []struct {
		said bool
		is   fallback.Causes
	}{{said.On.Connect, fallback.Connect}, {said.On.Reset, fallback.Reset}, {said.On.Timeout, fallback.Timeout},
		{said.On.Unavailable, fallback.Unavailable}, {said.On.Overload, fallback.Overload}, {said.On.Breaker, fallback.Breaker}} {
		if on.said {
			s.On |= on.is
		}
	}
	if s.On == 0 {
		s.On = fallback.Never
	}
	for _, r := range said.On.Statuses {
		for status := r.From; status <= r.To; status++ {
			s.Statuses = append(s.Statuses, status)
		}
	}
	if name := said.Cluster.Value; name != "" {
		ref, err := c.clusterRef(name)
		if err != nil {
			return nil, err
		}
		s.Cluster = &ref
	}
	if said.Respond != nil {
		r := respond(said.Respond)
		s.Respond = &fallback.Respond{Status: r.Status, Fields: r.Fields, Body: r.Body}
	}
	if said.File == "" {
		return s, nil
	}
	if s.Respond == nil {
		s.Respond = &fallback.Respond{Status: 503}
		kind, known := fileTypes[strings.ToLower(filepath.Ext(said.File))]
		if !known {
			return nil, fmt.Errorf("the name %q does not tell the type of the answer: end it in .html, .json, .txt, .xml or .svg, or say it with respond: {status: 503, headers: {content-type: ...}}",
				said.File)
		}
		s.Respond.Fields = []gateway.Field{{Name: "Content-Type", Value: kind}}
	}
	file, err := follow(c, "fallback", said.File, fallback.ParseFile)
	if err != nil {
		return nil, err
	}
	s.Respond.File = file
	return s, nil
}

// fileTypes are the content types of files by their names.
var fileTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".json": "application/json", ".txt": "text/plain; charset=utf-8", ".xml": "application/xml", ".svg": "image/svg+xml",
}
