package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/yumen-io/yumen/cmd/yumen/demo"
)

// adminEnv names the environment variable that says where the running gateway's admin API is.
const adminEnv = "YUMEN_ADMIN"

// remote is a running gateway, as its admin API shows it.
type remote struct {
	address string
	client  *http.Client
}

// How long the gateway may take to answer.
const (
	// askTimeout is for what it knows.
	askTimeout = 10 * time.Second
	// changeTimeout is for changes, which may wait for names to be resolved.
	changeTimeout = time.Minute
)

// answerBytesMax bounds an answer: a hundred thousand routes are some 50 MB.
const answerBytesMax = 256 << 20

// adminFlag gives a command --admin.
func (p *program) adminFlag(cmd *cobra.Command) *string {
	address := demo.AdminAddress
	if said, ok := p.env(adminEnv); ok && said != "" {
		address = said
	}
	return cmd.Flags().String("admin", address, "where the admin API of the running gateway is; "+adminEnv+" in the environment says so too")
}

// newRemote does not connect yet. within bounds each request.
func newRemote(address string, within time.Duration) *remote {
	// Never through a proxy: the API is on this machine or next to it, and its requests are orders.
	return &remote{address: address, client: &http.Client{Timeout: within, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}}
}

// get asks for a path and reads the JSON of the answer.
func (r *remote) get(ctx context.Context, path string, query url.Values, into any) error {
	body, err := r.do(ctx, http.MethodGet, path, query, "application/json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("reading the answer of the gateway at %s to %s: %w", r.address, path, err)
	}
	return nil
}

// do sends a request without a body and returns the body of an answer that is a success. Any other answer is an error. The path is
// as it stands in a URL, with names in it escaped.
func (r *remote) do(ctx context.Context, method, path string, query url.Values, accept string) ([]byte, error) {
	return r.send(ctx, method, path, query, nil, accept)
}

// send is do with a body.
func (r *remote) send(ctx context.Context, method, path string, query url.Values, content io.Reader, accept string) ([]byte, error) {
	where := url.URL{Scheme: "http", Host: r.address, Path: path, RawQuery: query.Encode()}
	if plain, err := url.PathUnescape(path); err == nil {
		where.Path, where.RawPath = plain, path
	}
	req, err := http.NewRequestWithContext(ctx, method, where.String(), content)
	if err != nil {
		return nil, usageError{trouble{fmt.Errorf("%q is not the address of an admin API: %w", r.address, err), "write it as 127.0.0.1:9901"}}
	}
	req.Header.Set("Accept", accept)
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.unreachable(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the gateway at %s to %s: %w", r.address, path, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return nil, refused(r.address, accept, resp, body)
	}
	return body, nil
}

// unreachable says what a request that got no answer means.
func (r *remote) unreachable(err error) error {
	var opErr *net.OpError
	if errors.As(err, &opErr) && opErr.Op == "dial" {
		return trouble{
			fmt.Errorf("no gateway answers at %s: %w", r.address, opErr.Err),
			"start one with: yumen run -c FILE\nor say where it is with --admin or " + adminEnv,
		}
	}
	return fmt.Errorf("asking the gateway at %s: %w", r.address, err)
}

// refusal is an answer of the admin API that is not a success.
type refusal struct {
	status int
	text   string
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// refused reads a refusal in the form that was asked for.
func refused(address, accept string, resp *http.Response, body []byte) error {
	var said struct{ Error, Fix string }
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case media == accept && accept == "text/plain":
		return &refusal{resp.StatusCode, strings.TrimSpace(string(body))}
	case media == "application/json" && json.Unmarshal(body, &said) == nil && said.Error != "":
		return &refusal{resp.StatusCode, trouble{errors.New(said.Error), said.Fix}.Error()}
	}
	return fmt.Errorf("the server at %s answered %s, which is not how an admin API says no", address, resp.Status)
}
