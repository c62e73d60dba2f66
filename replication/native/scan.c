/* COCO's list of results straight into columns. Whatever is not written plainly stops the scan, and the whole file is
   read by the JSON library instead: it names what is wrong, and takes what is right but rare. */

#define _GNU_SOURCE
#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"

enum { MORE = 0, END = 1, NOT_PLAIN = 2 }; /* what state[2] says */
enum { IMAGE = 1, CLASS = 2, SCORE = 4, BOX = 8, ALL = 15 };
enum { DIGITS = 19, LONG_NUMBER = 64 }; /* so many digits fit into 64 bits; characters of the longest number read */

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

static bool take_word(Text *t, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(t->end - t->at) < size || memcmp(t->at, word, size) != 0) return false;
    t->at += size;
    return true;
}

/* digits / 10^places, rounded once: by whole numbers of 128 bits, ties to even. digits > 0, places <= 19. */
static double quotient(uint64_t digits, int places)
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
static bool convert(const char *start, const char *end, double *value)
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

static bool number(Text *t, Number *n)
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
static bool whole(Text *t, int64_t *value)
{
    Number n;
    if (!number(t, &n) || !n.whole || n.digits >= UINT64_C(1000000000000000000) || n.value >= 1e18 || n.value <= -1e18)
        return false;
    *value = n.negative ? -(int64_t)n.digits : (int64_t)n.digits;
    return true;
}

static bool real(Text *t, double *value)
{
    Number n;
    if (!number(t, &n) || (n.whole && n.negative && n.value == 0)) return false;
    *value = n.value;
    return true;
}

static bool box(Text *t, double *values)
{
    if (!take(t, '[')) return false;
    for (int side = 0; side < 4; side++)
        if ((side && !take(t, ',')) || !real(t, values + side)) return false;
    return take(t, ']');
}

/* The characters between quotes, none of them special. */
static bool plain_text(Text *t, const char **start, size_t *size)
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

/* A value that is not needed. */
static bool skip_value(Text *t)
{
    const char *start;
    size_t size;
    Number n;
    skip_space(t);
    if (t->at < t->end && *t->at == '"') return plain_text(t, &start, &size);
    return take_word(t, "null") || take_word(t, "true") || take_word(t, "false") || number(t, &n);
}

static bool is(const char *start, size_t size, const char *word)
{
    return size == strlen(word) && memcmp(start, word, size) == 0;
}

static bool record(Text *t, int64_t *image, int64_t *label, double *score, double *corners)
{
    int found = 0;
    if (!take(t, '{')) return false;
    do {
        const char *key;
        size_t size;
        int one = 0;
        bool good;
        if (!plain_text(t, &key, &size) || !take(t, ':')) return false;
        if (is(key, size, "image_id"))
            one = IMAGE, good = whole(t, image);
        else if (is(key, size, "category_id"))
            one = CLASS, good = whole(t, label);
        else if (is(key, size, "score"))
            one = SCORE, good = real(t, score);
        else if (is(key, size, "bbox"))
            one = BOX, good = box(t, corners);
        else if (is(key, size, "segmentation"))
            skip_space(t), good = take_word(t, "null");
        else
            good = skip_value(t);
        if (!good || found & one) return false;
        found |= one;
    } while (take(t, ','));
    return found == ALL && take(t, '}');
}

/* Reads records from byte state[0] on, as many as the columns hold. Afterwards state is where it stopped, how many it
   read, and MORE, END or NOT_PLAIN. */
int scan(VECTOR(const uint8_t, text), VECTOR(int64_t, state), VECTOR(int64_t, image), VECTOR(int64_t, label),
         VECTOR(double, score), TABLE(double, boxes))
{
    UNUSED(state_size), UNUSED(label_size), UNUSED(score_size), UNUSED(boxes_rows), UNUSED(boxes_columns);
    Text t = {(const char *)text + state[0], (const char *)text + text_size};
    int64_t count = 0;
    bool good = state[0] > 0 || take(&t, '['), ended = false;
    if (state[0] == 0 && good && take(&t, ']')) ended = true;
    while (good && !ended && count < image_size) {
        good = record(&t, image + count, label + count, score + count, boxes + count * boxes_step);
        count++;
        ended = good && !take(&t, ',');
        if (ended) good = take(&t, ']');
    }
    if (good && ended) {
        skip_space(&t);
        good = t.at == t.end;
    }
    state[0] = t.at - (const char *)text, state[1] = count;
    state[2] = !good ? NOT_PLAIN : ended ? END : MORE;
    return DONE;
}
