package config

import (
	"strings"
	"unicode/utf8"
)

// foreign maps words people bring from other gateways to ours, in order of preference: the first one known where the
// word was met is offered. Values of choices (least_conn) and keys (proxy_pass) share the table, since a word is
// foreign wherever it stands.
var foreign = map[string][]string{
	// Parts of a document.
	"upstream":        {"cluster", "clusters"},
	"upstreams":       {"clusters", "endpoints"},
	"upstream_group":  {"cluster", "clusters"},
	"backend":         {"cluster", "clusters"},
	"backends":        {"clusters", "endpoints"},
	"service":         {"cluster", "clusters"},
	"services":        {"clusters"},
	"pool":            {"connections", "clusters"},
	"pools":           {"clusters"},
	"servers":         {"endpoints", "listeners"},
	"server":          {"endpoints", "listeners"},
	"nodes":           {"endpoints"},
	"targets":         {"endpoints"},
	"hosts":           {"host", "endpoints"},
	"instances":       {"endpoints"},
	"load_assignment": {"endpoints"},
	"location":        {"routes", "path"},
	"locations":       {"routes"},
	"routers":         {"routes"},
	"rules":           {"routes"},
	"http":            {"routes", "listeners"},
	"virtual_hosts":   {"routes"},
	"frontend":        {"listeners"},
	"frontends":       {"listeners"},
	"entrypoints":     {"listeners"},
	"bind":            {"listen", "address"},
	"port":            {"listen", "address"},
	"middlewares":     {"filters"},
	"middleware":      {"filters"},
	"plugins":         {"filters"},
	"http_filters":    {"filters"},
	"handlers":        {"filters"},
	"http2":           {"protocols", "protocol"},
	"h2":              {"protocols", "protocol"},
	"h2c":             {"protocols", "protocol"},
	"alpn":            {"protocols", "protocol"},
	"grpc":            {"protocols", "protocol"},
	"alpn_protocols":  {"protocols", "protocol"},
	"mode":            {"protocols", "protocol"},
	"ports":           {"listen", "address"},
	// Of TLS.
	"ssl":                    {"tls"},
	"scheme":                 {"tls"},
	"https":                  {"tls"},
	"transport_socket":       {"tls"},
	"tls_context":            {"tls"},
	"certs":                  {"certificates", "cert"},
	"certificate":            {"cert", "certificates"},
	"cert_file":              {"cert"},
	"certificate_chain":      {"cert"},
	"crt":                    {"cert"},
	"pem":                    {"cert"},
	"ssl_certificate":        {"cert"},
	"private_key":            {"key"},
	"key_file":               {"key"},
	"ssl_certificate_key":    {"key"},
	"ca_file":                {"ca"},
	"ca_cert":                {"ca"},
	"cafile":                 {"ca"},
	"root_ca":                {"ca"},
	"roots":                  {"ca"},
	"trusted_ca":             {"ca"},
	"client_ca":              {"client_certificates"},
	"client_auth":            {"client_certificates"},
	"mtls":                   {"client_certificates"},
	"verify_client":          {"client_certificates"},
	"ssl_client_certificate": {"client_certificates"},
	"servername":             {"sni"},
	"proxy_ssl_name":         {"sni"},
	"insecure":               {"verify"},
	"insecure_skip_verify":   {"verify"},
	"skip_verify":            {"verify"},
	"proxy_ssl_verify":       {"verify"},
	"ssl_protocols":          {"min_version"},
	"minimum_version":        {"min_version"},
	"tls_minimum_version":    {"min_version"},
	"ciphers":                {"cipher_suites"},
	"ssl_ciphers":            {"cipher_suites"},
	"ecdh_curves":            {"curves"},
	"groups":                 {"curves"},
	"session_tickets":        {"tickets"},
	"ssl_session_tickets":    {"tickets"},
	"letsencrypt":            {"acme"},
	"lets_encrypt":           {"acme"},
	"autocert":               {"acme"},
	"certbot":                {"acme"},
	"auto_https":             {"acme"},
	"certresolver":           {"acme"},
	"contact":                {"email"},
	"agree":                  {"accept_terms"},
	"agree_tos":              {"accept_terms"},
	"tos":                    {"accept_terms"},
	"cache":                  {"storage"},
	"server_url":             {"directory"},
	// Of HTTP/2, gRPC and bytes.
	"max_concurrent_streams":          {"streams"},
	"max_streams":                     {"streams"},
	"http2_max_concurrent_streams":    {"streams"},
	"max_connection_age":              {"max_age"},
	"max_connection_duration":         {"max_age"},
	"keepalive_time":                  {"max_age", "idle_timeout"},
	"accept_proxy":                    {"proxy_protocol"},
	"send_proxy":                      {"proxy_protocol"},
	"send_proxy_v2":                   {"proxy_protocol"},
	"passthrough":                     {"protocols"},
	"ssl_passthrough":                 {"protocols"},
	"grpc_service":                    {"grpc", "service"},
	"service_name":                    {"service"},
	"method":                          {"methods"},
	"grpc_transcoder":                 {"transcode"},
	"grpc_json_transcoder":            {"transcode"},
	"grpc_gateway":                    {"transcode"},
	"grpcweb":                         {"grpc_web"},
	"proto":                           {"descriptors"},
	"proto_descriptor":                {"descriptors"},
	"descriptor":                      {"descriptors"},
	"descriptor_set":                  {"descriptors"},
	"always_print_primitive_fields":   {"always_print_fields"},
	"emit_defaults":                   {"always_print_fields"},
	"preserve_proto_field_names":      {"preserve_proto_names"},
	"use_proto_names":                 {"preserve_proto_names"},
	"always_print_enums_as_ints":      {"enums_as_numbers"},
	"discard_unknown":                 {"unknown_fields"},
	"ignore_unknown_query_parameters": {"unknown_fields"},
	"unavailable":                     {"grpc_unavailable"},
	"resource_exhausted":              {"grpc_resource_exhausted"},
	"deadline_exceeded":               {"grpc_deadline_exceeded"},
	"cancelled":                       {"grpc_cancelled"},
	"canceled":                        {"grpc_cancelled"},
	"grpc_canceled":                   {"grpc_cancelled"},
	"aborted":                         {"grpc_aborted"},
	"internal":                        {"grpc_internal"},
	// Of a route.
	"proxy_pass":    {"cluster"},
	"reverse_proxy": {"cluster"},
	"proxy":         {"cluster"},
	"to":            {"cluster", "redirect"},
	"forward":       {"cluster"},
	"uri":           {"routes", "path"},
	"url":           {"routes", "path", "address", "to"},
	"prefix":        {"routes", "path"},
	"pattern":       {"routes", "path"},
	"domain":        {"host"},
	"domains":       {"host"},
	"server_name":   {"sni", "host"},
	"hostname":      {"host"},
	"verb":          {"methods"},
	"verbs":         {"methods"},
	"return":        {"respond", "redirect"},
	"response":      {"respond"},
	"static":        {"respond"},
	"code":          {"status"},
	"rewrite":       {"filters"},
	"num_retries":   {"attempts", "retry"},
	"retries":       {"retry", "attempts"},
	"retry_policy":  {"retry"},
	"retry_on":      {"on"},
	"hash_policy":   {"hash_on"},
	"sticky":        {"hash_on"},
	// Of a cluster.
	"lb":                {"balance"},
	"lb_policy":         {"balance"},
	"load_balancer":     {"balance"},
	"load_balancing":    {"balance"},
	"balancer":          {"balance"},
	"policy":            {"algorithm", "balance"},
	"type":              {"algorithm"},
	"health_check":      {"health"},
	"health_checks":     {"health"},
	"healthcheck":       {"health"},
	"checks":            {"health"},
	"health_uri":        {"health"},
	"passive":           {"eject"},
	"outlier_detection": {"eject"},
	"max_fails":         {"eject", "failures"},
	"backup":            {"priority"},
	"keepalive":         {"idle", "connections"},
	"connection_pool":   {"connections"},
	"max_connections":   {"connections", "per_endpoint"},
	"circuit_breakers":  {"connections"},
	"unhealthy":         {"failures"},
	"healthy":           {"successes"},
	"rise":              {"successes"},
	"fall":              {"failures"},
	"resolver":          {"dns"},
	// Of the access log.
	"request_time":           {"duration_us"},
	"latency":                {"duration_us"},
	"duration":               {"duration_us"},
	"elapsed":                {"duration_us"},
	"upstream_response_time": {"first_byte_us"},
	"first_byte_time":        {"first_byte_us"},
	"ttfb":                   {"first_byte_us"},
	"upstream_addr":          {"endpoint"},
	"upstream_host":          {"endpoint"},
	"upstream_cluster":       {"cluster"},
	"body_bytes_sent":        {"bytes_out"},
	"bytes_sent":             {"bytes_out"},
	"bytes_received":         {"bytes_in"},
	"request_length":         {"bytes_in"},
	"response_code":          {"status"},
	"status_code":            {"status"},
	"response_flags":         {"reason"},
	"request_method":         {"method"},
	"request_uri":            {"path"},
	"http_user_agent":        {"user_agent"},
	"http_referer":           {"referer"},
	"timestamp":              {"time"},
	// Limits and times.
	"timeout":                 {"timeouts"},
	"read_timeout":            {"between_bytes", "timeouts"},
	"connect_timeout":         {"connect", "timeouts"},
	"proxy_read_timeout":      {"first_byte", "timeouts"},
	"proxy_connect_timeout":   {"connect", "timeouts"},
	"client_header_timeout":   {"head", "timeouts"},
	"keepalive_timeout":       {"idle_timeout", "idle", "timeouts"},
	"client_max_body_size":    {"body_bytes", "limits"},
	"max_body_size":           {"body_bytes", "limits"},
	"worker_connections":      {"connections", "limits"},
	"worker_processes":        {"loops", "limits"},
	"workers":                 {"loops", "limits"},
	"global":                  {"defaults"},
	"trusted_proxies":         {"forwarded_from", "trust"},
	"set_real_ip_from":        {"forwarded_from", "trust"},
	"use_remote_address":      {"trust"},
	"xff_num_trusted_hops":    {"forwarded_from", "trust"},
	"x_request_id":            {"request_id"},
	"correlation_id":          {"request_id"},
	"log":                     {"access_log"},
	"logs":                    {"access_log"},
	"logging":                 {"access_log"},
	"prometheus":              {"metrics", "telemetry"},
	"api":                     {"admin"},
	"shutdown_timeout":        {"drain"},
	"graceful_timeout":        {"drain"},
	"proxy_set_header":        {"filters", "set"},
	"request_headers_to_add":  {"filters"},
	"response_headers_to_add": {"filters"},
	"append":                  {"add"},
	"delete":                  {"remove"},
	"strip":                   {"strip_prefix"},
	"stripprefix":             {"strip_prefix"},
	"addprefix":               {"prefix"},
	"preserve_host":           {"host"},
	"unhealthy_threshold":     {"failures"},
	"healthy_threshold":       {"successes"},
	"expected_statuses":       {"expect"},
	"max_ejection_percent":    {"max_share"},
	"base_ejection_time":      {"base"},
	"consecutive_5xx":         {"failures"},
	"healthy_panic_threshold": {"panic_threshold"},
	"max_requests_per_conn":   {"max_requests"},
	"dns_refresh_rate":        {"refresh", "dns"},
	"least_conn":              {"least_request", "balance"},
	"least_connections":       {"least_request", "balance"},
	"leastconn":               {"least_request", "balance"},
	"rr":                      {"round_robin", "balance"},
	"roundrobin":              {"round_robin", "balance"},
	"wrr":                     {"weighted", "balance"},
	"weighted_round_robin":    {"weighted", "balance"},
	"p2c":                     {"two_choices", "balance"},
	"ewma":                    {"two_choices", "balance"},
	"peak_ewma":               {"two_choices"},
	"random_two":              {"two_choices", "balance"},
	"power_of_two_choices":    {"two_choices"},
	"hash":                    {"maglev", "hash_on"},
	"ip_hash":                 {"maglev", "balance"},
	"chash":                   {"maglev", "balance"},
	"consistent_hash":         {"maglev", "balance"},
	"ring_hash":               {"maglev", "balance"},
	"source":                  {"maglev", "client_address"},
	"client_ip":               {"client_address", "client"},
	"remote_addr":             {"client_address", "client"},
	"ip":                      {"client_address"},
	"param":                   {"path_param"},
	"connect-failure":         {"connect"},
	"connect_failure":         {"connect"},
	"gateway-error":           {"502-504"},
	"gateway_error":           {"502-504"},
	"error":                   {"connect"},
	"none":                    {"off"},
	"disabled":                {"off"},
	"equals":                  {"exact"},
	"starts_with":             {"prefix"},
	"ends_with":               {"suffix"},
	"regexp":                  {"regex"},
	"safe_regex":              {"regex"},
	"exists":                  {"present"},
	"invert":                  {"not"},
	"x_forwarded":             {"x-forwarded"},
	"xff":                     {"x-forwarded"},
	"x_forwarded_for":         {"x-forwarded"},
	"rfc7239":                 {"forwarded"},
}

// candidatesMax bounds how many known words one unknown word is compared with; a document may name 100,000 clusters
// and misspell each.
const candidatesMax = 2000

// suggest returns the known word most likely meant by word, or "". A foreign word is translated; otherwise the
// nearest by edit distance is taken, if it is near: one slip in three letters.
func suggest(word string, known []string) string {
	if word == "" || len(word) > quotedMax || len(known) == 0 {
		return ""
	}
	if len(known) > candidatesMax {
		known = known[:candidatesMax]
	}
	folded := fold(word)
	for _, k := range known {
		if fold(k) == folded {
			return k
		}
	}
	for _, ours := range append(foreign[strings.ToLower(word)], foreign[folded]...) {
		for _, k := range known {
			if k == ours {
				return k
			}
		}
	}
	best, bestDistance := "", max(1, utf8.RuneCountInString(word)/3)+1
	for _, k := range known {
		if diff := len(k) - len(folded); diff >= bestDistance || -diff >= 4*bestDistance {
			continue
		}
		if n := distance(folded, fold(k)); n < bestDistance {
			best, bestDistance = k, n
		}
	}
	return best
}

// didYouMean is the sentence for a suggestion, or "" for none.
func didYouMean(word string, known []string) string {
	if s := suggest(word, known); s != "" {
		return "did you mean " + quote(s) + "?"
	}
	return ""
}

// fold removes the differences in spelling nobody means: case, and dash for underscore.
func fold(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// distance counts the insertions, deletions, substitutions and swaps of neighbours between a and b (the restricted
// Damerau-Levenshtein distance): "clutser" is one slip from "cluster", not two.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, above, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			change := above[j-1]
			if x[i-1] != y[j-1] {
				change++
			}
			row[j] = min(change, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(y)]
}
