/* origin: an upstream that answers everything with the same small body, HTTP/1.1 or HTTP/2 in cleartext as the first bytes
 * of a connection say, on one thread and with as little work as can be: it must never be what a measurement measures.
 *
 *   origin -o PORT [-b BODY_BYTES]
 *
 * It reads no request beyond its framing. Header blocks are not decoded, which RFC 9113 would have as an error of ours,
 * and costs the proxy before us nothing.
 */
#include "process.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum {
	FDS_MAX = 1 << 16,
	EVENTS_MAX = 1024,
	IN_BYTES = 1 << 16, /* of one turn; a frame of more than half of it is refused */
	HEAD_BYTES_MAX = 512,
	STREAMS_MAX = 256,  /* at a time on one connection, as announced */
	FRAME_HEAD = 9,
	WINDOW = 65535,     /* of a connection before it is told otherwise, RFC 9113 section 6.9.2 */
	TABLE_BYTES = 4096, /* of the dynamic table likewise, section 6.5.2 */
};
enum frame { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { HEADER_TABLE_SIZE = 1, INITIAL_WINDOW_SIZE = 4 };

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum { PREFACE = sizeof preface - 1 };

enum protocol { UNKNOWN, HTTP1, HTTP2 };
static struct conn {
	enum protocol protocol;
	char *in, *out;
	int in_have, out_have, out_room;
	int indexed, tables;       /* our fields are in the peer's table; it has one of the usual size */
	int window;                /* what the peer still takes on this connection */
	unsigned ending;           /* the stream whose header block goes on and that ends with it, or 0 */
	unsigned waiting[1 << 12]; /* streams whose body waits for the window */
	int waiting_count;
	int watching_out;
} *conns[FDS_MAX];

static int origin_port, body_bytes = 128, poller;
static char response1[HEAD_BYTES_MAX + (1 << 16)];
static int response1_bytes;
/* The header block three ways: to be put into the table, from the table, and for a peer without one. */
static unsigned char planted[HEAD_BYTES_MAX], indexed[] = {0x88, 0xc1, 0xc0, 0xbf, 0xbe}, bare[HEAD_BYTES_MAX];
static int planted_bytes, bare_bytes;

/* The fields with their numbers in the static table, RFC 7541 appendix A. */
static struct {
	int number;
	const char *value;
} fields[] = {{54, "origin"}, {33, "Sat, 21 Nov 2026 05:00:00 GMT"}, {31, "text/plain"}, {28, NULL /* content-length */}};

static void build(void) {
	static char length[16];
	snprintf(length, sizeof length, "%d", body_bytes);
	fields[3].value = length;
	planted[planted_bytes++] = 0x88; /* :status 200 */
	bare[bare_bytes++] = 0x20;       /* a table of no bytes, section 6.3 */
	bare[bare_bytes++] = 0x88;
	for (int i = 0; i < 4; i++) {
		int n = strlen(fields[i].value);
		planted[planted_bytes++] = 0x40 | fields[i].number;
		planted[planted_bytes++] = n;
		memcpy(planted + planted_bytes, fields[i].value, n), planted_bytes += n;
		bare[bare_bytes++] = 0x0f;
		bare[bare_bytes++] = fields[i].number - 15;
		bare[bare_bytes++] = n;
		memcpy(bare + bare_bytes, fields[i].value, n), bare_bytes += n;
	}
	response1_bytes = snprintf(response1, HEAD_BYTES_MAX,
		"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 21 Nov 2026 05:00:00 GMT\r\n"
		"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", body_bytes);
	memset(response1 + response1_bytes, 'x', body_bytes);
	response1_bytes += body_bytes;
}

static void watch(int op, int fd, unsigned events) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	epoll_ctl(poller, op, fd, &e);
}

static void lose(int fd) {
	struct conn *c = conns[fd];
	conns[fd] = NULL;
	free(c->in), free(c->out), free(c);
	close(fd);
}

static char *room(struct conn *c, int n) {
	if (c->out_have + n > c->out_room) c->out = realloc(c->out, c->out_room = 2 * (c->out_have + n));
	c->out_have += n;
	return c->out + c->out_have - n;
}

static char *frame(struct conn *c, int length, int type, int flags, unsigned stream) {
	unsigned char *p = (void *)room(c, FRAME_HEAD + length);
	p[0] = length >> 16, p[1] = length >> 8, p[2] = length, p[3] = type, p[4] = flags;
	p[5] = stream >> 24, p[6] = stream >> 16, p[7] = stream >> 8, p[8] = stream;
	return (char *)p + FRAME_HEAD;
}

static void body(struct conn *c, unsigned stream) {
	c->window -= body_bytes;
	memset(frame(c, body_bytes, DATA, END_STREAM, stream), 'x', body_bytes);
}

/* answer ends -1 when the peer has let more bodies wait than it may have streams. */
static int answer(struct conn *c, unsigned stream) {
	if (!c->tables) {
		/* The size update belongs to the first block alone; in the next ones it is allowed and says the same. */
		memcpy(frame(c, bare_bytes, HEADERS, END_HEADERS, stream), bare, bare_bytes);
	} else if (c->indexed) {
		memcpy(frame(c, sizeof indexed, HEADERS, END_HEADERS, stream), indexed, sizeof indexed);
	} else {
		memcpy(frame(c, planted_bytes, HEADERS, END_HEADERS, stream), planted, planted_bytes);
		c->indexed = 1;
	}
	if (c->window >= body_bytes && !c->waiting_count) {
		body(c, stream);
		return 0;
	}
	if (c->waiting_count == sizeof c->waiting / sizeof *c->waiting) return -1;
	c->waiting[c->waiting_count++] = stream;
	return 0;
}

static unsigned number(const unsigned char *p) { return (unsigned)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

/* take2 acts on one frame; -1 ends the connection. */
static int take2(struct conn *c, int type, int flags, unsigned stream, const unsigned char *p, int length) {
	switch (type) {
	case HEADERS:
		if (flags & END_HEADERS) return flags & END_STREAM ? answer(c, stream) : 0;
		if (flags & END_STREAM) c->ending = stream;
		return 0;
	case CONTINUATION:
		if (!(flags & END_HEADERS) || c->ending != stream) return 0;
		c->ending = 0;
		return answer(c, stream);
	case DATA: /* ours send none but empty ones; a body would need its window back */
		return flags & END_STREAM ? answer(c, stream) : length ? -1 : 0;
	case SETTINGS:
		if (flags & ACK) return 0;
		for (; length >= 6; p += 6, length -= 6) {
			unsigned id = p[0] << 8 | p[1], value = number(p + 2);
			if (id == HEADER_TABLE_SIZE && value < TABLE_BYTES) c->tables = 0;
			if (id == INITIAL_WINDOW_SIZE && value < (unsigned)body_bytes) return -1;
		}
		frame(c, 0, SETTINGS, ACK, 0);
		return 0;
	case PING:
		if (!(flags & ACK)) memcpy(frame(c, length, PING, ACK, 0), p, length);
		return 0;
	case WINDOW_UPDATE: {
		int sent = 0;
		if (stream || length != 4) return 0;
		c->window += number(p) & 0x7fffffff;
		for (; sent < c->waiting_count && c->window >= body_bytes; sent++) body(c, c->waiting[sent]);
		memmove(c->waiting, c->waiting + sent, (c->waiting_count -= sent) * sizeof *c->waiting);
		return 0;
	}
	default: return 0;
	}
}

/* take reads what has arrived and says how much of it is used, -1 to end the connection. */
static int take(struct conn *c) {
	char *p = c->in, *end = c->in + c->in_have, *stop;
	if (c->protocol == UNKNOWN) {
		int n = c->in_have < PREFACE ? c->in_have : PREFACE;
		if (memcmp(p, preface, n)) c->protocol = HTTP1;
		else if (n < PREFACE) return 0;
		else {
			static const char settings[] = {0, 3 /* MAX_CONCURRENT_STREAMS */, 0, 0, STREAMS_MAX >> 8, STREAMS_MAX & 255};
			c->protocol = HTTP2, c->window = WINDOW, c->tables = 1, p += PREFACE;
			memcpy(frame(c, sizeof settings, SETTINGS, 0, 0), settings, sizeof settings);
		}
	}
	if (c->protocol == HTTP1) {
		for (; (stop = memmem(p, end - p, "\r\n\r\n", 4)); p = stop + 4) memcpy(room(c, response1_bytes), response1, response1_bytes);
		return p - c->in;
	}
	while (end - p >= FRAME_HEAD) {
		const unsigned char *h = (void *)p;
		int length = h[0] << 16 | h[1] << 8 | h[2];
		if (length > IN_BYTES / 2) return -1;
		if (end - p < FRAME_HEAD + length) break;
		if (take2(c, h[3], h[4], number(h + 5) & 0x7fffffff, h + FRAME_HEAD, length) < 0) return -1;
		p += FRAME_HEAD + length;
	}
	return p - c->in;
}

static void serve(int fd, int readable) {
	struct conn *c = conns[fd];
	if (readable) {
		ssize_t got = recv(fd, c->in + c->in_have, IN_BYTES - c->in_have, 0);
		if (got <= 0) {
			if (got == 0 || errno != EAGAIN) lose(fd);
			return;
		}
		c->in_have += got;
		int used = take(c);
		if (used < 0 || (used == 0 && c->in_have == IN_BYTES)) {
			lose(fd);
			return;
		}
		memmove(c->in, c->in + used, c->in_have -= used);
	}
	if (c->out_have) {
		ssize_t sent = send(fd, c->out, c->out_have, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN) {
			lose(fd);
			return;
		}
		if (sent > 0) memmove(c->out, c->out + sent, c->out_have -= sent);
	}
	if (c->watching_out != !!c->out_have) {
		c->watching_out = !!c->out_have;
		watch(EPOLL_CTL_MOD, fd, EPOLLIN | (c->watching_out ? EPOLLOUT : 0));
	}
}

int main(int argc, char **argv) {
	for (int o; (o = getopt(argc, argv, "o:b:")) != -1;) switch (o) {
		case 'o': origin_port = atoi(optarg); break;
		case 'b': body_bytes = atoi(optarg); break;
		default: exit(2);
		}
	if (!origin_port || body_bytes < 1 || body_bytes > 1 << 14) {
		fprintf(stderr, "usage: origin -o PORT [-b BODY_BYTES] (at most %d: one frame)\n", 1 << 14);
		exit(2);
	}
	struct rlimit files = {FDS_MAX, FDS_MAX};
	setrlimit(RLIMIT_NOFILE, &files);
	build();
	int listener = listen_on(origin_port, SOCK_NONBLOCK);
	poller = epoll_create1(0);
	watch(EPOLL_CTL_ADD, listener, EPOLLIN);
	static struct epoll_event events[EVENTS_MAX];
	for (;;) {
		int n = epoll_wait(poller, events, EVENTS_MAX, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			if (fd != listener) {
				if (conns[fd]) serve(fd, events[i].events & ~EPOLLOUT);
				continue;
			}
			int c = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
			if (c >= FDS_MAX) close(c);
			else if (c >= 0) {
				conns[c] = calloc(1, sizeof **conns);
				conns[c]->in = malloc(IN_BYTES);
				no_delay(c), watch(EPOLL_CTL_ADD, c, EPOLLIN);
			}
		}
	}
}
