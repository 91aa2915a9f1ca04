/* sample_best.c: the k best of a stream of values, without sorting the stream.
 *
 * A heap of at most k entries with the worst of them at the root: an offer that does not beat the root costs one comparison, and
 * in a vocabulary of 100,000 nearly all are of that kind. Sorting takes the worst off the root again and again, so the array ends
 * with the best in front. Equal values are ordered by id, hence the result does not depend on the order of the offers. */
#include "sample.h"

static bool worse(const smt_token_logprob *a, const smt_token_logprob *b) {
    return a->logprob < b->logprob || (a->logprob == b->logprob && a->token > b->token);
}

static void swap(smt_token_logprob *a, smt_token_logprob *b) {
    smt_token_logprob t = *a;
    *a = *b;
    *b = t;
}

static void sift_down(smt_token_logprob *entries, uint32_t n) {
    for (uint32_t i = 0;;) {
        uint32_t top = i, left = 2 * i + 1, right = 2 * i + 2;
        if (left < n && worse(&entries[left], &entries[top])) top = left;
        if (right < n && worse(&entries[right], &entries[top])) top = right;
        if (top == i) return;
        swap(&entries[i], &entries[top]);
        i = top;
    }
}

void smt_sample_offer(smt_sample_best *best, int32_t token, float value) {
    const smt_token_logprob offered = {.token = token, .logprob = value};
    if (best->n == best->capacity) {
        if (best->capacity == 0 || !worse(&best->entries[0], &offered)) return;
        best->entries[0] = offered;
        sift_down(best->entries, best->n);
        return;
    }
    uint32_t i = best->n++;
    best->entries[i] = offered;
    for (; i > 0 && worse(&best->entries[i], &best->entries[(i - 1) / 2]); i = (i - 1) / 2)
        swap(&best->entries[i], &best->entries[(i - 1) / 2]);
}

void smt_sample_sort(smt_sample_best *best) {
    for (uint32_t n = best->n; n > 1; n--) {
        swap(&best->entries[0], &best->entries[n - 1]);
        sift_down(best->entries, n - 1);
    }
}
