package filters

import (
	"slices"

	"github.com/yumen-io/yumen/filters/admission"
	"github.com/yumen-io/yumen/filters/apikey"
	"github.com/yumen-io/yumen/filters/basicauth"
	"github.com/yumen-io/yumen/filters/breaker"
	"github.com/yumen-io/yumen/filters/cache"
	"github.com/yumen-io/yumen/filters/colour"
	"github.com/yumen-io/yumen/filters/cors"
	"github.com/yumen-io/yumen/filters/decompress"
	"github.com/yumen-io/yumen/filters/extauth"
	"github.com/yumen-io/yumen/filters/fallback"
	"github.com/yumen-io/yumen/filters/fault"
	"github.com/yumen-io/yumen/filters/hmacauth"
	"github.com/yumen-io/yumen/filters/ip"
	"github.com/yumen-io/yumen/filters/jwt"
	"github.com/yumen-io/yumen/filters/limit"
	"github.com/yumen-io/yumen/filters/mtls"
	"github.com/yumen-io/yumen/filters/shed"
)

// Reasons are the words that filters answer with, for metrics and documentation, each once.
func Reasons() []string {
	var list []string
	for _, of := range [][]string{
		apikey.Reasons(),
		basicauth.Reasons(),
		cors.Reasons(),
		cache.Reasons(),
		colour.Reasons(),
		breaker.Reasons(),
		hmacauth.Reasons(),
		ip.Reasons(),
		mtls.Reasons(),
		jwt.Reasons(),
		limit.Reasons(),
		admission.Reasons(),
		shed.Reasons(),
		decompress.Reasons(),
		extauth.Reasons(),
		fallback.Reasons(),
		fault.Reasons(),
	} {
		list = append(list, of...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
