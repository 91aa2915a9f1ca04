/* copy_queue.c: see copy_queue.h. */
#include "copy_queue.h"

#include "vk/vk_objects.h"

enum { MOST_BUFFERS = 512, MOST_HELD = 1024 };

/* A command buffer of either family. */
typedef struct commands {
    VkCommandPool pool;
    VkCommandBuffer handle;
    int queue;
    uint64_t copied;
} commands;

typedef struct held {
    VkCommandBuffer commands;
    VkSemaphore wait, signal;
    uint64_t wait_value, signal_value;
    uint64_t order; /* among all submissions */
} held;

static struct {
    bool on;
    smt_os_mutex *lock;
    smt_vk_instance_table instance;
    smt_vk_device_table real;
    VkQueue queue;   /* the only one there is */
    uint32_t family; /* the one that is not there */
    commands buffers[MOST_BUFFERS];
    held waiting[2][MOST_HELD]; /* rings */
    uint32_t first[2], n[2];
    uint64_t submitted;
    VkSemaphore timelines[2]; /* that submissions to a queue signal */
    bool copies_ran_last;
} pretend;
smt_copy_queue_seen smt_copy_queue_seen_so_far;
#define SEEN smt_copy_queue_seen_so_far

static int second_queue; /* its address is the handle of the queue that is not there */
#define SECOND ((VkQueue)(void *)&second_queue)

/* Out of any thread, cmocka's own checks would not end the test. */
static void must(bool fine, const char *words) {
    if (fine) return;
    fprintf(stderr, "the queue for copies: %s\n", words);
    exit(1);
}

/* ---- families, device, buffers ---- */

static void VKAPI_CALL list_families(VkPhysicalDevice device, uint32_t *count, VkQueueFamilyProperties *out) {
    uint32_t n = 0;
    pretend.instance.GetPhysicalDeviceQueueFamilyProperties(device, &n, NULL);
    pretend.family = n;
    must(!out || *count > n, "no room for its family");
    if (out) pretend.instance.GetPhysicalDeviceQueueFamilyProperties(device, &n, out);
    if (out) out[n] = (VkQueueFamilyProperties){.queueFlags = VK_QUEUE_TRANSFER_BIT, .queueCount = 1};
    *count = n + 1;
}

static VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                         const VkAllocationCallbacks *callbacks, VkDevice *out) {
    VkDeviceCreateInfo without = *info;
    if (info->queueCreateInfoCount == 2) must(info->pQueueCreateInfos[1].queueFamilyIndex == pretend.family, "another family");
    without.queueCreateInfoCount = 1;
    return pretend.instance.CreateDevice(physical, &without, callbacks, out);
}

static void VKAPI_CALL get_queue(VkDevice device, uint32_t family, uint32_t index, VkQueue *out) {
    *out = SECOND;
    if (family == pretend.family) return;
    pretend.real.GetDeviceQueue(device, family, index, out);
    pretend.queue = *out;
}

static VkResult VKAPI_CALL create_buffer(VkDevice device, const VkBufferCreateInfo *info, const VkAllocationCallbacks *callbacks,
                                         VkBuffer *out) {
    VkBufferCreateInfo alone = *info;
    must(info->sharingMode == VK_SHARING_MODE_CONCURRENT && info->queueFamilyIndexCount == 2 &&
             (info->pQueueFamilyIndices[0] == pretend.family) != (info->pQueueFamilyIndices[1] == pretend.family),
         "a buffer is not of both families");
    alone.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
    return pretend.real.CreateBuffer(device, &alone, callbacks, out);
}

/* ---- command buffers ---- */

static VkResult VKAPI_CALL create_pool(VkDevice device, const VkCommandPoolCreateInfo *info,
                                       const VkAllocationCallbacks *callbacks, VkCommandPool *out) {
    VkCommandPoolCreateInfo real = *info;
    bool copies = info->queueFamilyIndex == pretend.family;
    if (copies) real.queueFamilyIndex = 0;
    VkResult result = pretend.real.CreateCommandPool(device, &real, callbacks, out);
    uint32_t i = 0;
    smt_os_mutex_lock(pretend.lock);
    while (i < MOST_BUFFERS && pretend.buffers[i].pool) i++;
    must(i < MOST_BUFFERS, "too many command pools");
    if (!result) pretend.buffers[i] = (commands){.pool = *out, .queue = copies};
    smt_os_mutex_unlock(pretend.lock);
    return result;
}

static void VKAPI_CALL destroy_pool(VkDevice device, VkCommandPool pool, const VkAllocationCallbacks *callbacks) {
    smt_os_mutex_lock(pretend.lock);
    for (uint32_t i = 0; i < MOST_BUFFERS; i++)
        if (pool && pretend.buffers[i].pool == pool) pretend.buffers[i] = (commands){0};
    smt_os_mutex_unlock(pretend.lock);
    pretend.real.DestroyCommandPool(device, pool, callbacks);
}

static VkResult VKAPI_CALL allocate(VkDevice device, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *out) {
    VkResult result = pretend.real.AllocateCommandBuffers(device, info, out);
    smt_os_mutex_lock(pretend.lock);
    for (uint32_t i = 0; i < MOST_BUFFERS && !result; i++)
        if (pretend.buffers[i].pool == info->commandPool) pretend.buffers[i].handle = *out;
    smt_os_mutex_unlock(pretend.lock);
    return result;
}

static commands *find(VkCommandBuffer handle) {
    uint32_t i = 0;
    while (i < MOST_BUFFERS && (!pretend.buffers[i].pool || pretend.buffers[i].handle != handle)) i++;
    must(i < MOST_BUFFERS, "an unknown command buffer");
    return &pretend.buffers[i];
}

static bool is_copies(VkCommandBuffer handle) {
    smt_os_mutex_lock(pretend.lock);
    bool copies = find(handle)->queue;
    smt_os_mutex_unlock(pretend.lock);
    return copies;
}

static void VKAPI_CALL copy(VkCommandBuffer handle, VkBuffer from, VkBuffer to, uint32_t n, const VkBufferCopy *regions) {
    smt_os_mutex_lock(pretend.lock);
    for (uint32_t i = 0; i < n; i++) find(handle)->copied += regions[i].size;
    smt_os_mutex_unlock(pretend.lock);
    pretend.real.CmdCopyBuffer(handle, from, to, n, regions);
}

static void VKAPI_CALL bind(VkCommandBuffer handle, VkPipelineBindPoint point, VkPipeline pipeline) {
    must(!is_copies(handle), "it cannot run kernels");
    pretend.real.CmdBindPipeline(handle, point, pipeline);
}

static void VKAPI_CALL barrier(VkCommandBuffer handle, VkPipelineStageFlags from, VkPipelineStageFlags to,
                               VkDependencyFlags flags, uint32_t n, const VkMemoryBarrier *memory, uint32_t n_buffers,
                               const VkBufferMemoryBarrier *buffers, uint32_t n_images, const VkImageMemoryBarrier *images) {
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
    const VkAccessFlags accesses =
        VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT;
    if (is_copies(handle)) {
        must(!((from | to) & ~stages), "it lacks a stage of a barrier");
        for (uint32_t i = 0; i < n; i++)
            must(!((memory[i].srcAccessMask | memory[i].dstAccessMask) & ~accesses), "its stages lack an access of a barrier");
    }
    pretend.real.CmdPipelineBarrier(handle, from, to, flags, n, memory, n_buffers, buffers, n_images, images);
}

/* ---- submissions: as late as they may be; with the lock held ---- */

static void run_until(int queue, uint64_t value);

static void run(int queue, const held *h) {
    static const VkPipelineStageFlags all = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    if (h->wait) run_until(h->wait == pretend.timelines[1], h->wait_value);
    VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .waitSemaphoreValueCount = h->wait ? 1 : 0,
                                              .pWaitSemaphoreValues = &h->wait_value,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &h->signal_value};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .waitSemaphoreCount = h->wait ? 1 : 0,
                         .pWaitSemaphores = &h->wait,
                         .pWaitDstStageMask = &all,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &h->commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &h->signal};
    must(pretend.real.QueueSubmit(pretend.queue, 1, &info, VK_NULL_HANDLE) == VK_SUCCESS, "vkQueueSubmit");
    SEEN.submissions[queue]++;
    SEEN.waits[queue] += h->wait != VK_NULL_HANDLE;
    SEEN.copied[queue] += find(h->commands)->copied;
    SEEN.in_a_row += queue && pretend.copies_ran_last;
    SEEN.overtook += queue && pretend.n[0] && pretend.waiting[0][pretend.first[0]].order < h->order;
    pretend.copies_ran_last = queue;
}

static void run_until(int queue, uint64_t value) {
    while (pretend.n[queue] && pretend.waiting[queue][pretend.first[queue]].signal_value <= value) {
        const held next = pretend.waiting[queue][pretend.first[queue]];
        pretend.first[queue] = (pretend.first[queue] + 1) % MOST_HELD;
        pretend.n[queue]--;
        run(queue, &next);
    }
}

static VkResult VKAPI_CALL submit(VkQueue handle, uint32_t n, const VkSubmitInfo *info, VkFence fence) {
    const VkTimelineSemaphoreSubmitInfo *values = info->pNext;
    int queue = handle == SECOND;
    must(n == 1 && !fence && info->commandBufferCount == 1 && info->signalSemaphoreCount == 1 && info->waitSemaphoreCount <= 1,
         "a submission of another form");
    must(queue || handle == pretend.queue, "an unknown queue");
    smt_os_mutex_lock(pretend.lock);
    must(find(*info->pCommandBuffers)->queue == queue, "a command buffer of the other family");
    must(pretend.n[queue] < MOST_HELD, "too many submissions held back");
    held *h = &pretend.waiting[queue][(pretend.first[queue] + pretend.n[queue]++) % MOST_HELD];
    *h = (held){*info->pCommandBuffers,          VK_NULL_HANDLE,     *info->pSignalSemaphores, 0,
                *values->pSignalSemaphoreValues, pretend.submitted++};
    if (info->waitSemaphoreCount) {
        h->wait = *info->pWaitSemaphores;
        h->wait_value = *values->pWaitSemaphoreValues;
        must(h->wait == pretend.timelines[!queue], "it waits for no submission of the other queue");
    }
    pretend.timelines[queue] = h->signal;
    smt_os_mutex_unlock(pretend.lock);
    return VK_SUCCESS;
}

static VkResult VKAPI_CALL wait_for(VkDevice device, const VkSemaphoreWaitInfo *info, uint64_t timeout) {
    smt_os_mutex_lock(pretend.lock);
    run_until(*info->pSemaphores == pretend.timelines[1], *info->pValues);
    smt_os_mutex_unlock(pretend.lock);
    return pretend.real.WaitSemaphores(device, info, timeout);
}

static VkResult VKAPI_CALL wait_idle(VkDevice device) {
    smt_os_mutex_lock(pretend.lock);
    for (int queue = 0; queue < 2; queue++) run_until(queue, UINT64_MAX);
    smt_os_mutex_unlock(pretend.lock);
    return pretend.real.DeviceWaitIdle(device);
}

/* ---- tables ---- */

smt_status __real_smt_vk_load_instance(smt_vk *vk, smt_error *err);
smt_status __wrap_smt_vk_load_instance(smt_vk *vk, smt_error *err);
smt_status __wrap_smt_vk_load_instance(smt_vk *vk, smt_error *err) {
    SMT_TRY(__real_smt_vk_load_instance(vk, err));
    if (!pretend.on) return SMT_OK;
    pretend.instance = vk->fn;
    vk->fn.GetPhysicalDeviceQueueFamilyProperties = list_families;
    vk->fn.CreateDevice = create_device;
    return SMT_OK;
}

smt_status __real_smt_vk_load_device(smt_vk_device *device, smt_error *err);
smt_status __wrap_smt_vk_load_device(smt_vk_device *device, smt_error *err);
smt_status __wrap_smt_vk_load_device(smt_vk_device *device, smt_error *err) {
    SMT_TRY(__real_smt_vk_load_device(device, err));
    if (device->choice.transfer_family == device->choice.queue_family) return SMT_OK;
    must(pretend.on && device->choice.transfer_family == pretend.family, "the device has one");
    pretend.real = device->fn;
    device->fn.GetDeviceQueue = get_queue;
    device->fn.CreateBuffer = create_buffer;
    device->fn.CreateCommandPool = create_pool;
    device->fn.DestroyCommandPool = destroy_pool;
    device->fn.AllocateCommandBuffers = allocate;
    device->fn.CmdCopyBuffer = copy;
    device->fn.CmdBindPipeline = bind;
    device->fn.CmdPipelineBarrier = barrier;
    device->fn.QueueSubmit = submit;
    device->fn.WaitSemaphores = wait_for;
    device->fn.DeviceWaitIdle = wait_idle;
    return SMT_OK;
}

int smt_copy_queue_setup(void **state) {
    memset(&pretend, 0, sizeof pretend);
    pretend.on = true;
    pretend.lock = smt_os_mutex_create();
    return pretend.lock ? smt_vk_test_setup(state) : 1;
}

int smt_copy_queue_teardown(void **state) {
    int result = smt_vk_test_teardown(state);
    smt_os_mutex_free(pretend.lock);
    pretend.on = false;
    return result;
}
