// Package admin is the admin API: an HTTP server, on an address of its own, through which people, scripts and Prometheus
// ask a running gateway what it does and tell it what to do. docs/reference/admin.md is its reference.
//
// It owns the server, its bounds and the guards against requests that a web page slipped into somebody's browser. It
// deliberately decides nothing about the gateway: every answer is read from, and every order given to, control.Controller.
// It never shares a listener with the data plane, so that no request to a proxy can reach it, and it runs on net/http: a
// mistake in our engine must not take away the means to see it.
package admin
