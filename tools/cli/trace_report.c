/* trace_report.c: what a routing trace says: how unevenly the experts of each layer are used, and what a cache of some of them would gain.
 *
 * Hit rates are honest: the fixed set is chosen by the first half of the tokens and measured on the second, as is the cache that puts out
 * the least recently used expert. Had both no skew and no memory to work with, a cache of c of E experts would serve c / E of the choices:
 * the column "even". */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SIZES 6
static const double shares[SIZES] = {0.0625, 0.125, 0.25, 0.375, 0.5, 0.75};
#define SKEW_LEAST 0.1  /* see smt_routing_layer.spread */
#define GAIN_LEAST 0.03 /* a hit rate this much above even is worth a word */
#define FEW_TOKENS 200

typedef struct report {
    const char *path;
    smt_trace *trace;
    const smt_trace_model *model;
    smt_routing_stats *stats;
    uint64_t n_lost;   /* tokens of damaged chunks */
    double seconds;    /* when the last step ended */
    uint32_t n_skewed; /* layers */
    /* Means over the layers, by size of the cache in experts of each layer. */
    uint32_t sizes[SIZES];
    uint64_t bytes[SIZES]; /* of such a cache, all layers together */
    double lru[SIZES], fixed[SIZES];
} report;

static bool is_skewed(const smt_routing_layer *layer) { return layer->spread > SKEW_LEAST && layer->spread > layer->chance; }

static int count_tokens(report *r) {
    uint64_t n = smt_trace_count(r->trace);
    for (uint64_t i = 0; i < n; i++) {
        const smt_trace_token *token;
        smt_error err = {0};
        if (i == n / 2) smt_routing_stats_hold(r->stats);
        smt_status status = smt_trace_get(r->trace, i, &token, &err);
        if (status == SMT_OK) {
            if (token->end_s > r->seconds) r->seconds = token->end_s;
            status = smt_routing_stats_add(r->stats, token, &err);
        } else if (status == SMT_FORMAT) {
            r->n_lost++;
            status = SMT_OK;
        }
        if (status != SMT_OK) return cli_fail_library(status, &err);
    }
    return CLI_DONE;
}

static void add_layers(report *r) {
    const smt_trace_model *m = r->model;
    for (int i = 0; i < SIZES; i++) r->sizes[i] = (uint32_t)fmax(1, floor(shares[i] * m->n_experts));
    for (uint32_t l = 0; l < m->n_moe; l++) {
        const smt_routing_layer *layer = smt_routing_stats_layer(r->stats, l);
        r->n_skewed += is_skewed(layer);
        for (int i = 0; i < SIZES; i++) {
            r->bytes[i] += r->sizes[i] * m->layers[l].expert_bytes;
            r->lru[i] += (double)layer->hits_lru[r->sizes[i]] / m->n_moe;
            r->fixed[i] += (double)layer->hits_static[r->sizes[i]] / m->n_moe;
        }
    }
}

/* ---- JSON ---- */

static json_t *json_curve(const float *rates, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; i <= n; i++) json_array_append_new(list, json_real((double)rates[i]));
    return list;
}

static json_t *json_layer(const report *r, uint32_t index) {
    const smt_routing_layer *layer = smt_routing_stats_layer(r->stats, index);
    json_t *counts = json_array(), *weights = json_array();
    for (uint32_t e = 0; e < r->model->n_experts; e++) {
        double weight = layer->weights[e];
        json_array_append_new(counts, cli_json_count(layer->counts[e]));
        json_array_append_new(weights, isfinite(weight) ? json_real(weight) : json_null());
    }
    return json_pack("{s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:b, s:o, s:o, s:o, s:o}", "layer", (json_int_t)layer->layer, "entropy",
                     layer->entropy, "entropy_even", log2(r->model->n_experts), "busiest", layer->busiest, "unused",
                     (json_int_t)layer->n_unused, "spread", layer->spread, "chance", layer->chance, "skewed", is_skewed(layer),
                     "counts", counts, "weights", weights, "lru", json_curve(layer->hits_lru, r->model->n_experts), "static",
                     json_curve(layer->hits_static, r->model->n_experts));
}

static json_t *json_caches(const report *r) {
    json_t *list = json_array();
    for (int i = 0; i < SIZES && r->model->n_moe; i++)
        json_array_append_new(list, json_pack("{s:I, s:o, s:f, s:f, s:f}", "experts", (json_int_t)r->sizes[i], "bytes",
                                              cli_json_count(r->bytes[i]), "even", (double)r->sizes[i] / r->model->n_experts,
                                              "static", r->fixed[i], "lru", r->lru[i]));
    return list;
}

static int print_json(const report *r) {
    const smt_trace_model *m = r->model;
    const char *damage = smt_trace_damage(r->trace);
    json_t *devices = json_array(), *layers = json_array();
    for (uint32_t i = 0; i < m->n_devices; i++) json_array_append_new(devices, cli_json_text(m->devices[i]));
    for (uint32_t l = 0; l < m->n_moe; l++) json_array_append_new(layers, json_layer(r, l));
    json_t *document =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:o, s:I, s:I, s:I, s:I, s:b, s:I, s:o, s:o}", "file",
                  cli_json_text(r->path), "model", cli_json_text(m->name), "tokens", cli_json_count(smt_trace_count(r->trace)),
                  "dropped", cli_json_count(smt_trace_dropped(r->trace)), "lost", cli_json_count(r->n_lost), "damage",
                  damage ? cli_json_text(damage) : json_null(), "seconds", r->seconds, "devices", devices, "n_layers",
                  (json_int_t)m->n_layers, "n_experts", (json_int_t)m->n_experts, "n_experts_used", (json_int_t)m->n_used,
                  "n_groups", (json_int_t)m->n_groups, "skew", r->n_skewed > 0, "skewed_layers", (json_int_t)r->n_skewed,
                  "caches", json_caches(r), "layers", layers);
    return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
}

/* ---- text ---- */

static void print_head(const report *r) {
    const smt_trace_model *m = r->model;
    cli_print("model: ");
    cli_print_safe(m->name, strlen(m->name));
    cli_print(", %u layers, %u of them with %u experts, %u used", m->n_layers, m->n_moe, m->n_experts, m->n_used);
    if (m->n_groups > 1) cli_print(", from %u of %u groups", m->n_groups_used, m->n_groups);
    cli_print("\ntokens: %llu in %.2f s", (unsigned long long)smt_trace_count(r->trace), r->seconds);
    if (smt_trace_dropped(r->trace)) cli_print(", %llu dropped while recording", (unsigned long long)smt_trace_dropped(r->trace));
    if (r->n_lost) cli_print(", %llu of them in damaged parts", (unsigned long long)r->n_lost);
    cli_print("\n");
}

static void print_layers(const report *r) {
    cli_print("\n  layer   entropy  of %-5.2f  busiest  unused   spread  by chance\n", log2(r->model->n_experts));
    for (uint32_t l = 0; l < r->model->n_moe; l++) {
        const smt_routing_layer *layer = smt_routing_stats_layer(r->stats, l);
        double most = log2(r->model->n_experts);
        cli_print("  %5u  %8.3f  %6.1f %%  %6.2fx  %6u  %7.3f     <%6.3f  %s\n", layer->layer, layer->entropy,
                  most > 0 ? 100 * layer->entropy / most : 100, layer->busiest, layer->n_unused, layer->spread, layer->chance,
                  is_skewed(layer) ? "skewed" : "even");
    }
}

static void print_caches(const report *r) {
    cli_print("\nShare of the choices that a cache serves, second half of the tokens (the static set is the first half's "
              "favourites):\n\n"
              "  experts a layer       MiB    even   static      LRU\n");
    for (int i = 0; i < SIZES; i++)
        if (i == 0 || r->sizes[i] > r->sizes[i - 1])
            cli_print("  %6u of %-6u  %8.1f  %4.1f %%  %5.1f %%  %5.1f %%\n", r->sizes[i], r->model->n_experts,
                      (double)r->bytes[i] / 1048576, 100.0 * r->sizes[i] / r->model->n_experts, 100 * r->fixed[i],
                      100 * r->lru[i]);
}

/* In words, by a cache of a quarter of the experts. */
static void print_verdict(const report *r) {
    const int quarter = 2;
    double even = (double)r->sizes[quarter] / r->model->n_experts, fixed = r->fixed[quarter], lru = r->lru[quarter];
    if (r->n_skewed == 0)
        cli_print(
            "\nno skew: in every layer the experts are used as evenly as chance has it (or within %.0f %%): placing some of them "
            "better than others gains nothing\n",
            100 * SKEW_LEAST);
    else
        cli_print(
            "\nskew in %u of %u layers: the favourite %u of %u experts serve %.1f %% of the choices, %.1f %% if all were equal\n",
            r->n_skewed, r->model->n_moe, r->sizes[quarter], r->model->n_experts, 100 * fixed, 100 * even);
    if (lru > fmax(fixed, even) + GAIN_LEAST)
        cli_print("neighbouring tokens share experts: a cache of as many recent ones serves %.1f %%\n", 100 * lru);
    if (smt_routing_stats_tokens(r->stats) < FEW_TOKENS)
        cli_print("only %llu tokens: a longer text says more\n", (unsigned long long)smt_routing_stats_tokens(r->stats));
}

static int print(const report *r) {
    print_head(r);
    if (r->model->n_moe == 0) {
        cli_print("no routed experts: this model is dense\n");
        return CLI_DONE;
    }
    if (smt_routing_stats_tokens(r->stats) == 0) return CLI_DONE;
    print_layers(r);
    print_caches(r);
    print_verdict(r);
    return CLI_DONE;
}

int cli_trace_report(const char *path, bool json) {
    report r = {.path = path};
    smt_error err = {0};
    smt_status opened = smt_trace_open(path, &r.trace, &err);
    if (opened == SMT_OK) {
        r.model = smt_trace_get_model(r.trace);
        opened = smt_routing_stats_create(r.model, true, &r.stats, &err);
    }
    int status = opened == SMT_OK ? count_tokens(&r) : cli_fail_library(opened, &err);
    if (status == CLI_DONE) {
        const char *damage = smt_trace_damage(r.trace);
        if (damage) fprintf(stderr, "notice: the trace is %s\n", damage);
        add_layers(&r);
        status = json ? print_json(&r) : print(&r);
    }
    smt_routing_stats_free(r.stats);
    smt_trace_free(r.trace);
    return status;
}
