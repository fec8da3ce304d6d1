// Package upgrade hands a running gateway's listening sockets to a new process of the program, so that a new binary takes
// over without a connection being refused.
//
// The old process starts the binary with the sockets as inherited descriptors and one end of a Unix socket pair, and the
// two agree in six words, one a line:
//
//	old            new
//	manifest  -->        which descriptor listens where
//	          <--  ready  the configuration is loaded, everything is built and warm; nothing is accepted yet
//	state     -->        what was set while the old process ran, as late as can be; it changes nothing of it from here on
//	go        -->        from here on the new one accepts too; both do
//	          <--  serving
//	(drains)       (carries on alone)
//
// A new process that ends, says "failed" or says nothing in time before "serving" is ended, and the old one carries on as
// if nothing had happened: until "go" it has not accepted a connection, so none is lost with it. Connections that
// wait in the kernel's queues belong to the sockets, not to a process; closing the old process's descriptors resets none.
//
// The manifest says that there is a state, and only a successor that says "ready state" gets it: so a program that knows of none
// may stand on either side.
//
// The package knows descriptors and words. It builds no gateway, closes no listener and drains nothing.
package upgrade
