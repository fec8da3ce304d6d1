// Package basicauth is the guard that knows clients by name and password (Basic, RFC 7617), against a file as htpasswd writes it,
// with bcrypt or Argon2id.
//
// Such a hash is slow on purpose, so it is never computed on a loop: the exchange waits while a goroutine computes. What was
// verified is remembered for a while, by a hash of name and password under a key that only this process has, so that a client that
// sends both with each request costs one slow hash a minute. Three things bound what somebody who guesses can make the gateway do:
// the queue in front of the goroutines, which answers 503 when it is full; a pause for each client that grows with its failures;
// and one computation only for the same credentials, however many requests bring them.
//
// A name that nobody has costs as much as one that somebody has: the password is then compared with the hash of somebody
// else, chosen by the name, and the result thrown away.
package basicauth
