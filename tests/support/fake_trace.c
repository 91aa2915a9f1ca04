/* fake_trace.c: see fake_trace.h. Nothing here is fast or clever but the choice of experts, which has to be made 4.6 million times for a
 * trace of 10,000 tokens: a number between 0 and the sum of a layer's likelihoods, looked up by bisection, and again where the expert is
 * taken already or its group is not open. */
#include "fake_trace.h"

#include <math.h>

smt_fake_trace_options smt_fake_deepseek_v3(void) {
    return (smt_fake_trace_options){.n_dense = 3,
                                    .n_moe = 58,
                                    .n_experts = 256,
                                    .n_used = 8,
                                    .n_groups = 8,
                                    .n_groups_used = 4,
                                    .n_devices = 2,
                                    .n_prompt = 64,
                                    .skew = 0.5,
                                    .repeat = 0.2,
                                    .seed = 1};
}

static void make_model(smt_fake_trace *f) {
    static const char *const devices[] = {"Invented GPU A", "Invented GPU B", "Invented GPU C", "Invented GPU D"};
    const smt_fake_trace_options *o = &f->options;
    uint32_t n_places = 2 * o->n_devices;
    smt_trace_place *places = calloc(n_places, sizeof *places);
    smt_trace_layer *layers = calloc(o->n_moe + 1, sizeof *layers);
    uint16_t *at = f->places = calloc((size_t)o->n_moe * o->n_experts + 1, sizeof *at);
    assert_true(places && layers && at && o->n_devices <= SMT_COUNT(devices));
    for (uint32_t i = 0; i < n_places; i++) places[i] = (smt_trace_place){.device = i / 2, .tier = i % 2 ? "host" : "device"};
    for (uint32_t l = 0; l < o->n_moe; l++, at += o->n_experts) {
        for (uint32_t e = 0; e < o->n_experts; e++) {
            uint32_t device = o->by_layer ? l * o->n_devices / o->n_moe : e * o->n_devices / o->n_experts;
            at[e] = (uint16_t)(device * 2 + (e % 4 == 3));
        }
        layers[l] = (smt_trace_layer){.layer = o->n_dense + l, .expert_bytes = 1u << 20, .shared_bytes = 1u << 20, .places = at};
    }
    f->model = (smt_trace_model){.struct_size = sizeof f->model,
                                 .name = "invented",
                                 .architecture = "deepseek2",
                                 .n_layers = o->n_dense + o->n_moe,
                                 .n_experts = o->n_experts,
                                 .n_used = o->n_used,
                                 .n_shared = 1,
                                 .n_groups = o->n_groups,
                                 .n_groups_used = o->n_groups_used,
                                 .n_ctx = 16384,
                                 .cache_bytes = 70272,
                                 .n_devices = o->n_devices,
                                 .n_places = n_places,
                                 .n_moe = o->n_moe,
                                 .devices = devices,
                                 .places = places,
                                 .layers = layers};
}

void smt_fake_trace_begin(const smt_fake_trace_options *options, smt_fake_trace *f) {
    *f = (smt_fake_trace){.options = *options, .random = {options->seed}};
    smt_fake_trace_options *o = &f->options;
    if (o->n_groups == 0) o->n_groups = o->n_groups_used = 1;
    if (o->n_devices == 0) o->n_devices = 1;
    if (o->n_prompt == 0) o->n_prompt = 1;
    size_t picks = (size_t)o->n_moe * o->n_used;
    make_model(f);
    f->sums = calloc((size_t)o->n_moe * o->n_experts + 1, sizeof *f->sums);
    f->chosen = calloc(picks + 1, sizeof *f->chosen);
    f->weights = calloc(picks + 1, sizeof *f->weights);
    f->device_s = calloc(o->n_devices, sizeof *f->device_s);
    f->hop_s = calloc(o->n_devices, sizeof *f->hop_s);
    f->hop_bytes = calloc(o->n_devices, sizeof *f->hop_bytes);
    assert_true(f->sums && f->chosen && f->weights && f->device_s && f->hop_s && f->hop_bytes);
    for (uint32_t l = 0; l < o->n_moe; l++) {
        double *sums = f->sums + (size_t)l * o->n_experts, sum = 0;
        for (uint32_t e = 0; e < o->n_experts; e++) sums[e] = sum += exp(o->skew * (double)smt_test_normal(&f->random));
    }
    f->token = (smt_trace_token){.struct_size = sizeof f->token, .number = UINT64_MAX};
}

void smt_fake_trace_end(smt_fake_trace *f) {
    free(f->sums);
    free(f->chosen);
    free(f->weights);
    free(f->device_s);
    free(f->hop_s);
    free(f->hop_bytes);
    free(f->places);
    free((void *)f->model.layers);
    free((void *)f->model.places);
    *f = (smt_fake_trace){0};
}

static uint32_t draw_expert(smt_fake_trace *f, const double *sums) {
    double wanted = (double)smt_test_uniform(&f->random, 0, 1) * sums[f->options.n_experts - 1];
    uint32_t low = 0, high = f->options.n_experts - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (sums[middle] > wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* A bit for each of the groups that a token may choose from. */
static uint64_t open_groups(smt_fake_trace *f) {
    uint64_t open = 0;
    for (uint32_t n = 0; n < f->options.n_groups_used;) {
        uint64_t bit = 1ull << smt_test_next(&f->random) % f->options.n_groups;
        n += !(open & bit);
        open |= bit;
    }
    return open;
}

static bool is_taken(const uint16_t *chosen, uint32_t n, uint32_t expert) {
    while (n && chosen[n - 1] != expert) n--;
    return n > 0;
}

static void choose(smt_fake_trace *f, uint32_t layer) {
    const smt_fake_trace_options *o = &f->options;
    uint16_t *chosen = f->chosen + (size_t)layer * o->n_used, former[256];
    float *weights = f->weights + (size_t)layer * o->n_used;
    uint64_t open = open_groups(f);
    bool first = f->token.number == UINT64_MAX;
    assert_true(o->n_used <= SMT_COUNT(former) && o->n_groups <= 64);
    memcpy(former, chosen, o->n_used * sizeof *chosen);
    for (uint32_t k = 0; k < o->n_used;) {
        bool again = !first && (double)smt_test_uniform(&f->random, 0, 1) < o->repeat;
        uint32_t expert =
            again ? former[smt_test_next(&f->random) % o->n_used] : draw_expert(f, f->sums + (size_t)layer * o->n_experts);
        if (is_taken(chosen, k, expert) || !(open >> expert / (o->n_experts / o->n_groups) & 1)) continue;
        chosen[k] = (uint16_t)expert;
        weights[k] = smt_test_uniform(&f->random, 0.9f, 1) / (float)(1 + k); /* largest first */
        k++;
    }
}

static void write_text(smt_fake_trace *f) {
    static const char *const sounds[] = {"ka", "lo", "mi", "ra", "su", "te", "no", "vi", "\u00e4", "en"};
    size_t n = 1 + smt_test_next(&f->random) % 4;
    strcpy(f->text, smt_test_next(&f->random) % 12 ? " " : ".\n");
    for (size_t i = 0; i < n; i++) strcat(f->text, sounds[smt_test_next(&f->random) % SMT_COUNT(sounds)]);
}

const smt_trace_token *smt_fake_trace_next(smt_fake_trace *f) {
    const smt_fake_trace_options *o = &f->options;
    for (uint32_t l = 0; l < o->n_moe; l++) choose(f, l);
    smt_trace_token *t = &f->token;
    t->number++;
    t->id = (int32_t)(smt_test_next(&f->random) % 100000);
    t->index = (uint32_t)t->number;
    t->position = (int32_t)t->number;
    t->session = t->index < o->n_prompt || o->n_sessions == 0 ? 0 : t->index % o->n_sessions;
    t->step = t->index < o->n_prompt ? 0 : t->index - o->n_prompt + 1;
    t->step_tokens = t->index < o->n_prompt ? o->n_prompt : 1;
    t->end_s = 0.05 * (t->step + 1);
    for (int i = 0; i < SMT_PHASE_COUNT; i++) t->phase_s[i] = i == SMT_PHASE_DEVICE ? 0.04f : 0.002f;
    for (uint32_t i = 0; i < o->n_devices; i++) {
        bool slow = i && i == o->slow_hop && t->step > 0;
        f->device_s[i] = (o->slow_hop ? 0.03f : 0.04f) / (float)o->n_devices; /* and time for the slow hop */
        f->hop_s[i] = slow ? 8e-3f : i ? 1e-4f * (float)i : 0;                /* the first gets its tokens from the host */
        f->hop_bytes[i] = i ? 8192 * t->step_tokens : 0;
    }
    t->device_s = f->device_s;
    t->hop_s = f->hop_s;
    t->hop_bytes = f->hop_bytes;
    t->experts = f->chosen;
    t->weights = f->weights;
    if (!o->no_text) {
        write_text(f);
        t->text = f->text;
        t->text_bytes = strlen(f->text);
    }
    return t;
}

smt_status smt_fake_trace_write(const smt_fake_trace_options *options, const char *path, uint32_t n_tokens, smt_error *err) {
    smt_fake_trace fake;
    smt_trace_writer *writer;
    smt_fake_trace_begin(options, &fake);
    smt_status status = smt_trace_writer_create(path, &fake.model, &writer, err);
    for (uint32_t i = 0; i < n_tokens && status == SMT_OK; i++)
        status = smt_trace_writer_add(writer, smt_fake_trace_next(&fake), err);
    if (status == SMT_OK) status = smt_trace_writer_commit(writer, 0, err);
    smt_trace_writer_free(writer);
    smt_fake_trace_end(&fake);
    return status;
}
