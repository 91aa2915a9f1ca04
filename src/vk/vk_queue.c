/* vk_queue.c: submissions to the queues of a device.
 *
 *   kernels  | submission 1 | 2 | ...        all devices have it
 *   copies   | 1 | 2 | ...                   where a family of queues only copies: they run beside the kernels
 *
 * One timeline semaphore per queue; submission k signals k (the first is 1). Order between submissions to one queue needs no semaphore:
 * every recording opens and closes with the full barrier (vk_cmd.c), and a barrier reaches back over everything submitted
 * before it on the same queue. Between the two, a submission waits for the other's semaphore: for the value that the caller names, and for
 * what the host has waited for already, which costs nothing and makes what was written there visible here. Only values of submissions that
 * were made are waited for, so the order of submission is one in which everything can run. Buffers belong to both families (vk_buffer.c).
 *
 * Loss is sticky: see vk_result.c. */
#include "vk_objects.h"

#include <stdio.h>

bool smt_vk_copies_apart(const smt_vk_device *device) { return device->queues[SMT_VK_COPIES].timeline != VK_NULL_HANDLE; }

static smt_status create_timeline(smt_vk_device *device, VkSemaphore *out, const char *name, smt_error *err) {
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkResult result = device->fn.CreateSemaphore(device->handle, &info, NULL, out);
    if (result) return SMT_VK_FAIL(device, err, result, "vkCreateSemaphore (timeline) on %s", device->caps.name);
    smt_vk_name(device, VK_OBJECT_TYPE_SEMAPHORE, SMT_VK_HANDLE(*out), name);
    return SMT_OK;
}

smt_status smt_vk_queues_create(smt_vk_device *device, smt_error *err) {
    const smt_vk_choice *choice = &device->choice;
    smt_vk_queue *kernels = &device->queues[SMT_VK_KERNELS], *copies = &device->queues[SMT_VK_COPIES];
    kernels->handle = device->vk->host.queue;
    if (!kernels->handle) device->fn.GetDeviceQueue(device->handle, choice->queue_family, 0, &kernels->handle);
    if (device->caps.n_heaps) SMT_TRY(create_timeline(device, &kernels->timeline, "timeline", err));
    if (choice->transfer_family == choice->queue_family) return SMT_OK;
    device->fn.GetDeviceQueue(device->handle, choice->transfer_family, 0, &copies->handle);
    return create_timeline(device, &copies->timeline, "timeline of copies", err);
}

void smt_vk_queues_destroy(smt_vk_device *device) {
    for (int i = 0; i < SMT_VK_QUEUES; i++) device->fn.DestroySemaphore(device->handle, device->queues[i].timeline, NULL);
}

/* With the queue mutex held. `needed`: of the other queue's values, 0: none. */
static VkResult submit(smt_vk_device *device, const smt_vk_recording *recording, uint64_t value, uint64_t needed) {
    static const VkPipelineStageFlags all = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    const smt_vk_queue *queue = &device->queues[recording->queue], *other = &device->queues[!recording->queue];
    VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .waitSemaphoreValueCount = needed ? 1 : 0,
                                              .pWaitSemaphoreValues = &needed,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &value};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .waitSemaphoreCount = needed ? 1 : 0,
                         .pWaitSemaphores = &other->timeline,
                         .pWaitDstStageMask = &all,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &recording->commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &queue->timeline};
    const smt_host_device *host = &device->vk->host;
    if (host->lock) host->lock(host->user);
    VkResult result = device->fn.QueueSubmit(queue->handle, 1, &info, VK_NULL_HANDLE);
    if (host->unlock) host->unlock(host->user);
    return result;
}

smt_status smt_vk_submit_after(smt_vk_device *device, smt_vk_recording *recording, uint64_t after, uint64_t *out_value,
                               smt_error *err) {
    smt_vk_queue *queue = &device->queues[recording->queue], *other = &device->queues[!recording->queue];
    *out_value = 0;
    SMT_TRY(smt_vk_check_lost(device, err));
    if (!recording->ended) return SMT_FAIL(err, SMT_INVALID, "recording %s was not ended", recording->name);
    if (!other->timeline) after = 0; /* a value of the same queue */
    if (after > other->submitted)
        return SMT_FAIL(err, SMT_INVALID, "recording %s after submission %llu, the latest is %llu", recording->name,
                        (unsigned long long)after, (unsigned long long)other->submitted);
    smt_os_mutex_lock(device->queue_mutex);
    uint64_t value = queue->submitted + 1, needed = other->seen > after ? other->seen : after;
    if (!other->timeline || needed <= queue->joined) needed = 0;
    VkResult result = submit(device, recording, value, needed);
    if (!result) {
        queue->submitted = *out_value = device->latest_value = value;
        if (needed) queue->joined = needed;
        snprintf(device->latest, sizeof device->latest, "%s", recording->name);
    }
    smt_os_mutex_unlock(device->queue_mutex);
    if (result)
        return SMT_VK_FAIL(device, err, result, "submission %llu (%s) on %s", (unsigned long long)value, recording->name,
                           device->caps.name);
    return SMT_OK;
}

smt_status smt_vk_submit(smt_vk_device *device, smt_vk_recording *recording, uint64_t *out_value, smt_error *err) {
    return smt_vk_submit_after(device, recording, 0, out_value, err);
}

/* Of several threads that wait, the one with the greatest value counts. */
static void note_seen(smt_vk_queue *queue, uint64_t value) {
    uint64_t seen = queue->seen;
    while (seen < value && !atomic_compare_exchange_weak(&queue->seen, &seen, value)) continue;
}

static smt_status wait_on(smt_vk_device *device, smt_vk_queue *queue, uint64_t value, uint64_t timeout_ns, smt_error *err) {
    SMT_TRY(smt_vk_check_lost(device, err));
    if (value > queue->submitted)
        return SMT_FAIL(err, SMT_INVALID, "waiting for submission %llu, the latest is %llu", (unsigned long long)value,
                        (unsigned long long)queue->submitted);
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1, .pSemaphores = &queue->timeline, .pValues = &value};
    VkResult result = device->fn.WaitSemaphores(device->handle, &info, timeout_ns);
    if (result == VK_TIMEOUT)
        return SMT_FAIL(err, SMT_VULKAN, "submission %llu on %s did not finish within %.3f s", (unsigned long long)value,
                        device->caps.name, (double)timeout_ns * 1e-9);
    if (result)
        return SMT_VK_FAIL(device, err, result, "waiting for submission %llu on %s", (unsigned long long)value,
                           device->caps.name);
    note_seen(queue, value);
    return SMT_OK;
}

smt_status smt_vk_wait(smt_vk_device *device, uint64_t value, uint64_t timeout_ns, smt_error *err) {
    return wait_on(device, &device->queues[SMT_VK_KERNELS], value, timeout_ns, err);
}

smt_status smt_vk_recording_wait(smt_vk_recording *recording, uint64_t value, uint64_t timeout_ns, smt_error *err) {
    return wait_on(recording->device, &recording->device->queues[recording->queue], value, timeout_ns, err);
}

uint64_t smt_vk_reached(smt_vk_device *device) {
    uint64_t value = 0;
    const smt_vk_queue *queue = &device->queues[SMT_VK_KERNELS];
    if (!queue->submitted || smt_vk_check_lost(device, NULL) != SMT_OK) return 0;
    VkResult result = device->fn.GetSemaphoreCounterValue(device->handle, queue->timeline, &value);
    if (result) (void)SMT_VK_FAIL(device, NULL, result, "vkGetSemaphoreCounterValue on %s", device->caps.name);
    return result ? 0 : value;
}
