/* vk_host.c: a device that the host program has made. It is asked for nothing that the program did not enable: the snapshot of the physical
 * device is cut down to what VkDeviceCreateInfo says, and from there on it is a device like any other (vk_choose.c decides).
 *
 * Handles are borrowed and never destroyed. What can be checked without using the device is checked here, by name, since a wrong handle
 * or a feature that is not on ends in undefined behaviour later. */
#include "vk_objects.h"

#include <string.h>

typedef struct enabled {
    bool dynamic_arrays, texel_arrays, timeline, int16, int64, storage16, storage8, fp16, int8, memory_model, size_control,
        full_subgroups, int_dot, executable, coop_matrix;
    uint32_t extensions;
} enabled;

/* Features may be enabled through the struct of a Vulkan version or through that of the extension which became part of it. */
static void read_core(const VkBaseInStructure *s, enabled *e) {
    const VkPhysicalDeviceVulkan11Features *f11 = (const void *)s;
    const VkPhysicalDeviceVulkan12Features *f12 = (const void *)s;
    const VkPhysicalDeviceVulkan13Features *f13 = (const void *)s;
    if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES) e->storage16 |= f11->storageBuffer16BitAccess;
    if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) {
        e->timeline |= f12->timelineSemaphore;
        e->texel_arrays |= f12->shaderUniformTexelBufferArrayDynamicIndexing;
        e->fp16 |= f12->shaderFloat16;
        e->int8 |= f12->shaderInt8;
        e->storage8 |= f12->storageBuffer8BitAccess;
        e->memory_model |= f12->vulkanMemoryModel && f12->vulkanMemoryModelDeviceScope;
    }
    if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES) {
        e->size_control |= f13->subgroupSizeControl;
        e->full_subgroups |= f13->computeFullSubgroups;
        e->int_dot |= f13->shaderIntegerDotProduct;
    }
}

static void read_extension(const VkBaseInStructure *s, enabled *e) {
    const void *p = s;
    const VkPhysicalDeviceShaderFloat16Int8Features *narrow = p;
    const VkPhysicalDeviceSubgroupSizeControlFeatures *size = p;
    const VkPhysicalDeviceVulkanMemoryModelFeatures *scopes = p;
    switch ((int)s->sType) { /* not every header knows every value */
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES:
        e->storage16 |= ((const VkPhysicalDevice16BitStorageFeatures *)p)->storageBuffer16BitAccess;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES:
        e->storage8 |= ((const VkPhysicalDevice8BitStorageFeatures *)p)->storageBuffer8BitAccess;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES:
        e->fp16 |= narrow->shaderFloat16;
        e->int8 |= narrow->shaderInt8;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_TIMELINE_SEMAPHORE_FEATURES:
        e->timeline |= ((const VkPhysicalDeviceTimelineSemaphoreFeatures *)p)->timelineSemaphore;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DESCRIPTOR_INDEXING_FEATURES:
        e->texel_arrays |= ((const VkPhysicalDeviceDescriptorIndexingFeatures *)p)->shaderUniformTexelBufferArrayDynamicIndexing;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES:
        e->memory_model |= scopes->vulkanMemoryModel && scopes->vulkanMemoryModelDeviceScope;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES:
        e->size_control |= size->subgroupSizeControl;
        e->full_subgroups |= size->computeFullSubgroups;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES:
        e->int_dot |= ((const VkPhysicalDeviceShaderIntegerDotProductFeatures *)p)->shaderIntegerDotProduct;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR:
        e->executable |= ((const VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR *)p)->pipelineExecutableInfo;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR:
        e->coop_matrix |= ((const VkPhysicalDeviceCooperativeMatrixFeaturesKHR *)p)->cooperativeMatrix;
        break;
    }
}

static enabled read_enabled(const VkDeviceCreateInfo *info) {
    enabled e = {0};
    const VkPhysicalDeviceFeatures *basic = info->pEnabledFeatures;
    for (const VkBaseInStructure *s = info->pNext; s; s = s->pNext) {
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2)
            basic = &((const VkPhysicalDeviceFeatures2 *)(const void *)s)->features;
        read_core(s, &e);
        read_extension(s, &e);
    }
    if (basic) {
        e.dynamic_arrays = basic->shaderStorageBufferArrayDynamicIndexing;
        e.int16 = basic->shaderInt16;
        e.int64 = basic->shaderInt64;
    }
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++)
        for (uint32_t k = 0; k < SMT_VK_EXTENSION_COUNT; k++)
            if (strcmp(info->ppEnabledExtensionNames[i], smt_vk_extension_names[k]) == 0) e.extensions |= 1u << k;
    return e;
}

static void cut_down(smt_vk_facts *facts, const smt_host_device *host, const enabled *e) {
    smt_caps *caps = &facts->caps;
    /* How full the memory is may be asked of any physical device that lists the extension. */
    facts->extensions &= e->extensions | SMT_VK_EXT_MEMORY_BUDGET;
    facts->full_subgroups &= e->full_subgroups;
    for (uint32_t i = 0; i < facts->n_families; i++)
        if (i != host->queue_family) facts->families[i].n_queues = 0;
    caps->api_version = smt_min_u32(caps->api_version, host->api_version);
    caps->buffer_array_dynamic &= e->dynamic_arrays;
    caps->texel_array_dynamic &= e->texel_arrays;
    caps->timeline &= e->timeline;
    caps->int16 &= e->int16;
    caps->int64 &= e->int64;
    caps->storage16 &= e->storage16;
    caps->storage8 &= e->storage8;
    caps->fp16 &= e->fp16;
    caps->int8 &= e->int8;
    caps->int_dot_accelerated &= e->int_dot;
    caps->coop_matrix &= e->coop_matrix && e->memory_model;
    if (!caps->coop_matrix || !caps->fp16 || !facts->full_subgroups) caps->coop = (smt_coop_shape){0};
    caps->executable_properties &= e->executable;
    caps->subgroup_size_control &= e->size_control;
    caps->external_memory_host &= (e->extensions & SMT_VK_EXT_EXTERNAL_HOST) != 0;
    caps->external_memory_fd &= (e->extensions & SMT_VK_EXT_EXTERNAL_FD) != 0;
}

/* What can be seen from the struct alone. */
static smt_status check_struct(const smt_host_device *host, smt_error *err) {
    const struct {
        const void *value;
        const char *name;
    } needed[] = {{host->instance, "instance"},
                  {host->physical_device, "physical_device"},
                  {host->device, "device"},
                  {host->queue, "queue"},
                  {host->create_info, "create_info"}};
    for (size_t i = 0; i < SMT_COUNT(needed); i++)
        if (!needed[i].value) return SMT_FAIL(err, SMT_INVALID, "smt_host_device.%s is NULL", needed[i].name);
    if (!host->lock != !host->unlock) return SMT_FAIL(err, SMT_INVALID, "smt_host_device has only one of lock and unlock");
    const VkDeviceCreateInfo *info = host->create_info;
    if (info->sType != VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO)
        return SMT_FAIL(err, SMT_INVALID, "smt_host_device.create_info is no VkDeviceCreateInfo");
    for (uint32_t i = 0; i < info->queueCreateInfoCount; i++)
        if (info->pQueueCreateInfos[i].queueFamilyIndex == host->queue_family) return SMT_OK;
    return SMT_FAIL(err, SMT_INVALID, "the host program's device has no queue of family %u", host->queue_family);
}

/* What the engine cannot do without, in words that tell the host program's author what to enable. */
static smt_status check_device(const smt_vk_facts *facts, const smt_host_device *host, smt_error *err) {
    const smt_caps *caps = &facts->caps;
    const char *missing = !caps->timeline               ? "timelineSemaphore (VkPhysicalDeviceVulkan12Features)"
                          : !caps->buffer_array_dynamic ? "shaderStorageBufferArrayDynamicIndexing (VkPhysicalDeviceFeatures)"
                                                        : NULL;
    if (caps->api_version < VK_API_VERSION_1_2)
        return SMT_FAIL(err, SMT_UNSUPPORTED,
                        "the host program uses %s as Vulkan %u.%u, 1.2 is needed (smt_host_device.api_version)", caps->name,
                        VK_API_VERSION_MAJOR(caps->api_version), VK_API_VERSION_MINOR(caps->api_version));
    if (missing)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "the host program's device on %s was made without %s", caps->name, missing);
    if (host->queue_family >= facts->n_families || !facts->families[host->queue_family].compute)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "queue family %u of %s does not compute", host->queue_family, caps->name);
    return SMT_OK;
}

/* Is the handle one of the instance's? */
static smt_status find_physical(const smt_vk *vk, const smt_host_device *host, smt_error *err) {
    VkPhysicalDevice handles[64];
    uint32_t count = SMT_COUNT(handles);
    VkResult result = vk->fn.EnumeratePhysicalDevices(vk->instance, &count, handles);
    if (result < 0) return SMT_VK_FAIL(NULL, err, result, "vkEnumeratePhysicalDevices");
    for (uint32_t i = 0; i < count; i++)
        if (handles[i] == host->physical_device) return SMT_OK;
    return SMT_FAIL(err, SMT_INVALID, "smt_host_device.physical_device is none of the %u devices of its instance", count);
}

smt_status smt_vk_adopt(smt_vk *vk, const smt_host_device *host, smt_error *err) {
    SMT_TRY(check_struct(host, err));
    vk->host = *host;
    vk->host.create_info = NULL; /* the caller's, for this call */
    vk->instance = host->instance;
    SMT_TRY(smt_vk_load_instance(vk, err));
    vk->fn.SetDebugUtilsObjectNameEXT = NULL; /* whether the extension is on is not known */
    SMT_TRY(find_physical(vk, host, err));
    vk->physical = smt_alloc(1, sizeof *vk->physical);
    if (!vk->physical) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a device");
    vk->n_physical = 1;
    vk->physical->handle = host->physical_device;
    smt_vk_facts *facts = &vk->physical->facts;
    SMT_TRY(smt_vk_snapshot(vk, host->physical_device, 0, facts, err));
    const enabled e = read_enabled(host->create_info);
    cut_down(facts, host, &e);
    facts->caps.queue_family = facts->caps.transfer_family = host->queue_family;
    if (!facts->families[smt_min_u32(host->queue_family, SMT_VK_MAX_FAMILIES - 1)].timestamp_bits) facts->caps.timestamp_ns = 0;
    return check_device(facts, host, err);
}
