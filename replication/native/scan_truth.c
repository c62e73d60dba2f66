/* A COCO data set straight into columns, as scan.c does it with results. */

#include "text.h"

/* Columns of the tables. */
enum { IMAGE_ID, HEIGHT, WIDTH, FILE_NAME, FILE_NAME_END, OF_IMAGE };
enum { CATEGORY_ID, NAME, NAME_END, OF_CATEGORY };
enum { OBJECT_ID, OBJECT_IMAGE, OBJECT_CATEGORY, CROWD, IGNORE, DIFFICULT, MASK, MASK_END, OF_OBJECT };
enum { BOX_AREA = 4, AREA = 5 };
enum { IMAGES = 1, CATEGORIES = 2, ANNOTATIONS = 4, ALL_LISTS = 7 };

/* Where a text lies in the file; both 0 where there is null. */
static bool text_span(Text *t, const char *file, int64_t *span)
{
    const char *start;
    size_t size;
    skip_space(t);
    if (take_word(t, "null")) return true;
    if (!plain_text(t, &start, &size)) return false;
    span[0] = start - file, span[1] = span[0] + (int64_t)size;
    return true;
}

static bool value_span(Text *t, const char *file, int64_t *span)
{
    skip_space(t);
    const char *start = t->at;
    if (!skip_value(t, 0)) return false;
    span[0] = start - file, span[1] = t->at - file;
    return true;
}

/* null is what is not there. */
static bool whole_or_null(Text *t, int64_t *value)
{
    skip_space(t);
    return take_word(t, "null") || whole(t, value);
}

static bool real_or_null(Text *t, double *value)
{
    skip_space(t);
    return take_word(t, "null") || real(t, value);
}

static bool flag(Text *t, int64_t *value)
{
    skip_space(t);
    if (take_word(t, "true")) return *value = 1, true;
    if (take_word(t, "false")) return true;
    return whole_or_null(t, value) && (*value == 0 || *value == 1);
}

typedef struct {
    const char *file;
    int64_t *values;
    double *sides;
} Row;

static bool image_member(Text *t, const char *key, size_t size, int *own, void *into)
{
    const Row *row = into;
    if (is(key, size, "id")) return *own = 1 << IMAGE_ID, whole(t, row->values + IMAGE_ID);
    if (is(key, size, "height")) return *own = 1 << HEIGHT, whole_or_null(t, row->values + HEIGHT);
    if (is(key, size, "width")) return *own = 1 << WIDTH, whole_or_null(t, row->values + WIDTH);
    if (is(key, size, "file_name")) return *own = 1 << FILE_NAME, text_span(t, row->file, row->values + FILE_NAME);
    return skip_value(t, 0);
}

static bool image(Text *t, Row *row)
{
    int found;
    memset(row->values, 0, OF_IMAGE * sizeof *row->values);
    return record(t, image_member, row, &found) && found & 1 << IMAGE_ID;
}

static bool category_member(Text *t, const char *key, size_t size, int *own, void *into)
{
    const Row *row = into;
    if (is(key, size, "id")) return *own = 1 << CATEGORY_ID, whole(t, row->values + CATEGORY_ID);
    if (is(key, size, "name")) return *own = 1 << NAME, text_span(t, row->file, row->values + NAME);
    return skip_value(t, 0);
}

static bool category(Text *t, Row *row)
{
    int found;
    memset(row->values, 0, OF_CATEGORY * sizeof *row->values);
    return record(t, category_member, row, &found) && found == (1 << CATEGORY_ID | 1 << NAME);
}

enum { BOX = 1 << OF_OBJECT, SIZE = BOX << 1 };

static bool object_member(Text *t, const char *key, size_t size, int *own, void *into)
{
    const Row *row = into;
    int64_t *values = row->values;
    double *sides = row->sides;
    if (is(key, size, "id")) return *own = 1 << OBJECT_ID, whole(t, values + OBJECT_ID);
    if (is(key, size, "image_id")) return *own = 1 << OBJECT_IMAGE, whole(t, values + OBJECT_IMAGE);
    if (is(key, size, "category_id")) return *own = 1 << OBJECT_CATEGORY, whole(t, values + OBJECT_CATEGORY);
    if (is(key, size, "bbox")) return *own = BOX, box(t, sides, sides + BOX_AREA);
    if (is(key, size, "area")) return *own = SIZE, real_or_null(t, sides + AREA);
    if (is(key, size, "iscrowd")) return *own = 1 << CROWD, flag(t, values + CROWD);
    if (is(key, size, "ignore")) return *own = 1 << IGNORE, flag(t, values + IGNORE);
    if (is(key, size, "difficult")) return *own = 1 << DIFFICULT, flag(t, values + DIFFICULT);
    if (is(key, size, "segmentation")) return *own = 1 << MASK, value_span(t, row->file, values + MASK);
    return skip_value(t, 0);
}

static bool object(Text *t, Row *row)
{
    const int needed = 1 << OBJECT_ID | 1 << OBJECT_IMAGE | 1 << OBJECT_CATEGORY | BOX;
    double *sides = row->sides;
    int found;
    memset(row->values, 0, OF_OBJECT * sizeof *row->values);
    sides[AREA] = NAN;
    if (!record(t, object_member, row, &found) || (found & needed) != needed || sides[AREA] < 0) return false;
    if (isnan(sides[AREA])) sides[AREA] = sides[BOX_AREA];
    return true;
}

/* The lists of the file in the order of LISTS: of each the records read, its table, rows and the distance of two. */
enum { OF_IMAGES, OF_CATEGORIES, OF_OBJECTS, LISTS };
typedef struct {
    const char *file;
    int64_t *counts, *tables[LISTS], rows[LISTS], steps[LISTS];
    double *boxes;
    int64_t boxes_step;
} Lists;

static bool entries(Text *t, Lists *lists, int which)
{
    static bool (*const entry[LISTS])(Text *, Row *) = {image, category, object};
    int64_t *count = lists->counts + which;
    if (!take(t, '[')) return false;
    if (take(t, ']')) return true;
    do {
        if (*count == lists->rows[which]) return false;
        Row row = {lists->file, lists->tables[which] + *count * lists->steps[which], NULL};
        if (which == OF_OBJECTS) row.sides = lists->boxes + *count * lists->boxes_step;
        if (!entry[which](t, &row)) return false;
        ++*count;
    } while (take(t, ','));
    return take(t, ']');
}

static bool list_member(Text *t, const char *key, size_t size, int *own, void *into)
{
    if (is(key, size, "images")) return *own = IMAGES, entries(t, into, OF_IMAGES);
    if (is(key, size, "categories")) return *own = CATEGORIES, entries(t, into, OF_CATEGORIES);
    if (is(key, size, "annotations")) return *own = ANNOTATIONS, entries(t, into, OF_OBJECTS);
    return skip_value(t, 0);
}

/* Reads the file. Afterwards counts are the images, categories and objects read, and END or NOT_PLAIN; what has more
   records than rows of its table is not plain. */
int scan_truth(VECTOR(const uint8_t, text), VECTOR(int64_t, counts), TABLE(int64_t, images), TABLE(int64_t, categories),
               TABLE(int64_t, objects), TABLE(double, boxes))
{
    UNUSED(counts_size), UNUSED(images_columns), UNUSED(categories_columns), UNUSED(objects_columns);
    UNUSED(boxes_rows), UNUSED(boxes_columns);
    const char *file = (const char *)text;
    Text t = {file, file + text_size};
    Lists lists = {file, counts, {images, categories, objects}, {images_rows, categories_rows, objects_rows},
                   {images_step, categories_step, objects_step}, boxes, boxes_step};
    int found;
    counts[0] = counts[1] = counts[2] = 0, counts[3] = NOT_PLAIN;
    if (!record(&t, list_member, &lists, &found) || found != ALL_LISTS) return DONE;
    skip_space(&t);
    if (t.at == t.end) counts[3] = END;
    return DONE;
}
