/* placed.c: see placed.h. */
#include "placed.h"
#include "big_model.h"

#include <unistd.h>

const char *const smt_test_big_names[] = {"V2-Lite", "V2", "V3", "DeepSeek-LLM-7B"};

static const smt_big_shape *shape_of(const char *name) {
    const smt_big_shape *shape = smt_big_models;
    while (strcmp(shape->name, name) != 0) shape++;
    return shape;
}

int smt_test_big_setup(void **state) {
    static smt_file *files[N_MODELS];
    smt_error err;
    for (int i = 0; i < N_MODELS; i++) {
        char path[1024];
        smt_big_shape shape = *shape_of(smt_test_big_names[i]);
        if (!shape.latent) shape.type = SMT_DTYPE_Q8_0;
        snprintf(path, sizeof path, "%s/plan-machine-%ld.gguf", SMT_TEST_WORK, (long)getpid());
        if (!smt_big_write(&shape, path)) exit(77); /* a file system without holes */
        SMT_ASSERT_OK(smt_file_open(path, &files[i], &err), &err);
        remove(path);
    }
    *state = files;
    return 0;
}

int smt_test_big_teardown(void **state) {
    smt_file **files = *state;
    for (int i = 0; i < N_MODELS; i++) smt_file_free(files[i]);
    return 0;
}

/* ---- a plan, as its reader sees it ---- */

void smt_test_placed_open(smt_test_placed *v, const smt_file *file, const smt_test_machine *machine,
                          const smt_plan_options *words) {
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

void smt_test_placed_close(smt_test_placed *v) {
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

static void check_places(const smt_test_placed *v, const smt_test_machine *machine) {
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

static void check_budgets(const smt_test_placed *v) {
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

static const smt_placement_item *find_items(const smt_test_placed *v, const char *name) {
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
static void check_coverage(smt_test_placed *v, const smt_file *file) {
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
static void check_layers(const smt_test_placed *v, const smt_file *file) {
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

static void check_same_again(const smt_test_placed *v, const smt_file *file, const smt_test_machine *machine,
                             const smt_plan_options *words) {
    smt_test_placed twin;
    smt_test_placed_open(&twin, file, machine, words);
    assert_int_equal(twin.info.n_items, v->info.n_items);
    for (uint32_t i = 0; i < v->info.n_items; i++) {
        assert_int_equal(by_place(&twin.items[i], &v->items[i]), 0);
        assert_int_equal(twin.items[i].reader, v->items[i].reader);
        assert_int_equal(twin.items[i].bytes, v->items[i].bytes);
    }
    assert_true(twin.info.decode_tok_s == v->info.decode_tok_s && twin.info.prefill_tok_s == v->info.prefill_tok_s);
    assert_string_equal(twin.info.why, v->info.why);
    smt_test_placed_close(&twin);
}

void smt_test_placed_check(smt_test_placed *v, const smt_file *file, const smt_test_machine *machine,
                           const smt_plan_options *words) {
    check_same_again(v, file, machine, words);
    check_layers(v, file);
    check_budgets(v);
    qsort(v->items, v->info.n_items, sizeof *v->items, by_place);
    check_places(v, machine);
    check_coverage(v, file);
}
