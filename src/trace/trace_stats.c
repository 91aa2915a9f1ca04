/* trace_stats.c: tokens counted: who was chosen how often, how evenly, and what a cache would have gained.
 *
 * Spread. Were every expert as likely as any other, counts would still scatter: n tokens that choose k of E experts each give every expert
 * n k / E choices with a variance of n (k / E) (1 - k / E). What the counts scatter beyond that variance is the experts' own; its root over
 * the mean is the spread. Tokens of one text are alike, so that a short trace shows more spread than the model has, never less. */
#include "trace/trace.h"

#include <math.h>

typedef struct layer_stats {
    uint64_t *counts;      /* owned, as all here: [n_experts] */
    double *weights;       /* [n_experts] */
    smt_trace_cache cache; /* with caches */
    float *lru, *fixed;    /* [n_experts + 1], with caches */
    uint32_t layer;
} layer_stats;

struct smt_routing_stats {
    uint32_t n_moe, n_experts, n_used;
    uint64_t n_tokens;
    bool caches;
    layer_stats *layers;      /* owned, [n_moe] */
    smt_routing_layer answer; /* of the layer that was asked for last */
};

void smt_routing_stats_free(smt_routing_stats *stats) {
    if (!stats) return;
    for (uint32_t i = 0; stats->layers && i < stats->n_moe; i++) {
        layer_stats *layer = &stats->layers[i];
        smt_free(layer->counts);
        smt_free(layer->weights);
        smt_free(layer->lru);
        smt_free(layer->fixed);
        smt_trace_cache_free(&layer->cache);
    }
    smt_free(stats->layers);
    smt_free(stats);
}

static smt_status make_layer(const smt_trace_model *model, bool caches, layer_stats *out, smt_error *err) {
    size_t n = model->n_experts;
    out->counts = smt_alloc(n, sizeof *out->counts);
    out->weights = smt_alloc(n, sizeof *out->weights);
    out->lru = caches ? smt_alloc(n + 1, sizeof *out->lru) : NULL;
    out->fixed = caches ? smt_alloc(n + 1, sizeof *out->fixed) : NULL;
    if (!out->counts || !out->weights || (caches && (!out->lru || !out->fixed)))
        return SMT_FAIL(err, SMT_MEMORY, "out of memory counting %zu experts", n);
    return caches ? smt_trace_cache_create(model->n_experts, &out->cache, err) : SMT_OK;
}

smt_status smt_trace_stats_begin(const smt_trace_model *model, bool caches, smt_routing_stats **out, smt_error *err) {
    *out = NULL;
    SMT_TRY(smt_trace_model_check(model, err));
    smt_routing_stats *stats = smt_alloc(1, sizeof *stats);
    if (!stats) return SMT_FAIL(err, SMT_MEMORY, "out of memory counting experts");
    stats->n_moe = model->n_moe;
    stats->n_experts = model->n_experts;
    stats->n_used = model->n_used;
    stats->caches = caches;
    stats->layers = smt_alloc(model->n_moe, sizeof *stats->layers);
    smt_status status = stats->layers ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory counting %u layers", model->n_moe);
    for (uint32_t i = 0; i < model->n_moe && status == SMT_OK; i++) {
        stats->layers[i].layer = model->layers[i].layer;
        status = make_layer(model, caches, &stats->layers[i], err);
    }
    if (status != SMT_OK)
        smt_routing_stats_free(stats);
    else
        *out = stats;
    return status;
}

smt_status smt_trace_stats_token(smt_routing_stats *stats, const smt_trace_token *token, smt_error *err) {
    size_t picks = (size_t)stats->n_moe * stats->n_used;
    if (picks && (!token->experts || !token->weights))
        return SMT_FAIL(err, SMT_INVALID, "smt_trace_token: no experts or weights");
    for (size_t i = 0; i < picks; i++)
        if (token->experts[i] >= stats->n_experts)
            return SMT_FAIL(err, SMT_INVALID, "smt_trace_token: expert %u of %u", token->experts[i], stats->n_experts);
    for (size_t i = 0; i < picks; i++) {
        layer_stats *layer = &stats->layers[i / stats->n_used];
        uint32_t expert = token->experts[i];
        layer->counts[expert]++;
        layer->weights[expert] += (double)token->weights[i];
    }
    for (uint32_t l = 0; stats->caches && picks && l < stats->n_moe; l++)
        smt_trace_cache_access(&stats->layers[l].cache, token->experts + (size_t)l * stats->n_used, stats->n_used);
    stats->n_tokens++;
    return SMT_OK;
}

void smt_routing_stats_hold(smt_routing_stats *stats) {
    for (uint32_t i = 0; stats->caches && i < stats->n_moe; i++)
        smt_trace_cache_hold(&stats->layers[i].cache, stats->layers[i].counts);
}

uint64_t smt_routing_stats_tokens(const smt_routing_stats *stats) { return stats->n_tokens; }

/* The figures of a layer with at least one token. */
static void describe(const smt_routing_stats *stats, const uint64_t *counts, smt_routing_layer *out) {
    double n = stats->n_experts, picks = (double)stats->n_tokens * stats->n_used, mean = picks / n, squares = 0;
    uint64_t most = 0;
    for (uint32_t e = 0; e < stats->n_experts; e++) {
        double share = (double)counts[e] / picks, off = (double)counts[e] - mean;
        if (counts[e]) out->entropy -= share * log2(share);
        if (counts[e] > most) most = counts[e];
        out->n_unused += counts[e] == 0;
        squares += off * off;
    }
    double chance = mean * (1 - stats->n_used / n), beyond = squares / n - chance;
    out->busiest = (double)most / mean;
    out->spread = beyond > 0 ? sqrt(beyond) / mean : 0;
    /* The sum of n squared scatters is about a chi-square of n degrees: its standard deviation is sqrt(2 / n) of it. */
    out->chance = sqrt(3 * sqrt(2 / n) * chance) / mean;
}

const smt_routing_layer *smt_routing_stats_layer(smt_routing_stats *stats, uint32_t index) {
    if (index >= stats->n_moe) return NULL;
    layer_stats *layer = &stats->layers[index];
    stats->answer = (smt_routing_layer){.layer = layer->layer, .counts = layer->counts, .weights = layer->weights, .busiest = 1};
    if (stats->n_tokens)
        describe(stats, layer->counts, &stats->answer);
    else
        stats->answer.n_unused = stats->n_experts;
    if (stats->caches) {
        smt_trace_cache_rates(&layer->cache, layer->counts, layer->lru, layer->fixed);
        stats->answer.hits_lru = layer->lru;
        stats->answer.hits_static = layer->fixed;
    }
    return &stats->answer;
}
