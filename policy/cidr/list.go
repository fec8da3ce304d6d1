package cidr

import (
	"bytes"
	"fmt"
	"net/netip"
)

// PrefixesMax bounds a list (prefixes_max): ten times what the largest public block lists hold, and some 100 MB of table.
const PrefixesMax = 1_000_000

// lineBytesMax bounds what of a line is repeated in an error.
const lineBytesMax = 60

// LineError is a line of a list that is no network.
type LineError struct {
	Line  int // from 1
	Cause string
	Fix   string
}

// Error names the line.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Cause) }

// ParseList reads a list of networks: one to a line, in CIDR form or a single address, where # begins a comment and empty lines
// mean nothing. It appends to entries, each with its line, from 1, for its value. The first line that is wrong fails the list: half a list that
// keeps somebody out, or lets somebody in, is another list. The error is a *LineError.
func ParseList(entries []Entry, text []byte) ([]Entry, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // some editors begin files with it
	for line := 1; len(text) > 0; line++ {
		var row []byte
		row, text, _ = bytes.Cut(text, []byte("\n"))
		row, _, _ = bytes.Cut(row, []byte("#"))
		if row = bytes.TrimSpace(row); len(row) == 0 {
			continue
		}
		if len(entries) >= PrefixesMax {
			return nil, &LineError{line, fmt.Sprintf("there are more than %d networks", PrefixesMax), "join networks that lie side by side"}
		}
		p, cause, fix := parse(row)
		if cause != "" {
			return nil, &LineError{line, cause, fix}
		}
		entries = append(entries, Entry{p, uint32(line)})
	}
	return entries, nil
}

func parse(row []byte) (p netip.Prefix, cause, fix string) {
	said := string(row[:min(len(row), lineBytesMax)])
	const form = "write 10.0.0.0/8, 2001:db8::/32 or a single address"
	if len(row) > lineBytesMax {
		return p, fmt.Sprintf("%q... is not a network", said), form
	}
	if a, err := netip.ParseAddr(said); err == nil {
		if a.Zone() != "" {
			return p, fmt.Sprintf("%q has a zone", said), "write the address without it"
		}
		return netip.PrefixFrom(a, a.BitLen()), "", ""
	}
	p, err := netip.ParsePrefix(said)
	if err != nil {
		return p, fmt.Sprintf("%q is not a network", said), form
	}
	if p != p.Masked() {
		return p, fmt.Sprintf("%q has bits set outside its mask", said), fmt.Sprintf("write %s", p.Masked())
	}
	return p, "", ""
}
