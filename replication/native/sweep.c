/* The loops of average precision. sweep_kernels.py, curve_kernels.py and rle_kernels.py have the same for numba, and say
   what each does; a test compares them. */

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"

enum { LANES = 128, FLUSH = 256, THRESHOLDS = 16, LONGEST = 7 };

static const double TINY = 0x1p-52;

int program(VECTOR(const int32_t, image), VECTOR(const int32_t, rank), VECTOR(const uint16_t, true_bits),
            VECTOR(const uint16_t, ignored), int64_t limit, int64_t every, VECTOR(int32_t, plain),
            TABLE(int32_t, events), VECTOR(int64_t, stops), VECTOR(int64_t, sizes))
{
    UNUSED(rank_size), UNUSED(true_bits_size), UNUSED(ignored_size), UNUSED(plain_size), UNUSED(events_rows);
    UNUSED(events_columns), UNUSED(stops_size), UNUSED(sizes_size);
    int64_t plains = 0, count = 0, last = 0;
    for (int64_t i = 0; i < image_size; i++) {
        if (rank[i] >= limit || ignored[i] == every) continue;
        if (!true_bits[i] && !ignored[i]) {
            plain[plains++] = image[i];
            continue;
        }
        int32_t *event = events + count * events_step;
        event[0] = image[i], event[1] = true_bits[i], event[2] = (int32_t)(every & ~(int64_t)ignored[i]);
        stops[count++] = plains;
        if (true_bits[i]) last = count;
    }
    sizes[0] = last ? stops[last - 1] : 0, sizes[1] = last;
    return DONE;
}

#define INLINED static inline __attribute__((always_inline))
#define EACH_LANE for (int64_t lane = 0; lane < lanes; lane++)

INLINED void add_rows(const int64_t lanes, const uint8_t *restrict weights, int64_t step, const int32_t *rows,
                      int64_t start, int64_t stop, double *restrict total, uint16_t *restrict sum)
{
    while (start < stop) {
        int64_t end = start + FLUSH < stop ? start + FLUSH : stop;
        EACH_LANE sum[lane] = 0;
        for (; start + 4 <= end; start += 4) {
            const uint8_t *a = weights + rows[start] * step, *b = weights + rows[start + 1] * step;
            const uint8_t *c = weights + rows[start + 2] * step, *d = weights + rows[start + 3] * step;
            EACH_LANE sum[lane] = (uint16_t)(sum[lane] + a[lane] + b[lane] + c[lane] + d[lane]);
        }
        for (; start < end; start++) {
            const uint8_t *a = weights + rows[start] * step;
            EACH_LANE sum[lane] = (uint16_t)(sum[lane] + a[lane]);
        }
        EACH_LANE total[lane] += sum[lane];
    }
}

INLINED double reached_points(double amount, double scale, double half, double intervals, double probe)
{
    double exact = amount * scale, point = floor(exact + half);
    bool above = point * (1.0 / intervals) * probe * intervals > point * probe;
    return above && exact - point < half ? point : point + 1.0;
}

typedef struct {
    const uint8_t *weights;
    int64_t step;
    const int32_t *plain;
    int64_t plains;
    const int32_t *events;
    int64_t event_count, event_step;
    const int64_t *stops;
    const int32_t *objects;
    int64_t object_count, thresholds;
    double intervals, probe;
    double *result;
    int64_t result_step;
} Sweep;

INLINED void sweep_lanes(const int64_t lanes, const Sweep *s)
{
    uint16_t sum[LANES];
    double number[LANES] = {0}, base[LANES] = {0}, scale[LANES] = {0}, half[LANES], minus[LANES], row[LANES];
    double found[THRESHOLDS][LANES] = {{0}}, extra[THRESHOLDS][LANES] = {{0}};
    double best[THRESHOLDS][LANES] = {{0}}, reached[THRESHOLDS][LANES] = {{0}};
    const uint8_t *weights = s->weights;
    const double intervals = s->intervals, probe = s->probe;
    add_rows(lanes, weights, s->step, s->objects, 0, s->object_count, number, sum);
    add_rows(lanes, weights, s->step, s->plain, 0, s->plains, base, sum);
    for (int64_t e = 0; e < s->event_count; e++) {
        const int32_t *event = s->events + e * s->event_step;
        const uint8_t *own = weights + event[0] * s->step;
        for (int64_t t = 0; t < s->thresholds; t++) {
            if (event[1] >> t & 1) EACH_LANE found[t][lane] += own[lane];
            if (event[2] >> t & 1) EACH_LANE extra[t][lane] += own[lane];
        }
    }
    EACH_LANE
    {
        scale[lane] = number[lane] > 0 ? intervals / number[lane] : 0.0;
        half[lane] = number[lane] > 0 ? 0.5 / number[lane] : 0.5;
    }
    for (int64_t t = 0; t < s->thresholds; t++) {
        double *result = s->result + t * s->result_step;
        EACH_LANE result[lane] = 0.0;
        if (intervals != 0)
            EACH_LANE reached[t][lane] = reached_points(found[t][lane], scale[lane], half[lane], intervals, probe);
    }
    int64_t end = s->plains;
    for (int64_t e = s->event_count - 1; e >= 0; e--) {
        const int32_t *event = s->events + e * s->event_step;
        const uint8_t *own = weights + event[0] * s->step;
        if (s->stops[e] < end) {
            EACH_LANE minus[lane] = 0.0;
            add_rows(lanes, weights, s->step, s->plain, s->stops[e], end, minus, sum);
            EACH_LANE base[lane] -= minus[lane];
            end = s->stops[e];
        }
        EACH_LANE row[lane] = own[lane];
        for (int64_t t = 0; t < s->thresholds; t++) {
            double *restrict hits = found[t], *restrict more = extra[t], *restrict top = best[t];
            double *restrict points = reached[t], *restrict result = s->result + t * s->result_step;
            if (event[1] >> t & 1) {
                if (intervals != 0) {
                    EACH_LANE
                    {
                        double precision = hits[lane] / (base[lane] + more[lane] + TINY);
                        double highest = precision > top[lane] ? precision : top[lane];
                        double before = hits[lane] - row[lane];
                        double now = reached_points(before, scale[lane], half[lane], intervals, probe);
                        result[lane] += highest * (points[lane] - now);
                        top[lane] = highest, hits[lane] = before, points[lane] = now;
                        more[lane] -= row[lane];
                    }
                } else {
                    EACH_LANE
                    {
                        double precision = hits[lane] / (base[lane] + more[lane] + TINY);
                        double highest = precision > top[lane] ? precision : top[lane];
                        result[lane] += highest * row[lane];
                        top[lane] = highest;
                        hits[lane] -= row[lane], more[lane] -= row[lane];
                    }
                }
            } else if (event[2] >> t & 1) {
                EACH_LANE more[lane] -= row[lane];
            }
        }
    }
    for (int64_t t = 0; t < s->thresholds; t++) {
        double *result = s->result + t * s->result_step;
        EACH_LANE
        {
            if (number[lane] == 0)
                result[lane] = NAN;
            else if (intervals != 0)
                result[lane] = (result[lane] + best[t][lane]) / (intervals + 1);
            else
                result[lane] /= number[lane];
        }
    }
}

WIDER void sweep_many(const Sweep *s) { sweep_lanes(LANES, s); }

/* `weights` has LANES columns, or one. */
int sweep(TABLE(const uint8_t, weights), VECTOR(const int32_t, plain), TABLE(const int32_t, events),
          VECTOR(const int64_t, stops), VECTOR(const int32_t, objects), int64_t thresholds, double intervals,
          double probe, TABLE(double, result))
{
    UNUSED(weights_rows), UNUSED(events_columns), UNUSED(stops_size), UNUSED(result_rows), UNUSED(result_columns);
    Sweep all = {weights, weights_step, plain, plain_size, events, events_rows, events_step, stops, objects,
                 objects_size, thresholds, intervals, probe, result, result_step};
    if (weights_columns == 1)
        sweep_lanes(1, &all);
    else
        sweep_many(&all);
    return DONE;
}

/* The classes one after the other, under one weighting (images, 1): `program` and `sweep` of each. */
int averages(VECTOR(const int64_t, starts), VECTOR(const int32_t, image), VECTOR(const int32_t, rank),
             VECTOR(const uint16_t, true_bits), VECTOR(const uint16_t, ignored), int64_t limit,
             VECTOR(const int64_t, truth_starts), VECTOR(const int32_t, truth_image), TABLE(const uint8_t, weights),
             double intervals, double probe, TABLE(double, result))
{
    UNUSED(rank_size), UNUSED(true_bits_size), UNUSED(ignored_size), UNUSED(truth_starts_size);
    UNUSED(truth_image_size);
    int64_t most = image_size + 1;
    int64_t *stops = malloc((size_t)most * (sizeof *stops + 4 * sizeof(int32_t)));
    if (!stops) return NO_MEMORY;
    int32_t *plain = (int32_t *)(stops + most), *events = plain + most;
    for (int64_t c = 0; c + 1 < starts_size; c++) {
        int64_t first = starts[c], size = starts[c + 1] - first, sizes[2];
        program(image + first, size, rank + first, size, true_bits + first, size, ignored + first, size, limit,
                (INT64_C(1) << result_rows) - 1, plain, size, events, size, 3, 3, stops, size, sizes, 2);
        sweep(weights, weights_rows, weights_columns, weights_step, plain, sizes[0], events, sizes[1], 3, 3, stops,
              sizes[1], truth_image + truth_starts[c], truth_starts[c + 1] - truth_starts[c], result_rows, intervals,
              probe, result + c, result_rows, result_columns, result_step);
    }
    free(stops);
    return DONE;
}

int hits(VECTOR(const int64_t, starts), VECTOR(const int32_t, rank), VECTOR(const uint16_t, true_bits), int64_t limit,
         TABLE(int64_t, found))
{
    UNUSED(rank_size), UNUSED(true_bits_size), UNUSED(found_columns);
    for (int64_t c = 0; c + 1 < starts_size; c++) {
        for (int64_t t = 0; t < found_rows; t++) found[t * found_step + c] = 0;
        for (int64_t d = starts[c]; d < starts[c + 1]; d++)
            for (int64_t t = 0; true_bits[d] >> t && rank[d] < limit; t++)
                found[t * found_step + c] += true_bits[d] >> t & 1;
    }
    return DONE;
}

static inline uint64_t mixed(uint64_t value)
{
    value = (value ^ value >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ value >> 27) * UINT64_C(0x94D049BB133111EB);
    return value ^ value >> 31;
}

int draw(int64_t seed, int64_t first, int64_t units, TABLE(uint8_t, weights))
{
    UNUSED(weights_rows);
    const uint64_t step = UINT64_C(0x9E3779B97F4A7C15);
    for (int64_t lane = 0; lane < weights_columns; lane++) {
        uint64_t key = mixed(mixed((uint64_t)seed + step) + (uint64_t)(first + lane) * step);
        for (int64_t d = 0; d < units; d++) {
            uint64_t value = mixed(key + (uint64_t)(d + 1) * step) >> 32;
            weights[(int64_t)(value * (uint64_t)units >> 32) * weights_step + lane]++;
        }
    }
    return DONE;
}

int curve(VECTOR(const double, score), VECTOR(const bool, true_flags), VECTOR(const bool, ignored), int64_t objects,
          VECTOR(const double, points), VECTOR(double, precision), VECTOR(double, scores), VECTOR(double, last))
{
    UNUSED(true_flags_size), UNUSED(ignored_size), UNUSED(precision_size), UNUSED(scores_size), UNUSED(last_size);
    double *recall = malloc(3 * (size_t)(score_size + 1) * sizeof *recall);
    if (!recall) return NO_MEMORY;
    double *height = recall + score_size + 1, *at = height + score_size + 1;
    double found = 0.0, wrong = 0.0;
    int64_t size = 0;
    for (int64_t d = 0; d < score_size; d++) {
        if (!ignored[d]) {
            if (true_flags[d])
                found += 1.0;
            else
                wrong += 1.0;
        }
        recall[size] = found / (double)objects;
        height[size] = found / (wrong + found + TINY);
        at[size++] = score[d];
    }
    for (int64_t d = size - 1; d > 0; d--)
        if (height[d] > height[d - 1]) height[d - 1] = height[d];
    for (int64_t r = 0; r < points_size; r++) {
        int64_t low = 0, high = size;
        while (low < high) {
            int64_t middle = (low + high) / 2;
            if (recall[middle] < points[r])
                low = middle + 1;
            else
                high = middle;
        }
        precision[r] = low < size ? height[low] : 0.0;
        scores[r] = low < size ? at[low] : 0.0;
    }
    last[0] = size ? recall[size - 1] : 0.0;
    free(recall);
    return DONE;
}

int pixels(VECTOR(const uint8_t, text), VECTOR(const int64_t, ends), VECTOR(int64_t, covered))
{
    UNUSED(text_size), UNUSED(ends_size);
    for (int64_t code = 0; code < covered_size; code++) {
        int64_t place = ends[code], total = 0, number = 0, last = 0, before_last = 0;
        while (place < ends[code + 1] && total >= 0) {
            int64_t value = 0;
            int length = 0;
            bool more = true;
            while (more && place < ends[code + 1] && length < LONGEST) {
                int bits = (int)text[place] - 48;
                if (bits < 0 || bits > 63) break;
                value |= (int64_t)(bits & 31) << (5 * length);
                more = bits & 32;
                place++, length++;
                if (!more && bits & 16) value -= INT64_C(1) << (5 * length);
            }
            int64_t run = number > 2 ? value + before_last : value;
            total = more || run < 0 ? -1 : total + run;
            before_last = last, last = run, number++;
        }
        covered[code] = total;
    }
    return DONE;
}
