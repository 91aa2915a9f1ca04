/* check_run.c: the memory of a case, its dispatch, and the comparison. All parts of a case lie in one slab that the host sees. */
#include "check/check_internal.h"

#include <math.h>
#include <string.h>

#define ALIGN 256 /* a multiple of every alignment that bindings have on known devices; the device's own is looked at besides */

static const smt_check_fn cases[] = {
    [SMT_KERNEL_EMBED] = smt_check_embed,
    [SMT_KERNEL_NORM] = smt_check_norm,
    [SMT_KERNEL_MATMUL] = smt_check_matmul,
    [SMT_KERNEL_MLA_CACHE] = smt_check_mla_cache,
    [SMT_KERNEL_GQA_CACHE] = smt_check_gqa_cache,
    [SMT_KERNEL_ATTEND] = smt_check_attend,
    [SMT_KERNEL_ATTEND_MERGE] = smt_check_attend_merge,
    [SMT_KERNEL_ROUTE] = smt_check_route,
    [SMT_KERNEL_GROUP] = smt_check_group,
    [SMT_KERNEL_COMBINE] = smt_check_combine,
    [SMT_KERNEL_PARTS] = smt_check_parts,
    [SMT_KERNEL_JOIN] = smt_check_join,
    [SMT_KERNEL_REPACK] = smt_check_repack,
    [SMT_KERNEL_MOE_DOWN] = smt_check_moe_down,
    [SMT_KERNEL_SWIGLU] = smt_check_swiglu,
    [SMT_KERNEL_SAMPLE_TOP] = smt_check_sample_top,
    [SMT_KERNEL_SAMPLE_DRAW] = smt_check_sample_draw,
};
_Static_assert(SMT_COUNT(cases) == SMT_KERNEL_COUNT, "every kernel has a case");

smt_status smt_check_kernel(smt_vk_device *device, const smt_kernel_key *key, const smt_vk_kernel *kernel, uint64_t timeout_ns,
                            smt_error *err) {
    smt_check check = {.device = device,
                       .key = key,
                       .kernel = kernel,
                       .caps = smt_vk_device_caps(device),
                       .timeout_ns = timeout_ns,
                       .random = key->kernel};
    smt_kernel_describe(check.caps, key, &check.spec);
    smt_status status = cases[key->kernel](&check, err);
    smt_arena_free(&check.arena);
    return status;
}

/* ---- memory ---- */

smt_status smt_check_alloc(smt_check *check, size_t n, size_t size, void **out, smt_error *err) {
    *out = smt_arena_alloc(&check->arena, n, size);
    return *out ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for checking the kernel %s", check->spec.label);
}

static size_t words_of(const smt_check_part *part) { return (size_t)part->rows * part->stride; }

static void set_untouched(uint32_t *words, size_t n) {
    for (size_t i = 0; i < n; i++) words[i] = SMT_CHECK_UNTOUCHED;
}

smt_status smt_check_begin(smt_check *check, const smt_check_part *parts, uint32_t n_parts, smt_error *err) {
    check->n_parts = n_parts;
    for (uint32_t i = 0; i < n_parts; i++) {
        size_t n = words_of(&parts[i]);
        check->parts[i] = parts[i];
        SMT_TRY(smt_check_alloc(check, n + 4, 4, &check->memory[i], err)); /* a kernel may read to the end of a vector */
        if (parts[i].kind == SMT_CHECK_INPUT) continue;
        SMT_TRY(smt_check_alloc(check, n, 4, &check->expected[i], err));
        set_untouched(check->memory[i], n);
        set_untouched(check->expected[i], n);
    }
    return SMT_OK;
}

void smt_check_step(uint32_t *step, uint32_t n_rows, uint32_t n_out, uint32_t max_rows) {
    step[STEP_N_ROWS] = n_rows;
    step[STEP_N_OUT] = n_out;
    step[STEP_MAX_ROWS] = max_rows;
}

/* ---- comparison ---- */

static double value_of(const smt_check_part *part, const uint32_t *words, size_t i) {
    if (part->kind == SMT_CHECK_WORDS) return words[i];
    if (part->kind == SMT_CHECK_HALVES) return (double)smt_half_to_float((uint16_t)(words[i / 2] >> (16 * (i % 2))));
    float value;
    memcpy(&value, &words[i], sizeof value);
    return (double)value;
}

/* Of what the case expects; untouched values are no numbers. */
static double root_mean_square(const smt_check_part *part, const uint32_t *words, size_t n) {
    double sum = 0, count = 0;
    for (size_t i = 0; i < n; i++) {
        double value = value_of(part, words, i);
        if (value == value) sum += value * value, count++;
    }
    return count > 0 ? sqrt(sum / count) : 0;
}

/* Words, or halves of them, that have to stay as they were: a NaN that a kernel computes is not one of them. */
static bool untouched(const smt_check_part *part, const uint32_t *words, size_t i) {
    if (part->kind != SMT_CHECK_HALVES) return words[i] == SMT_CHECK_UNTOUCHED;
    uint32_t shift = 16 * (i % 2);
    return (uint16_t)(words[i / 2] >> shift) == (uint16_t)(SMT_CHECK_UNTOUCHED >> shift);
}

static bool right(const smt_check_part *part, double got, double expected, double rms, double bound) {
    return part->kind == SMT_CHECK_WORDS ? got == expected : fabs(got - expected) <= bound * fmax(fabs(expected), rms);
}

static smt_status compare(const smt_check *check, uint32_t index, double bound, smt_error *err) {
    const smt_check_part *part = &check->parts[index];
    size_t per_row = part->stride * (part->kind == SMT_CHECK_HALVES ? 2u : 1u), n = part->rows * per_row, wrong = 0, first = 0;
    double rms = root_mean_square(part, check->expected[index], n);
    for (size_t i = 0; i < n; i++) {
        double got = value_of(part, check->memory[index], i), expected = value_of(part, check->expected[index], i);
        bool fits = untouched(part, check->expected[index], i) ? untouched(part, check->memory[index], i)
                                                               : right(part, got, expected, rms, bound);
        if (!fits && wrong++ == 0) first = i;
    }
    if (wrong == 0) return SMT_OK;
    const smt_caps *caps = check->caps;
    return SMT_FAIL(
        err, SMT_WRONG_RESULT,
        "%.80s, driver %.40s %.80s, computes nonsense: kernel %s gives %.9g where %.9g is right (row %zu, element %zu of "
        "buffer %u; %zu of %zu values are wrong)",
        caps->name, caps->driver_name, caps->driver_info, check->spec.label, value_of(part, check->memory[index], first),
        value_of(part, check->expected[index], first), first / per_row, first % per_row, part->binding, wrong, n);
}

/* ---- the dispatch ---- */

/* Where the parts lie in the slab; returns its bytes. */
static uint64_t lay_out(const smt_check *check, smt_vk_buffer *slab, smt_vk_range *ranges) {
    uint64_t align = smt_max_u32(ALIGN, smt_max_u32(check->caps->storage_align, check->caps->texel_align)), at = 0;
    for (uint32_t i = 0; i < check->n_parts; i++) {
        ranges[i] = (smt_vk_range){slab, at, smt_align_up(4 * words_of(&check->parts[i]) + 16, 16)};
        at = smt_align_up(at + ranges[i].bytes, align);
    }
    return at;
}

static smt_status dispatch(const smt_check *check, const smt_vk_range *ranges, const void *push, const uint32_t groups[3],
                           smt_error *err) {
    smt_vk_range windows[SMT_VK_MAX_WINDOWS], buffers[SMT_VK_MAX_BUFFERS] = {0};
    smt_vk_dispatch d = {.kernel = check->kernel,
                         .windows = windows,
                         .buffers = buffers,
                         .n_buffers = SMT_VK_MAX_BUFFERS,
                         .push = push,
                         .push_bytes = check->spec.push_bytes,
                         .groups = {groups[0], groups[1], groups[2]}};
    for (uint32_t i = 0; i < check->n_parts; i++)
        *(check->parts[i].binding ? &buffers[check->parts[i].binding - 1] : &windows[d.n_windows++]) = ranges[i];
    smt_vk_recording *recording;
    uint64_t value;
    SMT_TRY(smt_vk_recording_begin(check->device, check->spec.label, &recording, err));
    smt_status status = smt_vk_record_dispatch(recording, &d, err);
    if (status == SMT_OK) status = smt_vk_recording_end(recording, err);
    if (status == SMT_OK) status = smt_vk_submit(check->device, recording, &value, err);
    if (status == SMT_OK) status = smt_vk_wait(check->device, value, check->timeout_ns, err);
    smt_vk_recording_destroy(check->device, recording);
    return status;
}

static smt_status run_on(smt_check *check, smt_vk_buffer *slab, const smt_vk_range *ranges, const void *push,
                         const uint32_t groups[3], smt_error *err) {
    uint8_t *map = smt_vk_buffer_map(slab);
    for (uint32_t i = 0; i < check->n_parts; i++)
        memcpy(map + ranges[i].offset, check->memory[i], 4 * (words_of(&check->parts[i]) + 4));
    SMT_TRY(smt_vk_buffer_flush(check->device, slab, 0, smt_vk_buffer_bytes(slab), err));
    SMT_TRY(dispatch(check, ranges, push, groups, err));
    SMT_TRY(smt_vk_buffer_invalidate(check->device, slab, 0, smt_vk_buffer_bytes(slab), err));
    for (uint32_t i = 0; i < check->n_parts; i++)
        if (check->parts[i].kind != SMT_CHECK_INPUT)
            memcpy(check->memory[i], map + ranges[i].offset, 4 * words_of(&check->parts[i]));
    return SMT_OK;
}

smt_status smt_check_run(smt_check *check, const void *push, const uint32_t groups[3], double bound, smt_error *err) {
    smt_vk_range ranges[SMT_CHECK_PARTS];
    uint32_t type = smt_caps_find_memory(check->caps, SMT_MEM_HOST | SMT_MEM_CACHED, 0);
    if (type == UINT32_MAX) type = smt_caps_find_memory(check->caps, SMT_MEM_HOST, 0);
    if (type == UINT32_MAX) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no host-visible memory", check->caps->name);
    smt_vk_buffer *slab;
    SMT_TRY(smt_vk_buffer_create(check->device, type, lay_out(check, NULL, ranges), "check", &slab, err));
    lay_out(check, slab, ranges);
    smt_status status = run_on(check, slab, ranges, push, groups, err);
    smt_vk_buffer_destroy(check->device, slab);
    for (uint32_t i = 0; i < check->n_parts && status == SMT_OK; i++)
        if (check->parts[i].kind != SMT_CHECK_INPUT) status = compare(check, i, bound, err);
    return status;
}
