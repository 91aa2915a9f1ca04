/* vk_queue.c: submissions to the one queue of a device.
 *
 * One timeline semaphore per device; submission k signals k (the first is 1). Order between submissions needs no semaphore:
 * every recording opens and closes with the full barrier (vk_cmd.c), and a barrier reaches back over everything submitted
 * before it on the same queue. Loss is sticky: see vk_result.c. */
#include "vk_objects.h"

#include <stdio.h>

smt_status smt_vk_timeline_create(smt_vk_device *device, smt_error *err) {
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkResult result = device->fn.CreateSemaphore(device->handle, &info, NULL, &device->timeline);
    if (result) return SMT_VK_FAIL(device, err, result, "vkCreateSemaphore (timeline) on %s", device->caps.name);
    smt_vk_name(device, VK_OBJECT_TYPE_SEMAPHORE, SMT_VK_HANDLE(device->timeline), "timeline");
    return SMT_OK;
}

smt_status smt_vk_submit(smt_vk_device *device, smt_vk_recording *recording, uint64_t *out_value, smt_error *err) {
    *out_value = 0;
    SMT_TRY(smt_vk_check_lost(device, err));
    if (!recording->ended) return SMT_FAIL(err, SMT_INVALID, "recording %s was not ended", recording->name);
    smt_os_mutex_lock(device->queue_mutex);
    uint64_t value = device->submitted + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &value};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &recording->commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &device->timeline};
    const smt_host_device *host = &device->vk->host;
    if (host->lock) host->lock(host->user);
    VkResult result = device->fn.QueueSubmit(device->queue, 1, &info, VK_NULL_HANDLE);
    if (host->unlock) host->unlock(host->user);
    if (!result) {
        device->submitted = *out_value = value;
        snprintf(device->latest, sizeof device->latest, "%s", recording->name);
    }
    smt_os_mutex_unlock(device->queue_mutex);
    if (result)
        return SMT_VK_FAIL(device, err, result, "submission %llu (%s) on %s", (unsigned long long)value, recording->name,
                           device->caps.name);
    return SMT_OK;
}

smt_status smt_vk_wait(smt_vk_device *device, uint64_t value, uint64_t timeout_ns, smt_error *err) {
    SMT_TRY(smt_vk_check_lost(device, err));
    if (value > device->submitted)
        return SMT_FAIL(err, SMT_INVALID, "waiting for submission %llu, the latest is %llu", (unsigned long long)value,
                        (unsigned long long)device->submitted);
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1, .pSemaphores = &device->timeline, .pValues = &value};
    VkResult result = device->fn.WaitSemaphores(device->handle, &info, timeout_ns);
    if (result == VK_TIMEOUT)
        return SMT_FAIL(err, SMT_VULKAN, "submission %llu on %s did not finish within %.3f s", (unsigned long long)value,
                        device->caps.name, (double)timeout_ns * 1e-9);
    return result ? SMT_VK_FAIL(device, err, result, "waiting for submission %llu on %s", (unsigned long long)value,
                                device->caps.name)
                  : SMT_OK;
}

uint64_t smt_vk_reached(smt_vk_device *device) {
    uint64_t value = 0;
    if (!device->submitted || smt_vk_check_lost(device, NULL) != SMT_OK) return 0;
    VkResult result = device->fn.GetSemaphoreCounterValue(device->handle, device->timeline, &value);
    if (result) (void)SMT_VK_FAIL(device, NULL, result, "vkGetSemaphoreCounterValue on %s", device->caps.name);
    return result ? 0 : value;
}
