/* wsrooms: how fast a server sends messages to the members of rooms, and how long each takes.
 *
 *     wsrooms --ports PORT,PORT… [--rooms 1] [--members 5000] [--flying 1] [--seconds 3] [--target /]
 *             [--hello TEXT] [--join TEXT] --say TEXT --said SIZE [--pids PID,PID…] [--limit 120]
 *
 * Connection i is in room i % rooms; each port has its share of them. Each sends `hello`, if any, then `join` with the
 * room's number for %d. Then members send `say`, the rooms in turn, in a room the members in turn; `flying` messages at a
 * time: when all members have a message of `said` bytes, the next one is sent. Other messages are passed over. It warms
 * up for half a second at least, and until each connection got 20 messages or 5 seconds are over: Linux acknowledges
 * the first 16 packets of a connection each by itself, and that is charged to the sender here. Then it measures, from
 * the end of a message to the end of another one. Prints one JSON object: `rate` counts deliveries, p50 and p99 are
 * milliseconds from the sending of a message to a delivery of it, `cpu_us` is the time of the servers' processes for a
 * delivery. Messages that have not come when nothing came for 3 seconds, in which the servers rested, are lost: `lost`
 * is how many of 100 deliveries. These seconds do not count, and after five such pauses the run ends. After `limit`
 * seconds it ends in any case: with the figures of what came, or, where not all have joined, without any.
 */
#include <signal.h>
#include "ws.h"

enum { FLYING = 256, WARM = 20 };

struct member {
    int fd;
    int room;
    unsigned heard; /* messages of its room */
    struct replies in;
};

/* The messages of a room that are on their way: in a ring, by their number. */
struct room {
    unsigned count;
    int64_t said[FLYING];
    int missing[FLYING];
};

static unsigned count_said(struct replies *in, const unsigned char *data, size_t size, uint64_t expected) {
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
        if (opcode_of(frame) == CLOSE) {
            int code = taken >= 2 ? data[-(ssize_t)taken] << 8 | data[1 - (ssize_t)taken] : 0;
            die("the server sent a close frame: %d %.*s", code, taken > 2 ? (int)taken - 2 : 0, data + 2 - taken);
        }
        if (opcode_of(frame) < CLOSE) in->size += taken;
        if (frame->left) return whole;
        if (opcode_of(frame) < CLOSE && frame->head[0] & FIN) {
            if (in->size == expected) whole++;
            in->size = 0;
        }
        next_frame(frame);
    }
}

static void say(int fd, const char *text) {
    size_t size;
    unsigned char *frame = client_frame(FIN | TEXT, (const unsigned char *)text, strlen(text), &size);
    if (send(fd, frame, size, MSG_NOSIGNAL) != (ssize_t)size) die("send: %s", strerror(errno));
    free(frame);
}

static long pids[16];
static int pid_count;

static int64_t servers_cpu(void) {
    int64_t total = 0;
    for (int i = 0; i < pid_count; i++) total += process_cpu(pids[i]);
    return total;
}

static void too_late(int signal) {
    static const char words[] = "not all connections have joined within the limit\n";
    (void)signal;
    _exit(write(2, words, sizeof words - 1) > 0);
}

static int earlier(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Read until nothing has come for a while: what answers the joins. */
static void settle(int poller, double pause) {
    static unsigned char buffer[MIB];
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, pause * 1e3);
        if (!ready) return;
        for (int i = 0; i < ready; i++) {
            struct member *m = events[i].data.ptr;
            ssize_t got = recv(m->fd, buffer, sizeof buffer, 0);
            if (got == 0) die("the server closed a connection");
            if (got > 0) count_said(&m->in, buffer, got, 0);
        }
    }
}

int main(int argc, char **argv) {
    static unsigned char buffer[MIB];
    int rooms = number(argv, "rooms", 1), size = number(argv, "members", 5000), count = rooms * size;
    int flying = number(argv, "flying", 1), expected = number(argv, "said", 0), ports[16], port_count = 0;
    const char *hello = option(argv, "hello", ""), *join = option(argv, "join", "join %d"), *words = option(argv, "say", "");
    double duration = seconds(argv, "seconds", 3);
    request_target = option(argv, "target", "/");
    int limit = number(argv, "limit", 120);
    int64_t deadline = now() + limit * (int64_t)1e9;
    if (flying > rooms * FLYING) die("%d messages at a time in a room at most", FLYING);
    signal(SIGALRM, too_late);
    alarm(limit);
    for (char *list = strdup(option(argv, "ports", "0")), *word; (word = strsep(&list, ","));) ports[port_count++] = atoi(word);

    for (char *list = strdup(option(argv, "pids", "0")), *word; (word = strsep(&list, ","));) pids[pid_count++] = atol(word);

    int *fds = calloc(count, sizeof *fds), poller = epoll_create1(0), opened = 0;
    struct member *members = calloc(count, sizeof *members);
    struct room *all = calloc(rooms, sizeof *all);
    for (int i = 0; i < port_count; i++) {
        int share = (count - opened) / (port_count - i);
        open_connections(fds + opened, share, ports[i], MIN(share, 32), NULL);
        opened += share;
    }
    for (int i = 0; i < count; i++) {
        char text[128];
        /* The connections of one room are as far apart as they can be: on all ports. */
        members[i] = (struct member){.fd = fds[i], .room = i % rooms};
        watch(poller, EPOLL_CTL_ADD, fds[i], EPOLLIN, &members[i]);
        if (*hello) say(fds[i], hello);
        if (*hello && i % 32 == 31) settle(poller, 0.02);
        snprintf(text, sizeof text, join, i % rooms);
        say(fds[i], text);
        if (i % 32 == 31) settle(poller, 0.005);
    }
    /* Not every server answers a join: they have joined when the servers rest. */
    for (int turn = 0; turn < 40; turn++) {
        int64_t before = servers_cpu();
        settle(poller, 0.5);
        if (servers_cpu() - before < 0.1e9) break;
    }

    alarm(0);
    size_t capacity = 8 * MIB, samples = 0;
    float *took = malloc(capacity * sizeof *took);
    uint64_t deliveries = 0, spoken = 0, lost = 0;
    bool has_lost = false;
    int pauses = 0;
    int64_t cpu = 0, rested = 0, start = 0, time = now(), began = time, end = 0;

    for (int ended = flying; (!end || time < end || !ended) && pauses < 5 && now() < deadline;) {
        for (; ended; ended--, spoken++) {
            int which = spoken % rooms, turn = spoken / rooms % size;
            struct room *room = &all[which];
            room->missing[room->count % FLYING] = size;
            room->said[room->count++ % FLYING] = now();
            /* Those who speak one after the other are on different ports. */
            say(members[which + rooms * (int)((int64_t)turn * (size / 2 + 1) % size)].fd, words);
        }
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(poller, events, EVENTS, 3000);
        if (!ready) {
            int64_t before = rested;
            if ((rested = servers_cpu()) - before > 0.05e9 && now() < deadline) continue;  /* they are slow */
            int64_t paused = now() - time;
            for (int i = 0; i < rooms; i++)
                for (unsigned n = 0; n < FLYING; n++) lost += all[i].missing[n], all[i].missing[n] = 0;
            for (int i = 0; i < count; i++) members[i].heard = all[members[i].room].count;
            has_lost = true, ended = flying, pauses++, time += paused;
            if (end) start += paused, end += paused;
            continue;
        }
        time = now();
        for (int i = 0; i < ready; i++) {
            struct member *m = events[i].data.ptr;
            struct room *room = &all[m->room];
            ssize_t got = recv(m->fd, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) die("the server closed a connection: %s", got ? strerror(errno) : "end of stream");
            unsigned whole = count_said(&m->in, buffer, got, expected);
            deliveries += whole;
            for (unsigned n = 0; n < whole; n++, m->heard++) {
                if (m->heard == room->count) {
                    if (!has_lost) die("a message came twice");
                    deliveries--, m->heard--;  /* one that was given up */
                    continue;
                }
                if (samples < capacity) took[samples++] = (time - room->said[m->heard % FLYING]) / 1e6;
                ended += !--room->missing[m->heard % FLYING];
            }
        }
        bool warm = time - began >= 0.5e9 && (deliveries >= WARM * (uint64_t)count || time - began >= 5e9);
        if (!end && ((ended && warm) || time >= deadline - duration * 1e9))
            start = time, end = time + duration * 1e9, deliveries = lost = 0, samples = 0, cpu = servers_cpu();
    }
    if (!start || !deliveries) die("nothing came: %d times for 3 s, until the limit", pauses);
    double elapsed = (time - start) / 1e9;
    cpu = servers_cpu() - cpu;
    qsort(took, samples, sizeof *took, earlier);
    printf("{\"rate\": %.1f, \"cpu_us\": %.3f, \"p50\": %.3f, \"p99\": %.3f, \"lost\": %.4f}\n", deliveries / elapsed,
           deliveries ? cpu / 1e3 / deliveries : 0.0, samples ? took[samples / 2] : 0.0,
           samples ? took[(size_t)(samples * 0.99)] : 0.0, lost ? 100.0 * lost / (deliveries + lost) : 0.0);
    return 0;
}
