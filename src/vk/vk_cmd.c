/* vk_cmd.c: recordings: one command buffer, its descriptor sets, dispatches, copies and barriers.
 *
 *   begin -> barrier, [ dispatch | copy | fill | barrier | timestamp ]*, barrier -> end -> submitted any number of times
 *
 * Invariants
 *   1. A recording owns its command pool and descriptor pools, so different threads may record different recordings.
 *   2. The opening barrier orders it after every earlier submission to its queue, the closing one makes its results visible to the host.
 *   3. Between them only the caller's barriers order anything.
 *   4. The first failure of a call that returns nothing is kept, and returned by smt_vk_recording_end. */
#include "vk_objects.h"

#include <stdio.h>
#include <string.h>

#define FIRST_POOL_SETS 64
#define SET_DESCRIPTORS (SMT_VK_MAX_WINDOWS + SMT_VK_MAX_BUFFERS) /* of one kind */

static smt_status begin_for(smt_vk_device *device, uint32_t queue, const char *name, smt_vk_recording **out, smt_error *err) {
    *out = NULL;
    SMT_TRY(smt_vk_check_lost(device, err));
    if (!device->queues[queue].timeline)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "recording %s: %s has no memory, it can only compile kernels", name,
                        device->caps.name);
    smt_vk_recording *recording = smt_alloc(1, sizeof *recording);
    if (!recording) return SMT_FAIL(err, SMT_MEMORY, "out of memory for recording %s", name);
    recording->device = device;
    recording->queue = queue;
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .queueFamilyIndex =
                                        queue == SMT_VK_COPIES ? device->choice.transfer_family : device->choice.queue_family};
    VkCommandBufferAllocateInfo buffer = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                          .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                          .commandBufferCount = 1};
    /* Simultaneous: a step may be submitted again while the one before it still runs. */
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT};
    smt_status status = SMT_OK;
    recording->name = smt_strdup(name);
    if (!recording->name) status = SMT_FAIL(err, SMT_MEMORY, "out of memory for recording %s", name);
    VkResult result = VK_SUCCESS;
    if (status == SMT_OK) result = device->fn.CreateCommandPool(device->handle, &pool, NULL, &recording->command_pool);
    buffer.commandPool = recording->command_pool;
    if (status == SMT_OK && !result) result = device->fn.AllocateCommandBuffers(device->handle, &buffer, &recording->commands);
    if (status == SMT_OK && !result) result = device->fn.BeginCommandBuffer(recording->commands, &begin);
    if (result) status = SMT_VK_FAIL(device, err, result, "recording %s cannot begin", name);
    if (status != SMT_OK) {
        smt_vk_recording_destroy(device, recording);
        return status;
    }
    smt_vk_name(device, VK_OBJECT_TYPE_COMMAND_BUFFER, SMT_VK_HANDLE(recording->commands), name);
    smt_vk_record_barrier(recording);
    *out = recording;
    return SMT_OK;
}

smt_status smt_vk_recording_begin(smt_vk_device *device, const char *name, smt_vk_recording **out, smt_error *err) {
    return begin_for(device, SMT_VK_KERNELS, name, out, err);
}

smt_status smt_vk_recording_begin_copies(smt_vk_device *device, const char *name, smt_vk_recording **out, smt_error *err) {
    return begin_for(device, smt_vk_copies_apart(device) ? SMT_VK_COPIES : SMT_VK_KERNELS, name, out, err);
}

smt_status smt_vk_recording_end(smt_vk_recording *recording, smt_error *err) {
    smt_vk_record_barrier(recording);
    VkResult result = recording->device->fn.EndCommandBuffer(recording->commands);
    if (recording->status != SMT_OK) {
        if (err) *err = recording->failure;
        return recording->status;
    }
    if (result) return SMT_VK_FAIL(recording->device, err, result, "recording %s cannot end", recording->name);
    recording->ended = true;
    return SMT_OK;
}

void smt_vk_recording_destroy(smt_vk_device *device, smt_vk_recording *recording) {
    if (!recording) return;
    smt_vk_stamps_destroy(recording);
    for (size_t i = 0; i < recording->n_pools; i++)
        device->fn.DestroyDescriptorPool(device->handle, recording->pools[i].handle, NULL);
    smt_free(recording->pools);
    for (size_t i = 0; i < recording->n_views; i++) device->fn.DestroyBufferView(device->handle, recording->views[i], NULL);
    smt_free(recording->views);
    device->fn.DestroyCommandPool(device->handle, recording->command_pool, NULL);
    smt_free(recording->name);
    smt_free(recording);
}

/* ---- descriptor sets ---- */

/* Each set is counted at its largest, so a pool with sets left cannot be out of descriptors. */
static smt_status add_pool(smt_vk_recording *recording, smt_error *err) {
    smt_vk_device *device = recording->device;
    SMT_TRY(
        smt_grow((void **)&recording->pools, &recording->pools_capacity, recording->n_pools + 1, sizeof *recording->pools, err));
    smt_vk_pool pool = {.n_sets = recording->n_pools ? recording->pools[recording->n_pools - 1].n_sets * 2 : FIRST_POOL_SETS};
    const VkDescriptorPoolSize sizes[] = {{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, pool.n_sets * SET_DESCRIPTORS},
                                          {VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, pool.n_sets * SET_DESCRIPTORS}};
    VkDescriptorPoolCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
                                       .maxSets = pool.n_sets,
                                       .poolSizeCount = device->choice.texels ? 2 : 1,
                                       .pPoolSizes = sizes};
    VkResult result = device->fn.CreateDescriptorPool(device->handle, &info, NULL, &pool.handle);
    if (result)
        return SMT_VK_FAIL(device, err, result, "recording %s: a descriptor pool of %u sets", recording->name, pool.n_sets);
    recording->pools[recording->n_pools++] = pool;
    return SMT_OK;
}

static smt_status allocate_set(smt_vk_recording *recording, const smt_vk_layout *layout, VkDescriptorSet *out, smt_error *err) {
    smt_vk_device *device = recording->device;
    smt_vk_pool *pool = recording->n_pools ? &recording->pools[recording->n_pools - 1] : NULL;
    if (!pool || pool->used == pool->n_sets) {
        SMT_TRY(add_pool(recording, err));
        pool = &recording->pools[recording->n_pools - 1];
    }
    VkDescriptorSetAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
                                        .descriptorPool = pool->handle,
                                        .descriptorSetCount = 1,
                                        .pSetLayouts = &layout->set};
    VkResult result = device->fn.AllocateDescriptorSets(device->handle, &info, out);
    if (result) return SMT_VK_FAIL(device, err, result, "recording %s: vkAllocateDescriptorSets", recording->name);
    pool->used++;
    return SMT_OK;
}

static bool inside(const smt_vk_range *range) {
    return range->offset <= range->buffer->bytes && range->bytes <= range->buffer->bytes - range->offset;
}

static smt_status bind_range(const smt_vk_recording *recording, const smt_vk_kernel *kernel, const char *what, uint32_t index,
                             const smt_vk_range *range, VkDescriptorBufferInfo *out, smt_error *err) {
    const smt_caps *caps = &recording->device->caps;
    if (!range->buffer) return SMT_FAIL(err, SMT_INVALID, "kernel %s: %s %u has no buffer", kernel->label, what, index);
    if (range->bytes == 0 || !inside(range) || range->offset % caps->storage_align || range->bytes > caps->max_storage_range)
        return SMT_FAIL(
            err, SMT_INVALID, "kernel %s: %s %u is %llu bytes at %llu of a buffer of %llu (alignment %u, at most %llu bytes)",
            kernel->label, what, index, (unsigned long long)range->bytes, (unsigned long long)range->offset,
            (unsigned long long)range->buffer->bytes, caps->storage_align, (unsigned long long)caps->max_storage_range);
    *out = (VkDescriptorBufferInfo){.buffer = range->buffer->handle, .offset = range->offset, .range = range->bytes};
    return SMT_OK;
}

/* A view of a range as texels, which lives as long as the recording. Bytes after the last whole texel are out of reach. */
static smt_status make_view(smt_vk_recording *recording, const smt_vk_kernel *kernel, const smt_vk_range *range, smt_texel texel,
                            VkBufferView *out, smt_error *err) {
    static const VkFormat formats[] = {[SMT_TEXEL_U32X4] = VK_FORMAT_R32G32B32A32_UINT,
                                       [SMT_TEXEL_F32X4] = VK_FORMAT_R32G32B32A32_SFLOAT,
                                       [SMT_TEXEL_F16X4] = VK_FORMAT_R16G16B16A16_SFLOAT};
    smt_vk_device *device = recording->device;
    uint64_t size = texel == SMT_TEXEL_F16X4 ? 8 : 16, texels = range->bytes / size;
    if (!range->buffer || !texels || !inside(range) || range->offset % device->caps.texel_align ||
        texels > device->caps.max_texels)
        return SMT_FAIL(err, SMT_INVALID, "kernel %s: %llu bytes at %llu as %llu texels (alignment %u, at most %u texels)",
                        kernel->label, (unsigned long long)range->bytes, (unsigned long long)range->offset,
                        (unsigned long long)texels, device->caps.texel_align, device->caps.max_texels);
    SMT_TRY(smt_grow((void **)&recording->views, &recording->views_capacity, recording->n_views + 1, sizeof *out, err));
    VkBufferViewCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
                                   .buffer = range->buffer->handle,
                                   .format = formats[texel],
                                   .offset = range->offset,
                                   .range = texels * size};
    VkResult result = device->fn.CreateBufferView(device->handle, &info, NULL, out);
    if (result) return SMT_VK_FAIL(device, err, result, "kernel %s: vkCreateBufferView", kernel->label);
    recording->views[recording->n_views++] = *out;
    return SMT_OK;
}

/* What vkUpdateDescriptorSets is given for one dispatch. Slots of W that have no range of their own repeat the first. */
typedef struct binding {
    VkDescriptorBufferInfo infos[SET_DESCRIPTORS];
    VkBufferView views[SET_DESCRIPTORS];
    VkWriteDescriptorSet writes[2 * (1 + SMT_VK_MAX_BUFFERS)];
    uint32_t n_writes;
} binding;

static void add_write(binding *b, VkDescriptorSet set, uint32_t to, uint32_t count, uint32_t first, bool texels) {
    b->writes[b->n_writes++] = (VkWriteDescriptorSet){.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                                      .dstSet = set,
                                                      .dstBinding = texels ? TEXEL_BINDING + to : to,
                                                      .descriptorCount = count,
                                                      .descriptorType = texels ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                                                                               : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                      .pBufferInfo = texels ? NULL : &b->infos[first],
                                                      .pTexelBufferView = texels ? &b->views[first] : NULL};
}

static smt_status bind_windows(smt_vk_recording *recording, const smt_vk_dispatch *dispatch, VkDescriptorSet set, binding *b,
                               smt_error *err) {
    const smt_vk_kernel *kernel = dispatch->kernel;
    uint32_t n = dispatch->n_windows, slots = kernel->layout->n_windows;
    for (uint32_t i = 0; i < n; i++)
        SMT_TRY(kernel->window_texels
                    ? make_view(recording, kernel, &dispatch->windows[i], kernel->window_texels, &b->views[i], err)
                    : bind_range(recording, kernel, "window", i, &dispatch->windows[i], &b->infos[i], err));
    for (uint32_t i = n; i < slots; i++) {
        b->infos[i] = b->infos[0];
        b->views[i] = b->views[0];
    }
    add_write(b, set, 0, slots, 0, kernel->window_texels);
    return SMT_OK;
}

static smt_status bind_set(smt_vk_recording *recording, const smt_vk_dispatch *dispatch, smt_error *err) {
    const smt_vk_kernel *kernel = dispatch->kernel;
    binding b = {.n_writes = 0};
    VkDescriptorSet set = VK_NULL_HANDLE;
    SMT_TRY(allocate_set(recording, kernel->layout, &set, err));
    if (dispatch->n_windows) SMT_TRY(bind_windows(recording, dispatch, set, &b, err));
    for (uint32_t i = 0; i < dispatch->n_buffers; i++) {
        const smt_vk_range *range = &dispatch->buffers[i];
        uint32_t slot = SMT_VK_MAX_WINDOWS + i;
        if (!range->buffer) continue;
        SMT_TRY(bind_range(recording, kernel, "buffer", i, range, &b.infos[slot], err));
        add_write(&b, set, 1 + i, 1, slot, false);
        if (!(kernel->buffer_texels >> i & 1)) continue;
        SMT_TRY(make_view(recording, kernel, range, SMT_TEXEL_F32X4, &b.views[slot], err));
        add_write(&b, set, 1 + i, 1, slot, true);
    }
    smt_vk_device *device = recording->device;
    device->fn.UpdateDescriptorSets(device->handle, b.n_writes, b.writes, 0, NULL);
    device->fn.CmdBindDescriptorSets(recording->commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->layout->pipeline, 0, 1, &set, 0,
                                     NULL);
    return SMT_OK;
}

/* ---- commands ---- */

static smt_status check_dispatch(const smt_vk_recording *recording, const smt_vk_dispatch *dispatch, smt_error *err) {
    const smt_vk_kernel *kernel = dispatch->kernel;
    const smt_caps *caps = &recording->device->caps;
    if (recording->queue == SMT_VK_COPIES)
        return SMT_FAIL(err, SMT_INVALID, "kernel %s: recording %s is one of copies", kernel->label, recording->name);
    if (dispatch->n_windows > kernel->layout->n_windows || dispatch->n_buffers > SMT_VK_MAX_BUFFERS)
        return SMT_FAIL(err, SMT_INVALID, "kernel %s: %u windows and %u buffers, it has room for %u and %d", kernel->label,
                        dispatch->n_windows, dispatch->n_buffers, kernel->layout->n_windows, SMT_VK_MAX_BUFFERS);
    if (dispatch->push_bytes != kernel->push_bytes)
        return SMT_FAIL(err, SMT_INVALID, "kernel %s: %u bytes of push constants given, it was made for %u", kernel->label,
                        dispatch->push_bytes, kernel->push_bytes);
    const smt_vk_range *indirect = &dispatch->indirect;
    if (dispatch->empty) return SMT_OK;
    if (indirect->buffer) {
        uint64_t bytes = indirect->buffer->bytes;
        if (indirect->offset % 4 || bytes < 12 || indirect->offset > bytes - 12)
            return SMT_FAIL(err, SMT_INVALID, "kernel %s: indirect grid at %llu of a buffer of %llu bytes", kernel->label,
                            (unsigned long long)indirect->offset, (unsigned long long)bytes);
        return SMT_OK;
    }
    for (int i = 0; i < 3; i++)
        if (dispatch->groups[i] == 0 || dispatch->groups[i] + (uint64_t)dispatch->base[i] > caps->max_group_count[i])
            return SMT_FAIL(err, SMT_INVALID,
                            "kernel %s: a grid of %u x %u x %u workgroups from %u, %u, %u on; %s allows 1 to %u x %u x %u",
                            kernel->label, dispatch->groups[0], dispatch->groups[1], dispatch->groups[2], dispatch->base[0],
                            dispatch->base[1], dispatch->base[2], caps->name, caps->max_group_count[0], caps->max_group_count[1],
                            caps->max_group_count[2]);
    return SMT_OK;
}

smt_status smt_vk_record_dispatch(smt_vk_recording *recording, const smt_vk_dispatch *dispatch, smt_error *err) {
    const smt_vk_device_table *fn = &recording->device->fn;
    const smt_vk_kernel *kernel = dispatch->kernel;
    SMT_TRY(check_dispatch(recording, dispatch, err));
    SMT_TRY(bind_set(recording, dispatch, err));
    if (recording->bound != kernel->pipeline)
        fn->CmdBindPipeline(recording->commands, VK_PIPELINE_BIND_POINT_COMPUTE, kernel->pipeline);
    recording->bound = kernel->pipeline;
    if (dispatch->push_bytes)
        fn->CmdPushConstants(recording->commands, kernel->layout->pipeline, VK_SHADER_STAGE_COMPUTE_BIT, 0, dispatch->push_bytes,
                             dispatch->push);
    if (dispatch->empty)
        fn->CmdDispatch(recording->commands, 0, 0, 0);
    else if (dispatch->indirect.buffer)
        fn->CmdDispatchIndirect(recording->commands, dispatch->indirect.buffer->handle, dispatch->indirect.offset);
    else
        fn->CmdDispatchBase(recording->commands, dispatch->base[0], dispatch->base[1], dispatch->base[2], dispatch->groups[0],
                            dispatch->groups[1], dispatch->groups[2]);
    return SMT_OK;
}

void smt_vk_record_barrier(smt_vk_recording *recording) {
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_INDIRECT_COMMAND_READ_BIT | VK_ACCESS_HOST_READ_BIT};
    /* Reads count as sources too: the indirect stage is among them so that a grid may be rewritten after its dispatch. */
    VkPipelineStageFlags from = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT |
                                VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT | VK_PIPELINE_STAGE_HOST_BIT;
    if (recording->queue == SMT_VK_COPIES) { /* which has no other stages */
        barrier.srcAccessMask &= VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_WRITE_BIT;
        barrier.dstAccessMask &= VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT;
        from = VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_HOST_BIT;
    }
    recording->device->fn.CmdPipelineBarrier(recording->commands, from, from, 0, 1, &barrier, 0, NULL, 0, NULL);
}

/* The range passes from queue family `from` to `to`. */
static void pass(smt_vk_recording *recording, const smt_vk_range *range, uint32_t from, uint32_t to) {
    bool leaves = to == VK_QUEUE_FAMILY_EXTERNAL;
    VkBufferMemoryBarrier barrier = {.sType = VK_STRUCTURE_TYPE_BUFFER_MEMORY_BARRIER,
                                     .srcAccessMask = leaves ? VK_ACCESS_TRANSFER_WRITE_BIT : 0,
                                     .dstAccessMask = leaves ? 0 : VK_ACCESS_TRANSFER_READ_BIT,
                                     .srcQueueFamilyIndex = from,
                                     .dstQueueFamilyIndex = to,
                                     .buffer = range->buffer->handle,
                                     .offset = range->offset,
                                     .size = range->bytes};
    recording->device->fn.CmdPipelineBarrier(recording->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT,
                                             0, 0, NULL, 1, &barrier, 0, NULL);
}

void smt_vk_record_release(smt_vk_recording *recording, const smt_vk_range *range) {
    pass(recording, range, recording->device->choice.queue_family, VK_QUEUE_FAMILY_EXTERNAL);
}

void smt_vk_record_acquire(smt_vk_recording *recording, const smt_vk_range *range) {
    pass(recording, range, VK_QUEUE_FAMILY_EXTERNAL, recording->device->choice.queue_family);
}

static bool usable(smt_vk_recording *recording, const smt_vk_range *range, const char *what) {
    if (recording->status != SMT_OK) return false;
    if (range->buffer && inside(range) && range->offset % 4 == 0 && range->bytes % 4 == 0) return true;
    recording->status = SMT_FAIL(&recording->failure, SMT_INVALID, "recording %s: %s of %llu bytes at %llu of a buffer of %llu",
                                 recording->name, what, (unsigned long long)range->bytes, (unsigned long long)range->offset,
                                 (unsigned long long)(range->buffer ? range->buffer->bytes : 0));
    return false;
}

void smt_vk_record_copy(smt_vk_recording *recording, const smt_vk_range *src, const smt_vk_range *dst) {
    smt_vk_range target = {dst->buffer, dst->offset, src->bytes};
    if (!usable(recording, src, "copy from a range") || !usable(recording, &target, "copy to a range") || !src->bytes) return;
    VkBufferCopy region = {.srcOffset = src->offset, .dstOffset = dst->offset, .size = src->bytes};
    recording->device->fn.CmdCopyBuffer(recording->commands, src->buffer->handle, dst->buffer->handle, 1, &region);
}

void smt_vk_record_fill(smt_vk_recording *recording, const smt_vk_range *dst, uint32_t word) {
    if (!usable(recording, dst, "fill") || !dst->bytes) return;
    recording->device->fn.CmdFillBuffer(recording->commands, dst->buffer->handle, dst->offset, dst->bytes, word);
}
