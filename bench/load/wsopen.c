/* wsopen: what opening a connection costs a server, and what it keeps for one that then lies idle.
 *
 *     wsopen --port PORT --server-pid PID [--connections 5000] [--in-flight 1] [--settle 0.5] [--touch 0]
 *            [--extensions STRING --payload FILE] [--tls FOLDER] [--limit 60]
 *
 * Opens 50 connections first, so that what the server loads or builds once is not counted, then the rest against the
 * clock with `in-flight` handshakes under way at a time. With --touch 1 a message goes over each and back before it
 * lies idle; with --extensions it is the payload, taken as compressed already, and goes out with RSV1 set. `settle` seconds pass before each look at the memory. Prints one JSON object.
 */
#include "ws.h"

enum { FIRST = 50 };

static const unsigned char *message = (const unsigned char *)"hello";
static size_t message_size = 5;
static unsigned rsv = 0;

static void echo_one(int fd) {
    unsigned char buffer[256];
    struct replies replies = {0};
    size_t size;
    unsigned char *frame = client_frame(FIN | rsv | TEXT, message, message_size, &size);
    fcntl(fd, F_SETFL, 0);
    if (transmit(fd, frame, size, NULL) != (ssize_t)size) die("send: %s", strerror(errno));
    for (unsigned whole = 0; !whole;) {
        ssize_t got = receive(fd, buffer, sizeof buffer);
        if (got <= 0) die("the server closed a connection");
        whole = count_replies(&replies, buffer, got, rsv ? -1 : (int64_t)message_size);
    }
    free(frame);
}

int main(int argc, char **argv) {
    int port = number(argv, "port", 0), count = number(argv, "connections", 5000);
    int in_flight = number(argv, "in-flight", 1);
    bool touch = number(argv, "touch", 0);
    long pid = number(argv, "server-pid", 0);
    useconds_t settle = seconds(argv, "settle", 0.5) * 1e6;
    const char *extensions = option(argv, "extensions", NULL);
    int *fds = calloc(FIRST + count, sizeof *fds);
    alarm(number(argv, "limit", 60));
    use_tls(argv, false);

    if (extensions) message = load_payload(argv, &message_size), rsv = RSV1;

    open_connections(fds, FIRST, port, 1, extensions);
    if (touch) for (int i = 0; i < FIRST; i++) echo_one(fds[i]);
    usleep(settle);
    int64_t memory = process_memory(pid), cpu = process_cpu(pid), start = now();
    open_connections(fds + FIRST, count, port, in_flight, extensions);
    double elapsed = (now() - start) / 1e9;
    cpu = process_cpu(pid) - cpu;
    if (touch) for (int i = FIRST; i < FIRST + count; i++) echo_one(fds[i]);
    usleep(settle);
    memory = process_memory(pid) - memory;
    printf("{\"rate\": %.1f, \"cpu_us\": %.2f, \"memory_kib\": %.3f, \"connections\": %d}\n", count / elapsed,
           cpu / 1e3 / count, memory / (double)KIB / count, count);
    return 0;
}
