// Package mariadb runs the distribution's MariaDB server for tests: on a free port of the loopback interface, with a row
// binlog, and so that a test can kill it, freeze it and start it again under whatever talks to it.
//
// Start gives a server to one test, which may do to it what it likes. Shared gives all tests of a binary the same one,
// which nobody kills; each test makes a database of its own there.
//
//	s := mariadb.Shared(t)
//	db := s.Open(t, s.Database(t))
//
// No server outlives the test binary, however that ends: each has a shell as its parent that reads from a pipe to the
// binary, and when the pipe ends, kills the server and removes its data. Nothing here leaves a goroutine behind, so goleak
// needs no exception.
//
// Without the programs mariadbd and mariadb-install-db a test is skipped, and fails where CI is set in the environment;
// both say which package has them.
//
// The methods of a Server may be called by several goroutines, except that Kill, Stop, Freeze, Thaw and Restart are for one
// at a time.
package mariadb
