package metrics

import (
	"fmt"
	"testing"
	"time"
)

// wantSamples compares samples of a page, by their series.
func wantSamples(t *testing.T, page, want map[string]float64) {
	t.Helper()
	for series, value := range want {
		if got, ok := page[series]; !ok || got != value {
			t.Errorf("%s is %v, want %v", series, got, value)
		}
	}
}

func TestHandshakesAreShown(t *testing.T) {
	r := newRegistry(t, testConfig(1))
	r.SetSources(Sources{Handshakes: func() (client, upstream Handshakes) {
		return Handshakes{1, 2, 3, 4, 5, 6, 7, 8}, Handshakes{Done: 9, Waiting: 10}
	}})
	wantSamples(t, page(t, r), map[string]float64{
		`yumen_tls_handshakes_total{result="done",side="client"}`: 1, `yumen_tls_handshakes_total{result="resumed",side="client"}`: 2,
		`yumen_tls_handshakes_total{result="failed",side="client"}`: 3, `yumen_tls_handshakes_total{result="refused",side="client"}`: 4,
		`yumen_tls_handshakes_total{result="displaced",side="client"}`: 5, `yumen_tls_handshakes_total{result="challenge",side="client"}`: 6,
		`yumen_tls_handshakes_running{side="client"}`: 7, `yumen_tls_handshakes_waiting{side="client"}`: 8,
		`yumen_tls_handshakes_total{result="done",side="upstream"}`: 9, `yumen_tls_handshakes_waiting{side="upstream"}`: 10,
	})
}

// More certificates than are listed: those that end first are, and one that is named twice is shown once.
func TestCertificatesThatEndFirstAreShown(t *testing.T) {
	r := newRegistry(t, testConfig(1))
	at := func(seconds int) time.Time { return time.Unix(int64(seconds), 0) }
	list := []Certificate{{Name: "a.test", Ends: at(10)}, {Path: "twice.pem", Ends: at(30)}, {Path: "twice.pem", Ends: at(20)}}
	for n := range certificatesMax {
		list = append(list, Certificate{Path: fmt.Sprint(n, ".pem"), Ends: at(1000 - n)})
	}
	r.SetSources(Sources{Certificates: func() []Certificate { return list }})
	p := page(t, r)
	wantSamples(t, p, map[string]float64{
		`yumen_certificate_not_after_seconds{name="a.test",path=""}`:    10,
		`yumen_certificate_not_after_seconds{name="",path="twice.pem"}`: 20,
		`yumen_certificate_not_after_seconds{name="",path="999.pem"}`:   1,
		"yumen_certificates_folded":                                     3,
	})
	if _, ok := p[`yumen_certificate_not_after_seconds{name="",path="0.pem"}`]; ok {
		t.Error("the one that ends last is listed")
	}
}
