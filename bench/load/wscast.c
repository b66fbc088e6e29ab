/* wscast: how fast a server sends one message to everybody.
 *
 *     wscast --port PORT [--connections 1000] [--size 64] [--seconds 3] [--warmup 0.2] [--server-pid PID] [--limit 60]
 *
 * The first connection sends a message, the server sends it to all, that one too; when everybody has it, the next
 * follows. Prints one JSON object; `rate` counts deliveries.
 */
#include "ws.h"

struct listener {
    int fd;
    struct replies replies;
};

int main(int argc, char **argv) {
    static unsigned char buffer[MIB];
    int port = number(argv, "port", 0), count = number(argv, "connections", 1000);
    double duration = seconds(argv, "seconds", 3), warmup = seconds(argv, "warmup", 0.2);
    long pid = number(argv, "server-pid", 0);
    alarm(number(argv, "limit", 60));

    size_t size, frame_size;
    unsigned char *payload = load_payload(argv, &size);
    unsigned char *frame = client_frame(FIN | BINARY, payload, size, &frame_size);
    int *fds = calloc(count, sizeof *fds), poller = epoll_create1(0);
    struct listener *listeners = calloc(count, sizeof *listeners);
    struct epoll_event events[EVENTS];
    open_connections(fds, count, port, MIN(count, 32), NULL);
    for (int i = 0; i < count; i++) {
        listeners[i].fd = fds[i];
        watch(poller, EPOLL_CTL_ADD, fds[i], EPOLLIN, &listeners[i]);
    }

    int64_t start = now(), measured = start + warmup * 1e9, end = measured + duration * 1e9, cpu = 0, time = start;
    uint64_t broadcasts = 0;
    bool measuring = false;
    while (time < end) {
        if (!measuring && time >= measured) measuring = true, start = time, broadcasts = 0, cpu = process_cpu(pid);
        if (send(fds[0], frame, frame_size, MSG_NOSIGNAL) != (ssize_t)frame_size) die("send: %s", strerror(errno));
        for (int delivered = 0; delivered < count;) {
            int ready = epoll_wait(poller, events, EVENTS, -1);
            for (int i = 0; i < ready; i++) {
                struct listener *l = events[i].data.ptr;
                ssize_t got = recv(l->fd, buffer, sizeof buffer, 0);
                if (got < 0 && errno == EAGAIN) continue;
                if (got <= 0) die("the server closed a connection: %s", got ? strerror(errno) : "end of stream");
                delivered += count_replies(&l->replies, buffer, got, size);
            }
        }
        broadcasts++;
        time = now();
    }
    double elapsed = (time - start) / 1e9;
    cpu = process_cpu(pid) - cpu;
    printf("{\"rate\": %.1f, \"broadcasts\": %.2f, \"cpu_us\": %.4f, \"busy\": %.3f}\n", broadcasts * count / elapsed,
           broadcasts / elapsed, cpu / 1e3 / broadcasts / count, cpu / 1e9 / elapsed);
    return 0;
}
