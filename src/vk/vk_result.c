/* vk_result.c: the one translation of VkResult into a status and words, and the memory of a lost device.
 *
 * A device is lost once and for all: the first cause is kept under a mutex (kernels may be created on any thread) and every
 * later call that would touch the queue fails with it. The message names the latest submission, since that is what a driver gave up on
 * as a rule, whichever call is the first to hear of it. */
#include "vk_objects.h"

#include <stdio.h>
#include <string.h>

static const struct {
    VkResult result;
    smt_status status;
    const char *name;
} results[] = {
    {VK_NOT_READY, SMT_VULKAN, "VK_NOT_READY"},
    {VK_TIMEOUT, SMT_VULKAN, "VK_TIMEOUT"},
    {VK_INCOMPLETE, SMT_VULKAN, "VK_INCOMPLETE"},
    {VK_ERROR_OUT_OF_HOST_MEMORY, SMT_MEMORY, "VK_ERROR_OUT_OF_HOST_MEMORY"},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, SMT_DEVICE_MEMORY, "VK_ERROR_OUT_OF_DEVICE_MEMORY"},
    {VK_ERROR_INITIALIZATION_FAILED, SMT_VULKAN, "VK_ERROR_INITIALIZATION_FAILED"},
    {VK_ERROR_DEVICE_LOST, SMT_DEVICE_LOST, "VK_ERROR_DEVICE_LOST"},
    {VK_ERROR_MEMORY_MAP_FAILED, SMT_DEVICE_MEMORY, "VK_ERROR_MEMORY_MAP_FAILED"},
    {VK_ERROR_LAYER_NOT_PRESENT, SMT_UNSUPPORTED, "VK_ERROR_LAYER_NOT_PRESENT"},
    {VK_ERROR_EXTENSION_NOT_PRESENT, SMT_UNSUPPORTED, "VK_ERROR_EXTENSION_NOT_PRESENT"},
    {VK_ERROR_FEATURE_NOT_PRESENT, SMT_UNSUPPORTED, "VK_ERROR_FEATURE_NOT_PRESENT"},
    {VK_ERROR_INCOMPATIBLE_DRIVER, SMT_NO_VULKAN, "VK_ERROR_INCOMPATIBLE_DRIVER"},
    {VK_ERROR_TOO_MANY_OBJECTS, SMT_DEVICE_MEMORY, "VK_ERROR_TOO_MANY_OBJECTS"},
    {VK_ERROR_FRAGMENTED_POOL, SMT_DEVICE_MEMORY, "VK_ERROR_FRAGMENTED_POOL"},
    {VK_ERROR_OUT_OF_POOL_MEMORY, SMT_DEVICE_MEMORY, "VK_ERROR_OUT_OF_POOL_MEMORY"},
    {VK_ERROR_INVALID_EXTERNAL_HANDLE, SMT_INVALID, "VK_ERROR_INVALID_EXTERNAL_HANDLE"},
    {VK_ERROR_FRAGMENTATION, SMT_DEVICE_MEMORY, "VK_ERROR_FRAGMENTATION"},
    {VK_ERROR_UNKNOWN, SMT_VULKAN, "VK_ERROR_UNKNOWN"},
};

static size_t find(int result) {
    size_t i = 0;
    while (i < SMT_COUNT(results) && (int)results[i].result != result) i++;
    return i;
}

const char *smt_vk_result_name(int result) {
    size_t i = find(result);
    return i < SMT_COUNT(results) ? results[i].name : "an unknown VkResult";
}

/* Completes the message of a loss and keeps it, where it is the first; else it becomes the first one's: several threads may hear of it. */
static void remember_loss(smt_vk_device *device, smt_error *cause) {
    size_t used = strlen(cause->message);
    smt_os_mutex_lock(device->queue_mutex);
    if (device->latest_value)
        snprintf(cause->message + used, sizeof cause->message - used, "; the last submission to %s was %llu: %s", device->caps.id,
                 (unsigned long long)device->latest_value, device->latest);
    else
        snprintf(cause->message + used, sizeof cause->message - used, "; nothing was submitted to %s", device->caps.id);
    smt_os_mutex_unlock(device->queue_mutex);
    smt_os_mutex_lock(device->loss_mutex);
    if (device->lost) *cause = device->loss;
    device->loss = *cause;
    device->lost = true;
    smt_os_mutex_unlock(device->loss_mutex);
}

smt_status smt_vk_result_fail(smt_vk_device *device, smt_error *err, int result, const char *file, int line, const char *format,
                              ...) {
    char what[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    size_t i = find(result);
    smt_error local;
    smt_status status = i < SMT_COUNT(results) ? results[i].status : SMT_VULKAN;
    smt_base_fail(&local, status, file, line, "%s: %s (%d)", what, smt_vk_result_name(result), result);
    if (status == SMT_DEVICE_LOST && device) remember_loss(device, &local);
    if (err) *err = local;
    return status;
}

smt_status smt_vk_check_lost(smt_vk_device *device, smt_error *err) {
    smt_os_mutex_lock(device->loss_mutex);
    bool lost = device->lost;
    if (lost && err) *err = device->loss;
    smt_os_mutex_unlock(device->loss_mutex);
    return lost ? SMT_DEVICE_LOST : SMT_OK;
}
