/* COCO's list of results straight into columns. Whatever is not written plainly stops the scan, and the whole file is
   read by the JSON library instead: it names what is wrong, and takes what is right but rare. */

#include "text.h"

enum { IMAGE = 1, CLASS = 2, SCORE = 4, BOX = 8, ALL = 15 };

static bool record(Text *t, int64_t *image, int64_t *label, double *score, double *corners, double *area)
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
            one = BOX, good = box(t, corners, area);
        else if (is(key, size, "segmentation"))
            skip_space(t), good = take_word(t, "null");
        else
            good = skip_value(t, 0);
        if (!good || found & one) return false;
        found |= one;
    } while (take(t, ','));
    return found == ALL && take(t, '}');
}

/* Reads the file. Afterwards state is how many records it read, and END or NOT_PLAIN; what has more records than the
   columns hold is not plain. */
int scan(VECTOR(const uint8_t, text), VECTOR(int64_t, state), VECTOR(int64_t, image), VECTOR(int64_t, label),
         VECTOR(double, score), TABLE(double, boxes), VECTOR(double, areas))
{
    UNUSED(state_size), UNUSED(label_size), UNUSED(score_size), UNUSED(boxes_rows), UNUSED(boxes_columns);
    UNUSED(areas_size);
    Text t = {(const char *)text, (const char *)text + text_size};
    int64_t count = 0;
    bool good = take(&t, '[');
    if (good && !take(&t, ']')) {
        do {
            good = count < image_size &&
                   record(&t, image + count, label + count, score + count, boxes + count * boxes_step, areas + count);
            count++;
        } while (good && take(&t, ','));
        good = good && take(&t, ']');
    }
    skip_space(&t);
    state[0] = count, state[1] = good && t.at == t.end ? END : NOT_PLAIN;
    return DONE;
}
