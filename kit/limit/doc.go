// Package limit refuses requests that come too often, or too many at a time: as middleware for net/http, as interceptors
// for gRPC, as a round tripper for a client that is to spare others, or asked directly. It counts by key (a user, a tenant,
// an address), exactly over all goroutines of the process; with a Store, over all processes that share it. The limits are
// those of the Yumen gateway, to the same numbers, and a limit of this package and one of a gateway that have the same name
// in the same Redis are one limit.
//
//	perUser, err := limit.New(limit.Config{Name: "per-user", Count: 100, Per: time.Second, Burst: 200})
//	...
//	http.ListenAndServe(":8080", perUser.Middleware(func(r *http.Request) string { return r.Header.Get("X-User") })(mux))
//
// # What it promises
//
// Each algorithm has a bound that no interval exceeds, whatever arrives, see Algorithm. The number of keys is bounded
// (Config.KeysMax): a new key takes the place of one that has nothing used, else of one that has used the least and no more than
// half; if there is none, keys without a place share one count. So a flood of keys costs those who bring it, and memory stays.
//
// Shadow mode judges and counts and refuses nothing. Set changes a limit while it is in use, and keys keep what they have
// used. Every decision has its numbers: in the Error of a refusal, and in Config.OnDecision.
//
// # When things fail
//
// Without a Store nothing can. With one, Config.Unreachable says what becomes of requests while it cannot be reached, after
// what was granted before is spent; no request waits longer than two of the store's timeouts.
//
// # Concurrency
//
// All methods may be called from any goroutine at any time. A decision for a key that is known takes no lock: what is known of
// it is one word, swapped atomically, so that the limit is exact. Keys that come for the first time meet at one of 32 locks.
package limit
