package metrics

import "github.com/prometheus/client_golang/prometheus"

// family is one metric family as users know it. The names are a promise: a rename is a breaking change.
type family struct {
	name   string
	kind   prometheus.ValueType // zero for a histogram
	labels []string
	help   string
}

const (
	counterKind   = prometheus.CounterValue
	gaugeKind     = prometheus.GaugeValue
	histogramKind = prometheus.ValueType(0)
)

// The families, in the order in which they are documented.
const (
	famRequests = iota
	famRequestDuration
	famRequestBytes
	famResponseBytes
	famRequestsStarted
	famRequestsRunning
	famRoutesFolded
	famAnswers
	famRefusals

	famGuardDecisions
	famGuardNumbers
	famSplitRequests
	famSplitWeights

	famConnsAccepted
	famConnsOpen
	famConnsClosed
	famConnsRejected

	famAttempts
	famLatency
	famRetries
	famQueue
	famUpConnsOpened
	famUpConnsReused
	famUpConnsOpen
	famUpConnsIdle
	famEjections
	famOutcomesDropped
	famEndpointHealthy
	famClusterEndpoints
	famEndpointsFolded
	famClustersFolded

	famTurns
	famTurnEvents
	famStaleEvents
	famMailboxWakes
	famAcceptsExhausted
	famAcceptsRefused
	famAcceptPauses
	famConnsMoved
	famConnsDelayed
	famConnsStarved

	famHandshakes
	famHandshakesRunning
	famHandshakesWaiting
	famCertificateEnds
	famCertificatesFolded
	famDiscoveryState
	famDiscoveryAge
	famDiscoveryEndpoints
	famDiscoveryMissing

	famRevision
	famReloads
	famLastReload
	famLogRecords
	famBuild

	familyCount
)

// families holds the definition of each; it is read only.
var families = [familyCount]family{
	famRequests: {"yumen_requests_total", counterKind, []string{"route", "status"},
		"Requests that ended, by route and class of status; status none: the client left before a response began."},
	famRequestDuration: {"yumen_request_duration_seconds", histogramKind, []string{"route"},
		"Time from the first byte of a request's head to the last byte of its response."},
	famRequestBytes: {"yumen_request_bytes_total", counterKind, []string{"route"},
		"Bytes of heads and bodies received from clients."},
	famResponseBytes: {"yumen_response_bytes_total", counterKind, []string{"route"},
		"Bytes of heads and bodies sent to clients."},
	famRequestsStarted: {"yumen_requests_started_total", counterKind, nil,
		"Well formed requests that began: the running ones, those in yumen_requests_total (but for what ended during the scrape) and those of routes since removed."},
	famRequestsRunning: {"yumen_requests_running", gaugeKind, nil,
		"Requests that began and have not ended."},
	famRoutesFolded: {"yumen_routes_folded", gaugeKind, nil,
		"Routes of the running configuration that are counted under route _other because of the limit on routes."},
	famAnswers: {"yumen_gateway_responses_total", counterKind, []string{"reason"},
		"Responses that the gateway made by itself, by the reason it also sends as x-yumen-reason."},
	famRefusals: {"yumen_requests_refused_total", counterKind, []string{"reason"},
		"Requests refused as malformed before routing; they are not among the started ones."},

	famGuardDecisions: {"yumen_guard_decisions_total", counterKind, []string{"guard", "kind", "mode", "outcome"},
		"What guards made of requests: passed, delayed, refused or degraded; in mode shadow, what they would have."},
	famGuardNumbers: {"yumen_guard_number", gaugeKind, []string{"guard", "kind", "number"},
		"The numbers that a guard is at now; the guide's page of its kind says what they mean."},
	famSplitRequests: {"yumen_split_requests_total", counterKind, []string{"split", "variant", "status"},
		"Requests that ended, by the variant they were given and class of status; status none: the client left before a response began."},
	famSplitWeights: {"yumen_split_weight", gaugeKind, []string{"split", "variant"},
		"The share of the keys that a variant gets now, from 0 to 1."},

	famConnsAccepted: {"yumen_client_connections_accepted_total", counterKind, nil,
		"Client connections accepted. Accepted is open plus closed, at every scrape."},
	famConnsOpen: {"yumen_client_connections_open", gaugeKind, nil,
		"Client connections now open."},
	famConnsClosed: {"yumen_client_connections_closed_total", counterKind, []string{"reason"},
		"Client connections that ended, by reason."},
	famConnsRejected: {"yumen_client_connections_rejected_total", counterKind, []string{"limit"},
		"Client connections turned away, by the limit that was reached; they are not among the accepted ones."},

	famAttempts: {"yumen_upstream_attempts_total", counterKind, []string{"cluster", "outcome"},
		"Attempts to have a request answered by an endpoint, by how they ended."},
	famLatency: {"yumen_upstream_latency_seconds", histogramKind, []string{"cluster"},
		"Time from the start of an attempt to the first byte of its response, of attempts that saw one."},
	famRetries: {"yumen_upstream_retries_total", counterKind, []string{"cluster", "verdict"},
		"Decisions about trying again after an attempt failed."},
	famQueue: {"yumen_upstream_queue_seconds", histogramKind, []string{"cluster"},
		"Time that requests waited for an upstream connection, of requests that had to wait."},
	famUpConnsOpened: {"yumen_upstream_connections_opened_total", counterKind, []string{"cluster"},
		"Connections opened to endpoints."},
	famUpConnsReused: {"yumen_upstream_connections_reused_total", counterKind, []string{"cluster"},
		"Times an idle connection was taken for a request."},
	famUpConnsOpen: {"yumen_upstream_connections_open", gaugeKind, []string{"cluster"},
		"Upstream connections now open, idle ones included."},
	famUpConnsIdle: {"yumen_upstream_connections_idle", gaugeKind, []string{"cluster"},
		"Upstream connections now idle."},
	famEjections: {"yumen_upstream_ejections_total", counterKind, []string{"cluster"},
		"Times an endpoint was taken out of balancing because of its outcomes."},
	famOutcomesDropped: {"yumen_upstream_outcomes_dropped_total", counterKind, []string{"cluster"},
		"Outcomes of live requests that passive checks did not hear of, because they were behind; a loop does not wait for them."},
	famEndpointHealthy: {"yumen_endpoint_healthy", gaugeKind, []string{"cluster", "endpoint"},
		"1 if the endpoint is healthy, 0 if not."},
	famClusterEndpoints: {"yumen_cluster_endpoints", gaugeKind, []string{"cluster", "state"},
		"Endpoints of a cluster by state, healthy or unhealthy; exact also where endpoints are folded."},
	famEndpointsFolded: {"yumen_endpoints_folded", gaugeKind, nil,
		"Endpoints not listed in yumen_endpoint_healthy because of the limit on endpoints."},
	famClustersFolded: {"yumen_clusters_folded", gaugeKind, nil,
		"Clusters of the running configuration that are counted under cluster _other because of the limit on clusters."},

	famTurns: {"yumen_loop_turn_seconds", histogramKind, []string{"loop"},
		"Time of a loop's turn, without the wait for events. A slow turn delays every connection of its loop."},
	famTurnEvents: {"yumen_loop_turn_events", histogramKind, []string{"loop"},
		"Events handled in one turn of a loop."},
	famStaleEvents: {"yumen_loop_stale_events_total", counterKind, []string{"loop"},
		"Events dropped because their socket's slot had gone to another."},
	famMailboxWakes: {"yumen_loop_mailbox_wakes_total", counterKind, []string{"loop"},
		"Turns begun because another goroutine posted to the loop."},
	famAcceptsExhausted: {"yumen_loop_accepts_exhausted_total", counterKind, []string{"loop"},
		"Accepts that failed because the process or the system was out of descriptors."},
	famAcceptsRefused: {"yumen_loop_accepts_refused_total", counterKind, []string{"loop"},
		"Connections closed at once, for want of descriptors; they are not among the accepted ones."},
	famAcceptPauses: {"yumen_loop_accept_pauses_total", counterKind, []string{"loop"},
		"Times a loop stopped accepting for a while, because accepting failed and could not be put right at once."},
	famConnsMoved: {"yumen_loop_connections_moved_total", counterKind, []string{"loop"},
		"Client connections that the loop accepted and handed to one with fewer."},
	famConnsDelayed: {"yumen_loop_connections_delayed_total", counterKind, []string{"loop"},
		"Client connections that had to wait before anything was read, because others from their address were cut off for breaking HTTP/2 or failed in their handshake (timeouts.debt)."},
	famConnsStarved: {"yumen_loop_connections_starved_total", counterKind, []string{"loop"},
		"Times a client connection had to wait with its next request because the loop's buffers were at their limit (limits.buffer_bytes)."},

	famHandshakes: {"yumen_tls_handshakes_total", counterKind, []string{"side", "result"},
		"TLS handshakes that ended, by side (client, upstream): done (in full), resumed (an earlier session), failed, refused (the queue was full), displaced (gave its place to another), challenge (answered an ACME authority). Each is counted once."},
	famHandshakesRunning: {"yumen_tls_handshakes_running", gaugeKind, []string{"side"},
		"TLS handshakes under way, by side; limits.handshakes bounds those with clients."},
	famHandshakesWaiting: {"yumen_tls_handshakes_waiting", gaugeKind, []string{"side"},
		"TLS handshakes that wait for their turn, by side; limits.handshakes_waiting bounds those with clients."},
	famCertificateEnds: {"yumen_certificate_not_after_seconds", gaugeKind, []string{"path", "name"},
		"Unix time at which a certificate in use ends, by path of its file, or for one had by ACME by its first name. Of a file of authorities, the last of them."},
	famCertificatesFolded: {"yumen_certificates_folded", gaugeKind, nil,
		"Certificates not listed in yumen_certificate_not_after_seconds because there are too many; those that end first are."},
	famDiscoveryState: {"yumen_discovery_state", gaugeKind, []string{"cluster", "service", "state"},
		"1 for how it stands with a service in etcd whose instances are endpoints: fresh, stale, from_snapshot, kept, none, unknown."},
	famDiscoveryAge: {"yumen_discovery_state_seconds", gaugeKind, []string{"cluster", "service"},
		"For how long it has stood so with a service in etcd."},
	famDiscoveryEndpoints: {"yumen_discovery_endpoints", gaugeKind, []string{"cluster", "service"},
		"Endpoints in use of a service in etcd."},
	famDiscoveryMissing: {"yumen_discovery_missing", gaugeKind, []string{"cluster", "service"},
		"Of these, those that etcd does not hold now."},

	famRevision: {"yumen_config_revision", gaugeKind, nil,
		"Number of the configuration revision that runs."},
	famReloads: {"yumen_config_reloads_total", counterKind, []string{"result"},
		"Attempts to change the configuration: applied, refused (invalid), failed (valid, not put into effect), rolled_back."},
	famLastReload: {"yumen_config_last_reload_timestamp_seconds", gaugeKind, nil,
		"Unix time of the last attempt to change the configuration; 0 before the first."},
	famLogRecords: {"yumen_access_log_records_total", counterKind, []string{"fate"},
		"Access-log records: written, dropped (a ring was full), lost (the sink failed), skipped (by sampling)."},
	famBuild: {"yumen_build_info", gaugeKind, []string{"version", "commit", "go"},
		"1, with the version of the program in the labels."},
}
