/* test_lost.c: what drivers take away while an engine runs. A device that is lost at any call of Vulkan that may say so: the error names the call and the last submission, later calls
 * fail with the same words, closing neither waits nor touches the queue, and the next engine of the process works. And memory that is
 * short for a submission, which is an error and no more: the same session goes on. And a budget that shrinks, which the log is told of.
 *
 * The linker puts __wrap_smt_vk_load_device in the place of the function that fills a device's table (tests/CMakeLists.txt), so that chosen
 * entries count their calls and fail at the nth. A device that is struck finishes what it has begun, as Vulkan asks of a lost one. */
#include "engine_support.h"
#include "tiny_model.h"

#include "api/api_engine.h"
#include "vk/vk_objects.h"

#include <unistd.h>

enum { N_PROMPT = 20, N_ANSWER = 5, CONTEXT = 64, N_VOCAB = 512 };

/* X(name, parameters, arguments) */
#define SITES(X)                                                                                                            \
    X(QueueSubmit, (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d), (a, b, c, d))                                 \
    X(WaitSemaphores, (VkDevice a, const VkSemaphoreWaitInfo *b, uint64_t c), (a, b, c))                                    \
    X(GetSemaphoreCounterValue, (VkDevice a, VkSemaphore b, uint64_t * c), (a, b, c))                                       \
    X(AllocateMemory, (VkDevice a, const VkMemoryAllocateInfo *b, const VkAllocationCallbacks *c, VkDeviceMemory *d),       \
      (a, b, c, d))                                                                                                         \
    X(MapMemory, (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d, VkMemoryMapFlags e, void **f),              \
      (a, b, c, d, e, f))                                                                                                   \
    X(CreateBuffer, (VkDevice a, const VkBufferCreateInfo *b, const VkAllocationCallbacks *c, VkBuffer *d), (a, b, c, d))   \
    X(CreateComputePipelines,                                                                                               \
      (VkDevice a, VkPipelineCache b, uint32_t c, const VkComputePipelineCreateInfo *d, const VkAllocationCallbacks *e,     \
       VkPipeline *f),                                                                                                      \
      (a, b, c, d, e, f))                                                                                                   \
    X(CreateDescriptorPool,                                                                                                 \
      (VkDevice a, const VkDescriptorPoolCreateInfo *b, const VkAllocationCallbacks *c, VkDescriptorPool *d), (a, b, c, d)) \
    X(EndCommandBuffer, (VkCommandBuffer a), (a))

enum site {
#define X(name, parameters, arguments) SITE_##name,
    SITES(X)
#undef X
        N_SITES
};
static const char *const site_names[] = {
#define X(name, parameters, arguments) "vk" #name,
    SITES(X)
#undef X
};

static struct {
    smt_os_mutex *lock;
    smt_vk_device_table real;
    smt_vk_device *device;
    uint32_t site, nth, result; /* what fails */
    uint32_t calls[N_SITES];
    bool struck, closing; /* closing: nobody may touch the queue any more */
    uint32_t touched;
    uint64_t submitted; /* latest value */
} fault;

/* What has been submitted ends before the engine hears of the loss. */
static void finish_work(void) {
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &fault.device->queues[SMT_VK_KERNELS].timeline,
                                .pValues = &fault.submitted};
    if (fault.submitted) assert_int_equal(fault.real.WaitSemaphores(fault.device->handle, &info, UINT64_MAX), VK_SUCCESS);
}

/* With the lock held: whether this call fails. */
static VkResult strike(uint32_t site) {
    fault.touched += fault.closing;
    bool now = ++fault.calls[site] == fault.nth && site == fault.site;
    bool lost = (int32_t)fault.result == VK_ERROR_DEVICE_LOST;
    if (now) fault.struck = true;
    if (now && lost) finish_work();
    return now || (fault.struck && lost) ? (VkResult)fault.result : VK_SUCCESS;
}

/* Waiting and compiling may take long, and other threads submit meanwhile. */
#define HOOK(name, parameters, arguments)                   \
    static VkResult VKAPI_CALL hook_##name parameters {     \
        smt_os_mutex_lock(fault.lock);                      \
        VkResult result = strike(SITE_##name);              \
        if (SITE_##name == SITE_QueueSubmit && !result) {   \
            result = fault.real.name arguments;             \
            if (!result) fault.submitted++;                 \
            smt_os_mutex_unlock(fault.lock);                \
            return result;                                  \
        }                                                   \
        smt_os_mutex_unlock(fault.lock);                    \
        return result ? result : fault.real.name arguments; \
    }
SITES(HOOK)

static VkResult VKAPI_CALL hook_DeviceWaitIdle(VkDevice device) {
    fault.touched += fault.closing;
    return fault.real.DeviceWaitIdle(device);
}

smt_status __real_smt_vk_load_device(smt_vk_device *device, smt_error *err);
smt_status __wrap_smt_vk_load_device(smt_vk_device *device, smt_error *err);
smt_status __wrap_smt_vk_load_device(smt_vk_device *device, smt_error *err) {
    SMT_TRY(__real_smt_vk_load_device(device, err));
    if (device->twin) return SMT_OK; /* what happens to one that only compiles is no matter */
    fault.real = device->fn;
    fault.device = device;
    fault.submitted = 0;
#define X(name, parameters, arguments) device->fn.name = hook_##name;
    SITES(X)
#undef X
    device->fn.DeviceWaitIdle = hook_DeviceWaitIdle;
    return SMT_OK;
}

/* ---- what is done meanwhile ---- */

typedef struct work {
    smt_engine *engine;
    smt_runner *runner;
    smt_session *session;
    float logits[N_VOCAB];
    int32_t answer[N_ANSWER];
    uint32_t n_answer;
} work;

static char path[1024];
static int32_t *tokens;
static work expected;
static uint32_t all_calls[N_SITES];

static bool take(void *user, const smt_generated *generated) {
    work *w = user;
    w->answer[w->n_answer++] = generated->token;
    return w->n_answer < N_ANSWER;
}

static smt_status answer(work *w, smt_error *err) {
    const smt_sampler_options greedy = {.struct_size = sizeof greedy};
    smt_sampler *sampler;
    smt_end end;
    SMT_TRY(smt_sampler_create(&greedy, &sampler, err));
    w->n_answer = 0;
    const smt_generate request = {
        .struct_size = sizeof request, .tokens = tokens + N_PROMPT, .n_tokens = 1, .on_token = take, .user = w};
    smt_status status = smt_session_generate(w->session, sampler, &request, &end, err);
    smt_sampler_free(sampler);
    return status;
}

static smt_status eval(work *w, smt_error *err) {
    const smt_eval request = {.struct_size = sizeof request, .tokens = tokens, .n_tokens = N_PROMPT, .logits = w->logits};
    return smt_session_eval(w->session, &request, err);
}

static smt_status open_all(work *w, smt_error *err) {
    smt_engine_options options = smt_test_engine_options(path);
    const smt_runner_options runner = {.struct_size = sizeof runner, .n_ctx = CONTEXT, .n_batch = 32};
    options.device.self_test = SMT_SELF_TEST_NEVER; /* the same calls each time */
    SMT_TRY(smt_engine_create(&options, &w->engine, err));
    SMT_TRY(smt_runner_create(w->engine, &runner, &w->runner, err));
    /* Several submissions a step, always the same ones: the least that a pace comes to, under a cap that no submission keeps. */
    w->runner->run->parts[0].pace = (smt_run_pace){.cap_s = 1e-9, .most = {1e5, 1e5}};
    return smt_session_create(w->runner, &w->session, err);
}

static smt_status do_all(work *w, smt_error *err) {
    void *saved = NULL;
    size_t n;
    SMT_TRY(open_all(w, err));
    SMT_TRY(eval(w, err));
    SMT_TRY(answer(w, err));
    smt_status status = smt_session_save(w->session, &saved, &n, err);
    smt_free(saved);
    return status;
}

static void close_all(work *w) {
    smt_session_free(w->session);
    smt_runner_free(w->runner);
    smt_engine_free(w->engine);
    *w = (work){0};
}

static void arm(uint32_t site, uint32_t nth, VkResult result) {
    fault.site = site;
    fault.nth = nth;
    fault.result = (uint32_t)result;
    memset(fault.calls, 0, sizeof fault.calls);
    fault.struck = fault.closing = false;
    fault.touched = 0;
}

static void check_answer(const work *w) {
    assert_memory_equal(w->logits, expected.logits, sizeof w->logits);
    assert_int_equal(w->n_answer, N_ANSWER);
    assert_memory_equal(w->answer, expected.answer, sizeof w->answer);
}

/* ---- tests ---- */

static void check_loss(uint32_t site, uint32_t nth) {
    work w = {0};
    smt_error err = {0}, again;
    arm(site, nth, VK_ERROR_DEVICE_LOST);
    smt_status status = do_all(&w, &err);
    if (!fault.struck && nth > 1 && status == SMT_OK) { /* how often is asked depends on the device's haste */
        close_all(&w);
        return;
    }
    if (status != SMT_DEVICE_LOST || !strstr(err.message, "VK_ERROR_DEVICE_LOST") ||
        (fault.submitted && !strstr(err.message, "; the last submission was ")))
        fail_msg("%s %u: %s: %s", site_names[site], nth, smt_status_name(status), err.message);
    fault.closing = true;
    if (w.session) {
        assert_int_equal(eval(&w, &again), SMT_DEVICE_LOST);
        assert_string_equal(again.message, err.message);
    }
    close_all(&w);
    if (fault.touched) fail_msg("%s %u: %u calls to a lost device", site_names[site], nth, fault.touched);
}

/* The first call of each kind, of some the last too; the full tier: some in between. */
static void test_loss(void **state) {
    (void)state;
    for (uint32_t site = 0; site < N_SITES; site++) {
        uint32_t n = site <= SITE_AllocateMemory || smt_test_full() ? all_calls[site] : 1;
        uint32_t step = smt_max_u32(smt_test_full() ? n / 6 : n, 2) - 1;
        assert_true(all_calls[site] > 0);
        for (uint32_t nth = 1; nth <= n; nth += step) check_loss(site, nth);
    }
    work w = {0};
    smt_error err;
    arm(N_SITES, 0, VK_SUCCESS);
    SMT_ASSERT_OK(do_all(&w, &err), &err);
    check_answer(&w);
    close_all(&w);
}

/* The step that the message names is the one that was lost. */
static void test_names(void **state) {
    (void)state;
    work w = {0};
    smt_error err;
    arm(N_SITES, 0, VK_SUCCESS);
    SMT_ASSERT_OK(open_all(&w, &err), &err);
    SMT_ASSERT_OK(eval(&w, &err), &err);
    uint32_t before = fault.calls[SITE_QueueSubmit];
    SMT_ASSERT_OK(smt_session_rewind(w.session, 0, &err), &err);
    arm(SITE_QueueSubmit, 3, VK_ERROR_DEVICE_LOST); /* the prompt's step again, recorded already */
    assert_int_equal(eval(&w, &err), SMT_DEVICE_LOST);
    char words[80];
    snprintf(words, sizeof words, "; the last submission was %u: step of 32 rows, part 2 of ", before + 2);
    if (!strstr(err.message, words) || !strstr(err.message, "layer ")) fail_msg("%s lacks %s", err.message, words);
    close_all(&w);
}

/* No memory for one submission: the session stands where it stood, and goes on to the same results. */
static void test_memory(void **state) {
    (void)state;
    work w = {0};
    smt_error err;
    arm(N_SITES, 0, VK_SUCCESS);
    SMT_ASSERT_OK(open_all(&w, &err), &err);
    SMT_ASSERT_OK(eval(&w, &err), &err); /* compiles, too */
    SMT_ASSERT_OK(smt_session_rewind(w.session, 0, &err), &err);
    arm(N_SITES, 0, VK_SUCCESS);
    SMT_ASSERT_OK(eval(&w, &err), &err);
    uint32_t n = fault.calls[SITE_QueueSubmit];
    for (uint32_t nth = 1; nth <= n; nth += smt_max_u32(n / 3, 1)) {
        SMT_ASSERT_OK(smt_session_rewind(w.session, 0, &err), &err);
        arm(SITE_QueueSubmit, nth, VK_ERROR_OUT_OF_DEVICE_MEMORY);
        assert_int_equal(eval(&w, &err), SMT_DEVICE_MEMORY);
        assert_non_null(strstr(err.message, "VK_ERROR_OUT_OF_DEVICE_MEMORY"));
        assert_int_equal(smt_session_length(w.session), 0);
    }
    SMT_ASSERT_OK(eval(&w, &err), &err);
    for (uint32_t nth = 1; nth <= 7; nth += 3) {
        arm(SITE_QueueSubmit, nth, VK_ERROR_OUT_OF_DEVICE_MEMORY);
        assert_int_equal(answer(&w, &err), SMT_DEVICE_MEMORY);
        SMT_ASSERT_OK(smt_session_rewind(w.session, N_PROMPT, &err), &err);
    }
    SMT_ASSERT_OK(answer(&w, &err), &err);
    check_answer(&w);
    close_all(&w);
}

/* ---- budgets ---- */

static struct {
    PFN_vkGetPhysicalDeviceMemoryProperties2 real;
    VkDeviceSize budget; /* of heap 0 */
    int warned, eased;
    char text[512];
} heap;

static void VKAPI_CALL tell_memory(VkPhysicalDevice physical, VkPhysicalDeviceMemoryProperties2 *out) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget = out->pNext;
    out->pNext = NULL; /* the driver may not know it */
    heap.real(physical, out);
    out->pNext = budget;
    budget->heapBudget[0] = heap.budget;
    budget->heapUsage[0] = 4321;
}

static void hear(void *user, smt_log_level level, const char *text) {
    (void)user;
    if (!strstr(text, "MiB are held")) return;
    heap.warned += level == SMT_LOG_WARN;
    heap.eased += level == SMT_LOG_INFO;
    snprintf(heap.text, sizeof heap.text, "%s", text);
}

/* Evaluates a second later, with such a budget; how many lines there have been so far. */
static void check_budget(work *w, uint64_t budget, int warned, int eased) {
    smt_error err;
    heap.budget = budget;
    w->runner->run->watched_s = -10;
    SMT_ASSERT_OK(smt_session_rewind(w->session, 0, &err), &err);
    SMT_ASSERT_OK(eval(w, &err), &err);
    assert_int_equal(heap.warned, warned);
    assert_int_equal(heap.eased, eased);
}

/* A budget that falls below what is held is told with both numbers, again only when it falls much further, and when it is over. */
static void test_budget(void **state) {
    (void)state;
    work w = {0};
    smt_error err;
    smt_memory full, now;
    arm(N_SITES, 0, VK_SUCCESS);
    SMT_ASSERT_OK(open_all(&w, &err), &err);
    heap.real = w.engine->vk->fn.GetPhysicalDeviceMemoryProperties2;
    w.engine->vk->fn.GetPhysicalDeviceMemoryProperties2 = tell_memory;
    w.engine->devices[0]->caps.memory_budget = true;
    w.engine->model->callbacks.log = hear;
    assert_int_equal(smt_engine_memory(w.engine, 1, &full), SMT_INVALID);
    assert_int_equal(smt_engine_memory(w.engine, 0, &full), SMT_OK);
    assert_true(full.n_heaps > 0 && full.heaps[0].bytes > 0 && full.heaps[0].used == 4321);
    uint64_t held = full.heaps[0].held;
    assert_true(held > 100000);
    check_budget(&w, held, 0, 0);
    check_budget(&w, held - 1, 1, 0);
    char words[128];
    snprintf(words, sizeof words, "heap 0: %.1f MiB are held, its budget is %.1f MiB", (double)held / 1048576,
             (double)(held - 1) / 1048576);
    if (!strstr(heap.text, words)) fail_msg("%s lacks %s", heap.text, words);
    check_budget(&w, held - held / 20, 1, 0);
    assert_int_equal(smt_engine_memory(w.engine, 0, &now), SMT_OK);
    assert_true(now.heaps[0].budget == held - held / 20 && now.heaps[0].held == held);
    check_budget(&w, held / 2, 2, 0);
    check_budget(&w, 2 * held, 2, 1);
    check_budget(&w, 2 * held, 2, 1);
    smt_session_free(w.session);
    smt_runner_free(w.runner);
    assert_int_equal(smt_engine_memory(w.engine, 0, &now), SMT_OK);
    assert_true(now.heaps[0].held > 0 && now.heaps[0].held < held); /* the weights alone */
    smt_engine_free(w.engine);
}

static int setup(void **state) {
    smt_error err;
    smt_engine_test_setup(state);
    snprintf(path, sizeof path, "%s/test_lost-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(path, &(smt_tiny_options){.type = SMT_DTYPE_Q8_0, .small = true, .n_layers = 2}, &err),
                  &err);
    assert_non_null(fault.lock = smt_os_mutex_create());
    tokens = smt_test_tokens(N_PROMPT + 1, 256, 11);
    arm(N_SITES, 0, VK_SUCCESS);
    SMT_ASSERT_OK(do_all(&expected, &err), &err);
    memcpy(all_calls, fault.calls, sizeof all_calls);
    work kept = expected;
    close_all(&expected);
    expected = kept;
    return 0;
}

static int teardown(void **state) {
    free(tokens);
    smt_os_mutex_free(fault.lock);
    remove(path);
    return smt_engine_test_teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_loss), cmocka_unit_test(test_names), cmocka_unit_test(test_memory),
                                       cmocka_unit_test(test_budget)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
