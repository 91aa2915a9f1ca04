/* vk_share.c: memory that two logical devices have in common: one allocates it and lets it out as a file descriptor, the other takes that in.
 *
 * Vulkan promises this (OPAQUE_FD) between devices of the same deviceUUID and driverUUID alone: a physical device that is in use several times.
 * Both sides make the same buffer: the same size, usage and memory type, and memory for it alone, which drivers may demand. What is
 * written on one side and read on the other changes hands by a release and an acquire (vk_cmd.c); that the one comes before the other is
 * the caller's business. */
#include "vk_objects.h"

/* The descriptor is the new memory's when all goes well. */
static VkResult import_memory(smt_vk_device *device, smt_vk_buffer *buffer, const smt_vk_slab *slab, VkMemoryAllocateInfo *info) {
    const VkMemoryGetFdInfoKHR wanted = {.sType = VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR,
                                         .memory = slab->of->memory,
                                         .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT};
    VkImportMemoryFdInfoKHR entering = {.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR,
                                        .pNext = info->pNext,
                                        .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT,
                                        .fd = -1};
    VkResult result = slab->owner->fn.GetMemoryFdKHR(slab->owner->handle, &wanted, &entering.fd);
    if (result) return result;
    info->pNext = &entering;
    result = device->fn.AllocateMemory(device->handle, info, NULL, &buffer->memory);
    info->pNext = NULL;
    if (result) smt_os_fd_close(entering.fd);
    return result;
}

VkResult smt_vk_allocate_shared(smt_vk_device *device, smt_vk_buffer *buffer, const smt_vk_slab *slab,
                                VkMemoryAllocateInfo *info) {
    const VkMemoryDedicatedAllocateInfo alone = {.sType = VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO,
                                                 .buffer = buffer->handle};
    const VkExportMemoryAllocateInfo leaving = {.sType = VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO,
                                                .pNext = &alone,
                                                .handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT};
    info->pNext = slab->of ? (const void *)&alone : (const void *)&leaving;
    if (slab->of) return import_memory(device, buffer, slab, info);
    return device->fn.AllocateMemory(device->handle, info, NULL, &buffer->memory);
}

smt_status smt_vk_buffer_create_shared(smt_vk_device *device, uint32_t memory_type, uint64_t bytes, const char *name,
                                       smt_vk_buffer **out, smt_error *err) {
    const smt_vk_slab slab = {.memory_type = memory_type, .bytes = bytes, .name = name, .shared = true};
    *out = NULL;
    if (!device->caps.external_memory_fd || !device->fn.GetMemoryFdKHR)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "buffer %s: %s cannot share memory", name, device->caps.name);
    return smt_vk_buffer_make(device, &slab, out, err);
}

smt_status smt_vk_buffer_import(smt_vk_device *device, smt_vk_device *owner, const smt_vk_buffer *shared, const char *name,
                                smt_vk_buffer **out, smt_error *err) {
    const smt_vk_slab slab = {
        .memory_type = shared->memory_type, .bytes = shared->bytes, .name = name, .shared = true, .owner = owner, .of = shared};
    *out = NULL;
    if (!smt_caps_share_memory(&device->caps, &owner->caps))
        return SMT_FAIL(err, SMT_UNSUPPORTED, "buffer %s: %s and %s cannot share memory", name, device->caps.id, owner->caps.id);
    return smt_vk_buffer_make(device, &slab, out, err);
}
