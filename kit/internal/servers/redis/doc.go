// Package redis runs a real redis-server for tests, which can be killed (SIGKILL), frozen (SIGSTOP) and started again on
// the same port.
//
//	func TestWhatHappensWithoutRedis(t *testing.T) {
//		s := redis.Start(t)
//		... s.Addr() ...
//		s.Kill()
//		s.Restart()
//	}
//
// It listens on 127.0.0.1 and keeps its data in a folder of its own. By itself it writes nothing to disk, so that whoever
// is killed has forgotten everything; Start(t, "--appendonly", "yes", "--appendfsync", "always") remembers. Everything
// ends with the test, also when the test process is killed (on Linux). Methods of a Server are for one goroutine at a time; Addr
// is for any.
//
// Where redis-server is not installed tests are skipped, and fail where the environment says CI.
package redis
