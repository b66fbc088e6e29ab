/* wsload: messages a second that an echo server answers, and how long one takes.
 *
 *     wsload --port PORT [--connections 100] [--size 32 | --payload FILE] [--opcode 2] [--depth 1] [--seconds 3]
 *            [--warmup 0.2] [--messages 0] [--extensions STRING] [--tls FOLDER] [--server-pid PID] [--limit 60]
 *
 * Keeps `depth` messages in flight on each connection: every reply is followed by a new message. The messages that are
 * due leave in one send(2), so a depth over 1 is a burst. With --extensions the payload is taken as compressed already
 * and goes out with RSV1 set. --messages ends the run after so many. Prints one JSON object.
 */
#include "ws.h"

struct connection {
    int fd;
    bool blocked;         /* the kernel's buffer is full: waiting for EPOLLOUT */
    size_t owed, offset;  /* bytes still to send; where in `run` they begin */
    struct replies replies;
    int64_t *sent;        /* when the messages in flight were queued, a ring of `depth` */
    unsigned first, last;
};

static int poller;
static unsigned depth;
static unsigned char *run;  /* whole frames back to back, sent over and over */
static size_t frame_size, run_size;

/* Latencies in buckets of 1/32 of their size: exact enough, and no memory a message. */
enum { FINE = 5, BUCKETS = 64 << FINE };
static uint64_t histogram[BUCKETS];

static void record(uint64_t nanoseconds) {
    unsigned shift = nanoseconds >> FINE ? 63 - FINE - __builtin_clzll(nanoseconds) : 0;
    histogram[(shift << FINE) + (nanoseconds >> shift)]++;
}

static double percentile(double part) { /* in microseconds */
    uint64_t total = 0, seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) total += histogram[i];
    for (unsigned i = 0; i < BUCKETS; i++)
        if (histogram[i] && (seen += histogram[i]) >= part * total) {
            unsigned shift = i >> FINE > 1 ? (i >> FINE) - 1 : 0;
            return (double)((uint64_t)(i - (shift << FINE)) << shift) / 1e3;
        }
    return 0;
}

static void block(struct connection *c, bool blocked) {
    if (c->blocked == blocked) return;
    watch(poller, EPOLL_CTL_MOD, c->fd, blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, c);
    c->blocked = blocked;
}

static void send_owed(struct connection *c) {
    while (c->owed) {
        ssize_t sent = transmit(c->fd, run + c->offset, MIN(c->owed, run_size - c->offset), NULL);
        if (sent < 0) {
            if (errno != EAGAIN) die("send: %s", strerror(errno));
            block(c, true);
            return;
        }
        c->owed -= sent;
        c->offset = (c->offset + sent) % run_size;
    }
    block(c, false);
}

static void send_messages(struct connection *c, unsigned count, int64_t time) {
    if (!c->owed) c->offset = 0;
    c->owed += count * frame_size;
    for (; count; count--) c->sent[c->last++ % depth] = time;
    send_owed(c);
}

int main(int argc, char **argv) {
    static unsigned char buffer[MIB];
    int port = number(argv, "port", 0), count = number(argv, "connections", 100);
    double duration = seconds(argv, "seconds", 3), warmup = seconds(argv, "warmup", 0.2);
    long pid = number(argv, "server-pid", 0);
    uint64_t wanted = number(argv, "messages", 0), messages = 0;
    const char *extensions = option(argv, "extensions", NULL);
    alarm(number(argv, "limit", 60));
    use_tls(argv, false);
    depth = number(argv, "depth", 1);

    size_t size;
    unsigned char *payload = load_payload(argv, &size);
    int64_t expected = extensions ? -1 : (int64_t)size;
    unsigned char *frame = client_frame(FIN | (extensions ? RSV1 : 0) | number(argv, "opcode", BINARY), payload, size, &frame_size);
    unsigned frames = frame_size >= MIB ? 1 : MIN(depth, MIB / frame_size);
    run_size = frames * frame_size;
    run = malloc(run_size);
    for (unsigned i = 0; i < frames; i++) memcpy(run + i * frame_size, frame, frame_size);

    int *fds = calloc(count, sizeof *fds);
    struct connection *connections = calloc(count, sizeof *connections);
    struct epoll_event events[EVENTS];
    open_connections(fds, count, port, MIN(count, 32), extensions);
    poller = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        struct connection *c = &connections[i];
        c->fd = fds[i];
        c->sent = malloc(depth * sizeof *c->sent);
        watch(poller, EPOLL_CTL_ADD, c->fd, EPOLLIN, c);
    }
    for (int i = 0; i < count; i++) send_messages(&connections[i], depth, now());

    int64_t start = now(), measured = start + warmup * 1e9, end = measured + duration * 1e9, cpu = 0, time = start;
    bool measuring = false;
    while (time < end && !(wanted && messages >= wanted)) {
        int ready = epoll_wait(poller, events, EVENTS, 100);
        time = now();
        if (!measuring && time >= measured) {
            measuring = true, start = time, messages = 0, cpu = process_cpu(pid);
            memset(histogram, 0, sizeof histogram);
        }
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) send_owed(c);
            if (!(events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))) continue;
            ssize_t got = receive(c->fd, buffer, sizeof buffer);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) die("the server closed a connection: %s", got ? strerror(errno) : "end of stream");
            unsigned whole = count_replies(&c->replies, buffer, got, expected);
            if (!whole) continue;
            time = now();
            for (unsigned k = 0; k < whole; k++) record(time - c->sent[c->first++ % depth]);
            messages += whole;
            send_messages(c, whole, time);
        }
    }
    double elapsed = (now() - start) / 1e9;
    cpu = process_cpu(pid) - cpu;
    if (!messages) die("no message came back in %.1f s", elapsed);
    printf("{\"rate\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"messages\": %llu", messages / elapsed,
           percentile(.5), percentile(.99), percentile(.999), (unsigned long long)messages);
    if (pid) printf(", \"cpu_us\": %.4f, \"busy\": %.3f", cpu / 1e3 / messages, cpu / 1e9 / elapsed);
    puts("}");
    return 0;
}
