/* What the programs here ask the kernel: the time, sockets on loopback, and what the processes under test have used. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline long long now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* cpu_ns adds up the user and system time of processes, in nanoseconds and including threads that have ended: the
 * kernel's own account, where the ticks of /proc/PID/stat are a hundredth of a second wide. */
static inline long long cpu_ns(char **pids, int n) {
	long long sum = 0;
	for (int i = 0; i < n; i++) {
		clockid_t clock;
		struct timespec t;
		if (clock_getcpuclockid(atoi(pids[i]), &clock) == 0 && clock_gettime(clock, &t) == 0)
			sum += t.tv_sec * 1000000000LL + t.tv_nsec;
	}
	return sum;
}

/* rss_kb adds up the resident memory of processes. Pages they share are counted once for each: differences are what
 * these figures are for. */
static inline long rss_kb(char **pids, int n) {
	long sum = 0;
	for (int i = 0; i < n; i++) {
		char path[64], line[256];
		long kb;
		snprintf(path, sizeof path, "/proc/%s/status", pids[i]);
		FILE *f = fopen(path, "r");
		while (f && fgets(line, sizeof line, f))
			if (sscanf(line, "VmRSS: %ld", &kb) == 1) sum += kb;
		if (f) fclose(f);
	}
	return sum;
}

static inline struct sockaddr_in loopback(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

static inline void no_delay(int fd) {
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* listen_on ends the program if the port is taken: a measurement against somebody else's origin would be worthless. */
static inline int listen_on(int port, int flags) {
	struct sockaddr_in a = loopback(port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | flags, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096)) {
		perror("origin: listening");
		exit(1);
	}
	return fd;
}
