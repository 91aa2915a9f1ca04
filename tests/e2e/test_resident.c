/* test_resident.c: experts that come into slots of device memory and leave them: out of host memory after the step that missed them, out of the
 * file before their layer runs. Whatever lies where, and on whichever of several devices, the results are the same bits; hits are those that
 * a trace's hit rates foretell.
 *
 * Then the same on a device that has a queue for copies alone, and runs nothing before it must (support/copy_queue.h). */
#include "copy_queue.h"
#include "run/run.h"
#include "tiny_model.h"
#include "vk_support.h"

#include <unistd.h>

enum { N_PROMPT = 6, N_TOKENS = 20, N_VOCAB = 512, N_EXPERTS = 16, N_USED = 3, N_MOE = 2, N_SLOTS = 5, N_ANSWER = 10 };

typedef struct lab {
    smt_vk_fixture *fixture;
    smt_gguf *file;
    smt_model *model;
    char path[1024];
    bool apart;          /* copies have a queue of their own */
    uint64_t copy_bytes; /* as in smt_run_model_options */
    uint64_t stride;     /* bytes of an expert */
    uint32_t heap;       /* where device memory is */
    uint64_t planned;    /* bytes of it that the whole model takes */
    float expected[N_TOKENS * N_VOCAB];
} lab;

/* Submissions without a cap: which copies meet in the queue must not depend on how fast a machine is. check_segments sets one. */
static const smt_run_options wanted = {.n_ctx = 32, .n_batch = 8, .cache_f16 = true, .submission_ms = 3600000};

static smt_status load(const lab *l, const smt_plan_request *words, smt_run_model **model, smt_run **run, smt_error *err) {
    const smt_plan_demand demand = {.n_ctx = wanted.n_ctx, .n_batch = wanted.n_batch, .cache_f16 = wanted.cache_f16};
    smt_plan_request request = *words;
    request.demand = &demand;
    /* Only what is used is compiled. */
    const smt_run_model_options options = {.placement = &request, .force_staging = l->apart, .copy_bytes = l->copy_bytes};
    *run = NULL;
    SMT_TRY(smt_run_model_create(l->fixture->device, l->model, &options, model, err));
    smt_status status = smt_run_create(*model, &wanted, run, err);
    if (status != SMT_OK) smt_run_free(*run), smt_run_model_free(*model);
    return status;
}

/* Half a second for each kernel. */
static bool is_slow(void) {
    const char *driver = getenv("SMT_TEST_DRIVER");
    return driver && strcmp(driver, "swiftshader") == 0;
}

/* The first `rows` tokens in one step, and the others one by one; ids [N_MOE][N_TOKENS][N_USED] or NULL. */
static smt_status run_tokens(smt_run *run, uint32_t rows, float *logits, int32_t *ids, smt_error *err) {
    uint32_t slot, n_vocab = run->model->model->n_vocab;
    const smt_run_capture capture = {.total = N_TOKENS, .ids = ids};
    smt_run_row row[N_TOKENS];
    SMT_TRY(smt_kv_take_slot(&run->kv, &slot, err));
    SMT_TRY(smt_kv_resize(&run->kv, slot, N_TOKENS, err));
    for (uint32_t i = 0; i < N_TOKENS; i++)
        row[i] = (smt_run_row){.token = (int32_t)(i * i * 7 % 97 + 3),
                               .position = (int32_t)i,
                               .slot = slot,
                               .index = i,
                               .out = true,
                               .logits = logits + (size_t)i * n_vocab,
                               .capture = ids ? &capture : NULL,
                               .at = i};
    smt_status status = SMT_OK;
    for (uint32_t i = 0, n; i < N_TOKENS && status == SMT_OK; i += n) {
        n = i == 0 ? smt_min_u32(rows, run->capture_rows) : 1;
        status = smt_run_step(run, row + i, n, err);
    }
    smt_kv_release_slot(&run->kv, slot);
    return status;
}

static void open_model(lab *l) {
    smt_error err;
    snprintf(l->path, sizeof l->path, "%s/test_resident-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    const smt_tiny_options options = {
        .type = l->apart ? SMT_DTYPE_F16 : SMT_DTYPE_Q8_0, .n_experts = N_EXPERTS, .n_used = N_USED};
    SMT_ASSERT_OK(smt_tiny_deepseek2(l->path, &options, &err), &err);
    SMT_ASSERT_OK(smt_gguf_open(l->path, &l->file, &err), &err);
    SMT_ASSERT_OK(smt_model_create(l->file, &l->model, &err), &err);
    assert_in_range(l->model->n_vocab, 1, N_VOCAB);
}

/* The results of a device that holds everything: of single rows, which are those of any rows. */
static void expect(lab *l) {
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    SMT_ASSERT_OK(load(l, &(smt_plan_request){0}, &model, &run, &err), &err);
    const smt_run_device *on = &model->devices[0];
    assert_null(on->resident);
    l->stride = on->items.layers[1].stride;
    l->heap = l->fixture->caps->types[on->plan.plan.memory_type[SMT_POOL_DEVICE]].heap;
    smt_plan_bytes bytes = {0};
    smt_plan_count(&on->plan.plan, l->fixture->caps, &bytes);
    smt_plan_count(&run->parts[0].plan.plan, l->fixture->caps, &bytes);
    l->planned = bytes.heap[l->heap];
    SMT_ASSERT_OK(run_tokens(run, 1, l->expected, NULL, &err), &err);
    assert_true(l->expected[0] != 0 && l->expected[0] != l->expected[1]);
    smt_run_free(run);
    smt_run_model_free(model);
}

static void check_results(const lab *l, smt_run *run, uint32_t rows, int32_t *ids) {
    static float logits[N_TOKENS * N_VOCAB];
    smt_error err;
    memset(logits, 0, sizeof logits);
    SMT_ASSERT_OK(run_tokens(run, rows, logits, ids, &err), &err);
    assert_memory_equal(logits, l->expected, N_TOKENS * l->model->n_vocab * sizeof(float));
}

/* Hits of a cache of this size, as `trace report` counts them, for the tokens of one layer: of those experts that a device has. */
static uint64_t foretold(const int32_t *ids, uint32_t size, const smt_items_range *range) {
    smt_trace_cache cache;
    smt_error err;
    uint64_t hits = 0;
    SMT_ASSERT_OK(smt_trace_cache_create(N_EXPERTS, &cache, &err), &err);
    for (uint32_t t = 0; t < N_TOKENS; t++) {
        uint16_t experts[N_USED];
        uint32_t n = 0;
        for (uint32_t i = 0; i < N_USED; i++) {
            uint32_t e = (uint32_t)ids[t * N_USED + i];
            if (e >= range->first_expert && e < range->end_expert) experts[n++] = (uint16_t)e;
        }
        smt_trace_cache_access(&cache, experts, n);
    }
    for (uint32_t place = 0; place < size; place++) hits += cache.found_at[place];
    smt_trace_cache_free(&cache);
    return hits;
}

/* What the planner counts for these tokens, one after another, and again with the first `rows` of them in one step; 0: not again. */
static smt_plan_replay replay(smt_placement *placement, const int32_t *ids, uint32_t rows) {
    enum { EACH = N_MOE * N_USED };
    uint16_t experts[N_TOKENS * EACH];
    smt_error err;
    for (uint32_t i = 0; i < SMT_COUNT(experts); i++)
        experts[i] = (uint16_t)ids[(i / N_USED % N_MOE * N_TOKENS + i / EACH) * N_USED + i % N_USED];
    for (uint32_t t = 0; t < N_TOKENS; t++) SMT_ASSERT_OK(smt_plan_replay_step(placement, experts + t * EACH, EACH, &err), &err);
    for (uint32_t t = 0, n; t < N_TOKENS && rows; t += n) {
        n = t ? 1 : rows;
        SMT_ASSERT_OK(smt_plan_replay_step(placement, experts + t * EACH, (size_t)n * EACH, &err), &err);
    }
    assert_int_equal(smt_plan_replay_step(placement, experts, EACH - 1, &err), SMT_INVALID);
    experts[0] = N_EXPERTS;
    assert_int_equal(smt_plan_replay_step(placement, experts, EACH, &err), SMT_INVALID);
    const smt_plan_replay counted = placement->replay;
    smt_plan_free(placement);
    return counted;
}

static smt_placement *plan_one(const lab *l, const smt_plan_request *words) {
    static const uint32_t order[] = {0};
    const smt_plan_demand demand = {.n_ctx = wanted.n_ctx, .n_batch = wanted.n_batch, .cache_f16 = wanted.cache_f16};
    const smt_plan_facts facts = {.caps = *l->fixture->caps};
    smt_plan_request request = *words;
    smt_placement *placement;
    smt_error err;
    request.facts = &facts;
    request.n_facts = request.n_order = 1;
    request.order = order;
    request.demand = &demand;
    SMT_ASSERT_OK(smt_plan_create(l->model, &request, &placement, &err), &err);
    return placement;
}

/* The run has counted what the planner foretells, of steps with one row and with several. */
static void check_foretold(const lab *l, const smt_plan_request *words, smt_run *run, int32_t *ids) {
    check_results(l, run, 1, ids);
    check_results(l, run, N_PROMPT, NULL);
    const smt_plan_replay counted = replay(plan_one(l, words), ids, N_PROMPT);
    assert_true(counted.hits > 0 && counted.misses > 0);
    assert_int_equal(run->stats.expert_hits, counted.hits);
    assert_int_equal(run->stats.expert_misses, counted.misses);
    assert_int_equal(run->stats.expert_link_bytes, counted.miss_bytes);
}

/* All of what was copied went through the queue for copies, but the last ones, which nothing has waited for yet; and wherever they had to,
 * submissions of the one queue waited for those of the other. */
static void check_queue(const lab *l, const smt_run *run) {
    const smt_copy_queue_seen *seen = &smt_copy_queue_seen_so_far;
    uint64_t copied = run->stats.expert_copied_bytes;
    assert_in_range(seen->copied[1], copied - N_MOE * N_USED * l->stride, copied);
    assert_in_range(seen->submissions[1], N_TOKENS, N_MOE * N_TOKENS);
    assert_in_range(seen->waits[1], seen->submissions[1] / 4, seen->submissions[1]);
    assert_in_range(seen->waits[0], N_TOKENS / 2, seen->submissions[1] + 1);
    assert_true(seen->in_a_row > N_TOKENS / 2);
}

/* Where a step has several segments, none of them waits for copies of layers behind it. */
static void check_segments(const lab *l, smt_run *run) {
    const smt_run_pace pace = run->parts[0].pace;
    run->parts[0].pace = (smt_run_pace){.cap_s = 1e-9, .most = {1e5, 1e5}};
    smt_copy_queue_seen_so_far = (smt_copy_queue_seen){0};
    check_results(l, run, 1, NULL);
    assert_in_range(smt_copy_queue_seen_so_far.submissions[1], N_TOKENS, N_MOE * N_TOKENS);
    assert_in_range(smt_copy_queue_seen_so_far.in_a_row, 0, 2);
    run->parts[0].pace = pace;
}

/* An answer to a single token, drawn on the host or on the device. */
static void answer(smt_run *run, bool on_device, int32_t tokens[N_ANSWER]) {
    static float logits[N_VOCAB];
    const smt_sampler_options greedy = {.struct_size = sizeof greedy};
    smt_sample_rule rule;
    smt_run_decode decode;
    smt_run_row row = {.token = 5, .out = true, .logits = on_device ? NULL : logits};
    bool any;
    smt_error err;
    SMT_ASSERT_OK(smt_kv_take_slot(&run->kv, &row.slot, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&run->kv, row.slot, on_device ? 1 : N_ANSWER, &err), &err);
    assert_true(smt_sample_only_rule(&greedy, &rule));
    if (on_device) SMT_ASSERT_OK(smt_run_decode_begin(run, &row, 1, &(smt_run_answer){&rule, 4, N_ANSWER}, &decode, &err), &err);
    for (uint32_t i = 0; i < N_ANSWER; i++) {
        if (on_device) {
            SMT_ASSERT_OK(smt_run_decode_next(&decode, &any, &tokens[i], &err), &err);
            assert_true(any && run->parts[0].queue.n == 0); /* the next step finds what this one missed */
            continue;
        }
        SMT_ASSERT_OK(smt_run_step(run, &row, 1, &err), &err);
        for (uint32_t t = tokens[i] = 0; t < run->model->model->n_vocab; t++)
            if (logits[t] > logits[tokens[i]]) tokens[i] = (int32_t)t;
        row.token = tokens[i];
        row.position = (int32_t)++row.index;
    }
    if (on_device) SMT_ASSERT_OK(smt_run_decode_end(&decode, &err), &err);
    smt_kv_release_slot(&run->kv, row.slot);
}

/* Steps that draw on the device find the same experts in slots as those that the host waits for. */
static void check_answers(smt_run_model *model) {
    static float logits[N_TOKENS * N_VOCAB];
    smt_run *run;
    smt_error err;
    uint64_t hits[2], misses[2];
    int32_t tokens[2][N_ANSWER];
    SMT_ASSERT_OK(smt_run_create(model, &wanted, &run, &err), &err);
    for (int on_device = 0; on_device < 2; on_device++) {
        SMT_ASSERT_OK(run_tokens(run, 1, logits, NULL, &err), &err); /* what the slots hold then depends on these tokens alone */
        const smt_run_stats before = run->stats;
        answer(run, on_device, tokens[on_device]);
        hits[on_device] = run->stats.expert_hits - before.expert_hits;
        misses[on_device] = run->stats.expert_misses - before.expert_misses;
    }
    assert_memory_equal(tokens[0], tokens[1], sizeof tokens[0]);
    assert_int_equal(hits[0], hits[1]);
    assert_int_equal(misses[0], misses[1]);
    assert_int_equal(hits[0] + misses[0], N_MOE * N_USED * N_ANSWER);
    smt_run_free(run);
}

static void test_host(void **state) {
    lab *l = *state;
    static int32_t ids[N_MOE * N_TOKENS * N_USED];
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    const smt_plan_request words = {.host_expert_layers = 3, .expert_cache = N_MOE * N_SLOTS * l->stride};
    l->copy_bytes = 1; /* a submission for each layer */
    SMT_ASSERT_OK(load(l, &words, &model, &run, &err), &err);
    l->copy_bytes = 0;
    smt_copy_queue_seen_so_far = (smt_copy_queue_seen){0};
    const smt_plan_weights *plan = &model->devices[0].plan;
    assert_int_equal(smt_plan_slots(plan, 1), N_SLOTS);
    assert_true(model->slots && !model->file);
    check_results(l, run, 1, ids);
    const smt_run_stats *s = &run->stats;
    uint64_t hits = 0, all = N_MOE * N_TOKENS * N_USED;
    for (int layer = 0; layer < N_MOE; layer++)
        hits += foretold(ids + layer * N_TOKENS * N_USED, N_SLOTS, &model->devices[0].items.range);
    assert_in_range(hits, 1, all - 1);
    assert_int_equal(s->expert_hits, hits);
    assert_int_equal(s->expert_misses, all - hits);
    assert_int_equal(s->expert_link_bytes, (all - hits) * l->stride);
    assert_int_equal(s->expert_copied_bytes, (all - hits) * l->stride); /* each missed expert comes in */
    if (l->apart) check_queue(l, run);
    if (l->apart) check_segments(l, run);
    check_results(l, run, N_PROMPT,
                  NULL); /* more experts in a step than there are slots; and another runner's tables are the same */
    smt_run *other;
    SMT_ASSERT_OK(smt_run_create(model, &wanted, &other, &err), &err);
    check_results(l, other, 1, NULL);
    assert_true(other->stats.expert_hits > 0);
    smt_run_free(other);
    smt_run_free(run);
    if (l->apart && !is_slow()) check_answers(model);
    smt_run_model_free(model);
    assert_int_equal(smt_copy_queue_seen_so_far.overtook, 0); /* not even the last ones, which nobody needed */
}

/* Room for none of the experts but N_SLOTS a layer on the device, and for some of them in host memory. */
static smt_plan_request squeeze(const lab *l, smt_plan_budget budgets[2], uint32_t n_host) {
    uint64_t cache = N_MOE * N_SLOTS * l->stride, ring = SMT_UPLOAD_HALVES * SMT_UPLOAD_CHUNK;
    budgets[0] = (smt_plan_budget){.heap = l->heap, .bytes = l->planned - N_MOE * N_EXPERTS * l->stride + cache};
    budgets[1] = (smt_plan_budget){.device = SMT_PLAN_HOST, .bytes = ring + n_host * l->stride};
    return (smt_plan_request){.budgets = budgets, .n_budgets = 2, .expert_cache = cache};
}

static uint32_t in_file(const smt_run_device *on) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < on->items.n_items; i++) n += on->plan.items[i].buffer == SMT_PLAN_FILE;
    return n;
}

static void test_file(void **state) {
    lab *l = *state;
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    smt_plan_budget budgets[2];
    for (uint32_t n_host = is_slow() || l->apart ? 12 : 0; n_host < 20; n_host += 12) {
        const smt_plan_request words = squeeze(l, budgets, n_host);
        SMT_ASSERT_OK(load(l, &words, &model, &run, &err), &err);
        const smt_run_device *on = &model->devices[0];
        assert_in_range(in_file(on), 8, N_MOE * N_EXPERTS);
        assert_true(model->file && run->capture_rows == N_SLOTS / N_USED);
        check_results(l, run, N_PROMPT, NULL);
        assert_true(run->stats.expert_hits > 0 && run->stats.expert_misses > 0);
        assert_true(run->stats.expert_copied_bytes >= run->stats.expert_misses * l->stride);
        if (n_host == 0) assert_int_equal(run->stats.expert_link_bytes, 0);
        check_results(l, run, 1, NULL);
        smt_run_free(run);
        smt_run_model_free(model);
    }
}

/* ---- devices that share the experts of a layer ---- */

enum { N_DEVICES = 2 };

/* Two logical devices, the second of which has three of four experts. */
static smt_placement *plan_shared(const lab *l, const smt_plan_request *words) {
    static const uint32_t order[N_DEVICES] = {0, 1};
    static const double shares[N_DEVICES] = {1, 3};
    const smt_plan_facts facts[N_DEVICES] = {{.caps = *l->fixture->caps}, {.caps = *l->fixture->caps}};
    const smt_plan_demand demand = {.n_ctx = wanted.n_ctx, .n_batch = wanted.n_batch, .cache_f16 = wanted.cache_f16};
    smt_plan_request request = *words;
    smt_placement *placement;
    smt_error err;
    request.facts = facts;
    request.order = order;
    request.shares = shares;
    request.n_facts = request.n_order = request.n_shares = N_DEVICES;
    request.by_experts = true;
    request.demand = &demand;
    SMT_ASSERT_OK(smt_plan_create(l->model, &request, &placement, &err), &err);
    if (!placement->fits) fail_msg("%s", placement->why);
    return placement;
}

/* Each device has slots for its own experts: what they hit and miss. */
static void check_shared(const lab *l, smt_vk_device *const *devices, const smt_plan_request *words, bool file) {
    static int32_t ids[N_MOE * N_TOKENS * N_USED];
    const smt_run_model_options none = {0};
    smt_placement *placement = plan_shared(l, words);
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    uint64_t hits = 0, all = N_MOE * N_TOKENS * N_USED;
    SMT_ASSERT_OK(smt_run_model_load(devices, placement, &none, &model, &err), &err);
    SMT_ASSERT_OK(smt_run_create(model, &wanted, &run, &err), &err);
    assert_int_equal(model->file, file);
    check_results(l, run, 1, ids);
    for (uint32_t i = 0; i < N_DEVICES; i++) {
        const smt_run_device *on = &model->devices[i];
        assert_non_null(on->resident);
        if (file) assert_true(in_file(on) > 0);
        for (uint32_t layer = 0; layer < N_MOE; layer++)
            hits += foretold(ids + layer * N_TOKENS * N_USED, smt_plan_slots(&on->plan, layer + 1), &on->items.range);
    }
    assert_in_range(hits, 1, all - 1);
    if (!file) assert_int_equal(run->stats.expert_hits, hits); /* else some are where they are used */
    if (!file) assert_int_equal(run->stats.expert_misses, all - hits);
    assert_true(run->stats.expert_hits > 0 && run->stats.expert_misses > 0);
    const smt_plan_replay counted = replay(plan_shared(l, words), ids, 0);
    assert_int_equal(run->stats.expert_hits, counted.hits);
    assert_int_equal(run->stats.expert_misses, counted.misses);
    check_results(l, run, N_PROMPT, NULL);
    smt_run_free(run);
    smt_run_model_free(model);
    smt_plan_free(placement);
}

static void test_shared(void **state) {
    const lab *l = *state;
    smt_vk_device *devices[N_DEVICES];
    smt_plan_budget budgets[N_DEVICES + 1] = {
        [N_DEVICES] = {.device = SMT_PLAN_HOST, .bytes = N_DEVICES * SMT_UPLOAD_HALVES * SMT_UPLOAD_CHUNK}};
    smt_error err;
    if (is_slow()) skip();
    devices[0] = l->fixture->device;
    SMT_ASSERT_OK(smt_vk_device_create(l->fixture->vk, 0, NULL, &devices[1], &err), &err);
    uint64_t cache = N_MOE * N_USED * l->stride; /* less than the first one's experts */
    check_shared(l, devices, &(smt_plan_request){.host_expert_layers = 3, .expert_cache = cache}, false);
    smt_placement *whole = plan_shared(l, &(smt_plan_request){0});
    for (uint32_t i = 0; i < N_DEVICES; i++) { /* room for the slots in place of the experts */
        const smt_placed_device *d = &whole->devices[i];
        budgets[i] = (smt_plan_budget){.device = i,
                                       .heap = l->heap,
                                       .bytes = d->used.heap[l->heap] - (uint64_t)N_MOE * d->items.n_experts * l->stride + cache};
    }
    smt_plan_free(whole);
    check_shared(l, devices, &(smt_plan_request){.budgets = budgets, .n_budgets = N_DEVICES + 1, .expert_cache = cache}, true);
    smt_vk_device_destroy(devices[1]);
}

/* With all experts in host memory; and with a profile, and a layer of which some are: those that it uses least. */
static void test_foretold(void **state) {
    static int32_t ids[N_MOE * N_TOKENS * N_USED];
    const lab *l = *state;
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    float uses[N_MOE * N_EXPERTS] = {0};
    smt_plan_request words = {.host_expert_layers = 3, .expert_cache = N_MOE * N_SLOTS * l->stride};
    for (int profile = 0; profile < 2; profile++) {
        const smt_plan_budget budget = {.heap = l->heap, .bytes = l->planned - 24 * l->stride};
        if (profile)
            words = (smt_plan_request){.budgets = &budget,
                                       .n_budgets = 1,
                                       .expert_weights = uses,
                                       .host_layers = 2,
                                       .expert_cache = N_MOE * N_SLOTS * l->stride};
        SMT_ASSERT_OK(load(l, &words, &model, &run, &err), &err);
        uint32_t first = model->devices[0].items.layers[2].first_item, n_resident = 0;
        for (uint32_t e = 0; e < N_EXPERTS; e++)
            n_resident += smt_plan_is_resident(&model->devices[0].plan, &model->devices[0].plan.items[first + e]);
        assert_in_range(n_resident, profile ? 1 : 0, profile ? N_EXPERTS - 1 : 0);
        check_foretold(l, &words, run, ids);
        for (uint32_t i = 0; i < SMT_COUNT(ids); i++) uses[i / (N_TOKENS * N_USED) * N_EXPERTS + (uint32_t)ids[i]]++;
        smt_run_free(run);
        smt_run_model_free(model);
        if (is_slow()) break;
    }
}

/* Out of memory at any place: the step fails, nothing is lost, and the next one is right. */
static void test_no_memory(void **state) {
    lab *l = *state;
    static float logits[N_TOKENS * N_VOCAB];
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    smt_plan_budget budgets[2];
    uint32_t failed = 0;
    if (is_slow()) skip();
    const smt_plan_request words = squeeze(l, budgets, 12);
    SMT_ASSERT_OK(load(l, &words, &model, &run, &err), &err);
    check_results(l, run, 1, NULL); /* recorded, so that what fails is the moving of experts */
    for (uint64_t n = 1; n < 60; n++) {
        smt_mem_fail_after(n);
        smt_status status = run_tokens(run, 1, logits, NULL, &err);
        smt_mem_fail_after(0);
        assert_true(status == SMT_OK || status == SMT_MEMORY);
        failed += status == SMT_MEMORY;
    }
    assert_true(failed > 30);
    check_results(l, run, 1, NULL);
    smt_run_free(run);
    smt_run_model_free(model);
}

/* What cannot be read is an error of the step, and when it can be read again, all is well. */
static void test_cut(void **state) {
    lab *l = *state;
    if (is_slow()) skip();
    static float logits[N_TOKENS * N_VOCAB];
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    smt_plan_budget budgets[2];
    const smt_plan_request words = squeeze(l, budgets, 0);
    SMT_ASSERT_OK(load(l, &words, &model, &run, &err), &err);
    char *bytes;
    size_t n_bytes;
    SMT_ASSERT_OK(smt_os_read_file(l->path, &bytes, &n_bytes, &err), &err);
    assert_int_equal(truncate(l->path, 4096), 0);
    assert_int_equal(run_tokens(run, 1, logits, NULL, &err), SMT_IO);
    FILE *file = fopen(l->path, "r+b"); /* the same file, whole again */
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
    smt_free(bytes);
    check_results(l, run, 1, NULL);
    smt_run_free(run);
    smt_run_model_free(model);
}

/* Between the queues nothing is in order but what was asked for. */
static void test_order(void **state) {
    const smt_vk_fixture *f = ((const lab *)*state)->fixture;
    smt_vk_buffer *a = smt_vk_test_buffer(f, 4096, "a"), *b = smt_vk_test_buffer(f, 4096, "b");
    const smt_vk_range from = smt_vk_test_whole(a), to = smt_vk_test_whole(b);
    smt_vk_recording *kernels, *copies;
    uint64_t before, value;
    smt_error err;
    assert_true(smt_vk_copies_apart(f->device) && f->caps->transfer_family != f->caps->queue_family);
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "kernels", &kernels, &err), &err);
    smt_vk_record_copy(kernels, &from, &to);
    SMT_ASSERT_OK(smt_vk_recording_end(kernels, &err), &err);
    SMT_ASSERT_OK(smt_vk_recording_begin_copies(f->device, "copies", &copies, &err), &err);
    smt_vk_record_fill(copies, &from, 7);
    SMT_ASSERT_OK(smt_vk_recording_end(copies, &err), &err);
    const uint32_t *copied = smt_vk_buffer_map(b);
    smt_copy_queue_seen_so_far = (smt_copy_queue_seen){0};
    for (int ordered = 0; ordered < 2; ordered++) {
        memset(smt_vk_buffer_map(a), 0, 4096); /* then sevens */
        SMT_ASSERT_OK(smt_vk_buffer_flush(f->device, a, 0, 4096, &err), &err);
        SMT_ASSERT_OK(smt_vk_submit(f->device, kernels, &before, &err), &err);
        assert_int_equal(smt_vk_submit_after(f->device, copies, before + 1, &value, &err), SMT_INVALID);
        SMT_ASSERT_OK(smt_vk_submit_after(f->device, copies, ordered ? before : 0, &value, &err), &err);
        SMT_ASSERT_OK(smt_vk_recording_wait(copies, value, UINT64_C(60000000000), &err), &err);
        SMT_ASSERT_OK(smt_vk_wait(f->device, before, UINT64_C(60000000000), &err), &err);
        SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, b, 0, 4096, &err), &err);
        assert_int_equal(copied[100], ordered ? 0 : 7);
        assert_int_equal(smt_copy_queue_seen_so_far.overtook, 1);
    }
    smt_vk_recording_destroy(f->device, kernels);
    smt_vk_recording_destroy(f->device, copies);
    smt_vk_buffer_destroy(f->device, a);
    smt_vk_buffer_destroy(f->device, b);
}

/* One lab for each group. */
static int set_up(void **state, bool apart) {
    static lab l;
    l = (lab){.apart = apart};
    if ((apart ? smt_copy_queue_setup : smt_vk_test_setup)(state)) return 1;
    l.fixture = *state;
    *state = &l;
    open_model(&l);
    expect(&l);
    return 0;
}

static int tear_down(void **state) {
    lab *l = *state;
    smt_model_free(l->model);
    smt_gguf_free(l->file);
    remove(l->path);
    void *fixture = l->fixture;
    return (l->apart ? smt_copy_queue_teardown : smt_vk_test_teardown)(&fixture);
}

static int set_up_one(void **state) { return set_up(state, false); }
static int set_up_apart(void **state) { return set_up(state, true); }

int main(void) {
    const struct CMUnitTest one[] = {cmocka_unit_test(test_host),      cmocka_unit_test(test_file),
                                     cmocka_unit_test(test_shared),    cmocka_unit_test(test_foretold),
                                     cmocka_unit_test(test_no_memory), cmocka_unit_test(test_cut)},
                            apart[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_host), cmocka_unit_test(test_file),
                                       cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests_name("one queue", one, set_up_one, tear_down) +
           cmocka_run_group_tests_name("copies apart", apart, set_up_apart, tear_down);
}
