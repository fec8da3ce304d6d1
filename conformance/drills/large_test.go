//go:build linux

package drills

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

const largeBytes = 64 << 20

// body is a stream of bytes that no mistake of order or length leaves unnoticed.
func body(seed byte) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), largeBytes)
}

func sum(r io.Reader) (string, hash.Hash, error) {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), h, err
}

// 64 MB go up and 64 MB come down, with a length and in chunks, four at a time: every byte arrives.
func TestLargeBodiesArriveWhole(t *testing.T) {
	up := startLocal(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			digest, _, err := sum(r.Body)
			if err != nil {
				return
			}
			fmt.Fprint(w, digest)
			return
		}
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(largeBytes))
		}
		_, _ = io.Copy(w, body('d'))
	}))
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, addr, up), gateway.Options{})
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	upDigest, _, _ := sum(body('u'))
	downDigest, _, _ := sum(body('d'))

	t.Run("transfers", func(t *testing.T) {
		for _, framing := range []string{"length", "chunked"} {
			t.Run("up with "+framing, func(t *testing.T) {
				t.Parallel()
				r, err := http.NewRequest(http.MethodPost, "http://"+addr+"/"+framing, body('u'))
				if err != nil {
					t.Fatal(err)
				}
				if framing == "length" {
					r.ContentLength = largeBytes
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if got, err := io.ReadAll(resp.Body); err != nil || string(got) != upDigest {
					t.Errorf("the upstream got bytes with digest %q (%v, status %d), want %s", got, err, resp.StatusCode, upDigest)
				}
			})
			t.Run("down with "+framing, func(t *testing.T) {
				t.Parallel()
				resp, err := client.Get("http://" + addr + "/" + framing)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if got, _, err := sum(resp.Body); err != nil || got != downDigest {
					t.Errorf("the client got bytes with digest %s (%v, status %d), want %s", got, err, resp.StatusCode, downDigest)
				}
			})
		}
	})
}
