package ginchain

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"

	"github.com/yumen-io/yumen/kit/app/chain"
)

// Use is c as a middleware. What stands before it is outside of the chain: nothing should, gin.Logger and gin.Recovery neither.
//
// A handler that leaves an error of the type gin.ErrorTypeBind in the context and writes nothing is answered with it.
func Use(c *chain.Chain) gin.HandlerFunc {
	h := c.Handler(http.HandlerFunc(serve))
	var routes names
	return func(g *gin.Context) {
		if pattern := g.FullPath(); pattern != "" {
			g.Request.Pattern = routes.of(g.Request.Method, pattern)
		}
		d := &door{ResponseWriter: g.Writer, context: g, chain: c}
		request := g.Request
		defer func() {
			g.Writer, g.Request = d.ResponseWriter, request
			if !d.passed {
				g.Abort() // refused, or it panicked in the middle of the handlers
			}
		}()
		h.ServeHTTP(d, request)
	}
}

// door is the outermost writer of a request, by which what is inside finds its context again.
type door struct {
	gin.ResponseWriter
	context *gin.Context
	chain   *chain.Chain
	passed  bool
}

// Unwrap is for http.ResponseController.
func (d *door) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// serve goes on with gin's handlers.
func serve(w http.ResponseWriter, r *http.Request) {
	var d *door
	for at := w; d == nil; {
		switch of := at.(type) {
		case *door:
			d = of
		case interface{ Unwrap() http.ResponseWriter }:
			at = of.Unwrap()
		default:
			panic("ginchain: a writer between the chain and gin has no Unwrap")
		}
	}
	g := d.context
	inner := &writer{ResponseWriter: d.ResponseWriter, to: w}
	g.Request, g.Writer = r, inner
	g.Next()
	if !inner.Written() {
		if last := g.Errors.ByType(gin.ErrorTypeBind).Last(); last != nil && inner.Status() == http.StatusOK {
			chain.Refuse(w, r, explain(d.chain, last.Err))
		} else if inner.Status() != http.StatusOK {
			w.WriteHeader(inner.Status()) // gin sends it when all is over
		}
	}
	d.passed = true
}

// writer is gin's, but what is written goes through the chain. gin keeps the status until the first byte, and so it is
// told then.
type writer struct {
	gin.ResponseWriter
	to http.ResponseWriter
}

func (w *writer) begin() {
	if !w.Written() {
		w.to.WriteHeader(w.Status())
	}
}

func (w *writer) WriteHeaderNow() {
	w.begin()
	w.ResponseWriter.WriteHeaderNow()
}

func (w *writer) Write(b []byte) (int, error) {
	w.begin()
	return w.to.Write(b)
}

func (w *writer) WriteString(s string) (int, error) {
	w.begin()
	return io.WriteString(w.to, s)
}

func (w *writer) Flush() {
	w.begin()
	_ = http.NewResponseController(w.to).Flush()
}

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.to).Hijack()
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.to }

// Bind is chain.Bind with gin's parameters of the path.
func Bind[T any](g *gin.Context) (T, error) {
	for _, p := range g.Params {
		g.Request.SetPathValue(p.Key, p.Value)
	}
	return chain.Bind[T](g.Request)
}

// Refuse answers with an error as chain.Refuse does, and aborts. Errors of gin's own binding (ShouldBindJSON and its like) are problem
// documents too, with names of fields as clients know them if binding.Validator is Validator.
func Refuse(g *gin.Context, err error) {
	if call := chain.CallOf(g.Request.Context()); call != nil {
		err = explain(call.Chain(), err)
	}
	chain.Refuse(g.Writer, g.Request, err)
	g.Abort()
}

// explain makes a ValidationError of what gin's binding says. Who calls it has read content, so what is not known is the content's fault.
func explain(c *chain.Chain, err error) error {
	if of := binding.SliceValidationError(nil); errors.As(err, &of) {
		for _, one := range of {
			if one != nil {
				err = one
				break
			}
		}
	}
	err = c.Explain(err)
	refused := (*chain.Refusal)(nil)
	if errors.As(err, new(*chain.ValidationError)) || errors.As(err, &refused) {
		return err
	}
	return &chain.ValidationError{Status: http.StatusBadRequest, Reason: chain.ReasonInvalid, Violations: []chain.Violation{
		{Rule: "type", Message: "cannot be read"}}}
}

// Validator is the chain's for gin's own binding: binding.Validator = ginchain.Validator(c), once, before the server starts.
func Validator(c *chain.Chain) binding.StructValidator { return validates{c} }

type validates struct{ c *chain.Chain }

func (v validates) ValidateStruct(value any) error {
	if value == nil {
		return nil
	}
	return v.c.Validate(value)
}

func (v validates) Engine() any { return v.c.Validator() }

// names joins methods and patterns once each. There are as many as the application has routes.
type names struct {
	known atomic.Pointer[map[[2]string]string]
	mu    sync.Mutex
}

func (n *names) of(method, pattern string) string {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	key := [2]string{method, pattern}
	if known := n.known.Load(); known != nil {
		if name, ok := (*known)[key]; ok {
			return name
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	grown := map[[2]string]string{key: method + " " + pattern}
	if known := n.known.Load(); known != nil {
		for k, v := range *known {
			grown[k] = v
		}
	}
	n.known.Store(&grown)
	return grown[key]
}
