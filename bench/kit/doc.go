// Package kit measures packages of the service kit beside what most Go programs use for the same thing: both sides of a row
// in the same process, one directly after the other, over and over, so that a drift of the machine falls on both. It is a
// module of its own, so that the others stay out of that of the repository.
//
//	cd bench/kit && go test -run TestReport -timeout 30m -report ../KIT.md
//
// A Row is one kind of work, done by two sides. Measure times one side. Load asks caches on a real redis-server as three
// nodes of a service would.
package kit
