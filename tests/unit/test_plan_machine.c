/* test_plan_machine.c: plans of the released models, in full size, for machines that nobody here owns: what holds for every plan
 * (support/placed.h), more memory is never slower, and which devices take which layers and experts. */
#include "placed.h"

static void test_machines(void **state) {
    smt_file **files = *state;
    /* by machine: what fits of V2-Lite, V2, V3, 7B in Q8_0 */
    static const bool fits[][N_MODELS] = {{1, 1, 1, 1}, {1, 0, 0, 1}, {1, 0, 0, 1}, {1, 0, 0, 1},
                                          {1, 0, 0, 1}, {1, 0, 0, 1}, {1, 0, 0, 1}};
    for (int m = 0; smt_test_machines[m]; m++) {
        smt_test_machine machine;
        smt_test_machine_open(smt_test_machines[m], &machine);
        for (int i = 0; i < N_MODELS; i++) {
            const smt_plan_options words = {0};
            smt_test_placed v;
            smt_test_placed_open(&v, files[i], &machine, &words);
            if (v.info.fits != fits[m][i]) fail_msg("%s on %s: %s", smt_test_big_names[i], smt_test_machines[m], v.info.why);
            assert_int_equal(v.info.fits, v.info.why[0] == 0);
            if (v.info.n_items == 0) /* no device can have it at all */
                assert_non_null(strstr(v.info.why, "windows"));
            else
                smt_test_placed_check(&v, files[i], &machine, &words);
            if (!v.info.fits && v.info.n_items) assert_non_null(strstr(v.info.why, "It would fit with"));
            smt_test_placed_close(&v);
        }
        smt_test_machine_close(&machine);
    }
}

static double speed(const smt_file *file, const smt_test_machine *machine) {
    smt_test_placed v;
    smt_test_placed_open(&v, file, machine, &(smt_plan_options){0});
    double decode = v.info.decode_tok_s;
    assert_true(decode > 0 && v.info.prefill_tok_s > 0 && v.info.bottleneck[0]);
    smt_test_placed_close(&v);
    return decode;
}

static void test_more_memory(void **state) {
    smt_file **files = *state;
    static const int models[] = {V2_LITE, V2, DENSE_7B};
    for (int m = 0; smt_test_machines[m]; m++)
        for (size_t i = 0; i < SMT_COUNT(models); i++) {
            smt_test_machine machine;
            smt_test_machine_open(smt_test_machines[m], &machine);
            double last = speed(files[models[i]], &machine);
            for (int step = 0; step < 3; step++) {
                for (uint32_t d = 0; d < machine.n_devices; d++) {
                    smt_heap_info *heap = &machine.devices[d].info.heaps[0];
                    heap->bytes += heap->bytes / 2;
                    heap->budget += heap->budget / 2;
                }
                double now = speed(files[models[i]], &machine);
                if (now < last)
                    fail_msg("%s on %s, step %d: %g, then %g", smt_test_big_names[models[i]], smt_test_machines[m], step, last,
                             now);
                last = now;
            }
            smt_test_machine_close(&machine);
        }
}

/* ---- the user's words ---- */

static uint32_t computing(const smt_test_placed *v, uint32_t *out_last) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->info.n_devices; i++)
        if (v->devices[i].computes) {
            *out_last = i;
            n++;
        }
    return n;
}

/* The fewest devices that hold all; among them, the fastest. */
static void test_fewest(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_placed v;
    uint32_t last;
    static const struct {
        const char *machine;
        int model;
        uint32_t n, row;
    } cases[] = {
        {"8x24", V2_LITE, 1, 0}, {"8x24", V2, 6, 5}, {"16-arc+12-rtx", V2_LITE, 1, 1}, {"24+8-two-vendors", V2_LITE, 1, 0}};
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_test_machine_open(cases[i].machine, &machine);
        smt_test_placed_open(&v, files[cases[i].model], &machine, &(smt_plan_options){0});
        assert_int_equal(computing(&v, &last), cases[i].n);
        assert_int_equal(last, cases[i].row);
        smt_test_placed_close(&v);
        smt_test_machine_close(&machine);
    }
}

/* Software and shared memory only where there is nothing else, or when named. */
static void test_kinds(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_placed v;
    uint32_t row;
    static const char *const kinds[][2] = {{"cpu", "discrete"}, {"integrated", "discrete"}, {"cpu", "integrated"}};
    smt_test_machine_open("16-arc+12-rtx", &machine);
    for (size_t i = 0; i < SMT_COUNT(kinds); i++) {
        machine.devices[0].info.kind = kinds[i][0];
        machine.devices[0].read_bytes_s = 900e9; /* faster, and larger */
        machine.devices[1].info.kind = kinds[i][1];
        smt_test_placed_open(&v, files[V2_LITE], &machine, &(smt_plan_options){0});
        assert_int_equal(computing(&v, &row), 1);
        assert_int_equal(row, 1);
        smt_test_placed_close(&v);
        smt_test_placed_open(&v, files[V2_LITE], &machine, &(smt_plan_options){.devices = "vk0"});
        assert_int_equal(computing(&v, &row), 1);
        assert_int_equal(row, 0);
        smt_test_placed_close(&v);
    }
    smt_test_machine_close(&machine);
}

static void test_order_and_shares(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_placed v;
    static const double shares[] = {2, 1};
    smt_test_machine_open("24+8-two-vendors", &machine);
    smt_plan_options words = {.devices = "RTX 3070,Radeon", .shares = shares, .n_shares = 2};
    smt_test_placed_open(&v, files[V2_LITE], &machine, &words); /* 27 layers: 18 and 9, in the order named */
    smt_test_placed_check(&v, files[V2_LITE], &machine, &words);
    assert_int_equal(v.devices[1].first_layer, 0);
    assert_int_equal(v.devices[1].last_layer, 18);
    assert_int_equal(v.devices[0].last_layer, 27);
    smt_test_placed_close(&v);
    words = (smt_plan_options){.devices = "vk0,vk1"}; /* 840 and 410 GB/s: 18 and 9 */
    smt_test_placed_open(&v, files[V2_LITE], &machine, &words);
    assert_in_range(v.devices[0].last_layer, 17, 19);
    smt_test_placed_close(&v);
    words = (smt_plan_options){.devices = "vk0,vk0"};
    smt_test_placed_open(&v, files[V2_LITE], &machine, &words);
    smt_test_placed_check(&v, files[V2_LITE], &machine, &words);
    assert_string_equal(v.devices[0].id, "vk0");
    assert_string_equal(v.devices[1].id, "vk0#2");
    assert_true(v.devices[0].computes && v.devices[1].computes && !v.devices[2].computes);
    assert_true(v.devices[0].heaps[0].budget < 12 * GIB); /* half of it each */
    smt_test_placed_close(&v);
    smt_test_machine_close(&machine);
}

/* Layers and experts in host memory, of a model on two devices. */
static void test_order_and_host(void **state) {
    smt_file **files = *state;
    enum { LAYERS = 27 };
    static const double equal[] = {1, 1}, second[] = {0, 1};
    static const struct {
        const double *shares;
        smt_placement_options where;
        uint32_t first; /* layers of the first device; LAYERS: the other one computes nothing */
    } cases[] = {
        {equal, {.host_layers = 17}, 17 + 5},    /* -ngl 10 -ts 1,1 */
        {NULL, {.host_layers = 17}, 17 + 5},     /* equal speeds */
        {second, {.host_layers = 17}, 0},        /* -ts 0,1: the second one has all */
        {equal, {.host_layers = 26}, LAYERS},    /* -ngl 1 */
        {equal, {.host_layers = 1000}, LAYERS},  /* -ngl 0 */
        {equal, {.host_expert_layers = 20}, 14}, /* -ncmoe 20: of no say in the shares */
        {equal, {.host_layers = 5, .host_expert_layers = 20}, 5 + 11},
        {equal, {.host_expert_layers = 20, .split = SMT_SPLIT_EXPERT}, LAYERS},
        {equal, {.host_layers = 20, .split = SMT_SPLIT_EXPERT}, LAYERS},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_test_machine machine;
        smt_test_placed v;
        smt_placement_options where = cases[i].where;
        where.struct_size = sizeof where;
        const smt_plan_options words = {
            .devices = "vk0,vk1", .placement = &where, .shares = cases[i].shares, .n_shares = cases[i].shares ? 2 : 0};
        smt_test_machine_open("8x24", &machine);
        smt_test_placed_open(&v, files[V2_LITE], &machine, &words);
        assert_true(v.info.fits);
        smt_test_placed_check(&v, files[V2_LITE], &machine, &words);
        const smt_placement_device *device = &v.devices[cases[i].shares == second];
        bool shared = where.split == SMT_SPLIT_EXPERT;
        if (device->last_layer != (cases[i].shares == second ? LAYERS : cases[i].first))
            fail_msg("case %zu: the first device has %u layers", i, device->last_layer);
        assert_int_equal(v.devices[1].computes, cases[i].first < LAYERS || shared);
        for (uint32_t k = 0; k < v.info.n_items; k++) {
            const smt_placement_item *item = &v.items[k];
            bool host = item->device == v.info.n_devices - 1, expert = item->expert != UINT32_MAX;
            if (item->kind != SMT_ITEM_MATRIX || item->layer == UINT32_MAX || strstr(item->name, "norm")) continue;
            assert_int_equal(host, item->layer < where.host_layers || (expert && item->layer < where.host_expert_layers));
        }
        smt_test_placed_close(&v);
        smt_test_machine_close(&machine);
    }
}

/* Every expert belongs to one device, and experts that are summed together to the same: groups, or eighths. Returns how many devices share. */
static uint32_t check_shares(const smt_test_placed *v, const smt_file *file) {
    smt_model_info model;
    smt_file_model(file, &model, NULL);
    uint32_t size = smt_div_up(model.n_experts, model.n_groups > 1 ? model.n_groups : 8), covered = 0, n = 0;
    for (uint32_t i = 0; i < v->info.n_devices; i++) {
        const smt_placement_device *d = &v->devices[i];
        if (!d->computes) continue;
        n++;
        covered += d->last_expert - d->first_expert;
        assert_int_equal(d->first_expert % size, 0);
        assert_true(d->last_expert % size == 0 || d->last_expert == model.n_experts);
        assert_true(d->last_expert > d->first_expert || !d->experts_only);
        if (!d->experts_only) assert_int_equal(d->last_layer - d->first_layer, model.n_layers);
        for (uint32_t j = 0; j < i; j++)
            if (v->devices[j].computes)
                assert_true(v->devices[j].first_expert >= d->last_expert || v->devices[j].last_expert <= d->first_expert);
    }
    assert_int_equal(covered, model.n_experts);
    return n;
}

static void test_shared_experts(void **state) {
    smt_file **files = *state;
    static const double shares[] = {0, 3, 1};
    static const struct {
        const char *machine, *devices;
        int model;
        uint32_t n; /* devices that share; 0: as many as there are */
        uint32_t n_shares;
        uint64_t cache;
    } cases[] = {
        {"8x24", NULL, V2, 8, 0, 0},
        {"8x24", "vk0,vk1,vk2", V2_LITE, 3, 0, 0},
        {"24+8-two-vendors", "vk1,vk0", V2_LITE, 2, 0, 0},
        {"8x24", "vk0,vk1,vk2", V2, 3, 3, 0},
        {"24+8-two-vendors", NULL, V2_LITE, 1, 0, 0},
        {"8x24", "vk0,vk0", V2_LITE, 2, 0, 0},
        {"8x24", NULL, V3, 0, 0, 0},   /* does not fit: host memory has the rest */
        {"8x24", NULL, V3, 0, 0, GIB}, /* and some of it comes into slots of each device */
        {"range-128m", "vk0,vk0,vk0,vk0,vk0,vk0,vk0,vk0", V2, 8, 0, 0},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_test_machine machine;
        smt_test_placed v;
        const smt_placement_options where = {
            .struct_size = sizeof where, .split = SMT_SPLIT_EXPERT, .expert_cache_bytes = cases[i].cache};
        const smt_plan_options words = {.devices = cases[i].devices,
                                        .placement = &where,
                                        .shares = cases[i].n_shares ? shares : NULL,
                                        .n_shares = cases[i].n_shares};
        smt_test_machine_open(cases[i].machine, &machine);
        smt_test_placed_open(&v, files[cases[i].model], &machine, &words);
        smt_test_placed_check(&v, files[cases[i].model], &machine, &words);
        uint32_t n = check_shares(&v, files[cases[i].model]);
        if (cases[i].n && n != cases[i].n)
            fail_msg("%s on %s: %u devices share the experts", smt_test_big_names[cases[i].model], cases[i].machine, n);
        for (uint32_t d = 0; d < n && cases[i].cache; d++) {
            uint32_t slots = 0;
            for (uint32_t k = 0; k < v.info.n_items; k++) slots += v.items[k].kind == SMT_ITEM_SLOT && v.items[k].device == d;
            assert_true(slots > 0);
        }
        if (cases[i].n_shares) { /* of 8 groups: none, 6, 2 */
            assert_int_equal(v.devices[0].last_expert, 0);
            assert_int_equal(v.devices[1].last_expert, 120);
            assert_int_equal(v.devices[2].last_expert, 160);
        }
        smt_test_placed_close(&v);
        smt_test_machine_close(&machine);
    }
}

static double shared_speed(const smt_file *file, smt_test_machine *machine, const char *devices, double hop_s,
                           const char *waits) {
    const smt_placement_options where = {.struct_size = sizeof where, .split = SMT_SPLIT_EXPERT};
    const smt_plan_options words = {.devices = devices, .placement = &where};
    smt_test_placed v;
    for (uint32_t i = 0; i < machine->n_devices; i++) {
        machine->devices[i].hop_s = hop_s;
        machine->devices[i].read_bytes_s = 50e9; /* reading takes longer than all else */
    }
    smt_test_placed_open(&v, file, machine, &words);
    assert_true(v.info.fits);
    assert_non_null(strstr(v.info.bottleneck, waits));
    double tok_s = v.info.decode_tok_s;
    smt_test_placed_close(&v);
    return tok_s;
}

/* Devices that share experts read them at the same time, and wait for two hops in each layer. */
static void test_shared_speed(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_machine_open("8x24", &machine);
    double one = shared_speed(files[V2_LITE], &machine, "vk0", 1e-9, ""),
           four = shared_speed(files[V2_LITE], &machine, "vk0,vk1,vk2,vk3", 1e-9, ""),
           slow = shared_speed(files[V2_LITE], &machine, "vk0,vk1,vk2,vk3", 1e-3, "hands activations over");
    assert_true(four > one);
    assert_true(slow < 1 / (26 * 2e-3)); /* layers with experts */
    smt_test_machine_close(&machine);
}

/* ---- wrong words, no memory ---- */

static void expect(const smt_file *file, const smt_test_machine *machine, smt_plan_options options, smt_status status,
                   const char *words) {
    smt_placement *placement;
    smt_error err = {0};
    options.struct_size = sizeof options;
    options.machine = machine->devices;
    options.n_machine = machine->n_devices;
    assert_int_equal(smt_placement_create(file, &options, &placement, &err), status);
    assert_null(placement);
    if (!strstr(err.message, words)) fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void test_refused(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    static const double shares[] = {1, -1}, even[] = {1, 1};
    static const float use[3];
    const smt_heap_budget heap = {.device = "vk0", .heap = 7}, nobody = {.device = "vk9"};
    smt_placement_options where = {.struct_size = sizeof where, .budgets = &heap, .n_budgets = 1};
    smt_test_machine_open("8+64-host", &machine);
    const smt_file *file = files[V2_LITE];
    expect(file, &machine, (smt_plan_options){.devices = "vk3"}, SMT_NOT_FOUND, "vk3");
    expect(file, &machine, (smt_plan_options){.devices = "vk0,vk0", .shares = shares, .n_shares = 2}, SMT_INVALID, "share 2");
    expect(file, &machine, (smt_plan_options){.devices = "vk0", .shares = even, .n_shares = 2}, SMT_INVALID, "2 shares");
    expect(file, &machine, (smt_plan_options){.placement = &where}, SMT_INVALID, "heap 7");
    where = (smt_placement_options){.struct_size = sizeof where, .split = (smt_split_mode)7};
    expect(file, &machine, (smt_plan_options){.placement = &where}, SMT_INVALID, "7 is no mode");
    where.split = SMT_SPLIT_EXPERT;
    expect(files[DENSE_7B], &machine, (smt_plan_options){.placement = &where}, SMT_INVALID, "no experts");
    where = (smt_placement_options){.struct_size = sizeof where, .budgets = &nobody, .n_budgets = 1};
    expect(file, &machine, (smt_plan_options){.placement = &where}, SMT_NOT_FOUND, "vk9");
    where = (smt_placement_options){.struct_size = sizeof where, .expert_weights = use, .n_expert_weights = SMT_COUNT(use)};
    expect(file, &machine, (smt_plan_options){.placement = &where}, SMT_INVALID, "3 weights");
    machine.devices[0].info.memory_types[1].heap = 9;
    expect(file, &machine, (smt_plan_options){0}, SMT_INVALID, "heap 9");
    machine.n_devices = 0;
    expect(file, &machine, (smt_plan_options){0}, SMT_INVALID, "no devices");
    smt_test_machine_close(&machine);
}

static void test_no_memory(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    smt_test_machine_open("8+64-host", &machine);
    smt_plan_options options = {.struct_size = sizeof options, .machine = machine.devices, .n_machine = machine.n_devices};
    for (uint64_t n = 1; n < 200; n += n < 40 ? 1 : 9) {
        smt_placement *placement;
        smt_error err;
        smt_mem_fail_after(n);
        smt_status status = smt_placement_create(files[V2_LITE], &options, &placement, &err);
        smt_mem_fail_after(0);
        assert_true(status == SMT_OK || status == SMT_MEMORY);
        assert_int_equal(placement != NULL, status == SMT_OK);
        smt_placement_free(placement);
    }
    smt_test_machine_close(&machine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machines),       cmocka_unit_test(test_more_memory),      cmocka_unit_test(test_fewest),
        cmocka_unit_test(test_kinds),          cmocka_unit_test(test_order_and_shares), cmocka_unit_test(test_order_and_host),
        cmocka_unit_test(test_shared_experts), cmocka_unit_test(test_shared_speed),     cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, smt_test_big_setup, smt_test_big_teardown);
}
