// Package control is the control plane: it builds the data plane of a process, and carries configurations from where they
// come from into force on it.
//
// A Controller owns everything that lives longer than one configuration: the loops and their workers, listening sockets,
// clusters, the metrics registry, the logs, the history of revisions, the watch on the file and the admin API's socket. A
// change goes through a list of named steps (change.go): whatever can fail comes before the step that records it, and
// undoes itself; then the snapshot is swapped; what is no more wanted then ends without harm to a request.
//
// One goroutine owns the Controller's state and carries out one command after the other; what others may see is
// published after each (state.go). The package understands no document (control/config, control/compile), serves no
// admin API (control/admin) and handles no request.
package control
