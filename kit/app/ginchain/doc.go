// Package ginchain lets a gin application take the chain of kit/app/chain as it is: as a middleware, with the routes of gin as
// the names of methods, its writer kept, and its binding's errors as the same problem documents.
//
//	r := gin.New()
//	r.Use(ginchain.Use(c))
//	r.POST("/orders/:id", func(g *gin.Context) {
//		order, err := ginchain.Bind[Order](g)
//		if err != nil {
//			ginchain.Refuse(g, err)
//			return
//		}
//		...
//	})
//
// Names are the method and the pattern, "POST /orders/:id"; of HEAD they are GET's. Who is not routed has the name "".
//
// # When things fail
//
// What the chain refuses is answered, and the context is aborted. A panic of a handler is answered by the chain and does not come
// to gin.Recovery, but for http.ErrAbortHandler, which cuts an answer off.
//
// # Concurrency
//
// All functions may be called by any goroutine; what they return is for the goroutine of the request, as gin's context is.
package ginchain
