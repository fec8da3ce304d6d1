package compile

import (
	"testing"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/decompress"
)

// What a document leaves out is what the filter would take by itself.
func TestDecompressByDefault(t *testing.T) {
	doc, problems := config.Parse("t.yaml", []byte("listeners: [':80']\nroutes: [{path: /, filters: [{decompress: on}], respond: 200}]"), nil)
	if doc == nil {
		t.Fatal(problems)
	}
	of := func(s decompress.Spec) string {
		f, problems := decompress.Compile(s, nil, nil)
		if f == nil {
			t.Fatal(problems)
		}
		return f.String()
	}
	said := decompressSpec(doc.Routes[0].Filters[0].Filter.Body.(*config.DecompressFilter))
	if a, b := of(*said), of(decompress.Spec{}); a != b || said.WindowBytesMax != 8<<20 {
		t.Errorf("%s; of the filter %s", a, b)
	}
}
