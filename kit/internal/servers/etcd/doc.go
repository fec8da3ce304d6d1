// Package etcd runs real etcd members for tests, each in a process of its own, so that a test can kill it with SIGKILL,
// freeze it with SIGSTOP and start it again on the same data and the same ports.
//
// The process is the test binary itself, run a second time: a package that uses this one calls Main at the beginning of
// its TestMain, where the second run becomes an etcd member instead of running tests.
//
//	func TestMain(m *testing.M) {
//		etcd.Main()
//		goleak.VerifyTestMain(m)
//	}
//
//	func TestWhatHappensWithoutEtcd(t *testing.T) {
//		s := etcd.Start(t)
//		... s.Endpoints() ...
//		s.Kill()
//		s.Restart()
//	}
//
// Everything listens on 127.0.0.1, keeps its data in t.TempDir() and ends with the test, also when the test process is
// killed. Methods of a Server are for one goroutine at a time; Endpoints is for any.
package etcd
