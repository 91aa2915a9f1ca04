/* sample_draw.c: one token from one row of logits.
 *
 * Candidates are the finite logits after biases and penalties; NaN and infinities are never drawn (the mask sets -infinity). Weights
 * are exp((logit - greatest) / temperature), so no temperature overflows and the best candidate weighs exactly 1. A choice among few
 * is left to sample_rule.c, which shares its arithmetic with the device; here, among many, all sums are double. Cuts work on candidates
 * in descending weight, the lower id first among equals:
 *
 *   top-k   the k best                                      always at least one is left
 *   top-p   the fewest best whose share of the weight that top-k left is at least top_p
 *   min-p   those of weight at least min_p times the best's
 *
 * The vocabulary is read once: candidates, their weight in all, and what log-probabilities need (which are the model's own: of the
 * logits as given) are collected side by side. Only top-p or min-p without top-k may have to read again, where the few hundred
 * best do not reach, and a draw among all tokens, which has to know the sum before it walks. */
#include "sample.h"

#include <math.h>
#include <string.h>

#define FIRST_GUESS 256 /* candidates that top-p and min-p look at before they ask for more ... */
#define MORE        8   /* ... and how many times as many then */

/* ---- options ------------------------------------------------------------------------------------------------------ */

smt_status smt_sample_check(const smt_sampler_options *options, smt_error *err) {
    const struct {
        const char *name;
        float value, low, high;
    } fields[] = {{"temperature", options->temperature, 0, 1e6f},
                  {"top_p", options->top_p, 0, 1},
                  {"min_p", options->min_p, 0, 1},
                  {"repeat_penalty", options->repeat_penalty, 0, 1e6f},
                  {"presence_penalty", options->presence_penalty, -1e6f, 1e6f},
                  {"frequency_penalty", options->frequency_penalty, -1e6f, 1e6f}};
    for (size_t i = 0; i < SMT_COUNT(fields); i++)
        if (!(fields[i].value >= fields[i].low && fields[i].value <= fields[i].high))
            return SMT_FAIL(err, SMT_INVALID, "%s is %g; it must lie between %g and %g", fields[i].name, (double)fields[i].value,
                            (double)fields[i].low, (double)fields[i].high);
    if (options->n_biases && !options->biases)
        return SMT_FAIL(err, SMT_INVALID, "biases is NULL, n_biases %u", options->n_biases);
    for (uint32_t i = 0; i < options->n_biases; i++)
        if (isnan(options->biases[i].bias) || options->biases[i].bias == INFINITY)
            return SMT_FAIL(err, SMT_INVALID, "the bias of token %d is %g; it must be a number or -infinity",
                            options->biases[i].token, (double)options->biases[i].bias);
    return SMT_OK;
}

/* ---- biases and penalties ----------------------------------------------------------------------------------------- */

static smt_status check_token(const char *where, int32_t token, uint32_t n_vocab, smt_error *err) {
    if (token >= 0 && (uint32_t)token < n_vocab) return SMT_OK;
    return SMT_FAIL(err, SMT_INVALID, "token %d of the %s: the vocabulary has %u", token, where, n_vocab);
}

/* `count`: how often the token occurs in the window, at least once. */
static float penalise(const smt_sampler_options *options, float logit, float count) {
    float repeat = options->repeat_penalty;
    if (repeat != 0) logit = logit > 0 ? logit / repeat : logit * repeat; /* towards less likely, whatever the sign */
    return logit - options->presence_penalty - count * options->frequency_penalty;
}

/* Each token of the window once. The scratch entry of a token serves as its counter. */
static smt_status apply_penalties(const smt_sampler_options *options, const smt_draw *draw, const smt_sample_scratch *scratch,
                                  smt_error *err) {
    bool repeat = options->repeat_penalty != 0 && options->repeat_penalty != 1;
    if (!draw->history || (!repeat && options->presence_penalty == 0 && options->frequency_penalty == 0)) return SMT_OK;
    size_t window = options->repeat_last ? options->repeat_last : SMT_SAMPLE_REPEAT_LAST;
    if (window > draw->n_history) window = draw->n_history;
    const int32_t *history = draw->history + (draw->n_history - window);
    for (size_t i = 0; i < window; i++) {
        SMT_TRY(check_token("history", history[i], draw->n_vocab, err));
        scratch->best[history[i]].logprob = 0;
    }
    for (size_t i = 0; i < window; i++) scratch->best[history[i]].logprob++;
    for (size_t i = 0; i < window; i++) {
        float *count = &scratch->best[history[i]].logprob, *logit = &scratch->logits[history[i]];
        if (*count > 0) *logit = penalise(options, *logit, *count);
        *count = 0;
    }
    return SMT_OK;
}

/* Fills scratch->logits. */
static smt_status adjust(const smt_sampler_options *options, const smt_draw *draw, const smt_sample_scratch *scratch,
                         smt_error *err) {
    memcpy(scratch->logits, draw->logits, draw->n_vocab * sizeof *scratch->logits);
    for (uint32_t i = 0; i < options->n_biases; i++) {
        SMT_TRY(check_token("biases", options->biases[i].token, draw->n_vocab, err));
        scratch->logits[options->biases[i].token] += options->biases[i].bias;
    }
    SMT_TRY(apply_penalties(options, draw, scratch, err));
    for (uint32_t i = 0; draw->mask && i < draw->n_vocab; i++)
        if (!(draw->mask[i / 32] >> i % 32 & 1)) scratch->logits[i] = -INFINITY;
    return SMT_OK;
}

/* ---- collecting --------------------------------------------------------------------------------------------------- */

/* What one pass gathers from a row: its best, and where `divisor` is not 0 the sum of exp(logit / divisor) as total * exp(greatest). */
typedef struct collector {
    smt_sample_best best;
    double divisor, greatest, total;
} collector;

static collector collect_into(smt_token_logprob *entries, uint32_t capacity, double divisor) {
    return (collector){.best = {.entries = entries, .capacity = capacity}, .divisor = divisor, .greatest = -INFINITY};
}

static void collect(collector *c, uint32_t token, float logit) {
    if (!isfinite(logit)) return;
    smt_sample_offer(&c->best, (int32_t)token, logit);
    if (c->divisor == 0) return;
    double x = (double)logit / c->divisor;
    if (x <= c->greatest) {
        c->total += exp(x - c->greatest);
    } else {
        c->total = c->total * exp(c->greatest - x) + 1;
        c->greatest = x;
    }
}

/* ---- cuts and the draw -------------------------------------------------------------------------------------------- */

static bool cuts_share(const smt_sampler_options *o) { return o->top_p > 0 && o->top_p < 1; }
static bool cuts_any(const smt_sampler_options *o) { return o->top_k || o->min_p > 0 || cuts_share(o); }

/* Turns the sorted logits into weights and returns how many survive top-p and min-p. `total`: the weight of all candidates, those
 * not collected included. *out_ended: a cut was found, more candidates would change nothing. */
static uint32_t cut(const smt_sampler_options *options, smt_sample_best *best, double total, bool *out_ended) {
    double greatest = best->entries[0].logprob, sum = 0;
    *out_ended = true;
    for (uint32_t i = 0; i < best->n; i++) {
        double p = exp((best->entries[i].logprob - greatest) / options->temperature);
        if (i && p < options->min_p) return i;
        best->entries[i].logprob = (float)p;
        sum += p;
        if (cuts_share(options) && sum >= options->top_p * total) return i + 1;
    }
    *out_ended = false;
    return best->n;
}

/* The weight of all that top-k left, relative to the best. */
static double weight_of(const smt_sampler_options *options, const smt_sample_best *best) {
    double total = 0;
    for (uint32_t i = 0; i < best->n; i++)
        total += exp(((double)best->entries[i].logprob - best->entries[0].logprob) / options->temperature);
    return total;
}

/* From the best on; what rounding leaves over goes to the last candidate of any weight. */
static int32_t draw_weighted(const smt_token_logprob *entries, uint32_t n, double uniform) {
    double total = 0;
    for (uint32_t i = 0; i < n; i++) total += entries[i].logprob;
    double rest = uniform * total;
    int32_t token = entries[0].token;
    for (uint32_t i = 0; i < n && rest >= 0; i++) {
        if (!(entries[i].logprob > 0)) continue;
        token = entries[i].token;
        rest -= entries[i].logprob;
    }
    return token;
}

/* Among all tokens, in the order of their ids. */
static int32_t draw_any(const collector *own, const float *logits, uint32_t n_vocab, double uniform) {
    double rest = uniform * own->total;
    int32_t token = 0;
    for (uint32_t i = 0; i < n_vocab && rest >= 0; i++) {
        double p = isfinite(logits[i]) ? exp((double)logits[i] / own->divisor - own->greatest) : 0;
        if (!(p > 0)) continue;
        token = (int32_t)i;
        rest -= p;
    }
    return token;
}

static int32_t draw_cut(const smt_sampler_options *options, const smt_draw *draw, const smt_sample_scratch *scratch,
                        collector *own, double uniform) {
    for (bool ended;;) {
        smt_sample_sort(&own->best);
        double total = options->top_k ? weight_of(options, &own->best) : own->total;
        uint32_t kept = cut(options, &own->best, total, &ended);
        if (ended || options->top_k || own->best.n < own->best.capacity || own->best.n == draw->n_vocab)
            return draw_weighted(own->best.entries, kept, uniform);
        uint64_t more = (uint64_t)own->best.capacity * MORE;
        own->best.n = 0;
        own->best.capacity = more < draw->n_vocab ? (uint32_t)more : draw->n_vocab;
        for (uint32_t i = 0; i < draw->n_vocab; i++)
            if (isfinite(scratch->logits[i])) smt_sample_offer(&own->best, (int32_t)i, scratch->logits[i]);
    }
}

static collector collect_candidates(const smt_sampler_options *options, const smt_draw *draw, const smt_sample_scratch *scratch) {
    uint32_t capacity = 1; /* argmax; or none needed, but to see whether there is any candidate */
    bool weigh = options->temperature > 0 && options->top_k == 0;
    if (options->temperature > 0 && cuts_any(options)) capacity = options->top_k ? options->top_k : FIRST_GUESS;
    return collect_into(scratch->best, smt_min_u32(capacity, draw->n_vocab), weigh ? options->temperature : 0);
}

static int32_t choose(const smt_sampler_options *options, const smt_draw *draw, const smt_sample_scratch *scratch,
                      collector *own) {
    smt_sample_rule rule;
    if (smt_sample_make_rule(options, &rule)) {
        smt_sample_sort(&own->best);
        return smt_sample_by_rule(&rule, &own->best, draw->position);
    }
    double uniform = smt_sample_uniform(options->seed, draw->position);
    return cuts_any(options) ? draw_cut(options, draw, scratch, own, uniform)
                             : draw_any(own, scratch->logits, draw->n_vocab, uniform);
}

/* ---- log-probabilities -------------------------------------------------------------------------------------------- */

static void report(const smt_draw *draw, collector *model, int32_t token) {
    double log_total = model->greatest + log(model->total);
    if (draw->logprob) *draw->logprob = (float)(draw->logits[token] - log_total);
    smt_sample_sort(&model->best);
    for (uint32_t i = 0; i < draw->n_top; i++)
        draw->top[i] = i < model->best.n ? (smt_token_logprob){model->best.entries[i].token,
                                                               (float)(model->best.entries[i].logprob - log_total)}
                                         : (smt_token_logprob){-1, -INFINITY};
}

smt_status smt_sample_draw(const smt_sampler_options *options, const smt_draw *draw, const smt_sample_scratch *scratch,
                           int32_t *out_token, smt_error *err) {
    *out_token = 0;
    SMT_TRY(adjust(options, draw, scratch, err));
    bool wants_model = draw->logprob || draw->n_top;
    collector own = collect_candidates(options, draw, scratch);
    collector model = collect_into(draw->top, draw->n_top, 1);
    for (uint32_t i = 0; i < draw->n_vocab; i++) {
        collect(&own, i, scratch->logits[i]);
        if (wants_model) collect(&model, i, draw->logits[i]);
    }
    if (own.best.n == 0)
        return SMT_FAIL(err, SMT_INTERNAL, "none of %u logits is finite%s", draw->n_vocab,
                        draw->mask ? " and allowed by the mask" : "");
    *out_token = choose(options, draw, scratch, &own);
    if (wants_model) report(draw, &model, *out_token);
    return SMT_OK;
}
