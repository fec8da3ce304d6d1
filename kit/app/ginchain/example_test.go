package ginchain_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/yumen-io/yumen/kit/app/chain"
	"github.com/yumen-io/yumen/kit/app/ginchain"
)

// A gin application takes the chain, and answers for content that is not right as all services of the kit do.
func Example() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// 200 tea
	// 400 {"type":"about:blank","title":"Bad Request","status":400,"detail":"one field is not right","reason":"invalid_request","errors":[{"field":"sku","rule":"required","message":"is required"}]}
}

func run() error {
	c, err := chain.New(chain.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	r := gin.New()
	r.Use(ginchain.Use(c))
	r.POST("/orders/:id", func(g *gin.Context) {
		in, err := ginchain.Bind[struct {
			ID  int    `uri:"id"`
			SKU string `json:"sku" binding:"required"`
		}](g)
		if err != nil {
			ginchain.Refuse(g, err)
			return
		}
		g.String(http.StatusOK, in.SKU)
	})
	server := httptest.NewServer(r)
	defer server.Close()
	for _, body := range []string{`{"sku":"tea"}`, `{}`} {
		resp, err := server.Client().Post(server.URL+"/orders/7", "application/json", strings.NewReader(body))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		fmt.Println(resp.StatusCode, string(text))
	}
	return nil
}
