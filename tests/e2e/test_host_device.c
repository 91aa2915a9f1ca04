/* test_host_device.c: an engine on a device that this program made with Vulkan itself: the same bits as on one of the library's own, the
 * queue used only between lock and unlock, the device whole afterwards, and clear words for everything that is wrong with it. */
#include "engine_support.h"
#include "os/os.h"
#include "tiny_model.h"

#include <stdatomic.h>
#include <unistd.h>
#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

enum { N_TOKENS = 9, CONTEXT = 64 };

/* What a desktop program has at hand. */
static struct {
    void *library;
    PFN_vkGetInstanceProcAddr get;
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    uint32_t family;
    VkPhysicalDeviceVulkan12Features features12;
    VkPhysicalDeviceFeatures2 features;
    VkDeviceQueueCreateInfo queues;
    VkDeviceCreateInfo info;
    atomic_int held, locks;
} host;

static char path[1024];
static int32_t *tokens;
static float *want, *got;
static uint32_t n_vocab;

#define INSTANCE_FUNCTION(name) PFN_##name name = (PFN_##name)host.get(host.instance, #name)

static void make_instance(void) {
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    host.library = smt_os_library_open("libvulkan.so.1");
    assert_non_null(host.library);
    void *symbol = smt_os_library_symbol(host.library, "vkGetInstanceProcAddr");
    memcpy(&host.get, &symbol, sizeof symbol);
    INSTANCE_FUNCTION(vkCreateInstance);
    assert_int_equal(vkCreateInstance(&info, NULL, &host.instance), VK_SUCCESS);
    INSTANCE_FUNCTION(vkEnumeratePhysicalDevices);
    uint32_t count = 1;
    assert_true(vkEnumeratePhysicalDevices(host.instance, &count, &host.physical) >= 0);
}

static void make_device(void) {
    static const float priority = 1;
    VkQueueFamilyProperties families[8];
    uint32_t count = SMT_COUNT(families);
    INSTANCE_FUNCTION(vkGetPhysicalDeviceQueueFamilyProperties);
    vkGetPhysicalDeviceQueueFamilyProperties(host.physical, &count, families);
    while (!(families[host.family].queueFlags & VK_QUEUE_COMPUTE_BIT)) assert_true(++host.family < count);
    host.features12 = (VkPhysicalDeviceVulkan12Features){.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                                         .timelineSemaphore = VK_TRUE};
    host.features = (VkPhysicalDeviceFeatures2){.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                                .pNext = &host.features12,
                                                .features = {.shaderStorageBufferArrayDynamicIndexing = VK_TRUE}};
    host.queues = (VkDeviceQueueCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                            .queueFamilyIndex = host.family,
                                            .queueCount = 1,
                                            .pQueuePriorities = &priority};
    host.info = (VkDeviceCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                     .pNext = &host.features,
                                     .queueCreateInfoCount = 1,
                                     .pQueueCreateInfos = &host.queues};
    INSTANCE_FUNCTION(vkCreateDevice);
    INSTANCE_FUNCTION(vkGetDeviceQueue);
    assert_int_equal(vkCreateDevice(host.physical, &host.info, NULL, &host.device), VK_SUCCESS);
    vkGetDeviceQueue(host.device, host.family, 0, &host.queue);
}

static void lock(void *user) {
    assert_ptr_equal(user, &host);
    assert_int_equal(atomic_fetch_add(&host.held, 1), 0);
    atomic_fetch_add(&host.locks, 1);
}

static void unlock(void *user) {
    assert_ptr_equal(user, &host);
    assert_int_equal(atomic_fetch_sub(&host.held, 1), 1);
}

static smt_host_device good(void) {
    return (smt_host_device){.struct_size = sizeof(smt_host_device),
                             .get_instance_proc_addr = (smt_vulkan_fn)host.get,
                             .instance = host.instance,
                             .physical_device = host.physical,
                             .device = host.device,
                             .queue = host.queue,
                             .queue_family = host.family,
                             .api_version = VK_API_VERSION_1_2,
                             .create_info = &host.info,
                             .lock = lock,
                             .unlock = unlock,
                             .user = &host};
}

static void evaluate(smt_engine *engine, float *logits) {
    smt_error err;
    smt_runner *runner = smt_test_runner(engine, CONTEXT, 8, 1, SMT_CACHE_F32);
    smt_session *session = smt_test_session(runner);
    smt_eval eval = {.struct_size = sizeof eval, .tokens = tokens, .n_tokens = N_TOKENS, .logits = logits};
    SMT_ASSERT_OK(smt_session_eval(session, &eval, &err), &err);
    smt_session_free(session);
    smt_runner_free(runner);
}

static int setup(void **state) {
    smt_error err;
    smt_model_info info;
    smt_engine_test_setup(state);
    snprintf(path, sizeof path, "%s/test_host_device-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_layers = 2, .small = true}, &err), &err);
    smt_engine *engine = smt_test_engine(path);
    smt_engine_model(engine, &info);
    n_vocab = info.n_vocab;
    tokens = smt_test_tokens(N_TOKENS, n_vocab, 3);
    want = calloc(n_vocab, sizeof *want);
    got = calloc(n_vocab, sizeof *got);
    evaluate(engine, want);
    smt_engine_free(engine);
    make_instance();
    make_device();
    return 0;
}

static int teardown(void **state) {
    PFN_vkDestroyDevice vkDestroyDevice = (PFN_vkDestroyDevice)host.get(host.instance, "vkDestroyDevice");
    PFN_vkDestroyInstance vkDestroyInstance = (PFN_vkDestroyInstance)host.get(host.instance, "vkDestroyInstance");
    vkDestroyDevice(host.device, NULL);
    vkDestroyInstance(host.instance, NULL);
    smt_os_library_close(host.library);
    remove(path);
    free(tokens);
    free(want);
    free(got);
    return smt_engine_test_teardown(state);
}

static smt_status open_engine(const smt_host_device *device, const char *devices, smt_engine **out, smt_error *err) {
    smt_engine_options options = smt_test_engine_options(path);
    options.device.host = device;
    options.device.devices = devices;
    return smt_engine_create(&options, out, err);
}

/* Twice, so that the first engine has left the device as it was; then with a queue that nobody else uses, and the system's loader. */
static void test_same_bits(void **state) {
    (void)state;
    smt_error err;
    smt_engine *engine;
    smt_host_device device = good();
    for (int round = 0; round < (smt_test_slow_driver() ? 1 : 3); round++) {
        if (round == 2) {
            device.lock = device.unlock = NULL;
            device.get_instance_proc_addr = NULL;
        }
        int before = atomic_load(&host.locks);
        SMT_ASSERT_OK(open_engine(&device, NULL, &engine, &err), &err);
        memset(got, 0, n_vocab * sizeof *got);
        evaluate(engine, got);
        assert_memory_equal(got, want, n_vocab * sizeof *got);
        smt_engine_free(engine);
        assert_true((atomic_load(&host.locks) > before) == (round < 2));
        assert_int_equal(atomic_load(&host.held), 0);
    }
}

/* The list has the one device, with no more than the program enabled. */
static void test_list(void **state) {
    (void)state;
    smt_error err;
    smt_device_list *list;
    smt_device_info info;
    smt_host_device device = good();
    smt_device_options options = {.struct_size = sizeof options, .host = &device};
    SMT_ASSERT_OK(smt_device_list_create(&options, &list, &err), &err);
    assert_int_equal(smt_device_list_count(list), 1);
    SMT_ASSERT_OK(smt_device_list_get(list, 0, &info), &err);
    assert_null(info.unusable);
    assert_true(info.timeline);
    assert_false(info.fp16 || info.int8 || info.int64 || info.storage16 || info.storage8 || info.coop_matrix);
    smt_device_list_free(list);
}

static void refuse(const smt_host_device *device, const char *devices, smt_status status, const char *word) {
    smt_error err = {0};
    smt_engine *engine;
    assert_int_equal(open_engine(device, devices, &engine, &err), status);
    assert_null(engine);
    if (!strstr(err.message, word)) fail_msg("\"%s\" does not say \"%s\"", err.message, word);
}

static void test_wrong_handles(void **state) {
    (void)state;
    smt_host_device d = good();
    refuse(&d, "vk0", SMT_INVALID, "\"vk0\" beside the host program's device");
    d.struct_size = 0;
    refuse(&d, NULL, SMT_INVALID, "smt_host_device");
    static const struct {
        size_t offset;
        const char *word;
    } handles[] = {{offsetof(smt_host_device, instance), "instance is NULL"},
                   {offsetof(smt_host_device, physical_device), "physical_device is NULL"},
                   {offsetof(smt_host_device, device), "device is NULL"},
                   {offsetof(smt_host_device, queue), "queue is NULL"},
                   {offsetof(smt_host_device, create_info), "create_info is NULL"}};
    for (size_t i = 0; i < SMT_COUNT(handles); i++) {
        d = good();
        memset((char *)&d + handles[i].offset, 0, sizeof(void *));
        refuse(&d, NULL, SMT_INVALID, handles[i].word);
    }
    d = good();
    d.unlock = NULL;
    refuse(&d, NULL, SMT_INVALID, "only one of lock and unlock");
    d = good();
    d.physical_device = &host;
    refuse(&d, NULL, SMT_INVALID, "none of the");
    d = good();
    d.create_info = &host.queues;
    refuse(&d, NULL, SMT_INVALID, "no VkDeviceCreateInfo");
    d = good();
    d.queue_family = host.family + 1;
    refuse(&d, NULL, SMT_INVALID, "no queue of family");
}

static void test_not_enabled(void **state) {
    (void)state;
    smt_host_device d = good();
    d.api_version = VK_API_VERSION_1_1;
    refuse(&d, NULL, SMT_UNSUPPORTED, "Vulkan 1.1, 1.2 is needed");
    VkPhysicalDeviceVulkan12Features none = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
    VkPhysicalDeviceFeatures plain = {.shaderStorageBufferArrayDynamicIndexing = VK_TRUE};
    VkDeviceCreateInfo info = host.info;
    info.pNext = &none;
    info.pEnabledFeatures = &plain;
    d = good();
    d.create_info = &info;
    refuse(&d, NULL, SMT_UNSUPPORTED, "timelineSemaphore");
    VkPhysicalDeviceTimelineSemaphoreFeatures timeline = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES,
                                                          .timelineSemaphore = VK_TRUE};
    info.pNext = &timeline; /* by the extension's own struct */
    plain.shaderStorageBufferArrayDynamicIndexing = VK_FALSE;
    refuse(&d, NULL, SMT_UNSUPPORTED, "shaderStorageBufferArrayDynamicIndexing");
    info.pEnabledFeatures = NULL;
    refuse(&d, NULL, SMT_UNSUPPORTED, "shaderStorageBufferArrayDynamicIndexing");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits), cmocka_unit_test(test_list),
                                       cmocka_unit_test(test_wrong_handles), cmocka_unit_test(test_not_enabled)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
