/* load: many HTTP/1.1 clients and their origin on one thread, so that the proxy between them can have a core to itself.
 * Every request carries a number and every answer must bring it back, so an answer that reached the wrong client is an
 * error and not a faster result.
 *
 *   load -g GATEWAY_PORT -o ORIGIN_PORT [-c CONNECTIONS] [-d SECONDS] [-w WARM_SECONDS] [-b BODY_BYTES]
 *        [-r REQUESTS_PER_SECOND | -i SETTLE_SECONDS] [-x] [-H FIELDS] [PID...]
 *
 * Without -r and -i each connection asks again as soon as it was answered (closed loop): what a proxy can do. With -r
 * requests fall due at a fixed rate and a latency counts from when its request fell due (open loop): what a client
 * feels, waiting for a free connection included. With -i each connection asks once, then all are held open and idle.
 * With -x another program is the origin, whose answers bring no number back. -H adds header fields to every request,
 * with CRLF between them.
 * Between the end of the warm-up and the end of the run the CPU time of the processes PID is taken.
 * Prints one line of JSON.
 */
#include "process.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum {
	FDS_MAX = 1 << 17,
	EVENTS_MAX = 1024,
	ID_BYTES = 16,
	HEAD_BYTES_MAX = 2048,      /* of a request at the origin, or of a response: ours are a tenth of it */
	BATCH_BYTES = 1 << 20,      /* what an origin connection answers in one send */
	PER_SOURCE_ADDRESS = 20000, /* connections from 127.0.0.2, then 127.0.0.3: each address has 28,000 ports */
	OPEN_PER_MS = 10,           /* connections open gradually: a storm of them is another test */
	HIST_STEPS = 64,            /* per doubling: 1.6 % wide */
};

enum role { NONE, ORIGIN, CONNECTING, CLIENT };
static struct conn {
	enum role role;
	char *in; /* what arrived of a message that is not complete */
	int have;
	long long asked_ns; /* when the request now running was sent, or fell due */
	char id[ID_BYTES];
} conns[FDS_MAX];

static int gateway, origin_port, connections = 64, body_bytes = 128, rate, settle_secs = -1, foreign;
static double secs = 3, warm_secs = 0.5;
static char fields[HEAD_BYTES_MAX / 2];
static char **pids;
static int pid_count, poller;

static long hist[64 * HIST_STEPS];
static long counted, errors, asked, answered;
static char *response; /* head and body; the number goes to response + id_at */
static int response_bytes, id_at;
static int ready[FDS_MAX], ready_count; /* open loop: connections with no request running */

static void watch(int op, int fd, unsigned events) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	epoll_ctl(poller, op, fd, &e);
}

static int hist_slot(long long ns) {
	if (ns < HIST_STEPS) return ns < 0 ? 0 : ns;
	int shift = 63 - __builtin_clzll(ns) - 6; /* log2(HIST_STEPS) */
	return (shift + 1) * HIST_STEPS + (int)((ns >> shift) - HIST_STEPS);
}

static double hist_us(int slot) { /* the middle of a slot */
	if (slot < HIST_STEPS) return slot / 1e3;
	int shift = slot / HIST_STEPS - 1;
	return ((double)(HIST_STEPS + slot % HIST_STEPS) + 0.5) * (double)(1LL << shift) / 1e3;
}

static double percentile_us(double share) {
	long sum = 0, want = (long)(counted * share);
	for (int i = 0; i < 64 * HIST_STEPS; i++)
		if ((sum += hist[i]) > want) return hist_us(i);
	return 0;
}

static void lose(int fd) {
	free(conns[fd].in);
	conns[fd] = (struct conn){0};
	close(fd);
}

static void adopt(int fd, enum role role, int in_bytes) {
	conns[fd] = (struct conn){.role = role, .in = malloc(in_bytes)};
}

static void dial(int nth) {
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	struct sockaddr_in from = loopback(0), to = loopback(gateway);
	if (fd < 0 || fd >= FDS_MAX) {
		perror("client: socket");
		exit(1);
	}
	if (nth >= PER_SOURCE_ADDRESS) {
		from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + nth / PER_SOURCE_ADDRESS);
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
		bind(fd, (void *)&from, sizeof from);
	}
	no_delay(fd);
	connect(fd, (void *)&to, sizeof to);
	adopt(fd, CONNECTING, HEAD_BYTES_MAX + body_bytes);
	watch(EPOLL_CTL_ADD, fd, EPOLLOUT);
}

static void ask(int fd, long long at) {
	char request[HEAD_BYTES_MAX];
	int n = snprintf(request, sizeof request,
		"GET /api/v1/users/42?view=full&id=%016lx HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: load/1\r\n"
		"Accept: application/json\r\nAccept-Language: en\r\nX-Tenant: 0123456789abcdef\r\n%s\r\n", asked++, fields);
	memcpy(conns[fd].id, strstr(request, "&id=") + 4, ID_BYTES);
	conns[fd].asked_ns = at;
	conns[fd].have = 0;
	if (send(fd, request, n, MSG_NOSIGNAL) != n) errors++, lose(fd);
}

/* serve answers every complete request that arrived, in one send. */
static void serve(int fd) {
	static char batch[BATCH_BYTES], arrived[HEAD_BYTES_MAX + BATCH_BYTES / 8];
	struct conn *c = &conns[fd];
	memcpy(arrived, c->in, c->have);
	ssize_t got = recv(fd, arrived + c->have, sizeof arrived - HEAD_BYTES_MAX, 0);
	if (got < 0 && errno == EAGAIN) return;
	if (got <= 0) {
		lose(fd);
		return;
	}
	char *p = arrived, *end = arrived + c->have + got, *stop;
	int len = 0;
	while ((stop = memmem(p, end - p, "\r\n\r\n", 4))) {
		char *id = memmem(p, stop - p, "&id=", 4);
		if (!id || stop - id < 4 + ID_BYTES || len + response_bytes > BATCH_BYTES) {
			errors++, lose(fd);
			return;
		}
		memcpy(batch + len, response, response_bytes);
		memcpy(batch + len + id_at, id + 4, ID_BYTES);
		len += response_bytes;
		p = stop + 4;
	}
	c->have = end - p;
	if (c->have > HEAD_BYTES_MAX) {
		errors++, lose(fd);
		return;
	}
	memcpy(c->in, p, c->have);
	if (len && send(fd, batch, len, MSG_NOSIGNAL) != len) errors++, lose(fd);
}

/* take reads an answer; 1 when it is complete, -1 when it is wrong or the connection is gone. */
static int take(int fd) {
	struct conn *c = &conns[fd];
	ssize_t got = recv(fd, c->in + c->have, HEAD_BYTES_MAX + body_bytes - c->have, 0);
	if (got < 0 && errno == EAGAIN) return 0;
	if (got <= 0) return -1;
	c->have += got;
	char *head_end = memmem(c->in, c->have, "\r\n\r\n", 4);
	if (!head_end) return c->have < HEAD_BYTES_MAX ? 0 : -1;
	char *body = head_end + 4;
	long body_have = c->in + c->have - body;
	if (body_have < body_bytes) return 0;
	return body_have == body_bytes && !memcmp(c->in + 9, "200", 3) && (foreign || !memcmp(body, c->id, ID_BYTES)) ? 1 : -1;
}

static void build_response(void) {
	response = malloc(HEAD_BYTES_MAX + body_bytes);
	response_bytes = snprintf(response, HEAD_BYTES_MAX,
		"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\n"
		"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", body_bytes);
	id_at = response_bytes;
	memset(response + response_bytes, 'x', body_bytes);
	response_bytes += body_bytes;
}

static void options(int argc, char **argv) {
	for (int o; (o = getopt(argc, argv, "g:o:c:d:w:b:r:i:xH:")) != -1;) switch (o) {
		case 'g': gateway = atoi(optarg); break;
		case 'o': origin_port = atoi(optarg); break;
		case 'c': connections = atoi(optarg); break;
		case 'd': secs = atof(optarg); break;
		case 'w': warm_secs = atof(optarg); break;
		case 'b': body_bytes = atoi(optarg); break;
		case 'r': rate = atoi(optarg); break;
		case 'i': settle_secs = atoi(optarg); break;
		case 'x': foreign = 1; break;
		case 'H': snprintf(fields, sizeof fields, "%s\r\n", optarg); break;
		default: exit(2);
		}
	if (!gateway || !origin_port || body_bytes < ID_BYTES || connections < 1 || connections > FDS_MAX / 2 - 16) {
		fprintf(stderr, "usage: load -g GATEWAY_PORT -o ORIGIN_PORT ... (a body has at least %d bytes)\n", ID_BYTES);
		exit(2);
	}
	pids = argv + optind, pid_count = argc - optind;
}

int main(int argc, char **argv) {
	options(argc, argv);
	struct rlimit files = {FDS_MAX, FDS_MAX};
	setrlimit(RLIMIT_NOFILE, &files);
	build_response();
	poller = epoll_create1(0);
	int listener = -1;
	if (!foreign) listener = listen_on(origin_port, SOCK_NONBLOCK), watch(EPOLL_CTL_ADD, listener, EPOLLIN);

	static struct epoll_event events[EVENTS_MAX];
	/* Idle connections are held until all have been answered and the memory has settled, however long that takes. */
	int idle = settle_secs >= 0;
	long long start = now_ns(), warm = start + (long long)(warm_secs * 1e9), end = warm + (long long)(secs * 1e9);
	long long cpu_before = -1, due = warm, window_start = 0, t;
	long rss_before = 0;
	int opened = 0, live = 0;
	for (;;) {
		t = now_ns();
		/* In idle mode the first connection is answered before the second opens: the memory of a proxy that has done
		 * nothing yet is not what a connection adds to. */
		int allowed = idle && !answered ? 1 : 64 + (int)((t - start) / 1000000 * OPEN_PER_MS);
		while (opened < connections && opened < allowed) dial(opened++);
		if (cpu_before < 0 && t >= warm) cpu_before = cpu_ns(pids, pid_count), window_start = now_ns();
		if (rate && cpu_before >= 0)
			for (; due <= t && ready_count; due += 1000000000LL / rate) ask(ready[--ready_count], due);
		if (idle ? answered + errors >= connections || t > start + 120000000000LL : t >= end) break;
		/* An open loop spins while it has a schedule to keep: the kernel's sleep is coarser than what it measures. */
		int n = epoll_wait(poller, events, EVENTS_MAX, rate ? 0 : 10);
		t = now_ns();
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) {
				int c = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
				if (c >= FDS_MAX) close(c);
				else if (c >= 0) no_delay(c), adopt(c, ORIGIN, HEAD_BYTES_MAX), watch(EPOLL_CTL_ADD, c, EPOLLIN);
				continue;
			}
			switch (conns[fd].role) {
			case NONE: break; /* lost earlier in this turn */
			case ORIGIN: serve(fd); break;
			case CONNECTING:
				conns[fd].role = CLIENT, live++;
				watch(EPOLL_CTL_MOD, fd, EPOLLIN);
				if (rate) ready[ready_count++] = fd;
				else ask(fd, now_ns());
				break;
			case CLIENT: {
				int done = take(fd);
				if (done < 0) errors++, live--, lose(fd);
				if (done <= 0) break;
				if (!answered++) rss_before = rss_kb(pids, pid_count);
				if (cpu_before >= 0 && conns[fd].asked_ns >= window_start)
					hist[hist_slot(t - conns[fd].asked_ns)]++, counted++;
				if (rate) ready[ready_count++] = fd;
				else if (!idle) ask(fd, t);
			}
			}
		}
	}
	long long cpu = cpu_before < 0 ? 0 : cpu_ns(pids, pid_count) - cpu_before;
	double window_secs = (t - (window_start ? window_start : start)) / 1e9;
	if (idle) sleep(settle_secs);
	printf("{\"requests\":%ld,\"errors\":%ld,\"connections\":%d,\"seconds\":%.3f,\"rps\":%.0f,\"cpu_ns\":%lld,"
		"\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"rss_before_kb\":%ld,\"rss_kb\":%ld}\n",
		counted, errors, live, window_secs, counted / window_secs, cpu,
		percentile_us(0.5), percentile_us(0.99), percentile_us(0.999), rss_before, rss_kb(pids, pid_count));
	return 0;
}
