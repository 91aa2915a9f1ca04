/* api_devices.c: smt_device_list_*: snapshots as public structs, and the measured read bandwidth of device memory.
 *
 * A list owns its Vulkan instance and copies of the option strings; the strings of an smt_device_info belong to it. Listing
 * creates no device. Measuring creates one for its duration: a slab of device memory is read from end to end by one kernel, a few
 * times, and the fastest time counts. */
#include "api_internal.h"
#include "os/os.h"

#include <stdio.h>
#include <string.h>

/* Larger than the caches of any device of today, small enough for every heap that a model fits in. */
#define BANDWIDTH_BYTES  (256ull << 20)
#define BANDWIDTH_RUNS   4   /* the first only warms up */
#define BANDWIDTH_PASSES 8   /* of one submission, so that its own cost does not count; one on a processor */
#define BANDWIDTH_GROUP  128 /* a subgroup on a processor, which so reads one run of memory after another, as products do */
#define BANDWIDTH_GROUPS 1024
/* Four loads of at most 32 bytes by each invocation. */
#define BANDWIDTH_UNIT       (4ull * BANDWIDTH_GROUP * BANDWIDTH_GROUPS * 32)
#define BANDWIDTH_TIMEOUT_NS 20000000000ull
#define MAX_LISTED           64

struct smt_device_list {
    smt_device_options options; /* its strings are copies */
    smt_vk *vk;                 /* owned */
    uint32_t n_devices;
    struct listed {
        const smt_caps *caps; /* borrowed from vk */
        uint32_t index;       /* in vk */
        char lack[160];       /* what is missing, or "" */
    } devices[MAX_LISTED];
};

static smt_status copy_text(const char **text, smt_error *err) {
    if (!*text) return SMT_OK;
    const char *copy = smt_strdup(*text);
    *text = copy;
    return copy ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory copying device options");
}

/* All devices, or those that the options name. */
static smt_status fill(smt_device_list *list, smt_error *err) {
    uint32_t n_caps = smt_vk_count(list->vk), chosen[MAX_LISTED], count = 0;
    if (n_caps > MAX_LISTED) n_caps = MAX_LISTED;
    const smt_caps *caps[MAX_LISTED];
    for (uint32_t i = 0; i < n_caps; i++) {
        caps[i] = smt_vk_caps(list->vk, i);
        chosen[count++] = i;
    }
    if (list->options.devices && *list->options.devices)
        SMT_TRY(smt_api_choose_devices(caps, n_caps, list->options.devices, chosen, MAX_LISTED, &count, err));
    list->n_devices = count;
    for (uint32_t i = 0; i < count; i++) {
        struct listed *device = &list->devices[i];
        device->index = chosen[i];
        device->caps = caps[chosen[i]];
        if (!smt_caps_lacks(device->caps, device->lack, sizeof device->lack)) device->lack[0] = 0;
    }
    return SMT_OK;
}

smt_status smt_device_list_create(const smt_device_options *options, smt_device_list **out_list, smt_error *err) {
    *out_list = NULL;
    smt_device_options known;
    SMT_TRY(smt_api_copy_options(&known, sizeof known, options, "smt_device_options", err));
    smt_device_list *list = smt_alloc(1, sizeof *list);
    if (!list) return SMT_FAIL(err, SMT_MEMORY, "out of memory listing devices");
    list->options.validation = known.validation;
    list->options.minimum = known.minimum;
    list->options.callbacks = known.callbacks;
    const char *devices = known.devices, *cache_dir = known.cache_dir, *shader_dir = known.shader_dir;
    smt_status status = copy_text(&devices, err);
    if (status == SMT_OK) {
        list->options.devices = devices;
        status = copy_text(&cache_dir, err);
    }
    if (status == SMT_OK) {
        list->options.cache_dir = cache_dir;
        status = copy_text(&shader_dir, err);
    }
    if (status == SMT_OK) {
        list->options.shader_dir = shader_dir;
        status = smt_api_open_vulkan(&known, &list->vk, err);
    }
    if (status == SMT_OK) status = fill(list, err);
    if (status != SMT_OK) {
        smt_device_list_free(list);
        return status;
    }
    *out_list = list;
    return SMT_OK;
}

void smt_device_list_free(smt_device_list *list) {
    if (!list) return;
    if (list->vk) smt_vk_close(list->vk);
    smt_free((char *)list->options.devices);
    smt_free((char *)list->options.cache_dir);
    smt_free((char *)list->options.shader_dir);
    smt_free(list);
}

smt_status smt_device_list_chosen(const smt_device_list *list, uint32_t *out_index, smt_error *err) {
    const smt_caps *caps[MAX_LISTED];
    for (uint32_t i = 0; i < list->n_devices; i++) caps[i] = list->devices[i].caps;
    /* The user's words are resolved already: what is left is the automatic choice, or the only one. */
    return smt_api_choose_device(caps, list->n_devices, NULL, out_index, err);
}

uint32_t smt_device_list_count(const smt_device_list *list) { return list->n_devices; }

static void fill_heaps(const smt_caps *caps, smt_device_info *info) {
    info->n_memory_types = smt_min_u32(caps->n_types, SMT_COUNT(info->memory_types));
    for (uint32_t i = 0; i < info->n_memory_types; i++)
        info->memory_types[i] = (smt_memory_type){.heap = caps->types[i].heap,
                                                  .device_local = caps->types[i].device_local,
                                                  .host_visible = caps->types[i].host_visible,
                                                  .host_coherent = caps->types[i].host_coherent,
                                                  .host_cached = caps->types[i].host_cached};
    info->n_heaps = smt_min_u32(caps->n_heaps, SMT_COUNT(info->heaps));
    for (uint32_t i = 0; i < info->n_heaps; i++)
        info->heaps[i] = (smt_heap_info){
            .bytes = caps->heaps[i].bytes, .budget = caps->heaps[i].budget, .device_local = caps->heaps[i].device_local};
    for (uint32_t i = 0; i < caps->n_types; i++)
        if (caps->types[i].host_visible && caps->types[i].heap < info->n_heaps)
            info->heaps[caps->types[i].heap].host_visible = true;
}

smt_status smt_device_list_get(const smt_device_list *list, uint32_t index, smt_device_info *out_info) {
    *out_info = (smt_device_info){0};
    if (index >= list->n_devices) return SMT_INVALID;
    const smt_caps *caps = list->devices[index].caps;
    *out_info = (smt_device_info){
        .id = caps->id,
        .name = caps->name,
        .kind = smt_caps_kind_name(caps->kind),
        .driver = caps->driver_name,
        .uuid = caps->uuid_text,
        .vendor_id = caps->vendor_id,
        .device_id = caps->device_id,
        .api_version = caps->api_version,
        .driver_version = caps->driver_version,
        .max_allocation = caps->max_allocation,
        .max_storage_range = caps->max_storage_range,
        .max_push_constants = caps->max_push_bytes,
        .max_workgroup = caps->max_invocations,
        .max_shared_bytes = caps->max_shared_bytes,
        .max_storage_buffers = caps->max_stage_buffers,
        .subgroup_size = caps->subgroup_size,
        .fp16 = caps->fp16,
        .int8 = caps->int8,
        .int64 = caps->int64,
        .storage16 = caps->storage16,
        .storage8 = caps->storage8,
        .int_dot = caps->int_dot_accelerated,
        .coop_matrix = caps->coop_matrix,
        .storage_align = caps->storage_align,
        .max_texels = caps->texel_array_dynamic ? caps->max_texels : 0,
        .texel_align = caps->texel_align,
        .subgroup_min = caps->subgroup_min,
        .subgroup_ballot = caps->subgroup_ballot,
        .subgroup_arithmetic = caps->subgroup_arithmetic,
        .timeline = caps->timeline,
        .memory_budget = caps->memory_budget,
        .executable_properties = caps->executable_properties,
        .driver_info = caps->driver_info,
        .coop_shape = {caps->coop.m, caps->coop.n, caps->coop.k},
        .external_memory = caps->external_memory_fd,
        .unusable = list->devices[index].lack[0] ? list->devices[index].lack : NULL,
    };
    fill_heaps(caps, out_info);
    return SMT_OK;
}

/* ---- bandwidth ---- */

/* Everything that one measurement makes; whatever is not NULL is destroyed at its end. */
typedef struct probe {
    smt_vk_device *device;
    smt_vk_kernel *kernel;
    smt_vk_buffer *data, *sums;
    smt_vk_recording *recording;
    uint64_t bytes, bytes_read; /* of the slab; by one submission */
    uint32_t group;             /* invocations of a workgroup */
    bool texels, wide;          /* read as weights are; 32 bytes a load */
} probe;

static void destroy(probe *p) {
    if (!p->device) return;
    smt_vk_recording_destroy(p->device, p->recording);
    smt_vk_buffer_destroy(p->device, p->sums);
    smt_vk_buffer_destroy(p->device, p->data);
    smt_vk_kernel_destroy(p->device, p->kernel);
    smt_vk_device_destroy(p->device);
}

static smt_status make_kernel(probe *p, smt_error *err) {
    const smt_caps *caps = smt_vk_device_caps(p->device);
    bool cpu = caps->kind == SMT_KIND_CPU;
    p->group = cpu ? smt_min_u32(smt_caps_subgroup(caps), 16) : BANDWIDTH_GROUP;
    p->texels = smt_caps_texels(caps);
    p->wide = !p->texels && cpu && caps->int64;
    smt_vk_define defines[] = {{"RUNS", cpu ? "1" : "0"}, {"WIDE", p->wide ? "1" : "0"}};
    smt_vk_kernel_desc desc = {.source = "read_bandwidth.comp",
                               .label = "read_bandwidth",
                               .defines = defines,
                               .n_defines = SMT_COUNT(defines),
                               .n_windows = 1,
                               .window_texels = p->texels ? SMT_TEXEL_U32X4 : SMT_TEXEL_NONE,
                               .group_size = {p->group, 1, 1},
                               .push_bytes = sizeof(uint32_t)};
    return smt_vk_kernel_create(p->device, &desc, false, &p->kernel, err);
}

static smt_status make_buffers(probe *p, const char *name, smt_error *err) {
    const smt_caps *caps = smt_vk_device_caps(p->device);
    uint32_t type = smt_caps_find_memory(caps, SMT_MEM_DEVICE, SMT_MEM_HOST);
    if (type == UINT32_MAX) type = smt_caps_find_memory(caps, SMT_MEM_DEVICE, 0);
    if (type == UINT32_MAX) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s has no device-local memory to measure", name);
    uint64_t room = smt_min_u64(caps->heaps[caps->types[type].heap].budget / 4, caps->max_allocation);
    p->bytes = smt_min_u64(BANDWIDTH_BYTES, room) / BANDWIDTH_UNIT * BANDWIDTH_UNIT;
    if (p->bytes == 0)
        return SMT_FAIL(err, SMT_DEVICE_MEMORY, "%s has too little memory left to measure: a quarter of it is %llu bytes", name,
                        (unsigned long long)room);
    SMT_TRY(smt_vk_buffer_create(p->device, type, p->bytes, "bandwidth data", &p->data, err));
    return smt_vk_buffer_create(p->device, type, BANDWIDTH_GROUPS * BANDWIDTH_GROUP * sizeof(uint32_t), "bandwidth sums",
                                &p->sums, err);
}

/* One dispatch per window that a descriptor can span. The barrier between two of them is for the sums, which they share. */
static smt_status record(probe *p, smt_error *err) {
    const smt_caps *caps = smt_vk_device_caps(p->device);
    uint64_t reach = p->texels ? 16ull * caps->max_texels : caps->max_storage_range;
    uint64_t window = smt_min_u64(p->bytes, reach / BANDWIDTH_UNIT * BANDWIDTH_UNIT);
    uint32_t passes = caps->kind == SMT_KIND_CPU ? 1 : BANDWIDTH_PASSES;
    SMT_TRY(smt_vk_recording_begin(p->device, "bandwidth", &p->recording, err));
    for (uint64_t at = 0; at < passes * p->bytes;) {
        uint64_t offset = at % p->bytes, bytes = smt_min_u64(window, p->bytes - offset);
        if (at) smt_vk_record_barrier(p->recording);
        uint32_t n_vectors = (uint32_t)(bytes / (p->wide ? 32 : 16));
        smt_vk_range data = {p->data, offset, bytes};
        smt_vk_range ranges[] = {{p->texels ? NULL : p->data, offset, bytes}, {p->sums, 0, smt_vk_buffer_bytes(p->sums)}};
        smt_vk_dispatch dispatch = {.kernel = p->kernel,
                                    .windows = &data,
                                    .n_windows = p->texels,
                                    .buffers = ranges,
                                    .n_buffers = SMT_COUNT(ranges),
                                    .push = &n_vectors,
                                    .push_bytes = sizeof n_vectors,
                                    .groups = {BANDWIDTH_GROUPS, 1, 1}};
        SMT_TRY(smt_vk_record_dispatch(p->recording, &dispatch, err));
        at += bytes;
    }
    p->bytes_read = passes * p->bytes;
    return smt_vk_recording_end(p->recording, err);
}

/* Software drivers map memory lazily: without a first write, reads would all hit one page of zeros. */
static smt_status touch(probe *p, smt_error *err) {
    smt_vk_recording *recording = NULL;
    uint64_t value;
    SMT_TRY(smt_vk_recording_begin(p->device, "bandwidth fill", &recording, err));
    smt_vk_range all = {p->data, 0, p->bytes};
    smt_vk_record_fill(recording, &all, 1);
    smt_vk_record_barrier(recording);
    smt_status status = smt_vk_recording_end(recording, err);
    if (status == SMT_OK) status = smt_vk_submit(p->device, recording, &value, err);
    if (status == SMT_OK) status = smt_vk_wait(p->device, value, BANDWIDTH_TIMEOUT_NS, err);
    smt_vk_recording_destroy(p->device, recording);
    return status;
}

static smt_status measure(probe *p, double *out_bytes_s, smt_error *err) {
    double best = 0;
    for (uint32_t run = 0; run < BANDWIDTH_RUNS; run++) {
        uint64_t value;
        double start = smt_os_seconds();
        SMT_TRY(smt_vk_submit(p->device, p->recording, &value, err));
        SMT_TRY(smt_vk_wait(p->device, value, BANDWIDTH_TIMEOUT_NS, err));
        double seconds = smt_os_seconds() - start;
        if (run > 0 && seconds > 0 && (best == 0 || seconds < best)) best = seconds;
    }
    if (best <= 0)
        return SMT_FAIL(err, SMT_INTERNAL, "the clock did not advance while %llu bytes were read",
                        (unsigned long long)p->bytes_read);
    *out_bytes_s = (double)p->bytes_read / best;
    return SMT_OK;
}

smt_status smt_api_bandwidth(smt_vk *vk, uint32_t index, const smt_device_options *options, double *out_bytes_s, smt_error *err) {
    const smt_vk_device_options device = {
        .minimum = options->minimum, .cache_dir = options->cache_dir, .shader_dir = options->shader_dir};
    probe p = {0};
    *out_bytes_s = 0;
    smt_status status = smt_vk_device_create(vk, index, &device, &p.device, err);
    if (status == SMT_OK) status = make_kernel(&p, err);
    if (status == SMT_OK) status = make_buffers(&p, smt_vk_caps(vk, index)->name, err);
    if (status == SMT_OK) status = touch(&p, err);
    if (status == SMT_OK) status = record(&p, err);
    if (status == SMT_OK) status = measure(&p, out_bytes_s, err);
    destroy(&p);
    return status;
}

smt_status smt_device_bandwidth(const smt_device_list *list, uint32_t index, double *out_bytes_s, smt_error *err) {
    *out_bytes_s = 0;
    if (index >= list->n_devices) return SMT_FAIL(err, SMT_INVALID, "device %u of %u", index, list->n_devices);
    const struct listed *listed = &list->devices[index];
    if (listed->lack[0]) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s: %s", listed->caps->name, listed->lack);
    return smt_api_bandwidth(list->vk, listed->index, &list->options, out_bytes_s, err);
}
