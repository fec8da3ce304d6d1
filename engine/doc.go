// Package engine joins event loops and codecs into HTTP connections: it accepts, dials, frames, keeps deadlines and marks,
// and offers what remains as streams, one for each request, on which both sides of a proxy look alike.
//
// A Worker is a loop with its memory. A Listener accepts for all workers; ServerConn and ClientConn are the two kinds of
// connection; a Stream is one request and its response on either. Everything that belongs to a connection is touched on
// its worker's loop only and is never locked.
//
// The engine routes nothing, balances nothing and keeps no pool: those decide, the engine carries out. It is usable
// alone, as an HTTP server with a Handler.
package engine
