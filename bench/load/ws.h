/* What the load tools share: options, clocks, figures of the server's process, and the client's half of RFC 6455.
 *
 * ws:// or wss:// to 127.0.0.1 only. Nothing here is meant for the open network: a wrong answer ends the tool with a
 * sentence on standard error, which is what a benchmark needs to know.
 */
#ifndef BENCH_WS_H
#define BENCH_WS_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80, RSV1 = 0x40, MASKED = 0x80 };
enum { MAX_HEAD = 14, EVENTS = 512 };

#define KIB 1024
#define MIB (1024 * KIB)
#define MIN(a, b) ((a) < (b) ? (a) : (b))

static inline void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

/* ---- Options: --name value, in any order ------------------------------------------------------------------- */

static inline const char *option(char **argv, const char *name, const char *fallback) {
    for (char **word = argv + 1; *word; word++)
        if (!strncmp(*word, "--", 2) && !strcmp(*word + 2, name)) {
            if (!word[1]) die("%s: --%s needs a value", argv[0], name);
            return word[1];
        }
    return fallback;
}

static inline long number(char **argv, const char *name, long fallback) {
    const char *value = option(argv, name, NULL);
    return value ? atol(value) : fallback;
}

static inline double seconds(char **argv, const char *name, double fallback) {
    const char *value = option(argv, name, NULL);
    return value ? atof(value) : fallback;
}

/* ---- Clocks and the server's process ----------------------------------------------------------------------- */

static inline int64_t now(void) { /* nanoseconds */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* CPU time of all threads of a process in nanoseconds, 0 for no process: the scheduler's own count, not ticks. */
static inline int64_t process_cpu(long pid) {
    char path[320];
    int64_t total = 0;
    if (!pid) return 0;
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) die("no process %ld", pid);
    for (struct dirent *task; (task = readdir(tasks));) {
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%ld/task/%s/schedstat", pid, task->d_name);
        FILE *file = fopen(path, "r");
        long long spent = 0;
        if (!file) continue;
        if (fscanf(file, "%lld", &spent) == 1) total += spent;
        fclose(file);
    }
    closedir(tasks);
    return total;
}

/* Resident memory of a process in bytes, 0 for no process. */
static inline int64_t process_memory(long pid) {
    char path[64];
    long long size, resident = 0;
    if (!pid) return 0;
    snprintf(path, sizeof path, "/proc/%ld/statm", pid);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%lld %lld", &size, &resident) != 2) die("no process %ld", pid);
    fclose(file);
    return resident * sysconf(_SC_PAGESIZE);
}

/* ---- Frames (RFC 6455, section 5.2) ------------------------------------------------------------------------ */

/* Write a frame's head and return its size. The masking key is `key`, or none where that is NULL. */
static inline unsigned write_head(unsigned char *out, unsigned first, uint64_t size, const unsigned char *key) {
    unsigned char mask = key ? MASKED : 0;
    unsigned n = 2, width = size < 126 ? 0 : size < 65536 ? 2 : 8;
    out[0] = first;
    out[1] = mask | (width == 0 ? size : width == 2 ? 126 : 127);
    for (unsigned i = width; i--;) out[n++] = size >> 8 * i;
    if (key) memcpy(out + n, key, 4), n += 4;
    return n;
}

/* Where in a stream of frames a reader stands; all zero at the start. */
struct frame {
    unsigned char head[MAX_HEAD];
    unsigned char have;   /* bytes of the head that are here */
    bool inside;          /* the head is complete, the payload follows */
    uint64_t left;        /* bytes of the payload that are not here yet */
};

static inline unsigned head_size(const struct frame *frame) {
    if (frame->have < 2) return 2;
    unsigned length = frame->head[1] & 127;
    return 2 + (length == 127 ? 8 : length == 126 ? 2 : 0) + (frame->head[1] & MASKED ? 4 : 0);
}

/* Feed bytes of a head; returns how many of them belonged to it. When it is complete, `inside` and `left` are set. */
static inline size_t read_head(struct frame *frame, const unsigned char *data, size_t size) {
    size_t used = 0;
    while (frame->have < head_size(frame)) {
        if (used == size) return used;
        frame->head[frame->have++] = data[used++];
    }
    unsigned length = frame->head[1] & 127, width = length == 127 ? 8 : length == 126 ? 2 : 0;
    frame->left = width ? 0 : length;
    for (unsigned i = 0; i < width; i++) frame->left = frame->left << 8 | frame->head[2 + i];
    frame->inside = true;
    return used;
}

static inline void next_frame(struct frame *frame) { frame->have = 0, frame->inside = false; }
static inline unsigned opcode_of(const struct frame *frame) { return frame->head[0] & 15; }
static inline const unsigned char *key_of(const struct frame *frame) { return frame->head + frame->have - 4; }

/* What a client wants to know of a stream of replies: how many whole messages, and how long they were. */
struct replies {
    struct frame frame;
    uint64_t size;        /* bytes of the message so far */
};

/* Feed bytes from the server; returns the number of messages that they complete. `expected` is the size that each
 * must have, or -1. A close frame ends the tool. */
static inline unsigned count_replies(struct replies *in, const unsigned char *data, size_t size, int64_t expected) {
    unsigned whole = 0;
    for (;;) {
        struct frame *frame = &in->frame;
        if (!frame->inside) {
            size_t used = read_head(frame, data, size);
            data += used, size -= used;
            if (!frame->inside) return whole;
        }
        size_t taken = MIN(size, frame->left);
        data += taken, size -= taken, frame->left -= taken;
        if (opcode_of(frame) == CLOSE) die("the server sent a close frame");
        if (opcode_of(frame) < CLOSE) in->size += taken;
        if (frame->left) return whole;
        if (opcode_of(frame) < CLOSE && frame->head[0] & FIN) {
            if (expected >= 0 && in->size != (uint64_t)expected)
                die("the server answered %lld bytes with %llu", (long long)expected, (unsigned long long)in->size);
            in->size = 0, whole++;
        }
        next_frame(frame);
    }
}

/* One message as a client sends it, in memory of its own. The key is fixed: a benchmark may. */
static inline unsigned char *client_frame(unsigned first, const unsigned char *payload, size_t size, size_t *whole) {
    static const unsigned char key[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char *frame = malloc(MAX_HEAD + size);
    unsigned head = write_head(frame, first, size, key);
    for (size_t i = 0; i < size; i++) frame[head + i] = payload[i] ^ key[i & 3];
    *whole = head + size;
    return frame;
}

/* The payload of --payload FILE, or --size bytes of lower case letters. */
static inline unsigned char *load_payload(char **argv, size_t *size) {
    const char *path = option(argv, "payload", NULL);
    *size = number(argv, "size", 32);
    FILE *file = NULL;
    if (path) {
        if (!(file = fopen(path, "rb"))) die("cannot read %s", path);
        fseek(file, 0, SEEK_END);
        *size = ftell(file);
        rewind(file);
    }
    unsigned char *payload = malloc(*size + 1);
    for (size_t i = 0; i < *size; i++) payload[i] = 'a' + i % 26;
    if (file) {
        if (fread(payload, 1, *size, file) != *size) die("cannot read %s", path);
        fclose(file);
    }
    return payload;
}

#include "tls.h"

/* ---- Connections ------------------------------------------------------------------------------------------- */

static inline void watch(int poller, int action, int fd, uint32_t events, void *owner) {
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(poller, action, fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

static inline int dial(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0) die("socket: %s (raise `ulimit -n`?)", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (void *)&address, sizeof address) && errno != EINPROGRESS) die("connect: %s", strerror(errno));
    secure(fd, false);
    return fd;
}

/* What is asked for with GET; a tool may ask for something else than the root. */
static const char *request_target = "/";

/* Open `count` connections with at most `in_flight` handshakes under way at a time; their sockets go to `fds`,
 * non-blocking. `extensions` is offered and must be accepted; NULL offers none. */
static inline void open_connections(int *fds, int count, int port, int in_flight, const char *extensions) {
    struct opening { int fd; bool asked; int have; char answer[2 * KIB]; } *slots = calloc(in_flight, sizeof *slots);
    struct epoll_event events[EVENTS];
    char request[KIB];
    int poller = epoll_create1(0), begun = 0, done = 0;
    int size = snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Origin: http://127.0.0.1:%d\r\nUser-Agent: bench\r\n%s%s%s\r\n", request_target, port, port,
        extensions ? "Sec-WebSocket-Extensions: " : "", extensions ? extensions : "", extensions ? "\r\n" : "");

    for (; begun < MIN(in_flight, count); begun++) {
        slots[begun].fd = dial(port);
        watch(poller, EPOLL_CTL_ADD, slots[begun].fd, EPOLLOUT, &slots[begun]);
    }
    while (done < count) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct opening *slot = events[i].data.ptr;
            if (!slot->asked) {
                uint32_t waits_for = EPOLLOUT;
                ssize_t sent = transmit(slot->fd, request, size, &waits_for);
                if (sent < 0 && errno == EAGAIN) { /* in the TLS handshake */
                    watch(poller, EPOLL_CTL_MOD, slot->fd, waits_for, slot);
                    continue;
                }
                if (sent != size) die("cannot send the request: %s", strerror(errno));
                watch(poller, EPOLL_CTL_MOD, slot->fd, EPOLLIN, slot);
                slot->asked = true;
                continue;
            }
            ssize_t got = receive(slot->fd, slot->answer + slot->have, sizeof slot->answer - 1 - slot->have);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) die("the server ended the handshake: %s", got ? strerror(errno) : "end of stream");
            slot->have += got;
            slot->answer[slot->have] = 0;
            if (!strstr(slot->answer, "\r\n\r\n")) continue;
            if (strncmp(slot->answer, "HTTP/1.1 101", 12)) die("the server refused the upgrade: %s", slot->answer);
            if (extensions && !strcasestr(slot->answer, "sec-websocket-extensions:"))
                die("the server does not accept %s", extensions);
            watch(poller, EPOLL_CTL_DEL, slot->fd, 0, NULL);
            fds[done++] = slot->fd;
            if (begun < count) {
                *slot = (struct opening){.fd = dial(port)};
                watch(poller, EPOLL_CTL_ADD, slot->fd, EPOLLOUT, slot);
                begun++;
            }
        }
    }
    close(poller);
    free(slots);
}

#endif
