/* wsecho: a WebSocket echo server with nothing in it: the floor, what the kernel allows on one core.
 *
 *     wsecho [--port 0] [--broadcast 0] [--rooms 0] [--tls FOLDER] [--limit 3600]
 *
 * Prints `port=N`. A message is sent back frame by frame as it comes in; with --broadcast 1 each whole one goes to every
 * connection; with --rooms 1 to the room that the first message, `join NUMBER`, names (for `wsrooms`). One read buffer and one write buffer for all; a connection has memory of its own only for what the
 * kernel would not take. It checks nothing and limits nothing: fit for a benchmark on 127.0.0.1, and for nothing else.
 */
#include "ws.h"
#include "sha1.h"

struct connection {
    int fd, slot;                     /* slot: its place in `everybody` */
    bool upgraded, closing;
    struct frame frame;
    uint64_t at;                      /* bytes of the payload unmasked so far: the phase of the masking key */
    unsigned char *unsent;
    size_t unsent_size;
    struct room *room;                /* that it has joined */
    char *request;                    /* an upgrade request that did not come in one piece */
    size_t request_size;
};

enum { ROOMS = 65536 };

static struct room {
    struct connection **members;
    int count;
} rooms[ROOMS];

static int poller;
static bool broadcasting, has_rooms;
static struct connection **everybody;
static int population, places;
static unsigned char in[256 * KIB], out[sizeof in + MAX_HEAD];  /* an answer has no key: it never outgrows its frame */
static size_t out_size;

static void drop(struct connection *c) {
    if (c->room) exit(0);  /* nobody leaves a room before the end of the measurement */
    everybody[c->slot] = everybody[--population];
    everybody[c->slot]->slot = c->slot;
    unsecure(c->fd);
    close(c->fd);
    free(c->unsent);
    free(c->request);
    free(c);
}

/* Send what the kernel takes, keep the rest. False when the connection is gone. */
static bool deliver(struct connection *c, const unsigned char *data, size_t size) {
    size_t sent = 0;
    while (!c->unsent_size && sent < size) {
        ssize_t n = transmit(c->fd, data + sent, size - sent, NULL);
        if (n < 0 && errno != EAGAIN) return false;
        if (n < 0) break;
        sent += n;
    }
    if (sent == size) return true;
    if (!c->unsent_size) watch(poller, EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);  /* read on when this is written */
    c->unsent = realloc(c->unsent, c->unsent_size + size - sent);
    memcpy(c->unsent + c->unsent_size, data + sent, size - sent);
    c->unsent_size += size - sent;
    return true;
}

static bool resume(struct connection *c) {
    ssize_t n = transmit(c->fd, c->unsent, c->unsent_size, NULL);
    if (n < 0) return errno == EAGAIN;
    memmove(c->unsent, c->unsent + n, c->unsent_size -= n);
    if (!c->unsent_size) watch(poller, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
    return true;
}

static void unmask(unsigned char *to, const unsigned char *from, size_t size, const unsigned char *key, uint64_t at) {
    unsigned char turned[8];
    uint64_t word, keys;
    size_t i = 0;
    for (unsigned k = 0; k < 8; k++) turned[k] = key[(at + k) & 3];
    memcpy(&keys, turned, 8);
    for (; i + 8 <= size; i += 8) memcpy(&word, from + i, 8), word ^= keys, memcpy(to + i, &word, 8);
    for (; i < size; i++) to[i] = from[i] ^ turned[i & 7];
}

/* Answer the frames in `data` into `out`. */
static void answer(struct connection *c, const unsigned char *data, size_t size) {
    struct frame *frame = &c->frame;
    for (;;) {
        if (!frame->inside) {
            size_t used = read_head(frame, data, size);
            data += used, size -= used;
            if (!frame->inside) return;
            unsigned first = opcode_of(frame) == PING ? FIN | PONG : frame->head[0];
            out_size += write_head(out + out_size, first, frame->left, NULL);
            c->at = 0;
        }
        size_t taken = MIN(size, frame->left);
        unmask(out + out_size, data, taken, key_of(frame), c->at);
        out_size += taken, c->at += taken, frame->left -= taken, data += taken, size -= taken;
        if (frame->left) return;
        if (opcode_of(frame) == CLOSE) c->closing = true;
        next_frame(frame);
    }
}

static bool upgrade(struct connection *c, const unsigned char *data, size_t size) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", field[] = "sec-websocket-key:";
    c->request = realloc(c->request, c->request_size + size + 1);
    memcpy(c->request + c->request_size, data, size);
    c->request[c->request_size += size] = 0;
    if (!strstr(c->request, "\r\n\r\n")) return true;
    const char *value = strcasestr(c->request, field);
    if (!value) return false;
    value += strlen(field), value += strspn(value, " ");
    char key[128], accept[32], response[256];
    snprintf(key, sizeof key, "%.*s%s", (int)MIN(strcspn(value, " \r"), 64), value, guid);
    sha1_base64(key, accept);
    int n = snprintf(response, sizeof response, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    free(c->request);
    c->request = NULL;
    c->upgraded = true;
    return deliver(c, (unsigned char *)response, n);
}

/* What came from a member goes to its room; the first message says which that is. */
static void say(struct connection *c) {
    if (!c->room) {
        unsigned which = 0;
        out[out_size] = 0;
        if (out_size < 3 || sscanf((char *)out + 2, "join %u", &which) != 1 || which >= ROOMS) die("no room: %s", out + 2);
        c->room = &rooms[which];
        c->room->members = realloc(c->room->members, (c->room->count + 1) * sizeof c);
        c->room->members[c->room->count++] = c;
        return;
    }
    for (int i = 0; i < c->room->count; i++) deliver(c->room->members[i], out, out_size);
}

static bool readable(struct connection *c) {
    ssize_t got = receive(c->fd, in, sizeof in);
    if (got < 0) return errno == EAGAIN;
    if (!got) return false;
    if (!c->upgraded) return upgrade(c, in, got);
    out_size = 0;
    answer(c, in, got);
    if (has_rooms && !c->closing) return say(c), true;
    if (!broadcasting || c->closing) return deliver(c, out, out_size) && !c->closing;
    for (int i = 0; i < population; i++) deliver(everybody[i], out, out_size);
    return true;
}

static void accept_one(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *c = calloc(1, sizeof *c);
    if (population == places) everybody = realloc(everybody, (places = places * 2 + 64) * sizeof *everybody);
    c->fd = fd;
    secure(fd, true);
    c->slot = population;
    everybody[population++] = c;
    watch(poller, EPOLL_CTL_ADD, fd, EPOLLIN, c);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(number(argv, "port", 0))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    use_tls(argv, true);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, size) || listen(listener, 4096)) die("listen: %s", strerror(errno));
    getsockname(listener, (void *)&address, &size);
    printf("port=%d\n", ntohs(address.sin_port));
    fflush(stdout);
    alarm(number(argv, "limit", 3600));
    broadcasting = number(argv, "broadcast", 0);
    has_rooms = number(argv, "rooms", 0);

    struct epoll_event events[EVENTS];
    poller = epoll_create1(0);
    watch(poller, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) accept_one(listener);
            else if (!(events[i].events & EPOLLOUT ? resume(c) : readable(c))) drop(c);
        }
    }
}
