/* vk_pipeline.c: descriptor and pipeline layouts, and kernels: GLSL -> SPIR-V (cached) -> compute pipeline.
 *
 * The layouts are the binding model of vk.h and nothing of a shader's own: one per number of windows, made with the device, so
 * kernels with the same N share descriptor sets' shape and a recording need not know what it dispatches. */
#include "vk_objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t window_counts[SMT_VK_N_LAYOUTS] = {1, 4, 16};

/* ---- layouts ---- */

static smt_status create_layout(smt_vk_device *device, smt_vk_layout *layout, smt_error *err) {
    enum { N = 1 + SMT_VK_MAX_BUFFERS };
    VkDescriptorSetLayoutBinding bindings[2 * N];
    for (uint32_t i = 0; i < N; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){.binding = i,
                                                     .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                                     .descriptorCount = i == 0 ? layout->n_windows : 1,
                                                     .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
        bindings[N + i] = bindings[i];
        bindings[N + i].binding = TEXEL_BINDING + i;
        bindings[N + i].descriptorType = VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER;
    }
    VkDescriptorSetLayoutCreateInfo set_info = {.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
                                                .bindingCount = device->choice.texels ? 2 * N : N,
                                                .pBindings = bindings};
    VkResult result = device->fn.CreateDescriptorSetLayout(device->handle, &set_info, NULL, &layout->set);
    if (result) return SMT_VK_FAIL(device, err, result, "vkCreateDescriptorSetLayout for %u windows", layout->n_windows);
    VkPushConstantRange push = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = SMT_VK_MAX_PUSH};
    VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                       .setLayoutCount = 1,
                                       .pSetLayouts = &layout->set,
                                       .pushConstantRangeCount = 1,
                                       .pPushConstantRanges = &push};
    result = device->fn.CreatePipelineLayout(device->handle, &info, NULL, &layout->pipeline);
    return result ? SMT_VK_FAIL(device, err, result, "vkCreatePipelineLayout for %u windows", layout->n_windows) : SMT_OK;
}

smt_status smt_vk_layouts_create(smt_vk_device *device, smt_error *err) {
    for (uint32_t i = 0; i < SMT_VK_N_LAYOUTS; i++) {
        device->layouts[i].n_windows = window_counts[i];
        /* Left out where the device has too few descriptors: a kernel that wants it is refused with the numbers. */
        if (window_counts[i] + SMT_VK_MAX_BUFFERS <= device->caps.max_stage_buffers)
            SMT_TRY(create_layout(device, &device->layouts[i], err));
    }
    return SMT_OK;
}

void smt_vk_layouts_destroy(smt_vk_device *device) {
    for (uint32_t i = 0; i < SMT_VK_N_LAYOUTS; i++) {
        device->fn.DestroyPipelineLayout(device->handle, device->layouts[i].pipeline, NULL);
        device->fn.DestroyDescriptorSetLayout(device->handle, device->layouts[i].set, NULL);
    }
}

static const smt_vk_layout *find_layout(const smt_vk_device *device, uint32_t n_windows) {
    for (uint32_t i = 0; i < SMT_VK_N_LAYOUTS; i++)
        if (device->layouts[i].n_windows == n_windows) return &device->layouts[i];
    return NULL;
}

/* ---- from a description to SPIR-V ---- */

#define N_AUTOMATIC    6
#define MOST_CONSTANTS 8

static int by_name(const void *a, const void *b) {
    return strcmp(((const smt_vk_define *)a)->name, ((const smt_vk_define *)b)->name);
}

static smt_status check_desc(const smt_vk_device *device, const smt_vk_kernel_desc *desc, smt_error *err) {
    const smt_caps *caps = &device->caps;
    const smt_vk_layout *layout = find_layout(device, desc->n_windows);
    if (!layout)
        return SMT_FAIL(err, SMT_INVALID, "kernel %s: %u windows; 1, 4 or 16 are possible", desc->label, desc->n_windows);
    if (!layout->pipeline)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "kernel %s: %u storage buffers are needed, %s allows %u", desc->label,
                        desc->n_windows + SMT_VK_MAX_BUFFERS, caps->name, caps->max_stage_buffers);
    if (desc->push_bytes > SMT_VK_MAX_PUSH || desc->push_bytes % 4)
        return SMT_FAIL(err, SMT_INVALID, "kernel %s: %u bytes of push constants; a multiple of 4 up to %u is possible",
                        desc->label, desc->push_bytes, SMT_VK_MAX_PUSH);
    if (desc->n_constants > MOST_CONSTANTS)
        return SMT_FAIL(err, SMT_INVALID, "kernel %s: %u specialization constants; %u are possible", desc->label,
                        desc->n_constants, MOST_CONSTANTS);
    if ((desc->window_texels || desc->buffer_texels) && !device->choice.texels)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "kernel %s: texel buffers are wanted, %s is not used with them", desc->label,
                        caps->name);
    const uint32_t *group = desc->group_size;
    uint64_t invocations = (uint64_t)group[0] * group[1] * group[2];
    if (!group[0] || !group[1] || !group[2] || invocations > caps->max_invocations)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "kernel %s: workgroups of %u x %u x %u, %s allows %u invocations", desc->label,
                        group[0], group[1], group[2], caps->name, caps->max_invocations);
    return SMT_OK;
}

/* The caller's defines and ours, sorted: the order they were given in must not matter to the cache. */
static smt_status flatten(const char *shader_dir, uint32_t subgroup_size, const smt_vk_kernel_desc *desc, smt_vk_source *out,
                          smt_error *err) {
    const char *names[N_AUTOMATIC] = {"SMT_WINDOWS", "SMT_GROUP_X", "SMT_GROUP_Y", "SMT_GROUP_Z", "SMT_SUBGROUP", "SMT_TEXELS"};
    uint32_t numbers[N_AUTOMATIC] = {desc->n_windows,
                                     desc->group_size[0],
                                     desc->group_size[1],
                                     desc->group_size[2],
                                     desc->portable ? 0 : subgroup_size,
                                     desc->window_texels != SMT_TEXEL_NONE};
    char values[N_AUTOMATIC][12];
    uint32_t count = desc->n_defines + N_AUTOMATIC;
    smt_vk_define *all = smt_alloc(count, sizeof *all);
    if (!all) return SMT_FAIL(err, SMT_MEMORY, "out of memory for kernel %s", desc->label);
    for (uint32_t i = 0; i < N_AUTOMATIC; i++) {
        snprintf(values[i], sizeof values[i], "%u", numbers[i]);
        all[i] = (smt_vk_define){names[i], values[i]};
    }
    for (uint32_t i = 0; i < desc->n_defines; i++) all[N_AUTOMATIC + i] = desc->defines[i];
    qsort(all, count, sizeof *all, by_name);
    smt_status status = SMT_OK;
    for (uint32_t i = 1; status == SMT_OK && i < count; i++)
        if (by_name(&all[i - 1], &all[i]) == 0)
            status = SMT_FAIL(err, SMT_INVALID, "kernel %s: %s is defined twice", desc->label, all[i].name);
    if (status == SMT_OK) status = smt_vk_source_flatten(shader_dir, desc->source, all, count, out, err);
    smt_free(all);
    return status;
}

/* Kept for the caller's thread: this one may be a worker's, where the host expects no callback. */
static void complain(smt_vk_device *device, const smt_error *cause) {
    smt_os_mutex_lock(device->loss_mutex);
    if (!device->cache_complained) device->cache_complaint = *cause;
    device->cache_complained = true;
    smt_os_mutex_unlock(device->loss_mutex);
}

bool smt_vk_cache_complaint(smt_vk_device *device, char *text, size_t capacity) {
    smt_os_mutex_lock(device->loss_mutex);
    bool any = device->cache_complaint.message[0] != 0;
    if (any) snprintf(text, capacity, "compiled kernels are not kept: %s", device->cache_complaint.message);
    device->cache_complaint.message[0] = 0;
    smt_os_mutex_unlock(device->loss_mutex);
    return any;
}

/* *out_words stays NULL where the module does not come compiled. */
static smt_status get_prebuilt(const smt_vk_source *source, uint32_t **out_words, size_t *out_count, smt_error *err) {
    char name[33];
    SMT_TRY(smt_vk_prebuilt_name(source, name, err));
    return smt_vk_prebuilt_load(name, out_words, out_count, err);
}

/* *out_cached: whether the words were there already. */
static smt_status get_words(smt_vk_device *device, const smt_vk_kernel_desc *desc, uint32_t **out_words, size_t *out_count,
                            smt_vk_key *out_key, bool *out_cached, smt_error *err) {
    smt_vk_source source;
    SMT_TRY(check_desc(device, desc, err));
    SMT_TRY(flatten(device->shader_dir, device->choice.subgroup_size, desc, &source, err));
    *out_key = smt_vk_source_key(&source);
    smt_status status = SMT_OK;
    *out_words = NULL;
    if (desc->portable) status = get_prebuilt(&source, out_words, out_count, err);
    if (status == SMT_OK && !*out_words) *out_words = smt_vk_spirv_load(device->cache_dir, out_key, out_count);
    *out_cached = *out_words != NULL;
    if (status == SMT_OK && !*out_cached) {
        status = smt_vk_glsl_compile(device->glsl, &source, desc->label, out_words, out_count, err);
        /* A cache that cannot be written costs time and nothing else. */
        smt_error cause;
        if (status == SMT_OK && device->cache_dir &&
            smt_vk_blob_write(device->cache_dir, "spirv", out_key, *out_words, *out_count * 4, &cause) != SMT_OK)
            complain(device, &cause);
    }
    smt_vk_source_free(&source);
    return status;
}

smt_status smt_vk_compile_glsl(smt_vk_device *device, const smt_vk_kernel_desc *desc, uint32_t **out_words, size_t *out_count,
                               smt_error *err) {
    *out_words = NULL;
    *out_count = 0;
    smt_vk_key key;
    bool cached;
    return get_words(device, desc, out_words, out_count, &key, &cached, err);
}

smt_status smt_vk_portable_text(const smt_vk_kernel_desc *desc, char **out_text, char name[33], bool *out_prebuilt,
                                smt_error *err) {
    smt_vk_source source;
    *out_text = NULL;
    SMT_TRY(flatten(NULL, 0, desc, &source, err));
    smt_status status = smt_vk_prebuilt_name(&source, name, err);
    if (status == SMT_OK) {
        *out_prebuilt = smt_vk_prebuilt_has(name);
        *out_text = smt_strdup(source.text.text);
        if (!*out_text) status = SMT_FAIL(err, SMT_MEMORY, "out of memory for the text of kernel %s", desc->label);
    }
    smt_vk_source_free(&source);
    return status;
}

bool smt_vk_portable_known(smt_vk_device *device, const smt_vk_kernel_desc *desc) {
    smt_vk_source source;
    char name[33];
    uint32_t *words = NULL;
    size_t count;
    if (flatten(device->shader_dir, 0, desc, &source, NULL) != SMT_OK) return false;
    bool known = smt_vk_prebuilt_name(&source, name, NULL) == SMT_OK && smt_vk_prebuilt_has(name);
    if (!known) known = smt_vk_glsl_compile(device->glsl, &source, desc->label, &words, &count, NULL) == SMT_OK;
    smt_vk_source_free(&source);
    smt_free(words);
    return known;
}

/* ---- kernels ---- */

static smt_status create_pipeline(smt_vk_device *device, const smt_vk_kernel_desc *desc, const uint32_t *words, size_t count,
                                  bool capture, smt_vk_kernel *kernel, smt_error *err) {
    VkShaderModuleCreateInfo module_info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = count * 4, .pCode = words};
    VkShaderModule module;
    VkResult result = device->fn.CreateShaderModule(device->handle, &module_info, NULL, &module);
    if (result) return SMT_VK_FAIL(device, err, result, "kernel %s: vkCreateShaderModule", desc->label);
    smt_vk_name(device, VK_OBJECT_TYPE_SHADER_MODULE, SMT_VK_HANDLE(module), desc->label);
    /* A shader that knows SMT_SUBGROUP must run with it. Full subgroups can be demanded only of whole rows of them. */
    const smt_vk_choice *choice = &device->choice;
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = choice->subgroup_size};
    VkSpecializationMapEntry entries[MOST_CONSTANTS];
    for (uint32_t i = 0; i < desc->n_constants; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = i * sizeof(uint32_t), .size = sizeof(uint32_t)};
    VkSpecializationInfo constants = {.mapEntryCount = desc->n_constants,
                                      .pMapEntries = entries,
                                      .dataSize = desc->n_constants * sizeof(uint32_t),
                                      .pData = desc->constants};
    bool full = choice->full_subgroups && choice->subgroup_size && desc->group_size[0] % choice->subgroup_size == 0;
    VkComputePipelineCreateInfo info = {.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
                                        .flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT |
                                                 (capture ? VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR : 0u),
                                        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                                                  .pNext = choice->require_subgroup_size ? &size : NULL,
                                                  .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT : 0u,
                                                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                                                  .module = module,
                                                  .pName = "main",
                                                  .pSpecializationInfo = desc->n_constants ? &constants : NULL},
                                        .layout = kernel->layout->pipeline};
    result = device->fn.CreateComputePipelines(device->handle, device->pipeline_cache, 1, &info, NULL, &kernel->pipeline);
    device->fn.DestroyShaderModule(device->handle, module, NULL);
    if (result) return SMT_VK_FAIL(device, err, result, "kernel %s: vkCreateComputePipelines", desc->label);
    smt_vk_name(device, VK_OBJECT_TYPE_PIPELINE, SMT_VK_HANDLE(kernel->pipeline), desc->label);
    return SMT_OK;
}

static smt_status build(smt_vk_device *device, const smt_vk_kernel_desc *desc, bool want_stats, smt_vk_kernel *kernel,
                        smt_error *err) {
    double start = smt_os_seconds();
    kernel->label = smt_strdup(desc->label);
    if (!kernel->label) return SMT_FAIL(err, SMT_MEMORY, "out of memory for kernel %s", desc->label);
    uint32_t *words;
    size_t count;
    smt_vk_key source;
    SMT_TRY(get_words(device, desc, &words, &count, &source, &kernel->stats.cached, err));
    kernel->key = smt_vk_kernel_key(&source, desc->constants, desc->n_constants);
    kernel->layout = find_layout(device, desc->n_windows);
    kernel->push_bytes = desc->push_bytes;
    kernel->window_texels = desc->window_texels;
    kernel->buffer_texels = desc->buffer_texels;
    bool capture = want_stats && device->choice.executable_properties;
    smt_status status = create_pipeline(device, desc, words, count, capture, kernel, err);
    smt_free(words);
    if (status != SMT_OK) return status;
    kernel->stats.compile_ms = (smt_os_seconds() - start) * 1e3;
    if (capture) smt_vk_stats_query(device, kernel->pipeline, &kernel->stats);
    return SMT_OK;
}

smt_status smt_vk_kernel_create(smt_vk_device *device, const smt_vk_kernel_desc *desc, bool want_stats, smt_vk_kernel **out,
                                smt_error *err) {
    *out = NULL;
    SMT_TRY(smt_vk_check_lost(device, err));
    smt_vk_kernel *kernel = smt_alloc(1, sizeof *kernel);
    if (!kernel) return SMT_FAIL(err, SMT_MEMORY, "out of memory for kernel %s", desc->label);
    kernel->stats =
        (smt_vk_kernel_stats){.compile_ms = -1, .vgprs = -1, .spills = -1, .lds = -1, .occupancy = -1, .inverse_throughput = -1};
    smt_status status = build(device, desc, want_stats, kernel, err);
    if (status == SMT_OK)
        *out = kernel;
    else
        smt_vk_kernel_destroy(device, kernel);
    return status;
}

void smt_vk_kernel_destroy(smt_vk_device *device, smt_vk_kernel *kernel) {
    if (!kernel) return;
    device->fn.DestroyPipeline(device->handle, kernel->pipeline, NULL);
    smt_free(kernel->label);
    smt_free(kernel);
}

void smt_vk_kernel_get_stats(const smt_vk_kernel *kernel, smt_vk_kernel_stats *out) { *out = kernel->stats; }
