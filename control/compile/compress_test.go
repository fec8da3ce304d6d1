package compile

import (
	"slices"
	"testing"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/compress"
)

// What a document leaves out is what the filter would take by itself: one list, said in two places.
func TestCompressByDefault(t *testing.T) {
	doc, problems := config.Parse("t.yaml", []byte("listeners: [':80']\nroutes: [{path: /, filters: [{compress: on}], respond: 200}]"), nil)
	if doc == nil {
		t.Fatal(problems)
	}
	said := doc.Routes[0].Filters[0].Filter.Body.(*config.CompressFilter)
	if !slices.Equal(said.Types, compress.DefaultTypes) {
		t.Errorf("types %q, of the filter %q", said.Types, compress.DefaultTypes)
	}
	of := func(s compress.Spec) string {
		f, problems := compress.Compile(s, nil)
		if f == nil {
			t.Fatal(problems)
		}
		return f.String()
	}
	if a, b := of(*compressSpec(said)), of(compress.Spec{}); a != b {
		t.Errorf("%s; of the filter %s", a, b)
	}
}
