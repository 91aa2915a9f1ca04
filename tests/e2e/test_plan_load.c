/* test_plan_load.c: the load is the plan, to the byte: what vkAllocateMemory is asked for, kept in a list, is the list of the plan's buffers,
 * on one device or on two; what does not fit is refused before the first allocation; and wherever experts and layers lie, the results are
 * the same bits. */
#include "plan/plan.h"
#include "run/run.h"
#include "tiny_model.h"
#include "vk/vk_objects.h"
#include "vk_support.h"

#include <unistd.h>

enum { N_PROMPT = 5, N_TOKENS = 6, N_VOCAB = 512, MOST_ALLOCATIONS = 64, N_EXPERTS = 8 };
#define KIB ((uint64_t)1 << 10)

/* ---- what the driver is asked for ---- */

static struct allocation {
    VkDevice device;
    VkDeviceMemory memory;
    uint32_t type;
    uint64_t bytes;
} live[MOST_ALLOCATIONS];
static uint32_t n_live, n_asked;
static PFN_vkAllocateMemory true_allocate;
static PFN_vkFreeMemory true_free;

static VKAPI_ATTR VkResult VKAPI_CALL note_allocate(VkDevice device, const VkMemoryAllocateInfo *info,
                                                    const VkAllocationCallbacks *callbacks, VkDeviceMemory *out) {
    VkResult result = true_allocate(device, info, callbacks, out);
    n_asked++;
    if (result == VK_SUCCESS && n_live < MOST_ALLOCATIONS)
        live[n_live++] = (struct allocation){device, *out, info->memoryTypeIndex, info->allocationSize};
    return result;
}

static VKAPI_ATTR void VKAPI_CALL note_free(VkDevice device, VkDeviceMemory memory, const VkAllocationCallbacks *callbacks) {
    for (uint32_t i = 0; i < n_live; i++)
        if (live[i].device == device && live[i].memory == memory) {
            for (n_live--; i < n_live; i++) live[i] = live[i + 1]; /* the order stays */
            break;
        }
    true_free(device, memory, callbacks);
}

/* All logical devices of one driver have the same functions. */
static void watch(smt_vk_device *device) {
    true_allocate = device->fn.AllocateMemory;
    true_free = device->fn.FreeMemory;
    device->fn.AllocateMemory = note_allocate;
    device->fn.FreeMemory = note_free;
}

static int setup(void **state) {
    int status = smt_vk_test_setup(state);
    const smt_vk_fixture *fixture = *state;
    watch(fixture->device);
    return status;
}

/* ---- the model, planned and loaded ---- */

static const smt_plan_demand demand = {.n_ctx = 32, .n_batch = 8, .cache_f16 = true};

typedef struct lab {
    const smt_vk_fixture *fixture;
    smt_gguf *file;
    smt_model *model;
    uint32_t heap; /* where device memory is */
} lab;

static void open_model(lab *l, const smt_vk_fixture *fixture) {
    char path[1024];
    smt_error err;
    smt_plan pools;
    *l = (lab){.fixture = fixture};
    snprintf(path, sizeof path, "%s/test_plan_load-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(path, &(smt_tiny_options){.type = SMT_DTYPE_Q8_0, .n_experts = N_EXPERTS}, &err), &err);
    SMT_ASSERT_OK(smt_gguf_open(path, &l->file, &err), &err);
    remove(path);
    SMT_ASSERT_OK(smt_model_create(l->file, &l->model, &err), &err);
    assert_in_range(l->model->n_vocab, 1, N_VOCAB);
    SMT_ASSERT_OK(smt_plan_init(&pools, fixture->caps, &err), &err);
    l->heap = fixture->caps->types[pools.memory_type[SMT_POOL_DEVICE]].heap;
}

static void close_model(lab *l) {
    smt_model_free(l->model);
    smt_gguf_free(l->file);
}

/* The plan by itself, as `seamount plan` makes it. */
static smt_placement *plan(const lab *l, const smt_plan_request *words) {
    const smt_plan_facts facts = {.caps = *l->fixture->caps};
    smt_plan_request request = *words;
    smt_placement *placement;
    smt_error err;
    request.facts = &facts;
    request.n_facts = 1;
    request.demand = &demand;
    SMT_ASSERT_OK(smt_plan_create(l->model, &request, &placement, &err), &err);
    assert_int_equal(placement->n_devices, 1);
    return placement;
}

static smt_status load(const lab *l, const smt_plan_request *words, smt_run_model **model, smt_run **run, smt_error *err) {
    const smt_run_options wanted = {
        .n_ctx = demand.n_ctx, .n_batch = demand.n_batch, .n_sessions = demand.n_sessions, .cache_f16 = demand.cache_f16};
    const smt_run_model_options options = {.expected = &wanted, .placement = words};
    *run = NULL;
    SMT_TRY(smt_run_model_create(l->fixture->device, l->model, &options, model, err));
    return smt_run_create(*model, &wanted, run, err);
}

/* ---- cases ---- */

static uint64_t compare_buffers(const smt_plan *plan, uint32_t first) {
    uint64_t sum = 0;
    for (size_t i = 0; i < plan->n_buffers; i++) {
        assert_true(first + i < n_live);
        assert_int_equal(live[first + i].type, plan->buffers[i].memory_type);
        assert_int_equal(live[first + i].bytes, plan->buffers[i].bytes);
        sum += plan->buffers[i].bytes;
    }
    return sum;
}

static void compare_allocations(const smt_placement *placement) {
    const smt_placed_device *d = &placement->devices[0];
    uint64_t sum = 0, planned = d->used.host;
    assert_int_equal(n_live, d->weights.plan.n_buffers + d->runner.plan.n_buffers);
    for (uint32_t i = 0; i < n_live; i++) sum += live[i].bytes;
    for (uint32_t heap = 0; heap < d->caps.n_heaps; heap++) planned += d->caps.heaps[heap].device_local ? d->used.heap[heap] : 0;
    assert_int_equal(sum, planned);
    assert_int_equal(sum, compare_buffers(&d->weights.plan, 0) +
                              compare_buffers(&d->runner.plan, (uint32_t)d->weights.plan.n_buffers));
}

/* A prompt and, with other kernels, a token after it. */
static void run_tokens(smt_run *run, bool single, float *logits) {
    static const int32_t tokens[N_TOKENS] = {3, 1, 4, 1, 5, 9};
    uint32_t slot;
    smt_error err;
    SMT_ASSERT_OK(smt_kv_take_slot(&run->kv, &slot, &err), &err);
    SMT_ASSERT_OK(smt_kv_resize(&run->kv, slot, N_TOKENS, &err), &err);
    smt_run_row rows[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++)
        rows[i] = (smt_run_row){.token = tokens[i],
                                .position = (int32_t)i,
                                .slot = slot,
                                .index = i,
                                .out = true,
                                .logits = logits + (size_t)i * run->model->model->n_vocab};
    SMT_ASSERT_OK(smt_run_step(run, rows, N_PROMPT, &err), &err);
    if (single) SMT_ASSERT_OK(smt_run_step(run, rows + N_PROMPT, 1, &err), &err);
}

/* Experts in host memory, and layers that have them in both. */
static void count_experts(const smt_placed_device *d, uint32_t *out_host, uint32_t *out_mixed) {
    *out_host = *out_mixed = 0;
    for (uint32_t l = 0; l < d->last_layer; l++) {
        uint32_t host = 0;
        if (!d->items.layers[l].n_windows) continue;
        for (uint32_t e = 0; e < N_EXPERTS; e++)
            host += d->weights.plan.buffers[d->weights.items[d->items.layers[l].first_item + e].buffer].pool == SMT_POOL_HOST;
        *out_host += host;
        *out_mixed += host > 0 && host < N_EXPERTS;
    }
}

static void check_case(const lab *l, const smt_plan_request *words, bool single, float *logits, uint32_t *host, uint32_t *mixed) {
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    smt_placement *placement = plan(l, words);
    assert_true(placement->fits);
    assert_int_equal(n_live, 0);
    SMT_ASSERT_OK(load(l, words, &model, &run, &err), &err);
    compare_allocations(placement);
    count_experts(&placement->devices[0], host, mixed);
    run_tokens(run, single, logits);
    smt_run_free(run);
    smt_run_model_free(model);
    assert_int_equal(n_live, 0);
    smt_plan_free(placement);
}

static void test_load_is_plan(void **state) {
    static float all[N_TOKENS * N_VOCAB], other[N_TOKENS * N_VOCAB];
    const char *driver = getenv("SMT_TEST_DRIVER");
    bool slow = driver && strcmp(driver, "swiftshader") == 0; /* half a second for each kernel */
    lab l;
    uint32_t host, mixed;
    float use[2 * N_EXPERTS];
    open_model(&l, *state);
    size_t bytes = N_PROMPT * l.model->n_vocab * sizeof(float) + (slow ? 0 : l.model->n_vocab * sizeof(float));
    for (uint32_t i = 0; i < 2 * N_EXPERTS; i++) use[i] = (float)(i % 3);
    check_case(&l, &(smt_plan_request){0}, !slow, all, &host, &mixed);
    assert_int_equal(host, 0);
    assert_true(all[0] != 0 && all[0] != all[1]);

    smt_placement *whole = plan(&l, &(smt_plan_request){0});
    const smt_placed_device *d = &whole->devices[0];
    uint64_t stride = d->items.layers[1].stride;
    const smt_plan_budget budget = {.heap = l.heap, .bytes = d->used.heap[l.heap] - d->items.items[0].bytes - 5 * stride};
    smt_plan_free(whole);
    const smt_plan_request cases[] = {
        {.budgets = &budget, .n_budgets = 1, .expert_weights = use}, /* experts here and there in both layers */
        {.budgets = &budget, .n_budgets = 1},                        /* those of one layer */
        {.host_expert_layers = 2},
        {.host_layers = 2},
    };
    static const uint32_t least_host[] = {4, 4, N_EXPERTS, N_EXPERTS}, layers_mixed[] = {2, 1, 0, 0};
    for (size_t i = 0; i < (slow ? 1 : SMT_COUNT(cases)); i++) {
        memset(other, 0, sizeof other);
        check_case(&l, &cases[i], !slow, other, &host, &mixed);
        assert_true(host >= least_host[i]);
        assert_int_equal(mixed, layers_mixed[i]);
        assert_memory_equal(other, all, bytes);
    }
    close_model(&l);
}

/* The layers of the model on two logical devices, each with half the memory: weights of both, then the runner's memory of both. */
static void check_two(const lab *l, smt_vk_device *const *devices, smt_placement *placement, float *logits) {
    const smt_run_model_options none = {0};
    const smt_run_options wanted = {.n_ctx = demand.n_ctx, .n_batch = demand.n_batch, .cache_f16 = demand.cache_f16};
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    size_t n[2] = {placement->devices[0].weights.plan.n_buffers, placement->devices[1].weights.plan.n_buffers};
    uint64_t used[2] = {0};
    SMT_ASSERT_OK(smt_run_model_load(devices, placement, &none, &model, &err), &err);
    assert_int_equal(n_live, n[0] + n[1]);
    for (uint32_t i = 0; i < 2; i++) compare_buffers(&model->devices[i].plan.plan, i ? (uint32_t)n[0] : 0);
    SMT_ASSERT_OK(smt_run_create(model, &wanted, &run, &err), &err);
    compare_buffers(&placement->devices[0].runner.plan, (uint32_t)(n[0] + n[1]));
    compare_buffers(&placement->devices[1].runner.plan, (uint32_t)(n[0] + n[1] + placement->devices[0].runner.plan.n_buffers));
    for (uint32_t i = 0; i < n_live; i++) used[live[i].device == devices[1]->handle] += live[i].bytes;
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(used[i], placement->devices[i].used.heap[l->heap]);
        assert_true(used[i] <= l->fixture->caps->heaps[l->heap].bytes / 2);
    }
    run_tokens(run, true, logits);
    smt_run_free(run);
    smt_run_model_free(model);
    assert_int_equal(n_live, 0);
}

static void test_two_devices(void **state) {
    static float one[N_TOKENS * N_VOCAB], two[N_TOKENS * N_VOCAB];
    static const uint32_t order[] = {0, 0};
    static const double shares[] = {1, 1};
    uint32_t host, mixed;
    lab l;
    smt_error err;
    open_model(&l, *state);
    check_case(&l, &(smt_plan_request){0}, true, one, &host, &mixed);
    const smt_plan_facts facts = {.caps = *l.fixture->caps};
    const smt_plan_request request = {
        .facts = &facts, .n_facts = 1, .order = order, .n_order = 2, .shares = shares, .n_shares = 2, .demand = &demand};
    smt_placement *placement;
    smt_vk_device *devices[2] = {l.fixture->device};
    SMT_ASSERT_OK(smt_plan_create(l.model, &request, &placement, &err), &err);
    assert_true(placement->fits);
    assert_int_equal(placement->n_devices, 2);
    SMT_ASSERT_OK(smt_vk_device_create(l.fixture->vk, 0, NULL, &devices[1], &err), &err);
    watch(devices[1]);
    check_two(&l, devices, placement, two);
    assert_memory_equal(one, two, N_TOKENS * l.model->n_vocab * sizeof(float));
    smt_plan_free(placement);
    smt_vk_device_destroy(devices[1]);
    close_model(&l);
}

static void test_refused(void **state) {
    lab l;
    smt_run_model *model;
    smt_run *run;
    smt_error err;
    open_model(&l, *state);
    const smt_plan_budget budgets[] = {{.heap = l.heap, .bytes = 64 * KIB}, {.device = SMT_PLAN_HOST, .bytes = 100 * KIB}};
    const smt_plan_request words = {.budgets = budgets, .n_budgets = 2};
    n_asked = 0;
    assert_int_equal(load(&l, &words, &model, &run, &err), SMT_DEVICE_MEMORY);
    assert_int_equal(n_asked, 0);
    assert_non_null(strstr(err.message, "It would fit with"));
    close_model(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_load_is_plan), cmocka_unit_test(test_two_devices),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, setup, smt_vk_test_teardown);
}
