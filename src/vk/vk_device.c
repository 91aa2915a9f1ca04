/* vk_device.c: executes a choice: logical device, queues, timelines, layouts, pipeline cache and compiler.
 *
 * Creation zeroes the object and fills it step by step; on failure it calls its own destroy, which accepts a half-built
 * device. A device without memory heaps (a driver that has no hardware under it) is made for compiling kernels alone: it gets
 * no timeline, and recordings are refused. */
#include "vk_objects.h"

#include <string.h>

static VkBool32 on(bool wanted) { return wanted ? VK_TRUE : VK_FALSE; }

static smt_status create_device(smt_vk_device *device, VkPhysicalDevice physical, smt_error *err) {
    const smt_vk_choice *choice = &device->choice;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coop_matrix = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, .cooperativeMatrix = VK_TRUE};
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE};
    VkPhysicalDeviceShaderIntegerDotProductFeatures int_dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES, .shaderIntegerDotProduct = VK_TRUE};
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = on(choice->full_subgroups)};
    VkPhysicalDeviceVulkan12Features features12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                                   .timelineSemaphore = VK_TRUE,
                                                   .shaderUniformTexelBufferArrayDynamicIndexing = on(choice->texels),
                                                   .shaderFloat16 = on(choice->fp16),
                                                   .shaderInt8 = on(choice->int8),
                                                   .storageBuffer8BitAccess = on(choice->storage8),
                                                   .vulkanMemoryModel = on(choice->coop_matrix),
                                                   .vulkanMemoryModelDeviceScope = on(choice->coop_matrix)};
    VkPhysicalDeviceVulkan11Features features11 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                                   .pNext = &features12,
                                                   .storageBuffer16BitAccess = on(choice->storage16)};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &features11,
                                          .features = {.shaderStorageBufferArrayDynamicIndexing = VK_TRUE,
                                                       .shaderInt16 = on(choice->int16),
                                                       .shaderInt64 = on(choice->int64)}};
    void **tail = &features12.pNext;
    if (choice->require_subgroup_size || choice->full_subgroups) *tail = &size_control, tail = &size_control.pNext;
    if (choice->int_dot) *tail = &int_dot, tail = &int_dot.pNext;
    if (choice->executable_properties) *tail = &executable, tail = &executable.pNext;
    if (choice->coop_matrix) *tail = &coop_matrix;

    const char *extensions[SMT_VK_EXTENSION_COUNT];
    uint32_t n_extensions = 0;
    for (uint32_t i = 0; i < SMT_VK_EXTENSION_COUNT; i++)
        if (choice->extensions & 1u << i) extensions[n_extensions++] = smt_vk_extension_names[i];
    float priority = 1;
    VkDeviceQueueCreateInfo queues[SMT_VK_QUEUES];
    for (int i = 0; i < SMT_VK_QUEUES; i++)
        queues[i] =
            (VkDeviceQueueCreateInfo){.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                      .queueFamilyIndex = i == SMT_VK_COPIES ? choice->transfer_family : choice->queue_family,
                                      .queueCount = 1,
                                      .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = choice->transfer_family == choice->queue_family ? 1 : SMT_VK_QUEUES,
                               .pQueueCreateInfos = queues,
                               .enabledExtensionCount = n_extensions,
                               .ppEnabledExtensionNames = extensions};
    VkResult result = device->vk->fn.CreateDevice(physical, &info, NULL, &device->handle);
    return result ? SMT_VK_FAIL(NULL, err, result, "vkCreateDevice for %s", device->caps.name) : SMT_OK;
}

static smt_status copy_option(char **out, const char *text, smt_error *err) {
    if (!text) return SMT_OK;
    *out = smt_strdup(text);
    return *out ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for the path %s", text);
}

/* All that follows from the choice. */
static smt_status open_device(smt_vk_device *device, const char *cache_dir, const char *shader_dir, smt_error *err) {
    device->loss_mutex = smt_os_mutex_create();
    device->queue_mutex = smt_os_mutex_create();
    if (!device->loss_mutex || !device->queue_mutex) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a device");
    SMT_TRY(copy_option(&device->cache_dir, cache_dir, err));
    SMT_TRY(copy_option(&device->shader_dir, shader_dir, err));
    SMT_TRY(smt_vk_glsl_create(&device->glsl, err));
    if (device->vk->host.device)
        device->handle = device->vk->host.device;
    else
        SMT_TRY(create_device(device, device->physical, err));
    SMT_TRY(smt_vk_load_device(device, err));
    device->loaded = true;
    SMT_TRY(smt_vk_queues_create(device, err));
    SMT_TRY(smt_vk_layouts_create(device, err));
    return smt_vk_pipeline_cache_open(device, err);
}

static smt_status build(smt_vk_device *device, const smt_vk_physical *physical, const smt_vk_device_options *options,
                        smt_error *err) {
    smt_vk_facts facts = physical->facts;
    const char *family = options ? options->kernels : NULL;
    if (options && options->minimum) smt_caps_reduce(&facts.caps);
    if (!smt_caps_family(facts.caps.kind, family, &facts.caps.family))
        return SMT_FAIL(err, SMT_INVALID, "kernels \"%s\": rows and wave are the families there are", family);
    device->caps = facts.caps;
    SMT_TRY(smt_vk_choose(&facts, &device->choice, err));
    /* A queue more is as optional as a feature; and a device that only compiles has nothing to copy. */
    if ((options && options->minimum) || !facts.caps.n_heaps) device->choice.transfer_family = device->choice.queue_family;
    device->caps.transfer_family = device->choice.transfer_family;
    device->physical = physical->handle;
    SMT_TRY(open_device(device, options ? options->cache_dir : NULL, options ? options->shader_dir : NULL, err));
    smt_vk_trust_open(device);
    return SMT_OK;
}

smt_status smt_vk_device_create(smt_vk *vk, uint32_t index, const smt_vk_device_options *options, smt_vk_device **out,
                                smt_error *err) {
    *out = NULL;
    if (index >= vk->n_physical) return SMT_FAIL(err, SMT_INVALID, "device %u of %u", index, vk->n_physical);
    smt_vk_device *device = smt_alloc(1, sizeof *device);
    if (!device) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a device");
    device->vk = vk;
    smt_status status = build(device, &vk->physical[index], options, err);
    if (status == SMT_OK)
        *out = device;
    else
        smt_vk_device_destroy(device);
    return status;
}

smt_status smt_vk_device_twin(const smt_vk_device *device, smt_vk_device **out, smt_error *err) {
    *out = NULL;
    if (device->vk->host.device) return SMT_FAIL(err, SMT_UNSUPPORTED, "%s is the host program's device", device->caps.name);
    smt_vk_device *twin = smt_alloc(1, sizeof *twin);
    if (!twin) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a device");
    *twin = (smt_vk_device){
        .vk = device->vk, .caps = device->caps, .choice = device->choice, .physical = device->physical, .twin = true};
    twin->choice.transfer_family = twin->caps.transfer_family = twin->choice.queue_family; /* it copies nothing */
    smt_status status = open_device(twin, device->cache_dir, device->shader_dir, err);
    if (status == SMT_OK)
        *out = twin;
    else
        smt_vk_device_destroy(twin);
    return status;
}

/* A lost device has nothing left to wait for, and its queue is not touched again. On a host program's device, others' work is none of our
 * business. */
static void wait_for_work(smt_vk_device *device) {
    if (smt_vk_check_lost(device, NULL) != SMT_OK) return;
    if (device->vk->host.device)
        smt_vk_wait(device, device->queues[SMT_VK_KERNELS].submitted, UINT64_MAX, NULL);
    else
        device->fn.DeviceWaitIdle(device->handle);
}

void smt_vk_device_destroy(smt_vk_device *device) {
    if (!device) return;
    const smt_vk_device_table *fn = &device->fn;
    if (device->loaded) {
        if (device->latest_value) wait_for_work(device);
        if (device->pipeline_cache && !device->twin) smt_vk_cache_save(device, NULL);
        fn->DestroyPipelineCache(device->handle, device->pipeline_cache, NULL);
        smt_vk_queues_destroy(device);
        smt_vk_layouts_destroy(device);
    }
    if (device->handle && fn->DestroyDevice && !device->vk->host.device) fn->DestroyDevice(device->handle, NULL);
    smt_vk_glsl_free(device->glsl);
    smt_free(device->trusted);
    smt_free(device->cache_dir);
    smt_free(device->shader_dir);
    smt_os_mutex_free(device->queue_mutex);
    smt_os_mutex_free(device->loss_mutex);
    smt_free(device);
}

const smt_caps *smt_vk_device_caps(const smt_vk_device *device) { return &device->caps; }

void smt_vk_device_forgo_coop(smt_vk_device *device) { device->caps.coop = (smt_coop_shape){0}; }
