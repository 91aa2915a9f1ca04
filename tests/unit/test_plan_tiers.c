/* test_plan_tiers.c: what the devices of a machine have no room for: experts in host memory, in slots and in the file, and what a plan says of
 * it. */
#include "placed.h"

/* Experts that are used rarely leave first; whole layers where the user says so. */
static void test_tiers(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_placed v;
    enum { EXPERTS = 64, MOE_LAYERS = 26 };
    static float use[EXPERTS * MOE_LAYERS];
    for (int i = 0; i < EXPERTS * MOE_LAYERS; i++) use[i] = i % 2 ? 10 : 1;
    const smt_heap_budget budget = {.device = "vk0", .bytes = 6 * GIB};
    smt_placement_options where = {.struct_size = sizeof where,
                                   .budgets = &budget,
                                   .n_budgets = 1,
                                   .expert_weights = use,
                                   .n_expert_weights = SMT_COUNT(use)};
    smt_test_machine_open("8+64-host", &machine);
    const smt_plan_options words = {.placement = &where};
    smt_test_placed_open(&v, files[V2_LITE], &machine, &words);
    assert_true(v.info.fits);
    smt_test_placed_check(&v, files[V2_LITE], &machine, &words);
    uint32_t host = v.info.n_devices - 1, cold = 0;
    for (uint32_t i = 0; i < v.info.n_items; i++) {
        if (v.items[i].expert == UINT32_MAX || v.items[i].device != host) continue;
        assert_int_equal(v.items[i].expert % 2, 0);
        cold++;
    }
    assert_true(cold > 0);
    double hot_known = v.info.decode_tok_s;
    smt_test_placed_close(&v);
    where.expert_weights = NULL;
    smt_test_placed_open(&v, files[V2_LITE], &machine, &words);
    assert_true(v.info.decode_tok_s < hot_known);
    smt_test_placed_close(&v);
    where = (smt_placement_options){.struct_size = sizeof where, .host_expert_layers = 20, .host_layers = 5};
    smt_test_placed_open(&v, files[V2_LITE], &machine, &words);
    assert_true(v.info.fits);
    smt_test_placed_check(&v, files[V2_LITE], &machine, &words);
    for (uint32_t i = 0; i < v.info.n_items; i++) {
        const smt_placement_item *item = &v.items[i];
        bool vector = strstr(item->name, "norm") != NULL,
             out = item->layer < 5 ? !vector : item->layer < 20 && item->expert != UINT32_MAX;
        if (item->kind == SMT_ITEM_MATRIX && item->layer != UINT32_MAX) assert_int_equal(item->device == host, out);
    }
    smt_test_placed_close(&v);
    smt_test_machine_close(&machine);
}

/* Items of a tier, and their bytes; or of a kind. */
static uint32_t count_tier(const smt_test_placed *v, const char *tier, uint64_t *out_bytes) {
    uint32_t n = 0;
    *out_bytes = 0;
    for (uint32_t i = 0; i < v->info.n_items; i++)
        if (strcmp(v->items[i].tier, tier) == 0) {
            n++;
            *out_bytes += v->items[i].bytes;
        }
    return n;
}

static uint32_t count_slots(const smt_test_placed *v, uint32_t layer) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->info.n_items; i++) n += v->items[i].kind == SMT_ITEM_SLOT && v->items[i].layer == layer;
    return n;
}

static uint32_t count_elsewhere(const smt_test_placed *v, uint32_t layer) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->info.n_items; i++)
        n += v->items[i].expert != UINT32_MAX && v->items[i].layer == layer && v->items[i].device == v->info.n_devices - 1;
    return n / 3; /* matrices */
}

/* Slots take no more memory than was asked for, serve every layer that has experts elsewhere; what host memory has no room for
 * stays in the file, and nothing does while there is room. */
static void test_slots(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_placed v;
    uint64_t bytes;
    smt_placement_options where = {.struct_size = sizeof where};
    const smt_plan_options words = {.devices = "vk0", .placement = &where};
    smt_test_machine_open("8+64-host", &machine);
    const smt_heap_budget small = {.device = "vk0", .bytes = 3 * GIB};
    where.budgets = &small;
    where.n_budgets = 1;
    for (uint64_t gib = 0; gib < 2; gib++) { /* V2-Lite in 3 GiB, and in 2 with slots in the third */
        where.expert_cache_bytes = gib * GIB;
        smt_test_placed_open(&v, files[V2_LITE], &machine, &words);
        assert_true(v.info.fits);
        smt_test_placed_check(&v, files[V2_LITE], &machine, &words);
        assert_int_equal(count_tier(&v, "file", &bytes), 0);
        for (uint32_t l = 0; l < 27; l++) /* as many in each layer, or as it has experts elsewhere */
            assert_int_equal(count_slots(&v, l), gib ? smt_min_u32(count_elsewhere(&v, l), count_slots(&v, 1)) : 0);
        assert_true(gib == 0 || count_slots(&v, 1) > 1);
        smt_test_placed_close(&v);
    }
    where.n_budgets = 0;
    where.expert_cache_bytes = 5 * GIB; /* V2: 80 GiB and more that neither 8 GiB nor 64 hold */
    smt_test_placed_open(&v, files[V2], &machine, &words);
    if (!v.info.fits) fail_msg("%s", v.info.why);
    smt_test_placed_check(&v, files[V2], &machine, &words);
    assert_true(count_tier(&v, "file", &bytes) > 0 && bytes > 20 * GIB);
    assert_true(count_tier(&v, "host-visible", &bytes) > 0 && bytes > 50 * GIB); /* the file is the last resort */
    assert_non_null(strstr(v.info.bottleneck, "file"));
    for (uint32_t i = 0, counted = UINT32_MAX; i < v.info.n_items; i++)
        if (v.items[i].layer != counted && strcmp(v.items[i].tier, "file") == 0) {
            counted = v.items[i].layer;
            assert_true(count_slots(&v, counted) >= 6); /* a token's */
        }
    smt_test_placed_close(&v);
    where.expert_cache_bytes = 256 << 20;
    smt_test_placed_open(&v, files[V2], &machine, &words);
    assert_false(v.info.fits);
    assert_non_null(strstr(v.info.why, "an expert cache of 256.0 MiB"));
    smt_test_placed_close(&v);
    smt_test_machine_close(&machine);
}

/* What holds a token back is told of all devices together; faster memory comes with faster arithmetic; of two devices neither takes the host
 * memory that the other works in, and what no memory has room for is told as one number, with the slots that would do. */
static void test_words(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_placed v;
    smt_placement_options where = {.struct_size = sizeof where};
    const smt_plan_options words = {.placement = &where};
    smt_test_machine_open("8x24", &machine);
    smt_test_placed_open(&v, files[V2], &machine, &words);
    double prompts = v.info.prefill_tok_s;
    assert_non_null(strstr(v.info.bottleneck, "6 devices read weights from their memory: 7"));
    smt_test_placed_close(&v);
    for (uint32_t i = 0; i < machine.n_devices; i++) machine.devices[i].read_bytes_s *= 2;
    smt_test_placed_open(&v, files[V2], &machine, &words);
    assert_true(v.info.prefill_tok_s > 1.7 * prompts);
    smt_test_placed_close(&v);
    smt_test_machine_close(&machine);
    smt_test_machine_open("24+8-two-vendors", &machine);
    smt_test_placed_open(&v, files[V2], &machine, &words);
    assert_memory_equal(v.info.why, "95.1 GiB of host memory are needed", 34);
    assert_non_null(strstr(v.info.why, "It would fit with an expert cache of 3.5 GiB"));
    smt_test_placed_close(&v);
    where.expert_cache_bytes = 3584ull << 20;
    smt_test_placed_open(&v, files[V2], &machine, &words);
    if (!v.info.fits) fail_msg("%s", v.info.why);
    smt_test_placed_check(&v, files[V2], &machine, &words);
    assert_true(v.devices[0].computes && v.devices[1].computes);
    smt_test_placed_close(&v);
    smt_test_machine_close(&machine);
}

/* A context that is too long is the first thing to shorten, and the context named fits. */
static void test_context(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_placed v;
    smt_test_machine_open("range-128m", &machine);
    smt_runner_options runner = {.struct_size = sizeof runner, .n_ctx = 131072};
    const smt_placement_options where = {.struct_size = sizeof where, .runner = &runner};
    const smt_plan_options words = {.placement = &where};
    smt_test_placed_open(&v, files[DENSE_7B], &machine, &words);
    assert_false(v.info.fits);
    smt_test_placed_close(&v);
    runner.n_ctx = 16384;
    smt_test_placed_open(&v, files[DENSE_7B], &machine, &words);
    assert_false(v.info.fits);
    const char *at = strstr(v.info.why, "a context of ");
    assert_non_null(at);
    runner.n_ctx = (uint32_t)strtoul(at + strlen("a context of "), NULL, 10);
    smt_test_placed_close(&v);
    assert_in_range(runner.n_ctx, 256, 8192);
    smt_test_placed_open(&v, files[DENSE_7B], &machine, &words);
    assert_true(v.info.fits);
    smt_test_placed_close(&v);
    smt_test_machine_close(&machine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_context),
    };
    return cmocka_run_group_tests(tests, smt_test_big_setup, smt_test_big_teardown);
}
