/* vk_buffer.c: slabs: one VkDeviceMemory under one VkBuffer, mapped for its whole life where the host can see it.
 *
 * Sub-allocation is the caller's plan; here a slab is made of exactly the memory type asked for, or not at all: nothing falls
 * back silently. */
#include "vk_objects.h"

#define USAGE                                                                                                   \
    (VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT | \
     VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT)

static smt_status refuse(const smt_vk_device *device, uint32_t memory_type, uint64_t bytes, const char *name, const char *why,
                         smt_error *err) {
    const smt_caps *caps = &device->caps;
    uint32_t heap = caps->types[memory_type].heap;
    return SMT_FAIL(err, SMT_DEVICE_MEMORY,
                    "buffer %s: %llu bytes of memory type %u on %s: %s (heap %u has %llu bytes, budget %llu; one allocation may "
                    "have %llu)",
                    name, (unsigned long long)bytes, memory_type, caps->name, why, heap,
                    (unsigned long long)caps->heaps[heap].bytes, (unsigned long long)caps->heaps[heap].budget,
                    (unsigned long long)caps->max_allocation);
}

static VkResult allocate_memory(smt_vk_device *device, smt_vk_buffer *buffer, const smt_vk_slab *slab) {
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .allocationSize = buffer->allocated,
                                 .memoryTypeIndex = slab->memory_type};
    return slab->shared ? smt_vk_allocate_shared(device, buffer, slab, &info)
                        : device->fn.AllocateMemory(device->handle, &info, NULL, &buffer->memory);
}

static smt_status allocate(smt_vk_device *device, smt_vk_buffer *buffer, const smt_vk_slab *slab, smt_error *err) {
    const smt_vk_device_table *fn = &device->fn;
    uint32_t type = slab->memory_type;
    VkMemoryRequirements needs;
    fn->GetBufferMemoryRequirements(device->handle, buffer->handle, &needs);
    if (!(needs.memoryTypeBits & 1u << type))
        return SMT_FAIL(err, SMT_UNSUPPORTED, "buffer %s: %s buffers cannot be in memory type %u of %s", slab->name,
                        slab->shared ? "shared" : "storage", type, device->caps.name);
    buffer->allocated = needs.size;
    VkResult result = allocate_memory(device, buffer, slab);
    if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return refuse(device, type, buffer->bytes, slab->name, smt_vk_result_name(result), err);
    if (result)
        return SMT_VK_FAIL(device, err, result, "buffer %s: vkAllocateMemory of %llu bytes", slab->name,
                           (unsigned long long)needs.size);
    buffer->heap = device->caps.types[type].heap;
    buffer->imported = slab->of != NULL;
    if (!slab->of) atomic_fetch_add(&device->held[buffer->heap], buffer->allocated);
    result = fn->BindBufferMemory(device->handle, buffer->handle, buffer->memory, 0);
    if (result) return SMT_VK_FAIL(device, err, result, "buffer %s: vkBindBufferMemory", slab->name);
    if (!device->caps.types[type].host_visible || slab->of) return SMT_OK;
    result = fn->MapMemory(device->handle, buffer->memory, 0, VK_WHOLE_SIZE, 0, &buffer->map);
    return result ? SMT_VK_FAIL(device, err, result, "buffer %s: vkMapMemory of %llu bytes", slab->name,
                                (unsigned long long)buffer->bytes)
                  : SMT_OK;
}

static smt_status fill(smt_vk_device *device, smt_vk_buffer *buffer, const smt_vk_slab *slab, smt_error *err) {
    VkExternalMemoryBufferCreateInfo external = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
                                                 .handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT};
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .pNext = slab->shared ? &external : NULL,
                               .size = slab->bytes,
                               .usage = slab->shared ? SMT_VK_SHARED_USAGE : USAGE};
    const uint32_t families[] = {device->choice.queue_family, device->choice.transfer_family};
    if (families[0] != families[1] && !slab->shared) { /* drivers lay a buffer out alike for all of their families */
        info.sharingMode = VK_SHARING_MODE_CONCURRENT;
        info.queueFamilyIndexCount = SMT_COUNT(families);
        info.pQueueFamilyIndices = families;
    }
    VkResult result = device->fn.CreateBuffer(device->handle, &info, NULL, &buffer->handle);
    if (result)
        return SMT_VK_FAIL(device, err, result, "buffer %s: vkCreateBuffer of %llu bytes", slab->name,
                           (unsigned long long)slab->bytes);
    SMT_TRY(allocate(device, buffer, slab, err));
    smt_vk_name(device, VK_OBJECT_TYPE_BUFFER, SMT_VK_HANDLE(buffer->handle), slab->name);
    smt_vk_name(device, VK_OBJECT_TYPE_DEVICE_MEMORY, SMT_VK_HANDLE(buffer->memory), slab->name);
    return SMT_OK;
}

smt_status smt_vk_buffer_make(smt_vk_device *device, const smt_vk_slab *slab, smt_vk_buffer **out, smt_error *err) {
    const smt_caps *caps = &device->caps;
    uint32_t type = slab->memory_type;
    *out = NULL;
    SMT_TRY(smt_vk_check_lost(device, err));
    if (type >= caps->n_types)
        return SMT_FAIL(err, SMT_INVALID, "buffer %s: memory type %u of %u", slab->name, type, caps->n_types);
    if (slab->bytes == 0) return SMT_FAIL(err, SMT_INVALID, "buffer %s: zero bytes", slab->name);
    if (slab->bytes > caps->max_allocation) return refuse(device, type, slab->bytes, slab->name, "more than one allocation", err);
    if (slab->bytes > caps->heaps[caps->types[type].heap].bytes)
        return refuse(device, type, slab->bytes, slab->name, "more than the heap", err);
    smt_vk_buffer *buffer = smt_alloc(1, sizeof *buffer);
    if (!buffer) return SMT_FAIL(err, SMT_MEMORY, "out of memory for buffer %s", slab->name);
    *buffer = (smt_vk_buffer){.bytes = slab->bytes, .memory_type = type, .coherent = caps->types[type].host_coherent};
    smt_status status = fill(device, buffer, slab, err);
    if (status == SMT_OK)
        *out = buffer;
    else
        smt_vk_buffer_destroy(device, buffer);
    return status;
}

smt_status smt_vk_buffer_create(smt_vk_device *device, uint32_t memory_type, uint64_t bytes, const char *name,
                                smt_vk_buffer **out, smt_error *err) {
    return smt_vk_buffer_make(device, &(smt_vk_slab){.memory_type = memory_type, .bytes = bytes, .name = name}, out, err);
}

void smt_vk_buffer_destroy(smt_vk_device *device, smt_vk_buffer *buffer) {
    if (!buffer) return;
    device->fn.DestroyBuffer(device->handle, buffer->handle, NULL);
    device->fn.FreeMemory(device->handle, buffer->memory, NULL); /* unmaps too */
    if (buffer->memory && !buffer->imported) atomic_fetch_sub(&device->held[buffer->heap], buffer->allocated);
    smt_free(buffer);
}

uint64_t smt_vk_buffer_bytes(const smt_vk_buffer *buffer) { return buffer->bytes; }
void *smt_vk_buffer_map(const smt_vk_buffer *buffer) { return buffer->map; }

/* The mapped range widened to whole atoms, as both calls want it. */
static smt_status mapped_range(const smt_vk_device *device, const smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes,
                               VkMappedMemoryRange *out, smt_error *err) {
    if (!buffer->map) return SMT_FAIL(err, SMT_INVALID, "the buffer is not host-visible");
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        return SMT_FAIL(err, SMT_INVALID, "range of %llu bytes at %llu leaves a buffer of %llu", (unsigned long long)bytes,
                        (unsigned long long)offset, (unsigned long long)buffer->bytes);
    uint64_t atom = device->caps.atom_size, begin = offset / atom * atom;
    uint64_t end = smt_min_u64(smt_align_up(offset + bytes, atom), buffer->allocated);
    *out = (VkMappedMemoryRange){
        .sType = VK_STRUCTURE_TYPE_MAPPED_MEMORY_RANGE, .memory = buffer->memory, .offset = begin, .size = end - begin};
    return SMT_OK;
}

smt_status smt_vk_buffer_flush(smt_vk_device *device, smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes, smt_error *err) {
    if (buffer->coherent || bytes == 0) return SMT_OK;
    VkMappedMemoryRange range;
    SMT_TRY(mapped_range(device, buffer, offset, bytes, &range, err));
    VkResult result = device->fn.FlushMappedMemoryRanges(device->handle, 1, &range);
    return result ? SMT_VK_FAIL(device, err, result, "vkFlushMappedMemoryRanges") : SMT_OK;
}

smt_status smt_vk_buffer_invalidate(smt_vk_device *device, smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes,
                                    smt_error *err) {
    if (buffer->coherent || bytes == 0) return SMT_OK;
    VkMappedMemoryRange range;
    SMT_TRY(mapped_range(device, buffer, offset, bytes, &range, err));
    VkResult result = device->fn.InvalidateMappedMemoryRanges(device->handle, 1, &range);
    return result ? SMT_VK_FAIL(device, err, result, "vkInvalidateMappedMemoryRanges") : SMT_OK;
}
