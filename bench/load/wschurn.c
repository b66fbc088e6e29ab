/* wschurn: connections that come and go, for finding what a server forgets to give back.
 *
 *     wschurn --port PORT [--connections 10000] [--at-once 100] [--limit 600]
 *
 * Opens `at-once` connections, sends a text message over each and takes the echo, then leaves: every second lot with
 * the closing handshake (RFC 6455, section 7.1.1), the others by resetting the connection. Prints one JSON object.
 */
#include "ws.h"
#include <poll.h>

static unsigned char *hello, *goodbye;
static size_t hello_size, goodbye_size;

static ssize_t receive_some(int fd, unsigned char *buffer, size_t size) {
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    if (poll(&wanted, 1, 10000) < 1) die("the server was silent for 10 s");
    return recv(fd, buffer, size, 0);
}

static void say_hello(int fd) {
    unsigned char buffer[256];
    struct replies replies = {0};
    for (unsigned whole = 0; !whole;) {
        ssize_t got = receive_some(fd, buffer, sizeof buffer);
        if (got <= 0) die("the server closed a connection");
        whole = count_replies(&replies, buffer, got, 5);
    }
}

static void close_properly(int fd) {
    unsigned char buffer[256];
    ssize_t got, total = 0;
    while ((got = receive_some(fd, buffer, sizeof buffer)) > 0) total += got;
    if (total < 2) die("the server did not answer the close frame");
    close(fd);
}

static void reset(int fd) {
    struct linger now = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void send_all(int *fds, int count, const unsigned char *frame, size_t size) {
    for (int i = 0; i < count; i++)
        if (send(fds[i], frame, size, MSG_NOSIGNAL) != (ssize_t)size) die("send: %s", strerror(errno));
}

int main(int argc, char **argv) {
    int port = number(argv, "port", 0), total = number(argv, "connections", 10000), lot = number(argv, "at-once", 100);
    int *fds = calloc(lot, sizeof *fds);
    int64_t start = now();
    alarm(number(argv, "limit", 600));
    hello = client_frame(FIN | TEXT, (const unsigned char *)"hello", 5, &hello_size);
    goodbye = client_frame(FIN | CLOSE, (const unsigned char *)"\x03\xe8" "bye", 5, &goodbye_size);

    bool properly = true;
    for (int done = 0; done < total; done += lot, properly = !properly) {
        open_connections(fds, lot, port, MIN(lot, 32), NULL);
        send_all(fds, lot, hello, hello_size);
        for (int i = 0; i < lot; i++) say_hello(fds[i]);
        if (properly) send_all(fds, lot, goodbye, goodbye_size);
        for (int i = 0; i < lot; i++) properly ? close_properly(fds[i]) : reset(fds[i]);
    }
    printf("{\"rate\": %.1f, \"connections\": %d}\n", total * 1e9 / (now() - start), total);
    return 0;
}
