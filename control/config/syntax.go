package config

import (
	"bytes"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var syntaxLine = regexp.MustCompile(`^line (\d+): `)

// explain turns an error of the YAML reader, which speaks of tokens, into a problem that speaks of the line. The line it
// names is where the reader lost its way, sometimes one after the slip, so that the slips known to be common are looked
// for in the lines around.
func explain(text []byte, err error) Problem {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{}
	if m := syntaxLine.FindStringSubmatch(message); m != nil {
		p.Line, _ = strconv.Atoi(m[1]) // digits by the pattern
		message = message[len(m[0]):]
	}
	p.Cause = "not valid YAML: " + message
	p.Fix = "look at indentation, quotes and brackets in this line and the one before"

	if at := failingLine(text, message, p.Line); at > 0 {
		p.Line = at
	}

	lines := bytes.Split(text, []byte("\n"))
	first, last := max(p.Line-2, 1), min(p.Line+1, len(lines))
	if p.Line == 0 { // the reader gives no line for the first one, nor for anchors
		first, last = 1, len(lines)
		if !strings.Contains(message, "anchor") {
			p.Line, last = 1, min(2, len(lines))
		}
	}
	for number := first; number <= last; number++ {
		line := lines[number-1]
		for _, slip := range slips {
			if !strings.Contains(message, slip.message) {
				continue
			}
			if m := slip.in.FindIndex(line); m != nil {
				p.Line, p.Column = lineColumnIn(line, number, m[0])
				p.Cause, p.Fix = slip.cause, slip.fix
				return p
			}
		}
	}
	if p.Line == 0 || p.Line > len(lines) {
		return p
	}
	p.Column = 1 + len(lines[p.Line-1]) - len(bytes.TrimLeft(lines[p.Line-1], " \t"))
	if p.Line > 1 && strings.Contains(message, "did not find expected") && !indentedLike(lines[:p.Line-1], p.Column-1) {
		p.Cause = "the line is indented neither as what stands above it nor as a part of it"
		p.Fix = "begin it below the first letter of the key it belongs beside, two spaces further in than the key it is a part of"
	}
	return p
}

// indentedLike tells whether one of the lines begins after as many blanks, or after a dash and as many.
func indentedLike(lines [][]byte, blanks int) bool {
	return slices.ContainsFunc(lines, func(line []byte) bool {
		text := bytes.TrimLeft(line, " ")
		n := len(line) - len(text)
		return len(text) > 0 && (n == blanks || bytes.HasPrefix(text, []byte("- ")) && n+2 == blanks)
	})
}

// relocateMax bounds the text failingLine reads again, some twenty times.
const relocateMax = 1 << 20

// failingLine finds the first line after which the reader fails with message: the line in which it happens. The line
// the reader gives is that in which the broken list or map begins, which may be far above. 0 for not found.
func failingLine(text []byte, message string, from int) int {
	if len(text) > relocateMax {
		return 0
	}
	var ends []int // ends[i] is where line i+1 ends
	for i, c := range text {
		if c == '\n' {
			ends = append(ends, i+1)
		}
	}
	if len(text) == 0 || text[len(text)-1] != '\n' {
		ends = append(ends, len(text))
	}
	fails := func(line int) bool {
		var n yaml.Node
		err := decodeYAML(yaml.NewDecoder(bytes.NewReader(text[:ends[line-1]])), &n)
		if err == nil {
			return false
		}
		found := strings.TrimPrefix(err.Error(), "yaml: ")
		return syntaxLine.ReplaceAllString(found, "") == message
	}
	// Most slips are near the beginning of what they break: look there first, further away in doubled steps.
	good, bad := max(from, 1)-1, max(from, 1)
	for step := 1; ; step *= 2 {
		if bad >= len(ends) {
			bad = len(ends)
			break
		}
		if fails(bad) {
			break
		}
		good, bad = bad, bad+step
	}
	if !fails(bad) {
		return 0
	}
	return good + 1 + sort.Search(bad-good-1, func(i int) bool { return fails(good + 1 + i) })
}

func lineColumnIn(line []byte, number, offset int) (int, int) {
	_, column := lineColumn(line, offset)
	return number, column
}

// slips are the mistakes in YAML that people make in such documents: part of the reader's message, what the line looks
// like, and what to say.
var slips = [...]struct {
	message    string
	in         *regexp.Regexp
	cause, fix string
}{
	{
		"cannot start any token", regexp.MustCompile(`^ *\t`),
		"the line is indented with a tab, which YAML does not allow", "indent with spaces",
	},
	{
		"tab character", regexp.MustCompile(`^ *\t`),
		"the line is indented with a tab, which YAML does not allow", "indent with spaces",
	},
	{
		"did not find expected ',' or '}'", regexp.MustCompile(`/\{`),
		"a brace inside braces opens a map in YAML", `write a parameter as :name, /users/:id, and put other braces in quotes`,
	},
	{
		"cannot start any token", regexp.MustCompile("[-:,\\[{] *[@`%]"),
		"a value that begins with @, % or ` must be quoted in YAML", "put the value in quotes",
	},
	{
		"", regexp.MustCompile(`\[::|\[[0-9a-fA-F]*:[0-9a-fA-F]*:`),
		"an IPv6 address in brackets must be quoted, since a bracket opens a list in YAML", `write "[::1]:80"`,
	},
	{
		"alphabetic or numeric character", regexp.MustCompile(`\*`),
		"a value that begins with * must be quoted, since * names an alias in YAML", `write "*" or "*.example.com"`,
	},
	{
		"unknown anchor", regexp.MustCompile(`(^|[\s\[,{])\*`),
		"a value that begins with * must be quoted, since * names an alias in YAML", `write "*.example.com", or define the anchor before it is used`,
	},
	{
		"mapping values are not allowed", regexp.MustCompile(`:\s[^"']*:\s`),
		"a colon and a space inside a value begin another key in YAML", `quote the value: "a: b"`,
	},
	{
		"invalid Unicode character escape code", regexp.MustCompile(`\\u[dD][89abAB]`),
		"a character is written as two \\u escapes, which JSON allows and YAML does not", "write the character itself",
	},
}
