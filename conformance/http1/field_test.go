//go:build linux

package http1

import (
	"bytes"
	"fmt"
	"strings"
)

// field is one field line as it came. A line without a colon has an empty name and the whole line as its value.
type field struct{ name, value string }

type fields []field

func (fs fields) all(name string) []string {
	var values []string
	for _, f := range fs {
		if strings.EqualFold(strings.TrimRight(f.name, " \t"), name) {
			values = append(values, f.value)
		}
	}
	return values
}

// tokens are the lower-case list members of every line of the name.
func (fs fields) tokens(name string) []string {
	var tokens []string
	for _, value := range fs.all(name) {
		for member := range strings.SplitSeq(value, ",") {
			if member = strings.ToLower(strings.Trim(member, " \t")); member != "" {
				tokens = append(tokens, member)
			}
		}
	}
	return tokens
}

// parseFields reads lines leniently, so that what a lenient peer would have seen is seen here.
func parseFields(block []byte) fields {
	var fs fields
	for line := range bytes.Lines(block) {
		text := strings.TrimRight(string(line), "\r\n")
		if text == "" {
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			name, value = "", text
		}
		fs = append(fs, field{name, strings.Trim(value, " \t")})
	}
	return fs
}

// lineFaults are what may never stand in a head or a trailer section we sent: bare CR, bare LF, NUL, folds, names that
// are no tokens (RFC 9112 sections 2.2 and 5). Other control bytes in a value are invalid, but RFC 9110 section 5.5 lets
// them pass; cases that want them refused say so. The first line is a start line when startLine is set.
func lineFaults(block []byte, startLine bool) []string {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	first := startLine
	for line := range bytes.Lines(block) {
		text, ended := bytes.CutSuffix(line, []byte("\r\n"))
		if !ended {
			fault("line does not end in CRLF: %.60q", line)
			text = bytes.TrimRight(line, "\n")
		}
		if bytes.IndexByte(text, '\r') >= 0 {
			fault("bare CR in %.60q", line)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			fault("NUL in %.60q", line)
		}
		switch {
		case first:
			first = false
		case len(text) == 0:
		case text[0] == ' ' || text[0] == '\t':
			fault("folded line %.60q", line)
		default:
			if name, _, ok := bytes.Cut(text, []byte(":")); !ok || !isToken(name) {
				fault("field name is no token: %.60q", line)
			}
		}
	}
	return faults
}

func isToken(name []byte) bool {
	for _, b := range name {
		if b <= 0x20 || b >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", b) >= 0 {
			return false
		}
	}
	return len(name) > 0
}

func isDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// framingFaults are the ways in which two readers could disagree about where a message ends.
func framingFaults(fs fields, codingOK bool) []string {
	var faults []string
	lengths, codings := fs.all("Content-Length"), fs.all("Transfer-Encoding")
	if len(lengths) > 0 && len(codings) > 0 {
		faults = append(faults, "both Content-Length and Transfer-Encoding")
	}
	if len(lengths) > 1 {
		faults = append(faults, fmt.Sprintf("%d Content-Length lines", len(lengths)))
	}
	for _, length := range lengths {
		if !isDigits(length) {
			faults = append(faults, fmt.Sprintf("Content-Length %q", length))
		}
	}
	if len(codings) > 1 {
		faults = append(faults, fmt.Sprintf("%d Transfer-Encoding lines", len(codings)))
	}
	for _, coding := range codings {
		if !strings.EqualFold(coding, "chunked") && !codingOK {
			faults = append(faults, fmt.Sprintf("Transfer-Encoding %q", coding))
		}
	}
	return faults
}
