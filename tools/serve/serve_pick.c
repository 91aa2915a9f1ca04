/* serve_pick.c: which slot answers a prompt. What a slot's session still holds of it need not be evaluated again; on the other hand
 * a prompt that shares only its first words, or no more than the beginning token, must not take another conversation's slot while
 * there is one that nobody misses. */
#include "serve_internal.h"

size_t serve_common(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b) {
    size_t same = 0;
    while (same < n_a && same < n_b && a[same] == b[same]) same++;
    return same;
}

uint32_t serve_pick(const serve_held *slots, uint32_t n, const int32_t *prompt, size_t n_prompt) {
    uint32_t best = n, oldest = n;
    size_t best_common = n_prompt / 10 + 1;
    for (uint32_t i = 0; i < n; i++) {
        if (slots[i].busy) continue;
        size_t common = serve_common(slots[i].tokens, slots[i].count, prompt, n_prompt);
        if (common > best_common) {
            best = i;
            best_common = common;
        }
        if (oldest == n || slots[i].used < slots[oldest].used) oldest = i;
    }
    return best < n ? best : oldest;
}
