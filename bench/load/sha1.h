/* SHA-1 (RFC 3174) in base64 (RFC 4648): what Sec-WebSocket-Accept is made of (RFC 6455, section 4.2.2). */
#ifndef BENCH_SHA1_H
#define BENCH_SHA1_H

#include <stdint.h>
#include <string.h>

static inline uint32_t rotate(uint32_t word, unsigned bits) { return word << bits | word >> (32 - bits); }

static inline void sha1_block(uint32_t state[5], const unsigned char *block) {
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (unsigned i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (unsigned i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (unsigned i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) f = (b & c) | (~b & d), k = 0x5a827999;
        else if (i < 40) f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = t;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

/* The digest of a string of at most 119 bytes, as 28 characters and a zero in `out`. */
static inline void sha1_base64(const char *text, char *out) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char blocks[128] = {0}, digest[21] = {0};
    size_t size = strlen(text), end = size < 56 ? 64 : 128;
    memcpy(blocks, text, size);
    blocks[size] = 0x80;
    for (unsigned i = 0; i < 8; i++) blocks[end - 1 - i] = (uint64_t)size * 8 >> 8 * i;
    for (size_t i = 0; i < end; i += 64) sha1_block(state, blocks + i);
    for (unsigned i = 0; i < 20; i++) digest[i] = state[i / 4] >> (24 - i % 4 * 8);
    for (unsigned i = 0; i < 21; i += 3) {
        uint32_t bits = digest[i] << 16 | digest[i + 1] << 8 | digest[i + 2];
        for (unsigned k = 0; k < 4; k++) *out++ = alphabet[bits >> (18 - 6 * k) & 63];
    }
    out[-1] = '=';
    *out = 0;
}

#endif
