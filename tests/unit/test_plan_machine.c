/* test_plan_machine.c: plans of the released models, in full size, for machines that nobody here owns. What holds for every plan is checked
 * from the list of its places alone: each matrix once and whole, nothing overlaps, no limit is exceeded, the same again gives the same, and
 * more memory is never slower. */
#include "big_model.h"
#include "machines.h"

#include <unistd.h>

#define GIB ((uint64_t)1 << 30)

static const char *const model_names[] = {"V2-Lite", "V2", "V3", "DeepSeek-LLM-7B"};
enum { V2_LITE, V2, V3, DENSE_7B, N_MODELS };

static const smt_big_shape *shape_of(const char *name) {
    const smt_big_shape *shape = smt_big_models;
    while (strcmp(shape->name, name) != 0) shape++;
    return shape;
}

static int setup(void **state) {
    static smt_file *files[N_MODELS];
    smt_error err;
    for (int i = 0; i < N_MODELS; i++) {
        char path[1024];
        smt_big_shape shape = *shape_of(model_names[i]);
        if (!shape.latent) shape.type = SMT_DTYPE_Q8_0;
        snprintf(path, sizeof path, "%s/plan-machine-%ld.gguf", SMT_TEST_WORK, (long)getpid());
        if (!smt_big_write(&shape, path)) exit(77); /* a file system without holes */
        SMT_ASSERT_OK(smt_file_open(path, &files[i], &err), &err);
        remove(path);
    }
    *state = files;
    return 0;
}

static int teardown(void **state) {
    smt_file **files = *state;
    for (int i = 0; i < N_MODELS; i++) smt_file_free(files[i]);
    return 0;
}

/* ---- a plan, as its reader sees it ---- */

typedef struct view {
    smt_placement *placement;
    smt_placement_info info;
    smt_placement_item *items; /* owned */
    smt_placement_device devices[20];
} view;

static void open_view(view *v, const smt_file *file, const smt_test_machine *machine, const smt_plan_options *words) {
    smt_plan_options options = *words;
    smt_error err;
    options.struct_size = sizeof options;
    options.machine = machine->devices;
    options.n_machine = machine->n_devices;
    SMT_ASSERT_OK(smt_placement_create(file, &options, &v->placement, &err), &err);
    smt_placement_get(v->placement, &v->info);
    assert_in_range(v->info.n_devices, machine->n_devices + 1, 20);
    v->items = calloc(v->info.n_items + 1, sizeof *v->items);
    assert_non_null(v->items);
    for (uint32_t i = 0; i < v->info.n_items; i++)
        assert_int_equal(smt_placement_item_get(v->placement, i, &v->items[i]), SMT_OK);
    for (uint32_t i = 0; i < v->info.n_devices; i++)
        assert_int_equal(smt_placement_device_get(v->placement, i, &v->devices[i]), SMT_OK);
    assert_string_equal(v->devices[v->info.n_devices - 1].id, "host");
}

static void close_view(view *v) {
    free(v->items);
    smt_placement_free(v->placement);
}

static const smt_device_info *machine_device(const smt_test_machine *machine, const char *id) {
    for (uint32_t i = 0; i < machine->n_devices; i++)
        if (strncmp(machine->devices[i].info.id, id, strlen(machine->devices[i].info.id)) == 0) return &machine->devices[i].info;
    fail_msg("the machine has no %s", id);
    return NULL;
}

/* ---- what holds for every plan ---- */

static int by_place(const void *a, const void *b) {
    const smt_placement_item *x = a, *y = b;
    if (x->buffer != y->buffer) return x->buffer < y->buffer ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void check_places(const view *v, const smt_test_machine *machine) {
    for (uint32_t i = 0; i < v->info.n_items; i++) {
        const smt_placement_item *item = &v->items[i], *last = i ? &v->items[i - 1] : NULL;
        const smt_device_info *info = machine_device(machine, v->devices[item->reader].id);
        if (strcmp(item->tier, "file") == 0) { /* rows of one matrix may overlap those of the next: device rows can be longer */
            assert_int_equal(item->buffer, UINT32_MAX);
            assert_true(item->device == v->info.n_devices - 1 && item->heap == 1 && item->expert != UINT32_MAX);
            continue;
        }
        if (last && last->buffer == item->buffer) {
            assert_true(last->offset + last->bytes <= item->offset);
            assert_int_equal(last->reader, item->reader);
            assert_int_equal(last->memory_type, item->memory_type);
        }
        assert_int_equal(item->offset % 256, 0);
        assert_int_equal(item->offset % info->storage_align, 0);
        assert_true(item->bytes > 0);
        if (item->kind != SMT_ITEM_WORK)
            assert_true(item->bytes <= info->max_storage_range); /* scratch is bound piece by piece */
        assert_true(item->offset + item->bytes <= info->max_allocation);
        const smt_memory_type *type = &info->memory_types[item->memory_type];
        bool local = strncmp(item->tier, "device-local", 12) == 0, visible = strstr(item->tier, "host-visible") != NULL;
        if (local) assert_int_equal(type->heap, item->heap);
        if (local) assert_int_equal(item->device, item->reader);
        if (local) assert_true(type->device_local && type->host_visible == visible);
        if (!local) assert_true(type->host_visible && item->device == v->info.n_devices - 1);
    }
}

static void check_budgets(const view *v) {
    uint64_t planned[20][16] = {0};
    for (uint32_t i = 0; i < v->info.n_items; i++) planned[v->items[i].device][v->items[i].heap] += v->items[i].bytes;
    for (uint32_t i = 0; i < v->info.n_devices; i++)
        for (uint32_t heap = 0; heap < v->devices[i].n_heaps; heap++) {
            const smt_placement_heap *h = &v->devices[i].heaps[heap];
            assert_int_equal(planned[i][heap], h->planned);
            assert_int_equal(h->dense + h->experts + h->cache + h->work, h->planned);
            assert_true(h->budget <= h->bytes);
            if (v->info.fits && (h->planned > h->budget))
                fail_msg("%s heap %u: %llu of %llu", v->devices[i].id, heap, (unsigned long long)h->planned,
                         (unsigned long long)h->budget);
        }
}

static int by_name(const void *a, const void *b) {
    const smt_placement_item *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (order) return order;
    if (x->expert != y->expert) return x->expert < y->expert ? -1 : 1;
    return x->part < y->part ? -1 : x->part > y->part;
}

static const smt_placement_item *find_items(const view *v, const char *name) {
    uint32_t low = 0, high = v->info.n_items;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (strcmp(v->items[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < v->info.n_items && strcmp(v->items[low].name, name) == 0 ? &v->items[low] : NULL;
}

/* Every tensor: each expert, each part, once and in order; its bytes are all there. */
static void check_coverage(view *v, const smt_file *file) {
    qsort(v->items, v->info.n_items, sizeof *v->items, by_name);
    for (uint64_t t = 0; t < smt_file_tensor_count(file); t++) {
        smt_tensor_info tensor;
        uint64_t bytes = 0;
        smt_file_tensor(file, t, &tensor);
        const smt_placement_item *item = find_items(v, tensor.name), *end = v->items + v->info.n_items;
        if (!item) fail_msg("%s has no place", tensor.name);
        bool experts = item->expert != UINT32_MAX;
        uint64_t n = experts ? tensor.ne[2] : item->n_parts;
        for (uint64_t i = 0; i < n; i++, item++) {
            assert_true(item < end && strcmp(item->name, tensor.name) == 0);
            assert_int_equal(experts ? item->expert : item->part, i);
            bytes += item->bytes;
        }
        assert_true(item == end || strcmp(item->name, tensor.name) != 0);
        if (bytes < tensor.bytes)
            fail_msg("%s: %llu of %llu bytes", tensor.name, (unsigned long long)bytes, (unsigned long long)tensor.bytes);
    }
}

/* Layers follow each other over the devices that compute, and everything of a layer is read by its device, or, where devices share experts,
 * everything but these. */
static void check_layers(const view *v, const smt_file *file) {
    smt_model_info model;
    uint32_t covered = 0, n_ranges = 0;
    smt_file_model(file, &model, NULL);
    for (uint32_t i = 0; i < v->info.n_devices; i++) {
        const smt_placement_device *d = &v->devices[i];
        if (!d->computes) continue;
        n_ranges++;
        assert_true(d->first_layer < d->last_layer && d->last_layer <= model.n_layers);
        covered += d->experts_only ? 0 : d->last_layer - d->first_layer;
    }
    assert_true(n_ranges > 0);
    assert_int_equal(covered, model.n_layers);
    for (uint32_t i = 0; i < v->info.n_items; i++) {
        const smt_placement_item *item = &v->items[i];
        if (item->layer != UINT32_MAX)
            assert_in_range(item->layer, v->devices[item->reader].first_layer, v->devices[item->reader].last_layer - 1);
        if (item->expert != UINT32_MAX)
            assert_in_range(item->expert, v->devices[item->reader].first_expert, v->devices[item->reader].last_expert - 1);
        else if (v->devices[item->reader].experts_only)
            assert_int_not_equal(item->kind, SMT_ITEM_MATRIX);
    }
}

/* Every expert belongs to one device, and experts that are summed together to the same: groups, or eighths. Returns how many devices share. */
static uint32_t check_shares(const view *v, const smt_file *file) {
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

static void check_same_again(const view *v, const smt_file *file, const smt_test_machine *machine,
                             const smt_plan_options *words) {
    view twin;
    open_view(&twin, file, machine, words);
    assert_int_equal(twin.info.n_items, v->info.n_items);
    for (uint32_t i = 0; i < v->info.n_items; i++) {
        assert_int_equal(by_place(&twin.items[i], &v->items[i]), 0);
        assert_int_equal(twin.items[i].reader, v->items[i].reader);
        assert_int_equal(twin.items[i].bytes, v->items[i].bytes);
    }
    assert_true(twin.info.decode_tok_s == v->info.decode_tok_s && twin.info.prefill_tok_s == v->info.prefill_tok_s);
    assert_string_equal(twin.info.why, v->info.why);
    close_view(&twin);
}

static void check_all(view *v, const smt_file *file, const smt_test_machine *machine, const smt_plan_options *words) {
    check_same_again(v, file, machine, words);
    check_layers(v, file);
    check_budgets(v);
    qsort(v->items, v->info.n_items, sizeof *v->items, by_place);
    check_places(v, machine);
    check_coverage(v, file);
}

/* ---- the machines ---- */

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
            view v;
            open_view(&v, files[i], &machine, &words);
            if (v.info.fits != fits[m][i]) fail_msg("%s on %s: %s", model_names[i], smt_test_machines[m], v.info.why);
            assert_int_equal(v.info.fits, v.info.why[0] == 0);
            if (v.info.n_items == 0) /* no device can have it at all */
                assert_non_null(strstr(v.info.why, "windows"));
            else
                check_all(&v, files[i], &machine, &words);
            if (!v.info.fits && v.info.n_items) assert_non_null(strstr(v.info.why, "It would fit with"));
            close_view(&v);
        }
        smt_test_machine_close(&machine);
    }
}

static double speed(const smt_file *file, const smt_test_machine *machine) {
    view v;
    open_view(&v, file, machine, &(smt_plan_options){0});
    double decode = v.info.decode_tok_s;
    assert_true(decode > 0 && v.info.prefill_tok_s > 0 && v.info.bottleneck[0]);
    close_view(&v);
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
            for (int step = 0; step < 4; step++) {
                for (uint32_t d = 0; d < machine.n_devices; d++) {
                    smt_heap_info *heap = &machine.devices[d].info.heaps[0];
                    heap->bytes += heap->bytes / 2;
                    heap->budget += heap->budget / 2;
                }
                double now = speed(files[models[i]], &machine);
                if (now < last)
                    fail_msg("%s on %s, step %d: %g, then %g", model_names[models[i]], smt_test_machines[m], step, last, now);
                last = now;
            }
            smt_test_machine_close(&machine);
        }
}

/* ---- the user's words ---- */

static uint32_t computing(const view *v, uint32_t *out_last) {
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
    view v;
    uint32_t last;
    static const struct {
        const char *machine;
        int model;
        uint32_t n, row;
    } cases[] = {
        {"8x24", V2_LITE, 1, 0}, {"8x24", V2, 6, 5}, {"16-arc+12-rtx", V2_LITE, 1, 1}, {"24+8-two-vendors", V2_LITE, 1, 0}};
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_test_machine_open(cases[i].machine, &machine);
        open_view(&v, files[cases[i].model], &machine, &(smt_plan_options){0});
        assert_int_equal(computing(&v, &last), cases[i].n);
        assert_int_equal(last, cases[i].row);
        close_view(&v);
        smt_test_machine_close(&machine);
    }
}

/* Software and shared memory only where there is nothing else, or when named. */
static void test_kinds(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    view v;
    uint32_t row;
    static const char *const kinds[][2] = {{"cpu", "discrete"}, {"integrated", "discrete"}, {"cpu", "integrated"}};
    smt_test_machine_open("16-arc+12-rtx", &machine);
    for (size_t i = 0; i < SMT_COUNT(kinds); i++) {
        machine.devices[0].info.kind = kinds[i][0];
        machine.devices[0].read_bytes_s = 900e9; /* faster, and larger */
        machine.devices[1].info.kind = kinds[i][1];
        open_view(&v, files[V2_LITE], &machine, &(smt_plan_options){0});
        assert_int_equal(computing(&v, &row), 1);
        assert_int_equal(row, 1);
        close_view(&v);
        open_view(&v, files[V2_LITE], &machine, &(smt_plan_options){.devices = "vk0"});
        assert_int_equal(computing(&v, &row), 1);
        assert_int_equal(row, 0);
        close_view(&v);
    }
    smt_test_machine_close(&machine);
}

static void test_order_and_shares(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    view v;
    static const double shares[] = {2, 1};
    smt_test_machine_open("24+8-two-vendors", &machine);
    smt_plan_options words = {.devices = "RTX 3070,Radeon", .shares = shares, .n_shares = 2};
    open_view(&v, files[V2_LITE], &machine, &words); /* 27 layers: 18 and 9, in the order named */
    check_all(&v, files[V2_LITE], &machine, &words);
    assert_int_equal(v.devices[1].first_layer, 0);
    assert_int_equal(v.devices[1].last_layer, 18);
    assert_int_equal(v.devices[0].last_layer, 27);
    close_view(&v);
    words = (smt_plan_options){.devices = "vk0,vk1"}; /* 840 and 410 GB/s: 18 and 9 */
    open_view(&v, files[V2_LITE], &machine, &words);
    assert_in_range(v.devices[0].last_layer, 17, 19);
    close_view(&v);
    words = (smt_plan_options){.devices = "vk0,vk0"};
    open_view(&v, files[V2_LITE], &machine, &words);
    check_all(&v, files[V2_LITE], &machine, &words);
    assert_string_equal(v.devices[0].id, "vk0");
    assert_string_equal(v.devices[1].id, "vk0#2");
    assert_true(v.devices[0].computes && v.devices[1].computes && !v.devices[2].computes);
    assert_true(v.devices[0].heaps[0].budget < 12 * GIB); /* half of it each */
    close_view(&v);
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
        view v;
        smt_placement_options where = cases[i].where;
        where.struct_size = sizeof where;
        const smt_plan_options words = {
            .devices = "vk0,vk1", .placement = &where, .shares = cases[i].shares, .n_shares = cases[i].shares ? 2 : 0};
        smt_test_machine_open("8x24", &machine);
        open_view(&v, files[V2_LITE], &machine, &words);
        assert_true(v.info.fits);
        check_all(&v, files[V2_LITE], &machine, &words);
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
        close_view(&v);
        smt_test_machine_close(&machine);
    }
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
        view v;
        const smt_placement_options where = {
            .struct_size = sizeof where, .split = SMT_SPLIT_EXPERT, .expert_cache_bytes = cases[i].cache};
        const smt_plan_options words = {.devices = cases[i].devices,
                                        .placement = &where,
                                        .shares = cases[i].n_shares ? shares : NULL,
                                        .n_shares = cases[i].n_shares};
        smt_test_machine_open(cases[i].machine, &machine);
        open_view(&v, files[cases[i].model], &machine, &words);
        check_all(&v, files[cases[i].model], &machine, &words);
        uint32_t n = check_shares(&v, files[cases[i].model]);
        if (cases[i].n && n != cases[i].n)
            fail_msg("%s on %s: %u devices share the experts", model_names[cases[i].model], cases[i].machine, n);
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
        close_view(&v);
        smt_test_machine_close(&machine);
    }
}

static double shared_speed(const smt_file *file, smt_test_machine *machine, const char *devices, double hop_s,
                           const char *waits) {
    const smt_placement_options where = {.struct_size = sizeof where, .split = SMT_SPLIT_EXPERT};
    const smt_plan_options words = {.devices = devices, .placement = &where};
    view v;
    for (uint32_t i = 0; i < machine->n_devices; i++) {
        machine->devices[i].hop_s = hop_s;
        machine->devices[i].read_bytes_s = 50e9; /* reading takes longer than all else */
    }
    open_view(&v, file, machine, &words);
    assert_true(v.info.fits);
    assert_non_null(strstr(v.info.bottleneck, waits));
    double tok_s = v.info.decode_tok_s;
    close_view(&v);
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

/* Experts that are used rarely leave first; whole layers where the user says so. */
static void test_tiers(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    view v;
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
    open_view(&v, files[V2_LITE], &machine, &words);
    assert_true(v.info.fits);
    check_all(&v, files[V2_LITE], &machine, &words);
    uint32_t host = v.info.n_devices - 1, cold = 0;
    for (uint32_t i = 0; i < v.info.n_items; i++) {
        if (v.items[i].expert == UINT32_MAX || v.items[i].device != host) continue;
        assert_int_equal(v.items[i].expert % 2, 0);
        cold++;
    }
    assert_true(cold > 0);
    double hot_known = v.info.decode_tok_s;
    close_view(&v);
    where.expert_weights = NULL;
    open_view(&v, files[V2_LITE], &machine, &words);
    assert_true(v.info.decode_tok_s < hot_known);
    close_view(&v);
    where = (smt_placement_options){.struct_size = sizeof where, .host_expert_layers = 20, .host_layers = 5};
    open_view(&v, files[V2_LITE], &machine, &words);
    assert_true(v.info.fits);
    check_all(&v, files[V2_LITE], &machine, &words);
    for (uint32_t i = 0; i < v.info.n_items; i++) {
        const smt_placement_item *item = &v.items[i];
        bool vector = strstr(item->name, "norm") != NULL,
             out = item->layer < 5 ? !vector : item->layer < 20 && item->expert != UINT32_MAX;
        if (item->kind == SMT_ITEM_MATRIX && item->layer != UINT32_MAX) assert_int_equal(item->device == host, out);
    }
    close_view(&v);
    smt_test_machine_close(&machine);
}

/* Items of a tier, and their bytes; or of a kind. */
static uint32_t count_tier(const view *v, const char *tier, uint64_t *out_bytes) {
    uint32_t n = 0;
    *out_bytes = 0;
    for (uint32_t i = 0; i < v->info.n_items; i++)
        if (strcmp(v->items[i].tier, tier) == 0) {
            n++;
            *out_bytes += v->items[i].bytes;
        }
    return n;
}

static uint32_t count_slots(const view *v, uint32_t layer) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->info.n_items; i++) n += v->items[i].kind == SMT_ITEM_SLOT && v->items[i].layer == layer;
    return n;
}

static uint32_t count_elsewhere(const view *v, uint32_t layer) {
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
    view v;
    uint64_t bytes;
    smt_placement_options where = {.struct_size = sizeof where};
    const smt_plan_options words = {.devices = "vk0", .placement = &where};
    smt_test_machine_open("8+64-host", &machine);
    const smt_heap_budget small = {.device = "vk0", .bytes = 3 * GIB};
    where.budgets = &small;
    where.n_budgets = 1;
    for (uint64_t gib = 0; gib < 2; gib++) { /* V2-Lite in 3 GiB, and in 2 with slots in the third */
        where.expert_cache_bytes = gib * GIB;
        open_view(&v, files[V2_LITE], &machine, &words);
        assert_true(v.info.fits);
        check_all(&v, files[V2_LITE], &machine, &words);
        assert_int_equal(count_tier(&v, "file", &bytes), 0);
        for (uint32_t l = 0; l < 27; l++) /* as many in each layer, or as it has experts elsewhere */
            assert_int_equal(count_slots(&v, l), gib ? smt_min_u32(count_elsewhere(&v, l), count_slots(&v, 1)) : 0);
        assert_true(gib == 0 || count_slots(&v, 1) > 1);
        close_view(&v);
    }
    where.n_budgets = 0;
    where.expert_cache_bytes = 5 * GIB; /* V2: 80 GiB and more that neither 8 GiB nor 64 hold */
    open_view(&v, files[V2], &machine, &words);
    if (!v.info.fits) fail_msg("%s", v.info.why);
    check_all(&v, files[V2], &machine, &words);
    assert_true(count_tier(&v, "file", &bytes) > 0 && bytes > 20 * GIB);
    assert_true(count_tier(&v, "host-visible", &bytes) > 0 && bytes > 50 * GIB); /* the file is the last resort */
    assert_non_null(strstr(v.info.bottleneck, "file"));
    for (uint32_t i = 0; i < v.info.n_items; i++)
        if (strcmp(v.items[i].tier, "file") == 0) assert_true(count_slots(&v, v.items[i].layer) >= 6); /* a token's */
    close_view(&v);
    where.expert_cache_bytes = 256 << 20;
    open_view(&v, files[V2], &machine, &words);
    assert_false(v.info.fits);
    assert_non_null(strstr(v.info.why, "an expert cache of 256.0 MiB"));
    close_view(&v);
    smt_test_machine_close(&machine);
}

/* A context that is too long is the first thing to shorten, and the context named fits. */
static void test_context(void **state) {
    smt_file **files = *state;
    smt_test_machine machine;
    view v;
    smt_test_machine_open("range-128m", &machine);
    smt_runner_options runner = {.struct_size = sizeof runner, .n_ctx = 131072};
    const smt_placement_options where = {.struct_size = sizeof where, .runner = &runner};
    const smt_plan_options words = {.placement = &where};
    open_view(&v, files[DENSE_7B], &machine, &words);
    assert_false(v.info.fits);
    close_view(&v);
    runner.n_ctx = 16384;
    open_view(&v, files[DENSE_7B], &machine, &words);
    assert_false(v.info.fits);
    const char *at = strstr(v.info.why, "a context of ");
    assert_non_null(at);
    runner.n_ctx = (uint32_t)strtoul(at + strlen("a context of "), NULL, 10);
    close_view(&v);
    assert_in_range(runner.n_ctx, 256, 8192);
    open_view(&v, files[DENSE_7B], &machine, &words);
    assert_true(v.info.fits);
    close_view(&v);
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
        cmocka_unit_test(test_kinds),          cmocka_unit_test(test_order_and_shares), cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_order_and_host), cmocka_unit_test(test_shared_experts),   cmocka_unit_test(test_shared_speed),
        cmocka_unit_test(test_slots),          cmocka_unit_test(test_context),          cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
