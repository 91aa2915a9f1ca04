/* invented.c: see invented.h. */
#include "invented.h"

#include <stdio.h>

static uint64_t or_default(uint64_t value, uint64_t standard) { return value ? value : standard; }

smt_caps smt_invented_device(const smt_invented *wanted) {
    smt_caps caps = {.id = "vk0",
                     .kind = wanted->unified ? SMT_KIND_CPU : SMT_KIND_DISCRETE,
                     .family = wanted->unified && !wanted->wave ? SMT_FAMILY_ROWS : SMT_FAMILY_WAVE,
                     .api_version = 1u << 22 | 2u << 12,
                     .max_allocation = or_default(wanted->allocation, 4ull << 30),
                     .max_storage_range = or_default(wanted->range, (4ull << 30) - 1),
                     .storage_align = wanted->storage_align ? wanted->storage_align : 64,
                     .atom_size = 64,
                     .max_push_bytes = 128,
                     .max_shared_bytes = 32768,
                     .max_invocations = 256,
                     .max_stage_buffers = 30,
                     .max_group_count = {65535, 65535, 65535},
                     .max_texels = wanted->texels ? 128u << 20 : 0,
                     .texel_align = 16,
                     .texel_array_dynamic = wanted->texels,
                     .subgroup_size = 32,
                     .buffer_array_dynamic = true,
                     .timeline = true};
    snprintf(caps.name, sizeof caps.name, "Invented %s", wanted->unified ? "Unified" : "Discrete");
    uint64_t device_bytes = or_default(wanted->device_bytes, 24ull << 30),
             host_bytes = or_default(wanted->host_bytes, 64ull << 30);
    caps.heaps[caps.n_heaps++] = (smt_caps_heap){device_bytes, device_bytes, true};
    if (wanted->unified) {
        caps.types[caps.n_types++] = (smt_caps_memory_type){0, true, true, true, true};
        return caps;
    }
    caps.heaps[caps.n_heaps++] = (smt_caps_heap){host_bytes, host_bytes, false};
    caps.types[caps.n_types++] = (smt_caps_memory_type){.heap = 0, .device_local = true};
    caps.types[caps.n_types++] = (smt_caps_memory_type){.heap = 1, .host_visible = true, .host_coherent = true};
    caps.types[caps.n_types++] =
        (smt_caps_memory_type){.heap = 1, .host_visible = true, .host_coherent = true, .host_cached = true};
    return caps;
}
