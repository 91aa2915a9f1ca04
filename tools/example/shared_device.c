/* shared_device.c: a program with a Vulkan device of its own, as a game or an editor has one, lets the library compute on it, on the very
 * queue that it submits its own work to.
 *
 *     shared_device MODEL.gguf PROMPT
 *
 * The order at the end matters: the engine goes before the device that it computes on. */
#include <seamount.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vulkan.h>

static smt_error error;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;

static void need(bool good, const char *what) {
    if (good) return;
    fprintf(stderr, "shared_device: %s: %s\n", what, error.message);
    exit(1);
}

/* Around everything that either side does with the queue. */
static void lock(void *user) { pthread_mutex_lock(user); }
static void unlock(void *user) { pthread_mutex_unlock(user); }

/* ---- what the program does for itself ---- */

typedef struct graphics {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
} graphics;

static void make_instance(graphics *g) {
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO, .pApplicationInfo = &application};
    uint32_t one = 1;
    need(vkCreateInstance(&info, NULL, &g->instance) == VK_SUCCESS, "no Vulkan instance");
    need(vkEnumeratePhysicalDevices(g->instance, &one, &g->physical) >= 0 && one == 1, "no Vulkan device");
}

/* A frame of this program: here, nothing but a submission of no work. */
static void draw_frame(graphics *g) {
    VkSubmitInfo nothing = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO};
    lock(&queue_lock);
    need(vkQueueSubmit(g->queue, 1, &nothing, VK_NULL_HANDLE) == VK_SUCCESS, "a frame was not drawn");
    unlock(&queue_lock);
}

/* ---- what it does with the library ---- */

static void predict(smt_engine *engine, graphics *g, const char *prompt) {
    smt_runner_options options = {.struct_size = sizeof options, .n_ctx = 512};
    smt_runner *runner;
    smt_session *session;
    smt_tokenizer *tokenizer;
    int32_t *tokens, best = 0;
    size_t n_tokens, n_text;
    char *text;
    need(smt_runner_create(engine, &options, &runner, &error) == SMT_OK, "runner");
    need(smt_session_create(runner, &session, &error) == SMT_OK, "session");
    need(smt_tokenizer_create(smt_engine_file(engine), &tokenizer, &error) == SMT_OK, "tokenizer");
    need(smt_tokenize(tokenizer, prompt, strlen(prompt), SMT_TOKENIZE_BOS, &tokens, &n_tokens, &error) == SMT_OK, "prompt");
    uint32_t n_vocab = smt_tokenizer_size(tokenizer);
    float *logits = malloc(n_vocab * sizeof *logits);
    need(logits, "out of memory");
    draw_frame(g);
    smt_eval eval = {.struct_size = sizeof eval, .tokens = tokens, .n_tokens = (uint32_t)n_tokens, .logits = logits};
    need(smt_session_eval(session, &eval, &error) == SMT_OK, "evaluation");
    draw_frame(g);
    for (uint32_t i = 1; i < n_vocab; i++)
        if (logits[i] > logits[best]) best = (int32_t)i;
    need(smt_detokenize(tokenizer, &best, 1, &text, &n_text, &error) == SMT_OK, "text");
    printf("%s[%.*s]\n", prompt, (int)n_text, text);
    smt_free(text);
    smt_free(tokens);
    free(logits);
    smt_tokenizer_free(tokenizer);
    smt_session_free(session);
    smt_runner_free(runner);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: shared_device MODEL.gguf PROMPT\n");
        return 2;
    }
    graphics g;
    make_instance(&g);
    const float priority = 1;
    VkPhysicalDeviceVulkan12Features features12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                                   .timelineSemaphore = VK_TRUE};
    VkPhysicalDeviceFeatures features = {.shaderStorageBufferArrayDynamicIndexing = VK_TRUE};
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = 0, /* on desktops the first family draws and computes */
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features12,
                               .pEnabledFeatures = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue};
    need(vkCreateDevice(g.physical, &info, NULL, &g.device) == VK_SUCCESS, "the device was not made");
    vkGetDeviceQueue(g.device, 0, 0, &g.queue);

    smt_host_device host = {.struct_size = sizeof host,
                            .get_instance_proc_addr = (smt_vulkan_fn)vkGetInstanceProcAddr,
                            .instance = g.instance,
                            .physical_device = g.physical,
                            .device = g.device,
                            .queue = g.queue,
                            .api_version = VK_API_VERSION_1_2,
                            .create_info = &info,
                            .lock = lock,
                            .unlock = unlock,
                            .user = &queue_lock};
    smt_engine_options options = {
        .struct_size = sizeof options, .model_path = argv[1], .device = {.struct_size = sizeof options.device, .host = &host}};
    smt_engine *engine;
    need(smt_engine_create(&options, &engine, &error) == SMT_OK, "engine");
    predict(engine, &g, argv[2]);
    smt_engine_free(engine);

    draw_frame(&g);
    vkDeviceWaitIdle(g.device);
    vkDestroyDevice(g.device, NULL);
    vkDestroyInstance(g.instance, NULL);
    return 0;
}
