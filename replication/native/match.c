/* The loops of the matching. match_kernels.py has the same for numba, and says what each does; a test compares them. */

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "arrays.h"

enum { IOU = 0, GIOU = 1, GIOU_PAPER = 2, VOC_GIOU = 3, GIVEN = 4 };
enum { SHORT = 16 }; /* so many are sorted by insertion */
enum { AHEAD = 16 }; /* so many detections later ones' columns, which lie anywhere in memory, are fetched early */

#ifdef __GNUC__
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

static const double CEILING = 1 - 1e-10;

/* The columns of detections and of objects, in the order of the named tuples in kernels.py. */
#define FOUND                                                                                                         \
    VECTOR(const int64_t, found_image), VECTOR(const double, found_score), TABLE(const double, found_boxes),          \
        VECTOR(const double, found_box_areas), VECTOR(const double, found_areas)
#define OBJECTS                                                                                                       \
    VECTOR(const int64_t, object_image), TABLE(const double, object_boxes), VECTOR(const double, object_box_areas),   \
        VECTOR(const double, object_areas), VECTOR(const bool, object_crowd), VECTOR(const bool, object_ignored)

static void counting_sort(const int64_t *order, const int64_t *key, int64_t size, int64_t *place, int64_t *result)
{
    for (int64_t i = 0; i < size; i++) {
        int64_t index = order ? order[i] : i;
        result[place[key[index]]++] = index;
    }
}

/* Where each key starts: `place` of `keys` + 1. */
static void starts_of(const int64_t *key, int64_t size, int64_t keys, int64_t *place)
{
    memset(place, 0, (size_t)(keys + 1) * sizeof *place);
    for (int64_t i = 0; i < size; i++) place[key[i] + 1]++;
    for (int64_t k = 0; k < keys; k++) place[k + 1] += place[k];
}

int by_class_and_image(VECTOR(const int64_t, label), VECTOR(const int64_t, image), int64_t classes, int64_t images,
                       VECTOR(int64_t, order), VECTOR(int64_t, starts))
{
    int64_t most = classes > images ? classes : images;
    int64_t *by_image = malloc((size_t)(image_size + 1) * sizeof *by_image);
    int64_t *place = malloc((size_t)(most + 1) * sizeof *place);
    if (by_image && place) {
        starts_of(image, image_size, images, place);
        counting_sort(NULL, image, image_size, place, by_image);
        starts_of(label, label_size, classes, place);
        memcpy(starts, place, (size_t)starts_size * sizeof *place);
        counting_sort(by_image, label, order_size, place, order);
    }
    int status = by_image && place ? DONE : NO_MEMORY;
    free(by_image);
    free(place);
    return status;
}

int kept_per_class(VECTOR(const int64_t, order), VECTOR(const int64_t, starts), VECTOR(const int64_t, image),
                   int64_t limit, VECTOR(int64_t, kept))
{
    UNUSED(order_size), UNUSED(image_size), UNUSED(starts_size);
    kept[0] = 0;
    for (int64_t c = 0; c + 1 < kept_size; c++) {
        int64_t run = 0, count = 0;
        for (int64_t i = starts[c]; i < starts[c + 1]; i++) {
            run = i > starts[c] && image[order[i]] == image[order[i - 1]] ? run + 1 : 1;
            count += run <= limit;
        }
        kept[c + 1] = kept[c] + count;
    }
    return DONE;
}

typedef struct {
    double score;
    int64_t index;
} Scored;

static void sort_short(Scored *items, int64_t size)
{
    for (int64_t i = 1; i < size; i++) {
        Scored moved = items[i];
        int64_t j = i - 1;
        for (; j >= 0 && items[j].score < moved.score; j--) items[j + 1] = items[j];
        items[j + 1] = moved;
    }
}

/* Sort by falling score, stable; `items` or `other`, whichever holds the result. */
static Scored *sort_by_score(Scored *items, Scored *other, int64_t size)
{
    for (int64_t start = 0; start < size; start += SHORT)
        sort_short(items + start, size - start < SHORT ? size - start : SHORT);
    for (int64_t width = SHORT; width < size; width *= 2) {
        for (int64_t start = 0; start < size; start += 2 * width) {
            int64_t middle = start + width < size ? start + width : size;
            int64_t end = start + 2 * width < size ? start + 2 * width : size;
            int64_t left = start, right = middle;
            for (int64_t i = start; i < end; i++) {
                bool take_left = right >= end || (left < middle && !(items[left].score < items[right].score));
                other[i] = take_left ? items[left++] : items[right++];
            }
        }
        Scored *swap = items;
        items = other, other = swap;
    }
    return items;
}

static inline double least(double a, double b) { return b < a ? b : a; }
static inline double most(double a, double b) { return b > a ? b : a; }

/* In pycocotools' order of operations. */
static inline double overlap_of(int64_t kind, const double *box, double area, const double *other, double other_area,
                                bool crowd)
{
    double width = least(box[2], other[2]) - most(box[0], other[0]);
    double height = least(box[3], other[3]) - most(box[1], other[1]);
    bool apart = !(width > 0 && height > 0);
    if (apart && kind == IOU) return 0.0; /* of most pairs, without a division */
    double common = apart ? 0.0 : width * height;
    double all = crowd ? area : area + other_area - common;
    double value = all > 0 ? common / all : 0.0;
    if (kind == IOU || (kind == GIOU && crowd)) return value;
    double hull = (most(box[2], other[2]) - least(box[0], other[0])) * (most(box[3], other[3]) - least(box[1], other[1]));
    double penalty = hull > 0 ? (hull - all) / hull : 0.0;
    if (kind == VOC_GIOU) penalty = most(penalty, 0.0);
    return value - penalty;
}

/* One image and class under one area range: n detections by falling score, m objects. */
typedef struct {
    int64_t n, m;
    const double *overlap; /* (n, m) */
    const double *top;     /* (n,) the greatest overlap of each */
    const bool *outside;   /* (n,) */
    const bool *crowd, *ignored; /* (m,) */
    int64_t *order;        /* (m,) scratch */
    bool *taken;           /* (m,) scratch */
    int64_t *reaching;     /* (n,) scratch: those that reach the lowest threshold */
    int64_t *match;        /* (n,) the object at the first threshold, or -1 */
    uint16_t *true_bits, *left_out; /* (n,) */
} Scene;

static int64_t best_free(const Scene *s, int64_t d, double threshold)
{
    double best = least(threshold, CEILING);
    int64_t match = -1;
    if (s->top[d] < best) return match;
    for (int64_t place = 0; place < s->m; place++) {
        int64_t g = s->order[place];
        if (s->taken[g] && !s->crowd[g]) continue;
        if (match >= 0 && !s->ignored[match] && s->ignored[g]) break;
        double value = s->overlap[d * s->m + g];
        if (value >= best) best = value, match = g;
    }
    return match;
}

static void assign_coco(Scene *s, const double *thresholds, int64_t count)
{
    int64_t place = 0;
    for (int64_t g = 0; g < s->m; g++)
        if (!s->ignored[g]) s->order[place++] = g;
    for (int64_t g = 0; g < s->m; g++)
        if (s->ignored[g]) s->order[place++] = g;
    double lowest = CEILING;
    for (int64_t t = 0; t < count; t++) lowest = least(lowest, thresholds[t]);
    int64_t near = 0;
    for (int64_t d = 0; d < s->n; d++) {
        if (s->top[d] >= lowest)
            s->reaching[near++] = d;
        else if (s->outside[d])
            s->left_out[d] = (uint16_t)((1u << count) - 1);
    }
    for (int64_t t = 0; near && t < count; t++) {
        uint16_t bit = (uint16_t)(1u << t);
        memset(s->taken, 0, (size_t)s->m);
        for (int64_t i = 0; i < near; i++) {
            int64_t d = s->reaching[i], match = best_free(s, d, thresholds[t]);
            if (match < 0) {
                if (s->outside[d]) s->left_out[d] |= bit;
                continue;
            }
            s->taken[match] = true;
            if (s->ignored[match])
                s->left_out[d] |= bit;
            else
                s->true_bits[d] |= bit;
            if (t == 0) s->match[d] = match;
        }
    }
}

static void assign_voc(Scene *s, const double *thresholds, int64_t count)
{
    for (int64_t t = 0; t < count; t++) {
        uint16_t bit = (uint16_t)(1u << t);
        memset(s->taken, 0, (size_t)s->m);
        for (int64_t d = 0; d < s->n; d++) {
            const double *row = s->overlap + d * s->m;
            int64_t match = 0;
            for (int64_t g = 1; g < s->m; g++)
                if (row[g] > row[match]) match = g;
            if (row[match] <= thresholds[t]) {
                if (s->outside[d]) s->left_out[d] |= bit;
            } else if (s->ignored[match]) {
                s->left_out[d] |= bit;
            } else if (!s->taken[match]) {
                s->taken[match] = true;
                s->true_bits[d] |= bit;
                if (t == 0) s->match[d] = match;
            }
        }
    }
}

/* The most detections and objects of an image, and the most pairs. */
static void greatest(const int64_t *order, int64_t size, const int64_t *image, int64_t *most_of_image)
{
    int64_t run = 0;
    *most_of_image = 0;
    for (int64_t i = 0; i < size; i++) {
        run = i && image[order[i]] == image[order[i - 1]] ? run + 1 : 1;
        if (run > *most_of_image) *most_of_image = run;
    }
}

static void *part(char **memory, int64_t count, size_t size)
{
    void *start = *memory;
    *memory += ((size_t)count * size + 15) / 16 * 16;
    return start;
}

int match_class(int64_t kind, int64_t voc, int64_t limit, VECTOR(const double, thresholds), TABLE(const double, ranges),
                VECTOR(const int64_t, order), FOUND, VECTOR(const int64_t, gt_order), OBJECTS,
                VECTOR(const double, given), VECTOR(int32_t, out_detection), VECTOR(int32_t, out_image),
                VECTOR(int32_t, out_rank), VECTOR(int32_t, out_match), TABLE(uint16_t, out_true),
                TABLE(uint16_t, out_ignored))
{
    UNUSED(ranges_columns), UNUSED(found_image_size), UNUSED(found_score_size), UNUSED(found_boxes_rows);
    UNUSED(found_boxes_columns), UNUSED(found_box_areas_size), UNUSED(found_areas_size), UNUSED(object_image_size);
    UNUSED(object_boxes_rows), UNUSED(object_boxes_columns), UNUSED(object_box_areas_size), UNUSED(given_size);
    UNUSED(object_areas_size), UNUSED(object_crowd_size), UNUSED(object_ignored_size), UNUSED(out_image_size);
    UNUSED(out_rank_size), UNUSED(out_match_size), UNUSED(out_true_rows), UNUSED(out_true_columns);
    UNUSED(out_ignored_rows), UNUSED(out_ignored_columns);
    int64_t size = out_detection_size, areas = ranges_rows, n_most, m_most;
    greatest(order, order_size, found_image, &n_most);
    greatest(gt_order, gt_order_size, object_image, &m_most);
    size_t bits = (size_t)areas * (size_t)size;
    size_t bytes = (size_t)size * (2 * sizeof(int64_t) + sizeof(int32_t)) + 2 * bits * sizeof(uint16_t);
    bytes += 2 * (size_t)(size + n_most) * sizeof(Scored) + (size_t)n_most * (sizeof(double) + 2 * sizeof(int64_t) + 1);
    bytes += (size_t)n_most * (size_t)m_most * sizeof(double) + (size_t)m_most * (sizeof(int64_t) + 3) + 16 * 16;
    char *memory = calloc(bytes, 1), *free_memory = memory;
    if (!memory) return NO_MEMORY;
    int64_t *detection = part(&free_memory, size, sizeof *detection);
    int64_t *match = part(&free_memory, size, sizeof *match);
    int32_t *rank = part(&free_memory, size, sizeof *rank);
    uint16_t *true_bits = part(&free_memory, areas * size, sizeof *true_bits);
    uint16_t *left_out = part(&free_memory, areas * size, sizeof *left_out);
    Scored *items = part(&free_memory, size + n_most, sizeof *items);
    Scored *other = part(&free_memory, size + n_most, sizeof *other);
    double *overlap = part(&free_memory, n_most * m_most, sizeof *overlap);
    double *top = part(&free_memory, n_most, sizeof *top);
    int64_t *reaching = part(&free_memory, n_most, sizeof *reaching);
    int64_t *found = part(&free_memory, n_most, sizeof *found);
    bool *outside = part(&free_memory, n_most, 1);
    int64_t *scratch = part(&free_memory, m_most, sizeof *scratch);
    bool *taken = part(&free_memory, m_most, 1);
    bool *crowd = part(&free_memory, m_most, 1);
    bool *ignored = part(&free_memory, m_most, 1);
    uint16_t every = (uint16_t)((1u << thresholds_size) - 1);

    int64_t stop = 0;
    for (int64_t i = 0, j = 0, used = 0; i < order_size;) {
        int64_t image = found_image[order[i]], n = 0, m = 0, start = stop;
        for (; i < order_size && found_image[order[i]] == image; i++, n++) {
            items[n] = (Scored){found_score[order[i]], order[i]};
            if (i + AHEAD < order_size) {
                int64_t later = order[i + AHEAD];
                PREFETCH(found_image + later), PREFETCH(found_score + later), PREFETCH(found_areas + later);
                PREFETCH(found_boxes + later * found_boxes_step), PREFETCH(found_box_areas + later);
            }
        }
        const Scored *rows = sort_by_score(items, other, n);
        if (n > limit) n = limit;
        stop += n;
        while (j < gt_order_size && object_image[gt_order[j]] < image) j++;
        const int64_t *columns = gt_order + j;
        for (; j < gt_order_size && object_image[gt_order[j]] == image; j++) m++;
        for (int64_t d = 0; d < n; d++) {
            int64_t one = rows[d].index;
            detection[start + d] = one, rank[start + d] = (int32_t)d, match[start + d] = -1;
            top[d] = -INFINITY;
            for (int64_t g = 0; g < m; g++) {
                int64_t column = columns[g];
                double value = kind == GIVEN ? given[used + d * m + g]
                                             : overlap_of(kind, found_boxes + one * found_boxes_step,
                                                          found_box_areas[one], object_boxes + column * object_boxes_step,
                                                          object_box_areas[column], object_crowd[column]);
                overlap[d * m + g] = value;
                top[d] = most(top[d], value);
            }
        }
        used += n * m;
        for (int64_t a = 0; a < areas; a++) {
            double low = ranges[a * ranges_step], high = ranges[a * ranges_step + 1];
            Scene scene = {n, m, overlap, top, outside, crowd, ignored, scratch, taken, reaching, found,
                           true_bits + a * size + start, left_out + a * size + start};
            for (int64_t d = 0; d < n; d++) {
                double area = found_areas[rows[d].index];
                outside[d] = area < low || area > high;
                found[d] = -1;
                if (!m && outside[d]) scene.left_out[d] = every;
            }
            if (!m) continue;
            for (int64_t g = 0; g < m; g++) {
                double area = object_areas[columns[g]];
                crowd[g] = object_crowd[columns[g]];
                ignored[g] = object_ignored[columns[g]] || area < low || area > high;
            }
            if (voc)
                assign_voc(&scene, thresholds, thresholds_size);
            else
                assign_coco(&scene, thresholds, thresholds_size);
            for (int64_t d = 0; a == 0 && d < n; d++)
                if (found[d] >= 0) match[start + d] = columns[found[d]];
        }
    }
    for (int64_t d = 0; d < size; d++) items[d] = (Scored){found_score[detection[d]], d};
    const Scored *sorted = sort_by_score(items, other, size);
    for (int64_t d = 0; d < size; d++) {
        int64_t from = sorted[d].index;
        out_detection[d] = (int32_t)detection[from];
        out_image[d] = (int32_t)found_image[detection[from]];
        out_rank[d] = rank[from];
        out_match[d] = (int32_t)match[from];
        for (int64_t a = 0; a < areas; a++) {
            out_true[a * out_true_step + d] = true_bits[a * size + from];
            out_ignored[a * out_ignored_step + d] = left_out[a * size + from];
        }
    }
    free(memory);
    return DONE;
}

/* How near a detection comes to the objects of its image: the greatest overlap with its own class and with others. */
typedef struct {
    double overlap[2];
    int64_t object[2];
} Near;

enum { NONE = 0, DUPLICATE, LOCALISATION, CLASSIFICATION, BACKGROUND, BOTH };

static uint8_t mistake_of(const Near *near, double foreground, double background)
{
    if (near->overlap[0] >= foreground) return DUPLICATE;
    if (near->overlap[0] >= background) return LOCALISATION;
    if (near->overlap[1] >= foreground) return CLASSIFICATION;
    return near->overlap[1] < background ? BACKGROUND : BOTH;
}

int mistaken(int64_t kind, double foreground, double background, VECTOR(const int32_t, rows),
             VECTOR(const bool, wrong), VECTOR(const int64_t, label), FOUND, VECTOR(const int64_t, by_image),
             VECTOR(const int64_t, starts), VECTOR(const int64_t, gt_label), OBJECTS, VECTOR(uint8_t, mistake),
             VECTOR(int64_t, aim))
{
    UNUSED(wrong_size), UNUSED(label_size), UNUSED(found_score), UNUSED(found_score_size);
    UNUSED(found_boxes_rows), UNUSED(found_boxes_columns), UNUSED(found_box_areas_size), UNUSED(found_areas);
    UNUSED(found_areas_size), UNUSED(by_image_size), UNUSED(starts_size), UNUSED(gt_label_size), UNUSED(object_image);
    UNUSED(object_image_size), UNUSED(object_boxes_rows), UNUSED(object_boxes_columns), UNUSED(object_box_areas_size);
    UNUSED(object_areas), UNUSED(object_areas_size), UNUSED(object_crowd), UNUSED(object_crowd_size);
    UNUSED(object_ignored_size), UNUSED(mistake_size), UNUSED(aim_size);
    /* In the order of the file, where the detections of an image mostly lie together. */
    int32_t *row_of = malloc((size_t)(found_image_size + 1) * sizeof *row_of);
    if (!row_of) return NO_MEMORY;
    memset(row_of, -1, (size_t)found_image_size * sizeof *row_of);
    for (int64_t row = 0; row < rows_size; row++) {
        mistake[row] = NONE, aim[row] = -1;
        if (wrong[row]) row_of[rows[row]] = (int32_t)row;
    }
    for (int64_t d = 0; d < found_image_size; d++) {
        if (row_of[d] < 0) continue;
        Near near = {{-INFINITY, -INFINITY}, {-1, -1}};
        for (int64_t place = starts[found_image[d]]; place < starts[found_image[d] + 1]; place++) {
            int64_t g = by_image[place], other = gt_label[g] != label[d];
            if (object_ignored[g]) continue;
            double value = overlap_of(kind, found_boxes + d * found_boxes_step, found_box_areas[d],
                                      object_boxes + g * object_boxes_step, object_box_areas[g], false);
            if (value > near.overlap[other]) near.overlap[other] = value, near.object[other] = g;
        }
        int64_t row = row_of[d];
        mistake[row] = mistake_of(&near, foreground, background);
        aim[row] = near.object[mistake[row] == CLASSIFICATION];
    }
    free(row_of);
    return DONE;
}
