/* sample_draw.c: one token from one row of logits.
 *
 * Candidates are the finite logits after the repeat penalty; NaN and infinities are never drawn (a mask sets -infinity). Weights
 * are exp((logit - greatest) / temperature), so no temperature overflows and the best candidate weighs exactly 1; all sums are
 * double. Cuts work on candidates in descending weight, the lower id first among equals, taken one by one from a heap: a
 * vocabulary of 100,000 is never sorted for the few dozen tokens that survive.
 *
 *   top-k   the k best                                      always at least one is left
 *   top-p   the fewest best whose share of the weight that top-k left is at least top_p
 *   min-p   those of weight at least min_p times the best's
 *
 * Nothing is remembered between calls; the scratch array holds no meaning afterwards. */
#include "sample.h"

#include <math.h>

#define REPEAT_LAST_DEFAULT 64

/* ---- chance ------------------------------------------------------------------------------------------------------- */

/* A bijection of 64-bit words whose output bits each depend on all input bits. */
static uint64_t mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double smt_sample_uniform(uint64_t seed, uint64_t position) { return (double)(mix(mix(seed) ^ position) >> 11) * 0x1p-53; }

/* ---- candidates --------------------------------------------------------------------------------------------------- */

static smt_status check_options(const smt_sampler_options *options, smt_error *err) {
    const struct {
        const char *name;
        float value;
    } fields[] = {{"temperature", options->temperature},
                  {"top_p", options->top_p},
                  {"min_p", options->min_p},
                  {"repeat_penalty", options->repeat_penalty}};
    for (size_t i = 0; i < SMT_COUNT(fields); i++)
        if (!(fields[i].value >= 0) || !isfinite(fields[i].value))
            return SMT_FAIL(err, SMT_INVALID, "%s is %g, not a number from 0 up", fields[i].name, (double)fields[i].value);
    return SMT_OK;
}

/* Each token of the window once, however often it occurs: towards less likely, whatever the sign of its logit. */
static smt_status penalise(const smt_sampler_options *options, smt_sample_entry *entries, uint32_t n_vocab,
                           const int32_t *history, size_t n_history, smt_error *err) {
    float penalty = options->repeat_penalty;
    size_t window = options->repeat_last ? options->repeat_last : REPEAT_LAST_DEFAULT;
    if (penalty == 0 || penalty == 1 || !history) return SMT_OK;
    for (size_t i = n_history > window ? n_history - window : 0; i < n_history; i++) {
        if (history[i] < 0 || (uint32_t)history[i] >= n_vocab)
            return SMT_FAIL(err, SMT_INVALID, "token %d of the history: the vocabulary has %u", history[i], n_vocab);
        smt_sample_entry *entry = &entries[history[i]];
        if (entry->p != 0) continue; /* p serves as the mark; its weight comes later */
        entry->p = 1;
        entry->logit = entry->logit > 0 ? entry->logit / penalty : entry->logit * penalty;
    }
    return SMT_OK;
}

/* Moves the finite entries to the front, ids ascending, and gives the index of the greatest, the first on a tie. */
static uint32_t keep_finite(smt_sample_entry *entries, uint32_t n_vocab, uint32_t *best) {
    uint32_t n = 0;
    *best = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (!isfinite(entries[i].logit)) continue;
        entries[n] = entries[i];
        if (entries[n].logit > entries[*best].logit) *best = n;
        n++;
    }
    return n;
}

/* ---- heap: the best candidate at entries[0] ----------------------------------------------------------------------- */

static bool better(const smt_sample_entry *a, const smt_sample_entry *b) {
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void swap(smt_sample_entry *a, smt_sample_entry *b) {
    smt_sample_entry t = *a;
    *a = *b;
    *b = t;
}

static void sift_down(smt_sample_entry *entries, uint32_t n, uint32_t i) {
    for (;;) {
        uint32_t top = i, left = 2 * i + 1, right = 2 * i + 2;
        if (left < n && better(&entries[left], &entries[top])) top = left;
        if (right < n && better(&entries[right], &entries[top])) top = right;
        if (top == i) return;
        swap(&entries[i], &entries[top]);
        i = top;
    }
}

/* The best of a heap of n goes to entries[n - 1]; the rest is a heap again. */
static const smt_sample_entry *pop(smt_sample_entry *entries, uint32_t n) {
    swap(&entries[0], &entries[n - 1]);
    sift_down(entries, n - 1, 0);
    return &entries[n - 1];
}

/* ---- cuts and the draw -------------------------------------------------------------------------------------------- */

/* Applies top-k, top-p and min-p to entries[n]: returns how many survive, which then stand at the end of the array, the
 * best last. */
static uint32_t cut(const smt_sampler_options *options, smt_sample_entry *entries, uint32_t n) {
    bool by_share = options->top_p > 0 && options->top_p < 1;
    uint32_t limit = options->top_k && options->top_k < n ? options->top_k : n, popped = 0, kept = 0;
    double total = 0, sum = 0;
    for (uint32_t i = n / 2; i-- > 0;) sift_down(entries, n, i);
    if (limit == n) {
        for (uint32_t i = 0; i < n; i++) total += entries[i].p;
    } else {
        for (; popped < limit; popped++) total += pop(entries, n - popped)->p;
    }
    while (kept < limit) {
        if (kept == popped) pop(entries, n - popped++);
        float p = entries[n - 1 - kept].p;
        if (kept && p < options->min_p) break; /* the best weighs 1 */
        kept++;
        sum += p;
        if (by_share && sum >= options->top_p * total) break;
    }
    return kept;
}

/* From the last entry to the first; what rounding leaves over goes to the last candidate of any weight. */
static int32_t draw(const smt_sample_entry *entries, uint32_t n, double uniform) {
    double total = 0;
    for (uint32_t i = n; i-- > 0;) total += entries[i].p;
    double rest = uniform * total;
    int32_t id = entries[n - 1].id;
    for (uint32_t i = n; i-- > 0;) {
        if (!(entries[i].p > 0)) continue;
        id = entries[i].id;
        rest -= entries[i].p;
        if (rest < 0) break;
    }
    return id;
}

smt_status smt_sample_draw(const smt_sampler_options *options, const float *logits, uint32_t n_vocab, const int32_t *history,
                           size_t n_history, uint64_t position, smt_sample_entry *scratch, int32_t *out_token, smt_error *err) {
    uint32_t best;
    *out_token = 0;
    SMT_TRY(check_options(options, err));
    for (uint32_t i = 0; i < n_vocab; i++) scratch[i] = (smt_sample_entry){.logit = logits[i], .id = (int32_t)i};
    SMT_TRY(penalise(options, scratch, n_vocab, history, n_history, err));
    uint32_t n = keep_finite(scratch, n_vocab, &best), kept = n;
    if (!n) return SMT_FAIL(err, SMT_INTERNAL, "none of %u logits is finite", n_vocab);
    if (options->temperature == 0) {
        *out_token = scratch[best].id;
        return SMT_OK;
    }
    double greatest = scratch[best].logit, temperature = options->temperature;
    for (uint32_t i = 0; i < n; i++) scratch[i].p = (float)exp((scratch[i].logit - greatest) / temperature);
    if (options->top_k || options->min_p > 0 || (options->top_p > 0 && options->top_p < 1)) kept = cut(options, scratch, n);
    *out_token = draw(scratch + (n - kept), kept, smt_sample_uniform(options->seed, position));
    return SMT_OK;
}
