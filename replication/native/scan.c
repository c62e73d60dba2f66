/* COCO's list of results straight into columns. Whatever is not written plainly stops the scan, and the whole file is
   read by the JSON library instead: it names what is wrong, and takes what is right but rare. */

#include "text.h"

enum { IMAGE = 1, CLASS = 2, SCORE = 4, BOX = 8, ALL = 15 };

typedef struct {
    int64_t *image, *label;
    double *score, *corners, *area;
} Result;

static bool member(Text *t, const char *key, size_t size, int *own, void *into)
{
    const Result *row = into;
    if (is(key, size, "image_id")) return *own = IMAGE, whole(t, row->image);
    if (is(key, size, "category_id")) return *own = CLASS, whole(t, row->label);
    if (is(key, size, "score")) return *own = SCORE, real(t, row->score);
    if (is(key, size, "bbox")) return *own = BOX, box(t, row->corners, row->area);
    if (is(key, size, "segmentation")) return skip_space(t), take_word(t, "null");
    return skip_value(t, 0);
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
            Result row = {image + count, label + count, score + count, boxes + count * boxes_step, areas + count};
            int found;
            good = count < image_size && record(&t, member, &row, &found) && found == ALL;
            count++;
        } while (good && take(&t, ','));
        good = good && take(&t, ']');
    }
    skip_space(&t);
    state[0] = count, state[1] = good && t.at == t.end ? END : NOT_PLAIN;
    return DONE;
}
