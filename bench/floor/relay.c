/* relay: the floor under every proxy with one upstream connection per client. It passes bytes between a client and an
 * origin with one recv and one send per message, on one thread, and knows no HTTP: what it costs is what the kernel
 * charges for the sockets, and whatever a proxy costs more is the proxy.
 *
 *   relay LISTEN_PORT ORIGIN_PORT        loopback only, runs until it is killed
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FDS_MAX = 1 << 17, EVENTS_MAX = 512, CHUNK_BYTES = 1 << 16 };

/* The other side of each descriptor, 0 for none. What a full peer did not take waits in rest, and its source is not
 * read until it left: a slow reader costs one chunk, as it does in the proxies measured beside this one. */
static int peer[FDS_MAX];
static struct rest {
	char *bytes;
	size_t len;
} rest[FDS_MAX];
static char chunk[CHUNK_BYTES];
static int poller;

static struct sockaddr_in loopback(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static void watch(int op, int fd, unsigned events) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	epoll_ctl(poller, op, fd, &e);
}

static void hang_up(int fd) {
	int other = peer[fd];
	peer[fd] = peer[other] = 0;
	free(rest[fd].bytes), free(rest[other].bytes);
	rest[fd] = rest[other] = (struct rest){0};
	close(fd), close(other);
}

static void join(int client, const struct sockaddr_in *origin) {
	int one = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (server < 0 || server >= FDS_MAX || client >= FDS_MAX ||
	    (connect(server, (const void *)origin, sizeof *origin) && errno != EINPROGRESS)) {
		if (server >= 0) close(server);
		close(client);
		return;
	}
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	peer[client] = server, peer[server] = client;
	watch(EPOLL_CTL_ADD, client, EPOLLIN), watch(EPOLL_CTL_ADD, server, EPOLLIN);
}

/* put_off keeps what `to` did not take and stops reading its source. */
static void put_off(int from, int to, const char *bytes, size_t len) {
	rest[to].bytes = malloc(len);
	if (!rest[to].bytes) {
		hang_up(from);
		return;
	}
	memcpy(rest[to].bytes, bytes, len);
	rest[to].len = len;
	watch(EPOLL_CTL_MOD, from, 0);
	watch(EPOLL_CTL_MOD, to, EPOLLIN | EPOLLOUT);
}

static void pass(int from) {
	int to = peer[from];
	ssize_t got = recv(from, chunk, sizeof chunk, 0), sent;
	if (got < 0 && errno == EAGAIN) return;
	if (got <= 0) {
		hang_up(from);
		return;
	}
	sent = send(to, chunk, got, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) {
		hang_up(from);
		return;
	}
	if (sent < 0) sent = 0;
	if (sent < got) put_off(from, to, chunk + sent, got - sent);
}

static void finish(int to) {
	int from = peer[to];
	struct rest *r = &rest[to];
	ssize_t sent = send(to, r->bytes, r->len, MSG_NOSIGNAL);
	if (sent < 0) {
		if (errno != EAGAIN) hang_up(to);
		return;
	}
	r->len -= sent;
	memmove(r->bytes, r->bytes + sent, r->len);
	if (r->len) return;
	free(r->bytes);
	r->bytes = NULL;
	watch(EPOLL_CTL_MOD, to, rest[from].len ? EPOLLOUT : EPOLLIN);
	watch(EPOLL_CTL_MOD, from, EPOLLIN | (rest[from].len ? EPOLLOUT : 0));
}

int main(int argc, char **argv) {
	if (argc != 3) {
		fprintf(stderr, "usage: relay LISTEN_PORT ORIGIN_PORT\n");
		return 2;
	}
	struct sockaddr_in self = loopback(atoi(argv[1])), origin = loopback(atoi(argv[2]));
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, (void *)&self, sizeof self) || listen(listener, 4096)) {
		perror("relay: listening");
		return 1;
	}
	poller = epoll_create1(0);
	watch(EPOLL_CTL_ADD, listener, EPOLLIN);
	static struct epoll_event events[EVENTS_MAX];
	for (;;) {
		int n = epoll_wait(poller, events, EVENTS_MAX, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd == listener) {
				int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
				if (client >= 0) join(client, &origin);
				continue;
			}
			if (peer[fd] && events[i].events & EPOLLOUT && rest[fd].len) finish(fd);
			if (peer[fd] && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !rest[peer[fd]].len) pass(fd);
		}
	}
}
