package config

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestReferencePage keeps docs/reference/config.md what the tables say; -update writes it.
func TestReferencePage(t *testing.T) {
	golden(t, "../../docs/reference/config.md", reference())
}

func reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Generated from the tables of control/config by its tests: go test ./control/config -update -->

One YAML document (JSON is a subset of YAML). An unknown key, a wrong type or a name that leads nowhere is an error, and
all errors are reported at once. The order of keys and routes means nothing.

| value | how it is written |
|---|---|
| duration | ` + "`250ms` `5s` `1m30s` `24h`" + `; units are us, ms, s, m, h; always with a unit |
| size | ` + "`512B` `64kB` `2MB`" + ` in powers of 1000, ` + "`32KiB` `2MiB` `1GiB`" + ` in powers of 1024; always with a unit |
| byte rate | a size per second: ` + "`240B/s`" + ` |
| rate | ` + "`100/s` `10/m` `5/h`" + ` |
| percentage | ` + "`50%` `0.5%`" + `; always with the sign |
| boolean | ` + "`true` `false`, or `on` `off`" + ` |
| address | ` + "`10.0.0.1:80` `app.internal:80` `\"[::1]:80\"`, and `\":8080\"`" + ` for every address of this machine; always with a port |
| file | ` + "`site.pem` `/etc/yumen/site.pem`" + `; one that does not begin with a slash is looked for in the directory the gateway was started in |
| ` + "`${NAME}` `${NAME:-default}`" + ` | a variable of the environment, anywhere inside a value; ` + "`$${`" + ` is a literal ` + "`${`" + `. What it holds is never structure |

YAML anchors and aliases can be used to repeat a value. Merge keys (` + "`<<`" + `), tags and several documents in a file are
refused. A file can have 64 MiB.
`)
	eachObject(func(o *outline) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", strings.ReplaceAll(o.name, "_", " "), o.about)
		if o.short != "" {
			fmt.Fprintf(&b, "In short: %s.\n", o.short)
		}
		if len(o.keys) == 0 {
			return
		}
		b.WriteString("\n| key | takes | default | |\n|---|---|---|---|\n")
		for _, k := range o.keys {
			takes := k.word
			if k.inside != nil {
				name := k.inside().name
				takes = fmt.Sprintf("[%s](#%s)", takes, strings.ReplaceAll(name, "_", "-"))
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.name, takes, initialText(k), strings.ReplaceAll(k.about, "|", "\\|"))
		}
	})
	return b.String()
}

func initialText(k outlineKey) string {
	switch {
	case k.required:
		return "required"
	case k.initial == nil:
		return ""
	case k.initial.Kind == yaml.SequenceNode:
		var list []string
		for _, n := range k.initial.Content {
			list = append(list, n.Value)
		}
		return "`[" + strings.Join(list, ", ") + "]`"
	default:
		return "`" + k.initial.Value + "`"
	}
}
