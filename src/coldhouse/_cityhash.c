/* ClickHouse's checksum of a file: CityHash128 (version 1.0.2), chained over blocks of 2048 bytes.
 *
 * Written from the published description of CityHash 1.0.2 by Geoff Pike and Jyrki Alakuijala (Google, 2011); later
 * versions of CityHash give other values. The chain is the one of ClickHouse's HashingWriteBuffer: the state starts as
 * (0, 0), and each block, the short last one too, is hashed with the state as its seed. No Python API: the library is
 * loaded by ctypes, so that one build serves every interpreter. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 2048

static const uint64_t K0 = 0xc3a5c85c97cb3127ULL, K1 = 0xb492b66fbe98f273ULL;
static const uint64_t K2 = 0x9ae16a3b2f90404fULL, K3 = 0xc949d7c7509e6557ULL;

typedef struct { uint64_t first, second; } pair;

/* The same layout as cityhash.py's _State. */
typedef struct { pair seed; uint64_t filled; unsigned char block[BLOCK]; } file_hash;

static uint64_t fetch64(const unsigned char *s) {
    uint64_t v;
    memcpy(&v, s, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static uint64_t fetch32(const unsigned char *s) {
    uint32_t v;
    memcpy(&v, s, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static uint64_t rotate(uint64_t v, unsigned n) { return n ? (v >> n) | (v << (64 - n)) : v; }

static uint64_t mix(uint64_t v) { return v ^ (v >> 47); }

static uint64_t hash16(uint64_t low, uint64_t high) {
    const uint64_t mul = 0x9ddfea08eb382d69ULL;
    uint64_t a = mix((low ^ high) * mul);
    return mix((high ^ a) * mul) * mul;
}

static uint64_t hash0to16(const unsigned char *s, size_t len) {
    if (len > 8) {
        uint64_t a = fetch64(s), b = fetch64(s + len - 8);
        return hash16(a, rotate(b + len, (unsigned)len)) ^ b;
    }
    if (len >= 4) return hash16(len + (fetch32(s) << 3), fetch32(s + len - 4));
    if (len > 0) {
        uint32_t y = s[0] + ((uint32_t)s[len >> 1] << 8), z = (uint32_t)len + ((uint32_t)s[len - 1] << 2);
        return mix(y * K2 ^ z * K3) * K2;
    }
    return K2;
}

static pair weak32(const unsigned char *s, uint64_t a, uint64_t b) {
    uint64_t w = fetch64(s), x = fetch64(s + 8), y = fetch64(s + 16), z = fetch64(s + 24), c;
    a += w;
    b = rotate(b + a + z, 21);
    c = a;
    a += x + y;
    b += rotate(a, 44);
    return (pair){a + z, b + c};
}

static pair murmur(const unsigned char *s, size_t len, pair seed) {
    uint64_t a = seed.first, b = seed.second, c, d;
    if (len <= 16) {
        a = mix(a * K1) * K1;
        c = b * K1 + hash0to16(s, len);
        d = mix(a + (len >= 8 ? fetch64(s) : c));
    } else {
        ptrdiff_t left = (ptrdiff_t)len - 16;
        c = hash16(fetch64(s + len - 8) + K1, a);
        d = hash16(b + len, c + fetch64(s + len - 16));
        a += d;
        do {
            a = (a ^ mix(fetch64(s) * K1) * K1) * K1;
            b ^= a;
            c = (c ^ mix(fetch64(s + 8) * K1) * K1) * K1;
            d ^= c;
            s += 16;
            left -= 16;
        } while (left > 0);
    }
    a = hash16(a, c);
    b = hash16(d, b);
    return (pair){a ^ b, hash16(b, a)};
}

static pair hash128(const unsigned char *s, size_t len, pair seed) {
    pair v, w;
    uint64_t x = seed.first, y = seed.second, z = len * K1, t;
    size_t done;
    int half;
    if (len < 128) return murmur(s, len, seed);
    v.first = rotate(y ^ K1, 49) * K1 + fetch64(s);
    v.second = rotate(v.first, 42) * K1 + fetch64(s + 8);
    w.first = rotate(y + z, 35) * K1 + x;
    w.second = rotate(x + fetch64(s + 88), 53) * K1;
    do {
        for (half = 0; half < 2; half++) {
            x = rotate(x + y + v.first + fetch64(s + 16), 37) * K1;
            y = rotate(y + v.second + fetch64(s + 48), 42) * K1;
            x ^= w.second;
            y ^= v.first;
            z = rotate(z ^ w.first, 33);
            v = weak32(s, v.second * K1, x + w.first);
            w = weak32(s + 32, z + w.second, y);
            t = z, z = x, x = t;
            s += 64;
        }
        len -= 128;
    } while (len >= 128);
    y += rotate(w.first, 37) * K0 + z;
    x += rotate(v.first + z, 49) * K0;
    for (done = 0; done < len;) { /* the last chunks of 32 bytes, from the end; they may reach back into hashed bytes */
        done += 32;
        y = rotate(y - x, 42) * K0 + v.second;
        w.first += fetch64(s + len - done + 16);
        x = rotate(x, 49) * K0 + w.first;
        w.first += v.first;
        v = weak32(s + len - done, v.first, v.second);
    }
    x = hash16(x, v.first);
    y = hash16(y, w.first);
    return (pair){hash16(x + v.second, w.second) + y, hash16(x + w.second, y + v.second)};
}

/* Takes the next bytes of the file. */
void coldhouse_file_hash_update(file_hash *state, const unsigned char *data, size_t len) {
    if (state->filled) {
        size_t take = BLOCK - (size_t)state->filled;
        if (take > len) take = len;
        memcpy(state->block + state->filled, data, take);
        state->filled += take, data += take, len -= take;
        if (state->filled < BLOCK) return;
        state->seed = hash128(state->block, BLOCK, state->seed);
        state->filled = 0;
    }
    for (; len >= BLOCK; data += BLOCK, len -= BLOCK) state->seed = hash128(data, BLOCK, state->seed);
    if (len) memcpy(state->block, data, len);
    state->filled = len;
}

/* Writes 16 bytes, high half first and big-endian, as `.backup` spells it; the state stays usable. */
void coldhouse_file_hash_digest(const file_hash *state, unsigned char *out) {
    pair p = state->filled ? hash128(state->block, (size_t)state->filled, state->seed) : state->seed;
    int i;
    for (i = 0; i < 8; i++) {
        out[i] = (unsigned char)(p.second >> (56 - 8 * i));
        out[8 + i] = (unsigned char)(p.first >> (56 - 8 * i));
    }
}
