/* vk_choose.c: facts of a device -> what to enable on it. Pure: no handle, no call, so tests invent the machines.
 *
 * Rules
 *   1. Required: Vulkan 1.2, timeline semaphores, dynamically indexed arrays of storage buffers, a queue that computes.
 *   2. The compute queue prefers a family without graphics (work does not wait behind a desktop), then one with timestamps.
 *   3. A feature is on where kernels may use it and the facts have it; an extension is on where such a feature needs it and
 *      the device still lists it (those that became core need no enabling where they are not listed).
 *   4. Cooperative matrices are of the largest shape that the kernels can be built for, on devices where the size of a subgroup is certain. */
#include "vk_internal.h"

#define NEED_VERSION ((1u << 22) | (2u << 12)) /* 1.2 as Vulkan packs it */

#define COOP_SHARED 28160 /* bytes that lib/matmul_coop.glsl takes */

/* Higher is better; 0: cannot compute. */
static uint32_t compute_score(const smt_vk_family *family) {
    if (!family->compute || !family->n_queues) return 0;
    return 1 + (family->timestamp_bits ? 1 : 0) + (family->graphics ? 0 : 2);
}

static bool choose_families(const smt_vk_facts *facts, smt_vk_choice *out) {
    uint32_t best = 0;
    for (uint32_t i = 0; i < facts->n_families; i++) {
        uint32_t score = compute_score(&facts->families[i]);
        if (score <= best) continue;
        best = score;
        out->queue_family = i;
        out->timestamp_bits = facts->families[i].timestamp_bits;
    }
    out->transfer_family = out->queue_family;
    for (uint32_t i = facts->n_families; i-- > 0;) {
        const smt_vk_family *family = &facts->families[i];
        if (family->transfer && !family->compute && !family->graphics && family->n_queues) out->transfer_family = i;
    }
    return best > 0;
}

static void choose_subgroups(const smt_vk_facts *facts, smt_vk_choice *out) {
    const smt_caps *caps = &facts->caps;
    if (!caps->subgroup_ballot) return;
    out->subgroup_size = smt_caps_subgroup(caps);
    out->require_subgroup_size = caps->subgroup_size_control && caps->subgroup_min != caps->subgroup_max;
    out->full_subgroups = caps->subgroup_size_control && facts->full_subgroups;
}

/* What lib/matmul_coop.glsl can be: whole matrices in the 32 lines and the columns, one for each lane, that a subgroup has of a tile. */
static bool shape_fits(const smt_coop_shape *shape, uint32_t lanes) {
    return (shape->m == 8 || shape->m == 16 || shape->m == 32) && (shape->n == 8 || shape->n == 16 || shape->n == 32) &&
           shape->n <= lanes && (shape->k == 8 || shape->k == 16 || shape->k == 32);
}

smt_coop_shape smt_vk_choose_coop(const smt_vk_facts *facts, const smt_coop_shape *shapes, uint32_t n_shapes) {
    const smt_caps *caps = &facts->caps;
    smt_coop_shape best = {0};
    uint32_t lanes = smt_caps_subgroup(caps);
    bool pinned = caps->subgroup_basic && facts->full_subgroups && (lanes == 8 || lanes == 16 || lanes == 32 || lanes == 64);
    if (!caps->coop_matrix || !caps->fp16 || !pinned || caps->max_shared_bytes < COOP_SHARED) return best;
    for (uint32_t i = 0; i < n_shapes; i++)
        if (shape_fits(&shapes[i], lanes) && shapes[i].m * shapes[i].n * shapes[i].k > best.m * best.n * best.k) best = shapes[i];
    return best;
}

smt_status smt_vk_choose(const smt_vk_facts *facts, smt_vk_choice *out, smt_error *err) {
    *out = (smt_vk_choice){0};
    const smt_caps *caps = &facts->caps;
    bool computes = choose_families(facts, out);
    if (caps->api_version < NEED_VERSION)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%s supports Vulkan %u.%u, 1.2 is needed", caps->name,
                        caps->api_version >> 22 & 127, caps->api_version >> 12 & 1023);
    if (!computes) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no compute queue", caps->name);
    if (!caps->timeline) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s lacks timelineSemaphore", caps->name);
    if (!caps->buffer_array_dynamic)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%s lacks shaderStorageBufferArrayDynamicIndexing", caps->name);

    choose_subgroups(facts, out);
    out->texels = smt_caps_texels(caps);
    out->fp16 = caps->fp16;
    out->int8 = caps->int8;
    out->int16 = caps->int16;
    out->int64 = caps->int64;
    out->storage16 = caps->storage16;
    out->storage8 = caps->storage8;
    out->int_dot = caps->int_dot;
    out->coop_matrix = caps->coop_matrix;
    out->executable_properties = caps->executable_properties;
    uint32_t wanted = (out->require_subgroup_size || out->full_subgroups ? SMT_VK_EXT_SUBGROUP_SIZE : 0u) |
                      (out->int_dot ? SMT_VK_EXT_INT_DOT : 0u) | (out->coop_matrix ? SMT_VK_EXT_COOP_MATRIX : 0u) |
                      (out->executable_properties ? SMT_VK_EXT_EXECUTABLE_PROPERTIES : 0u) |
                      (caps->external_memory_fd ? SMT_VK_EXT_EXTERNAL_FD : 0u);
    out->extensions = wanted & facts->extensions;
    return SMT_OK;
}
