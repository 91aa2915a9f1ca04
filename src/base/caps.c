/* caps.c: questions about a device snapshot that need no device. */
#include "caps.h"

#include <stdio.h>
#include <string.h>

/* What the plainest form of every kernel needs; see the binding model in vk/vk.h. */
#define NEED_PUSH_BYTES    128
#define NEED_INVOCATIONS   128
#define NEED_SHARED_BYTES  16384
#define NEED_STAGE_BUFFERS 24 /* 16 windows + 8 buffers */
#define NEED_STORAGE_RANGE (128ull << 20)
/* A texel window should reach as far as a storage buffer: 128 MiB in texels of 16 bytes. */
#define NEED_TEXELS      (8u << 20)
#define TEXEL_ALIGN_MOST 256 /* plans align to this */

const char *smt_caps_lacks(const smt_caps *caps, char *text, size_t capacity) {
    const struct {
        const char *name;
        uint64_t have, need;
    } limits[] = {
        {"API version (as major * 1000 + minor)", (caps->api_version >> 22 & 127) * 1000 + (caps->api_version >> 12 & 1023),
         1002},
        {"timelineSemaphore", caps->timeline, 1},
        {"shaderStorageBufferArrayDynamicIndexing", caps->buffer_array_dynamic, 1},
        {"maxPushConstantsSize", caps->max_push_bytes, NEED_PUSH_BYTES},
        {"maxComputeWorkGroupInvocations", caps->max_invocations, NEED_INVOCATIONS},
        {"maxComputeSharedMemorySize", caps->max_shared_bytes, NEED_SHARED_BYTES},
        {"maxPerStageDescriptorStorageBuffers", caps->max_stage_buffers, NEED_STAGE_BUFFERS},
        {"maxStorageBufferRange", caps->max_storage_range, NEED_STORAGE_RANGE},
        {"memory heaps", caps->n_heaps, 1},
    };
    for (size_t i = 0; i < SMT_COUNT(limits); i++)
        if (limits[i].have < limits[i].need) {
            snprintf(text, capacity, "%s is %llu, the engine needs %llu", limits[i].name, (unsigned long long)limits[i].have,
                     (unsigned long long)limits[i].need);
            return text;
        }
    return NULL;
}

void smt_caps_reduce(smt_caps *caps) {
    caps->subgroup_basic = caps->subgroup_ballot = caps->subgroup_shuffle = caps->subgroup_arithmetic = false;
    caps->fp16 = caps->int8 = caps->int16 = caps->int64 = caps->storage16 = caps->storage8 = false;
    caps->max_texels = 0;
    caps->int_dot = caps->int_dot_accelerated = caps->coop_matrix = caps->subgroup_size_control = caps->external_memory_host =
        caps->external_memory_fd = false;
    caps->coop = (smt_coop_shape){0};
}

uint32_t smt_caps_subgroup(const smt_caps *caps) {
    bool varies = caps->subgroup_size_control && caps->subgroup_min != caps->subgroup_max;
    return varies ? caps->subgroup_min : caps->subgroup_size;
}

bool smt_caps_texels(const smt_caps *caps) {
    return caps->kind == SMT_KIND_CPU && caps->family == SMT_FAMILY_ROWS && caps->max_texels >= NEED_TEXELS &&
           caps->texel_array_dynamic && caps->texel_align <= TEXEL_ALIGN_MOST;
}

bool smt_caps_share_memory(const smt_caps *a, const smt_caps *b) {
    return a->external_memory_fd && b->external_memory_fd && strcmp(a->uuid_text, b->uuid_text) == 0 &&
           memcmp(a->driver_uuid, b->driver_uuid, sizeof a->driver_uuid) == 0;
}

bool smt_caps_family(smt_device_kind kind, const char *word, smt_family *out) {
    if (!word || !*word)
        *out = kind == SMT_KIND_CPU ? SMT_FAMILY_ROWS : SMT_FAMILY_WAVE;
    else if (strcmp(word, "rows") == 0)
        *out = SMT_FAMILY_ROWS;
    else if (strcmp(word, "wave") == 0)
        *out = SMT_FAMILY_WAVE;
    else
        return false;
    return true;
}

const char *smt_caps_kind_name(smt_device_kind kind) {
    static const char *const names[] = {"discrete", "integrated", "virtual", "cpu", "other"};
    return (unsigned)kind < SMT_COUNT(names) ? names[kind] : "other";
}

uint32_t smt_caps_find_memory(const smt_caps *caps, uint32_t want, uint32_t avoid) {
    for (uint32_t i = 0; i < caps->n_types; i++) {
        const smt_caps_memory_type *type = &caps->types[i];
        uint32_t has = (type->device_local ? SMT_MEM_DEVICE : 0u) | (type->host_visible ? SMT_MEM_HOST : 0u) |
                       (type->host_cached ? SMT_MEM_CACHED : 0u);
        if ((has & want) == want && !(has & avoid)) return i;
    }
    return UINT32_MAX;
}
