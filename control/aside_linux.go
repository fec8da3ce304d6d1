package control

import "golang.org/x/sys/unix"

// niceness is that of a thread which works aside: at 10 it weighs a tenth of a loop's (sched(7)).
const niceness = 10

// giveWay lowers the priority of the calling thread. On Linux it is one of the thread alone (setpriority(2)). Where that is
// forbidden the work is done all the same.
func giveWay() { _ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), niceness) }
