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

static bool image(Text *t, const char *file, int64_t *row)
{
    int found = 0;
    memset(row, 0, OF_IMAGE * sizeof *row);
    if (!take(t, '{')) return false;
    do {
        const char *key;
        size_t size;
        int one = 0;
        bool good;
        if (!plain_text(t, &key, &size) || !take(t, ':')) return false;
        if (is(key, size, "id"))
            one = 1 << IMAGE_ID, good = whole(t, row + IMAGE_ID);
        else if (is(key, size, "height"))
            one = 1 << HEIGHT, good = whole_or_null(t, row + HEIGHT);
        else if (is(key, size, "width"))
            one = 1 << WIDTH, good = whole_or_null(t, row + WIDTH);
        else if (is(key, size, "file_name"))
            one = 1 << FILE_NAME, good = text_span(t, file, row + FILE_NAME);
        else
            good = skip_value(t, 0);
        if (!good || found & one) return false;
        found |= one;
    } while (take(t, ','));
    return found & 1 << IMAGE_ID && take(t, '}');
}

static bool category(Text *t, const char *file, int64_t *row)
{
    int found = 0;
    memset(row, 0, OF_CATEGORY * sizeof *row);
    if (!take(t, '{')) return false;
    do {
        const char *key;
        size_t size;
        int one = 0;
        bool good;
        if (!plain_text(t, &key, &size) || !take(t, ':')) return false;
        if (is(key, size, "id"))
            one = 1 << CATEGORY_ID, good = whole(t, row + CATEGORY_ID);
        else if (is(key, size, "name"))
            one = 1 << NAME, good = text_span(t, file, row + NAME);
        else
            good = skip_value(t, 0);
        if (!good || found & one) return false;
        found |= one;
    } while (take(t, ','));
    return found == (1 << CATEGORY_ID | 1 << NAME) && take(t, '}');
}

static bool object(Text *t, const char *file, int64_t *row, double *sides)
{
    enum { BOX = 1 << OF_OBJECT, SIZE = BOX << 1 };
    const int needed = 1 << OBJECT_ID | 1 << OBJECT_IMAGE | 1 << OBJECT_CATEGORY | BOX;
    int found = 0;
    memset(row, 0, OF_OBJECT * sizeof *row);
    sides[AREA] = NAN;
    if (!take(t, '{')) return false;
    do {
        const char *key;
        size_t size;
        int one = 0;
        bool good;
        if (!plain_text(t, &key, &size) || !take(t, ':')) return false;
        if (is(key, size, "id"))
            one = 1 << OBJECT_ID, good = whole(t, row + OBJECT_ID);
        else if (is(key, size, "image_id"))
            one = 1 << OBJECT_IMAGE, good = whole(t, row + OBJECT_IMAGE);
        else if (is(key, size, "category_id"))
            one = 1 << OBJECT_CATEGORY, good = whole(t, row + OBJECT_CATEGORY);
        else if (is(key, size, "bbox"))
            one = BOX, good = box(t, sides, sides + BOX_AREA);
        else if (is(key, size, "area"))
            one = SIZE, good = real_or_null(t, sides + AREA);
        else if (is(key, size, "iscrowd"))
            one = 1 << CROWD, good = flag(t, row + CROWD);
        else if (is(key, size, "ignore"))
            one = 1 << IGNORE, good = flag(t, row + IGNORE);
        else if (is(key, size, "difficult"))
            one = 1 << DIFFICULT, good = flag(t, row + DIFFICULT);
        else if (is(key, size, "segmentation"))
            one = 1 << MASK, good = value_span(t, file, row + MASK);
        else
            good = skip_value(t, 0);
        if (!good || found & one) return false;
        found |= one;
    } while (take(t, ','));
    if ((found & needed) != needed || sides[AREA] < 0) return false;
    if (isnan(sides[AREA])) sides[AREA] = sides[BOX_AREA];
    return take(t, '}');
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
    int found = 0;
    bool good = take(&t, '{');
    counts[0] = counts[1] = counts[2] = 0, counts[3] = NOT_PLAIN;
    do {
        const char *key;
        size_t size;
        if (!good || !plain_text(&t, &key, &size) || !take(&t, ':')) return DONE;
        int one = is(key, size, "images") ? IMAGES : is(key, size, "categories") ? CATEGORIES
                : is(key, size, "annotations") ? ANNOTATIONS : 0;
        if (found & one) return DONE;
        found |= one;
        if (!one) {
            good = skip_value(&t, 0);
            continue;
        }
        int64_t rows = one == IMAGES ? images_rows : one == CATEGORIES ? categories_rows : objects_rows;
        int64_t *count = counts + (one == IMAGES ? 0 : one == CATEGORIES ? 1 : 2);
        if (!take(&t, '[')) return DONE;
        if (take(&t, ']')) continue;
        do {
            if (*count == rows) return DONE;
            good = one == IMAGES       ? image(&t, file, images + *count * images_step)
                   : one == CATEGORIES ? category(&t, file, categories + *count * categories_step)
                                       : object(&t, file, objects + *count * objects_step, boxes + *count * boxes_step);
            ++*count;
        } while (good && take(&t, ','));
        good = good && take(&t, ']');
    } while (good && take(&t, ','));
    if (!good || found != ALL_LISTS || !take(&t, '}')) return DONE;
    skip_space(&t);
    if (t.at == t.end) counts[3] = END;
    return DONE;
}
