/* TLS for the load tools: the OpenSSL of this machine, found when a tool is started with --tls, so that no headers are
 * needed to compile it. Included by ws.h. A descriptor with TLS on it is read and written by `receive` and `transmit` like any other.
 */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <dlfcn.h>
#include <signal.h>

enum { MODE = 33, PARTIAL_WRITE = 1, MOVING_BUFFER = 2, RELEASE_BUFFERS = 16, AS_PEM = 1, WANT_READ = 2, WANT_WRITE = 3 };
enum { DESCRIPTORS = 1 << 20, RECORD = 16 * KIB };

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;

static void **tls_of;  /* by descriptor; NULL: none of this tool's connections has TLS */
static SSL_CTX *tls_context;
static SSL_CTX *(*SSL_CTX_new)(const void *);
static const void *(*TLS_client_method)(void), *(*TLS_server_method)(void);
static long (*SSL_CTX_ctrl)(SSL_CTX *, int, long, void *);
static void (*SSL_CTX_set_default_read_buffer_len)(SSL_CTX *, size_t);
static int (*SSL_CTX_use_certificate_chain_file)(SSL_CTX *, const char *);
static int (*SSL_CTX_use_PrivateKey_file)(SSL_CTX *, const char *, int);
static SSL *(*SSL_new)(SSL_CTX *);
static void (*SSL_free)(SSL *), (*SSL_set_accept_state)(SSL *), (*SSL_set_connect_state)(SSL *);
static void (*SSL_set_read_ahead)(SSL *, int);
static int (*SSL_set_fd)(SSL *, int), (*SSL_read)(SSL *, void *, int), (*SSL_write)(SSL *, const void *, int);
static int (*SSL_get_error)(const SSL *, int), (*SSL_has_pending)(const SSL *);

/* Read --tls FOLDER: a server presents cert.pem and key.pem of it, a client trusts everybody. */
static inline void use_tls(char **argv, bool serves) {
    const char *folder = option(argv, "tls", NULL);
    char path[4 * KIB];
    if (!folder) return;
    void *library = dlopen("libssl.so.3", RTLD_NOW);
    if (!library) die("--tls: %s", dlerror());
#define FIND(name) if (!(*(void **)&name = dlsym(library, #name))) die("--tls: %s", dlerror())
    FIND(SSL_CTX_new); FIND(TLS_client_method); FIND(TLS_server_method); FIND(SSL_CTX_ctrl); FIND(SSL_new); FIND(SSL_free);
    FIND(SSL_CTX_set_default_read_buffer_len); FIND(SSL_CTX_use_certificate_chain_file);
    FIND(SSL_CTX_use_PrivateKey_file); FIND(SSL_set_accept_state); FIND(SSL_set_connect_state); FIND(SSL_set_read_ahead);
    FIND(SSL_set_fd); FIND(SSL_read); FIND(SSL_write); FIND(SSL_get_error); FIND(SSL_has_pending);
#undef FIND
    signal(SIGPIPE, SIG_IGN);  /* OpenSSL does not say MSG_NOSIGNAL */
    tls_of = calloc(DESCRIPTORS, sizeof *tls_of);
    tls_context = SSL_CTX_new(serves ? TLS_server_method() : TLS_client_method());
    SSL_CTX_ctrl(tls_context, MODE, PARTIAL_WRITE | MOVING_BUFFER | RELEASE_BUFFERS, NULL);
    SSL_CTX_set_default_read_buffer_len(tls_context, 128 * KIB);
    if (!serves) return;
    snprintf(path, sizeof path, "%s/cert.pem", folder);
    if (SSL_CTX_use_certificate_chain_file(tls_context, path) != 1) die("--tls: %s is not a certificate", path);
    snprintf(path, sizeof path, "%s/key.pem", folder);
    if (SSL_CTX_use_PrivateKey_file(tls_context, path, AS_PEM) != 1) die("--tls: %s is not a key", path);
}

/* Put TLS on a new descriptor, if --tls was given; reading and writing make the handshake. */
static inline void secure(int fd, bool serves) {
    if (!tls_of) return;
    if (fd >= DESCRIPTORS) die("too many descriptors");
    SSL *ssl = tls_of[fd] = SSL_new(tls_context);
    (serves ? SSL_set_accept_state : SSL_set_connect_state)(ssl);
    SSL_set_read_ahead(ssl, 1);
    SSL_set_fd(ssl, fd);
}

static inline void unsecure(int fd) {
    if (tls_of) SSL_free(tls_of[fd]);
}

/* What a failed call of OpenSSL means, as recv(2) says it; `waits_for` gets EPOLLIN or EPOLLOUT. */
static inline ssize_t failed(SSL *ssl, int result, uint32_t *waits_for) {
    int error = SSL_get_error(ssl, result);
    if (error != WANT_READ && error != WANT_WRITE) return errno = ECONNRESET, error == 6 ? 0 : -1;
    if (waits_for) *waits_for = error == WANT_READ ? EPOLLIN : EPOLLOUT;
    return errno = EAGAIN, -1;
}

static inline ssize_t receive(int fd, void *data, size_t size) {
    if (!tls_of) return recv(fd, data, size, 0);
    SSL *ssl = tls_of[fd];
    size_t have = 0;
    do {  /* until the record that OpenSSL holds is not whole: it says nothing to epoll of what it has read ahead */
        int n = SSL_read(ssl, (char *)data + have, size - have);
        if (n <= 0) return have ? (ssize_t)have : failed(ssl, n, NULL);
        have += n;
    } while (have < size && SSL_has_pending(ssl));
    return have;
}

static inline void cork(int fd, int on) {
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
}

static inline ssize_t transmit(int fd, const void *data, size_t size, uint32_t *waits_for) {
    if (!tls_of) return send(fd, data, size, MSG_NOSIGNAL);
    if (size > RECORD) cork(fd, 1);  /* OpenSSL makes a send(2) of each record: without it, the other side is woken by each */
    int n = SSL_write(tls_of[fd], data, size);
    if (size > RECORD) cork(fd, 0);
    return n > 0 ? n : failed(tls_of[fd], n, waits_for);
}

#endif
