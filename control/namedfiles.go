package control

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/yumen-io/yumen/control/certs"
	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/config"
)

// CheckFiles reads the files with certificates and authorities that a document names, judges them as a start would, and adds
// what is wrong with them to the report, at the places that name them. Only on the machine that is to run the document, and
// as the user who is to run it, does that say anything. A file that is in use already (inUse; nil: none is) makes a warning
// and no error, since what is in use goes on.
func CheckFiles(doc *config.Document, report *compile.Report, inUse func(path string) bool, now time.Time) {
	add := func(at config.Pos, where, path string, err error) {
		if err == nil {
			return
		}
		p := config.Problem{File: doc.File, Line: at.Line, Column: at.Column, Path: where, Cause: err.Error()}
		if errors.Is(err, fs.ErrNotExist) {
			p.Cause = fmt.Sprintf("the file %q does not exist", path)
			var missing *fs.PathError
			if errors.As(err, &missing) {
				p.Cause = fmt.Sprintf("the file %q does not exist", missing.Path)
			}
			p.Fix = "put it there, or correct the path; where it does not begin with a slash, it is looked for in the directory the gateway is started in"
		}
		if inUse != nil && inUse(path) {
			p.Severity = config.SeverityWarning
			p.Cause += "; what was read from it before stays in use"
		}
		report.Problems = append(report.Problems, compile.Problem{Problem: p})
	}
	pair := func(at config.Pos, where string, p certs.Pair) {
		_, err := certs.Load(p, now)
		add(at, where, p.Cert, err)
	}
	bundle := func(at config.Pos, where, path string) {
		_, err := certs.LoadBundle(path, now)
		add(at, where, path, err)
	}
	for i := range doc.Listeners {
		said := doc.Listeners[i].TLS
		if said == nil {
			continue
		}
		where := fmt.Sprintf("listeners[%d].tls", i)
		for j := range said.Certificates {
			if c := &said.Certificates[j]; c.Cert != "" {
				pair(c.Pos, fmt.Sprintf("%s.certificates[%d]", where, j), certs.Pair{Cert: c.Cert, Key: c.Key})
			}
		}
		if cc := said.ClientCertificates; cc != nil {
			bundle(cc.Pos, where+".client_certificates.ca", cc.CA)
		}
	}
	for i := range doc.Clusters {
		cl := &doc.Clusters[i]
		if said := cl.TLS; said != nil {
			at := said.Pos
			if at.Line == 0 {
				at = cl.Pos
			}
			if said.CA != "" {
				bundle(at, "clusters."+cl.Name+".tls.ca", said.CA)
			}
			if said.Cert != "" {
				pair(at, "clusters."+cl.Name+".tls.cert", certs.Pair{Cert: said.Cert, Key: said.Key, Client: true})
			}
		}
	}
	if a := doc.ACME; a != nil && a.CA != "" {
		bundle(a.Pos, "acme.ca", a.CA)
	}
	slices.SortStableFunc(report.Problems, func(a, b compile.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// inUse tells whether something that was read from a file is in use.
func (c *Controller) inUse(path string) bool {
	return slices.ContainsFunc(c.Certificates(), func(s CertificateStatus) bool { return s.Path == path })
}
