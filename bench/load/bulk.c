/* bulk: large bodies through a proxy, a thread for each client and each origin connection.
 *
 *   bulk -g GATEWAY_PORT -o ORIGIN_PORT -m down|up|slow [-n BODY_BYTES] [-c CONNECTIONS] [-s SETTLE_SECONDS] [PID...]
 *
 * down: each client fetches one body. up: each client sends one. slow: each client asks for one and then reads nothing
 * until the proxy's memory has settled. CPU time and memory of the processes PID are taken meanwhile.
 * Prints one line of JSON.
 */
#include "process.h"
#include <pthread.h>
#include <signal.h>

enum { CHUNK_BYTES = 1 << 18, HEAD_BYTES_MAX = 4096, SAMPLE_MS = 20, STALL_SECS = 20, CLIENTS_MAX = 4096 };

static int gateway, origin_port, clients = 1, settle_secs = 2;
static long long body_bytes = 1LL << 30;
static enum { DOWN, UP, SLOW } mode;
static char chunk[CHUNK_BYTES]; /* zeros, sent by everyone */
static long long moved, wrong;  /* atomically */
static int finished;            /* clients that are done, atomically */
static volatile int over;       /* slow clients may hang up */

static int send_all(int fd, const char *bytes, long long len) {
	while (len > 0) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n <= 0) return 0;
		bytes += n, len -= n;
	}
	return 1;
}

static int send_body(int fd) {
	for (long long left = body_bytes; left > 0; left -= CHUNK_BYTES)
		if (!send_all(fd, chunk, left < CHUNK_BYTES ? left : CHUNK_BYTES)) return 0;
	return 1;
}

/* read_head reads up to the end of a head; what of the body came with it is in *extra. 0 when there is none. */
static int read_head(int fd, char *head, long long *extra) {
	int have = 0;
	for (;;) {
		ssize_t n = recv(fd, head + have, HEAD_BYTES_MAX - 1 - have, 0);
		if (n <= 0) return 0;
		head[have += n] = 0;
		char *end = strstr(head, "\r\n\r\n");
		if (end) {
			*extra = head + have - (end + 4);
			return 1;
		}
		if (have == HEAD_BYTES_MAX - 1) return 0;
	}
}

/* read_body reads len bytes; a body that ends early or never comes is wrong. */
static int read_body(int fd, long long len) {
	char *sink = malloc(CHUNK_BYTES);
	ssize_t n = 1;
	while (len > 0 && (n = recv(fd, sink, len < CHUNK_BYTES ? len : CHUNK_BYTES, 0)) > 0) len -= n;
	free(sink);
	return len == 0;
}

static void *origin_connection(void *arg) {
	int fd = (int)(long)arg;
	char head[HEAD_BYTES_MAX], answer[256];
	long long extra;
	while (read_head(fd, head, &extra)) {
		int post = !strncmp(head, "POST", 4);
		if (post && !read_body(fd, body_bytes - extra)) break;
		int n = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n", post ? 0 : body_bytes);
		if (!send_all(fd, answer, n) || (!post && !send_body(fd))) break;
	}
	close(fd);
	return NULL;
}

static void spawn(void *(*run)(void *), long arg) {
	pthread_t thread;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 18);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (pthread_create(&thread, &attr, run, (void *)arg)) perror("bulk: thread"), exit(1);
}

static void *origin(void *arg) {
	for (int listener = (int)(long)arg, fd; (fd = accept(listener, NULL, NULL)) >= 0;) spawn(origin_connection, fd);
	return NULL;
}

static int exchange(int fd) {
	char head[HEAD_BYTES_MAX];
	long long extra;
	int n = mode == UP
		? snprintf(head, sizeof head, "POST /bulk HTTP/1.1\r\nHost: bench.local\r\nContent-Length: %lld\r\n\r\n", body_bytes)
		: snprintf(head, sizeof head, "GET /bulk HTTP/1.1\r\nHost: bench.local\r\n\r\n");
	if (!send_all(fd, head, n) || (mode == UP && !send_body(fd)) || !read_head(fd, head, &extra)) return 0;
	if (strncmp(head + 9, "200", 3)) return 0;
	if (mode == SLOW) {
		__atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
		while (!over) usleep(SAMPLE_MS * 1000);
		return 1;
	}
	return mode == UP || read_body(fd, body_bytes - extra);
}

static void *client(void *arg) {
	(void)arg;
	struct sockaddr_in to = loopback(gateway);
	/* A proxy that stops moving bytes is an error, not a hang of the measurement. */
	struct timeval stall = {STALL_SECS, 0};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof stall);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &stall, sizeof stall);
	int ok = !connect(fd, (void *)&to, sizeof to) && exchange(fd);
	__atomic_add_fetch(ok ? &moved : &wrong, ok ? body_bytes : 1, __ATOMIC_SEQ_CST);
	if (!ok || mode != SLOW) __atomic_add_fetch(&finished, 1, __ATOMIC_SEQ_CST);
	close(fd);
	return NULL;
}

int main(int argc, char **argv) {
	for (int o; (o = getopt(argc, argv, "g:o:m:n:c:s:")) != -1;) switch (o) {
		case 'g': gateway = atoi(optarg); break;
		case 'o': origin_port = atoi(optarg); break;
		case 'm': mode = !strcmp(optarg, "up") ? UP : !strcmp(optarg, "slow") ? SLOW : DOWN; break;
		case 'n': body_bytes = atoll(optarg); break;
		case 'c': clients = atoi(optarg); break;
		case 's': settle_secs = atoi(optarg); break;
		default: return 2;
		}
	if (!gateway || !origin_port || clients < 1 || clients > CLIENTS_MAX) {
		fprintf(stderr, "usage: bulk -g GATEWAY_PORT -o ORIGIN_PORT -m down|up|slow ...\n");
		return 2;
	}
	char **pids = argv + optind;
	int pid_count = argc - optind;
	signal(SIGPIPE, SIG_IGN);
	spawn(origin, listen_on(origin_port, 0));

	long rss_before = rss_kb(pids, pid_count), rss_peak = rss_before, rss;
	long long cpu = cpu_ns(pids, pid_count), start = now_ns(), t = start, settled = 0;
	for (int i = 0; i < clients; i++) spawn(client, i);
	for (;; usleep(SAMPLE_MS * 1000)) {
		t = now_ns();
		if ((rss = rss_kb(pids, pid_count)) > rss_peak) rss_peak = rss;
		if (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) < clients) continue;
		if (mode != SLOW) break;
		if (!settled) settled = t + settle_secs * 1000000000LL;
		if (t >= settled) break;
	}
	cpu = cpu_ns(pids, pid_count) - cpu;
	over = 1;
	printf("{\"bytes\":%lld,\"errors\":%lld,\"connections\":%d,\"seconds\":%.3f,\"cpu_ns\":%lld,\"rss_before_kb\":%ld,\"rss_kb\":%ld}\n",
		mode == SLOW ? 0 : moved, wrong, clients, (t - start) / 1e9, cpu, rss_before, rss_peak);
	return 0;
}
