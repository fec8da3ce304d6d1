package compile

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/telemetry/log"
)

// TestFieldsOfTheAccessLogAreOneList: the words a document may say are those the log writes, no more and no fewer. The
// parser does not import the log, so that this is where the two lists meet.
func TestFieldsOfTheAccessLogAreOneList(t *testing.T) {
	all, usual := log.Fields()
	type properties struct {
		Fields struct {
			Items   struct{ AnyOf []struct{ Enum []string } }
			Default []string
		}
	}
	var schema struct {
		Defs struct {
			AccessLog struct {
				AnyOf []struct{ Properties properties }
			} `json:"access_log"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(config.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	fields := schema.Defs.AccessLog.AnyOf[0].Properties.Fields
	var known []string
	for _, way := range fields.Items.AnyOf {
		known = append(known, way.Enum...)
	}
	if !slices.Equal(known, all) {
		t.Errorf("documents know %v\nthe log writes %v", known, all)
	}
	if !slices.Equal(fields.Default, usual) {
		t.Errorf("a document that does not say has %v\nthe log has         %v", fields.Default, usual)
	}
}

// TestALogHasRoomForTheHeadersADocumentMayAsk is the same for the number of header fields.
func TestALogHasRoomForTheHeadersADocumentMayAsk(t *testing.T) {
	f := func(headers int, want bool) {
		t.Helper()
		list := make([]string, headers)
		for i := range list {
			list[i] = fmt.Sprintf("x-%d", i)
		}
		text, _ := json.Marshal(list) // strings always encode
		_, report := compileText("log.yaml", fmt.Sprintf(`
listen: ":8080"
routes: [{path: /, respond: 204}]
access_log: {request_headers: %s}`, text))
		if report.Errors() == want {
			t.Errorf("%d header fields: %s", headers, report)
		}
	}
	f(log.HeadersMax, true)
	f(log.HeadersMax+1, false)
}
