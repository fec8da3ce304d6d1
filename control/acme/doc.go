// Package acme gets certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt, and renews them.
//
// A [Manager] owns a folder with its account and its certificates, and one goroutine. It loads what it has when it is made,
// so that a gateway starts while the authority is out of reach; it orders what is missing, renews what has lived two
// thirds of its time, and tries again, ever less often, what failed. It calls back with the certificates, and with what
// must be answered while an order runs: a token over HTTP (http-01), or a certificate in a handshake (tls-alpn-01,
// RFC 8737). It listens nowhere and serves nothing. Until there is a certificate a listener can start with a [StandIn].
//
// Orders are made one at a time, over all groups of names. They are rare, authorities count them, and one at a time needs
// no account of who is doing what. Several processes may share the folder, as they do while a gateway upgrades itself:
// whoever orders holds a lease on the folder, written into order.lock with its owner and its end, and looks first whether
// another has ordered meanwhile. A process that dies with the lease delays the next order until the lease ends, six
// minutes at most. What a sharing process cannot do is answer for the other's challenge: one that an authority asks of the
// wrong process fails, and is tried again later, when the old process no longer listens.
//
// The protocol itself is golang.org/x/crypto/acme: signatures, nonces and messages, with nothing around them. certmagic
// comes with a cache of certificates, goroutines that maintain it, storage with locks, package-level defaults and solvers
// that open listeners; lego's certifier runs an order from end to end, waits by itself and logs to a package-level logger.
// All these we have already, with rules of their own: a loop owns the listeners, time is passed in, one goroutine owns the
// state. Two of the library's habits are reined in here: it reads answers without a limit, and it waits as long between two
// polls as the authority says (see client.go).
//
// Wildcards and addresses cannot be had: the first need dns-01, for which every DNS provider has an API of its own, and the
// second come with rules that the two challenges here cover in part.
package acme
