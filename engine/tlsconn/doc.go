// Package tlsconn is TLS for connections that live on an event loop, on crypto/tls.
//
// crypto/tls wants a connection that blocks, and a loop has none. What makes the two fit: once its handshake is over, a
// tls.Conn whose transport says "temporary error" may be read again later, and what it writes can go into memory of ours. A
// failed handshake and a failed write are final. Hence
//
//   - the handshake runs on a goroutine, which borrows the descriptor from the loop (Handshake). A Handshaker bounds how many
//     are open, how many wait behind them and how many compute at once;
//   - records run on the loop: Conn.Open turns what the socket holds into plain bytes, Conn.Seal the reverse. crypto/tls is
//     given whole records only, so that it keeps no bytes of its own between two calls and its buffer never outgrows one
//     record.
//
// Beside that stands what a gateway configures: Store chooses certificates by name, Tickets turns the keys of session tickets,
// ServerConfig and ClientConfig check words and fill in a tls.Config, AppendClientCert forwards who the client was.
//
// What the package leaves to others: sockets, timers (who cancels a handshake that takes too long), files, and which protocol
// follows. The one clock it reads is that of the Handshaker, off the loop; it can be replaced.
package tlsconn
