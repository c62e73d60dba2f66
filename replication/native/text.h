/* JSON as tools write it, read with one look at each character: what the scanners have in common. Whatever is not plain,
   escapes and letters beyond ASCII included, is refused: the file is then left to the JSON library. */

#ifndef TEXT_H
#define TEXT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"

enum { END = 1, NOT_PLAIN = 2 }; /* what a scanner ends with */
enum { DIGITS = 19, LONG_NUMBER = 64 }; /* so many digits fit into 64 bits; characters of the longest number read */
enum { DEEPEST = 32 }; /* lists and records within each other in a value that is skipped */

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

typedef struct {
    const char *at, *end;
} Text;

typedef struct {
    double value;
    uint64_t digits;
    bool negative, whole;
} Number;

static inline bool is_digit(char c) { return c >= '0' && c <= '9'; }

static inline void skip_space(Text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\r' || *t->at == '\t')) t->at++;
}

/* Skips space, then the character: whether it was there. */
static inline bool take(Text *t, char wanted)
{
    skip_space(t);
    if (t->at >= t->end || *t->at != wanted) return false;
    t->at++;
    return true;
}

static inline bool take_word(Text *t, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(t->end - t->at) < size || memcmp(t->at, word, size) != 0) return false;
    t->at += size;
    return true;
}

/* digits / 10^places, rounded once: by whole numbers of 128 bits, ties to even. digits > 0, places <= 19. */
static inline double quotient(uint64_t digits, int places)
{
    uint64_t divisor = 1;
    for (int i = 0; i < places; i++) divisor *= 10;
    int shift = 64 + __builtin_clzll(digits);
    unsigned __int128 number = (unsigned __int128)digits << shift, exact = number / divisor;
    bool inexact = exact * divisor != number;
    uint64_t high = (uint64_t)(exact >> 64);
    int surplus = (high ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)exact)) - 53;
    unsigned __int128 half = (unsigned __int128)1 << (surplus - 1), rest = exact & (2 * half - 1);
    uint64_t mantissa = (uint64_t)(exact >> surplus);
    if (rest > half || (rest == half && (inexact || mantissa & 1))) mantissa++;
    return ldexp((double)mantissa, surplus - shift);
}

/* What the C library makes of it, whatever the user's locale; false where there is no telling. */
static inline bool convert(const char *start, const char *end, double *value)
{
    static locale_t plain;
    char copy[LONG_NUMBER + 1];
    size_t size = (size_t)(end - start);
    if (size > LONG_NUMBER) return false;
    if (!plain && !(plain = newlocale(LC_ALL_MASK, "C", (locale_t)0))) return false;
    memcpy(copy, start, size);
    copy[size] = 0;
    *value = strtod_l(copy, NULL, plain);
    return isfinite(*value);
}

static inline bool number(Text *t, Number *n)
{
    skip_space(t);
    const char *start = t->at, *p = t->at, *end = t->end;
    int count = 0, exponent = 0;
    n->negative = p < end && *p == '-', n->whole = true, n->digits = 0;
    p += n->negative;
    if (p >= end || !is_digit(*p)) return false;
    const char *first = p;
    for (; p < end && is_digit(*p); p++) {
        n->digits = n->digits * 10 + (uint64_t)(*p - '0');
        count += n->digits != 0;
    }
    if (*first == '0' && p - first > 1) return false;
    if (p < end && *p == '.') {
        n->whole = false;
        if (++p >= end || !is_digit(*p)) return false;
        for (; p < end && is_digit(*p); p++) {
            n->digits = n->digits * 10 + (uint64_t)(*p - '0');
            count += n->digits != 0, exponent--;
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        n->whole = false;
        bool minus = ++p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+')) p++;
        if (p >= end || !is_digit(*p)) return false;
        int given = 0;
        for (; p < end && is_digit(*p); p++) given = given < 10000 ? given * 10 + (*p - '0') : given;
        exponent += minus ? -given : given;
    }
    t->at = p;
    if (count > DIGITS || exponent < -DIGITS || exponent > 22)
        return convert(start, p, &n->value);
    if (n->digits == 0)
        n->value = 0.0;
    else if (n->digits <= (UINT64_C(1) << 53))
        n->value = exponent < 0 ? (double)n->digits / TENS[-exponent] : (double)n->digits * TENS[exponent];
    else if (exponent < 0)
        n->value = quotient(n->digits, -exponent);
    else if (exponent == 0)
        n->value = (double)n->digits;
    else
        return convert(start, p, &n->value);
    if (n->negative) n->value = -n->value;
    return true;
}

/* A whole number of at most 18 digits, which 64 bits hold. */
static inline bool whole(Text *t, int64_t *value)
{
    Number n;
    if (!number(t, &n) || !n.whole || n.digits >= UINT64_C(1000000000000000000) || n.value >= 1e18 || n.value <= -1e18)
        return false;
    *value = n.negative ? -(int64_t)n.digits : (int64_t)n.digits;
    return true;
}

static inline bool real(Text *t, double *value)
{
    Number n;
    if (!number(t, &n) || (n.whole && n.negative && n.value == 0)) return false;
    *value = n.value;
    return true;
}

/* A box, written XYWH, as XYXY with its area; false where that is not finite, or a side is negative. */
static inline bool box(Text *t, double *corners, double *area)
{
    double sides[4];
    if (!take(t, '[')) return false;
    for (int side = 0; side < 4; side++)
        if ((side && !take(t, ',')) || !real(t, sides + side)) return false;
    corners[0] = sides[0], corners[1] = sides[1];
    corners[2] = sides[0] + sides[2], corners[3] = sides[1] + sides[3], *area = sides[2] * sides[3];
    bool finite = isfinite(corners[2]) && isfinite(corners[3]) && isfinite(*area);
    return finite && sides[2] >= 0 && sides[3] >= 0 && take(t, ']');
}

/* The characters between quotes, none of them special. */
static inline bool plain_text(Text *t, const char **start, size_t *size)
{
    if (!take(t, '"')) return false;
    *start = t->at;
    while (t->at < t->end && *t->at != '"') {
        if (*t->at < ' ' || *t->at > '~' || *t->at == '\\') return false;
        t->at++;
    }
    *size = (size_t)(t->at - *start);
    return t->at++ < t->end;
}

static inline bool is(const char *start, size_t size, const char *word)
{
    return size == strlen(word) && memcmp(start, word, size) == 0;
}

/* A value that is not needed. */
static bool skip_value(Text *t, int depth)
{
    const char *start;
    size_t size;
    Number n;
    skip_space(t);
    if (t->at >= t->end || depth > DEEPEST) return false;
    char first = *t->at;
    if (first == '"') return plain_text(t, &start, &size);
    if (first != '[' && first != '{')
        return take_word(t, "null") || take_word(t, "true") || take_word(t, "false") || number(t, &n);
    char last = first == '[' ? ']' : '}';
    t->at++;
    if (take(t, last)) return true;
    do {
        if (first == '{' && !(plain_text(t, &start, &size) && take(t, ':'))) return false;
        if (!skip_value(t, depth + 1)) return false;
    } while (take(t, ','));
    return take(t, last);
}

/* Reads the value of a member, or skips it: false where it is not plain. The bit of a member that may come but once
   goes into own, which is 0 before. */
typedef bool Member(Text *t, const char *key, size_t size, int *own, void *into);

/* A record with at least one member; found are the bits of those that came. */
static inline bool record(Text *t, Member *member, void *into, int *found)
{
    *found = 0;
    if (!take(t, '{')) return false;
    do {
        const char *key;
        size_t size;
        int own = 0;
        if (!plain_text(t, &key, &size) || !take(t, ':')) return false;
        if (!member(t, key, size, &own, into) || *found & own) return false;
        *found |= own;
    } while (take(t, ','));
    return take(t, '}');
}

#endif
