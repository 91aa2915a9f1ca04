/* vk_caps.c: one physical device -> smt_vk_facts: plain numbers that are never asked for again.
 *
 * Everything is asked under the device's own version and extensions: a device older than Vulkan 1.2 gets the basic part only
 * (it is listed, and smt_caps_lacks says why it cannot be used). A device without any memory heap (a driver that only
 * compiles) is an ordinary case; the memory budget is not asked of it. */
#include "vk_objects.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_COOP 128 /* shapes of cooperative matrices that are looked at */

const char *const smt_vk_extension_names[SMT_VK_EXTENSION_COUNT] = {
#define X(name, text) text,
    SMT_VK_EXTENSION_LIST(X)
#undef X
};

/* Structs that join a pNext query only where the device knows them. */
typedef struct query {
    VkPhysicalDeviceFeatures2 features;
    VkPhysicalDeviceVulkan11Features features11;
    VkPhysicalDeviceVulkan12Features features12;
    VkPhysicalDeviceSubgroupSizeControlFeatures size_control;
    VkPhysicalDeviceShaderIntegerDotProductFeatures int_dot;
    VkPhysicalDeviceSynchronization2Features sync2;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable;
    VkPhysicalDeviceCooperativeMatrixFeaturesKHR coop_matrix;

    VkPhysicalDeviceProperties2 properties;
    VkPhysicalDeviceVulkan11Properties properties11;
    VkPhysicalDeviceVulkan12Properties properties12;
    VkPhysicalDeviceSubgroupSizeControlProperties size_limits;
    VkPhysicalDeviceShaderIntegerDotProductProperties int_dot_speed;
    VkPhysicalDeviceMaintenance4Properties maintenance4;
} query;

static void *join(void *tail, void *next, VkStructureType type) {
    VkBaseOutStructure *item = next;
    item->sType = type;
    ((VkBaseOutStructure *)tail)->pNext = item;
    return item;
}

/* Asks for features and properties; what the device does not know stays zero. */
static void ask(const smt_vk *vk, VkPhysicalDevice physical, uint32_t version, uint32_t extensions, query *q) {
    bool core13 = version >= VK_API_VERSION_1_3;
    bool size_control = core13 || extensions & SMT_VK_EXT_SUBGROUP_SIZE, int_dot = core13 || extensions & SMT_VK_EXT_INT_DOT;

    q->features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    void *tail = join(&q->features, &q->features11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
    tail = join(tail, &q->features12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    if (size_control) tail = join(tail, &q->size_control, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    if (int_dot) tail = join(tail, &q->int_dot, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    if (core13 || extensions & SMT_VK_EXT_SYNC2)
        tail = join(tail, &q->sync2, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SYNCHRONIZATION_2_FEATURES);
    if (extensions & SMT_VK_EXT_EXECUTABLE_PROPERTIES)
        tail = join(tail, &q->executable, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR);
    if (extensions & SMT_VK_EXT_COOP_MATRIX)
        join(tail, &q->coop_matrix, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
    vk->fn.GetPhysicalDeviceFeatures2(physical, &q->features);

    q->properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    tail = join(&q->properties, &q->properties11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
    tail = join(tail, &q->properties12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
    if (size_control) tail = join(tail, &q->size_limits, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
    if (int_dot) tail = join(tail, &q->int_dot_speed, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES);
    if (core13 || extensions & SMT_VK_EXT_MAINTENANCE4)
        join(tail, &q->maintenance4, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
    vk->fn.GetPhysicalDeviceProperties2(physical, &q->properties);
}

static smt_status list_extensions(const smt_vk *vk, VkPhysicalDevice physical, uint32_t *out, smt_error *err) {
    *out = 0;
    uint32_t count = 0;
    VkResult result = vk->fn.EnumerateDeviceExtensionProperties(physical, NULL, &count, NULL);
    if (result < 0) return SMT_VK_FAIL(NULL, err, result, "vkEnumerateDeviceExtensionProperties");
    VkExtensionProperties *all = smt_alloc(count, sizeof *all);
    if (!all) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u device extensions", count);
    result = vk->fn.EnumerateDeviceExtensionProperties(physical, NULL, &count, all);
    for (uint32_t i = 0; result >= 0 && i < count; i++)
        for (uint32_t k = 0; k < SMT_VK_EXTENSION_COUNT; k++)
            if (strcmp(all[i].extensionName, smt_vk_extension_names[k]) == 0) *out |= 1u << k;
    smt_free(all);
    /* A layer older than an extension would complain about its structs, so under it the device is taken not to have it. */
    if (vk->layer_version && vk->layer_version < VK_MAKE_API_VERSION(0, 1, 3, 255)) *out &= ~(uint32_t)SMT_VK_EXT_COOP_MATRIX;
    return result < 0 ? SMT_VK_FAIL(NULL, err, result, "vkEnumerateDeviceExtensionProperties") : SMT_OK;
}

static smt_device_kind kind_of(VkPhysicalDeviceType type) {
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return SMT_KIND_DISCRETE;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return SMT_KIND_INTEGRATED;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return SMT_KIND_VIRTUAL;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return SMT_KIND_CPU;
    default:
        return SMT_KIND_OTHER;
    }
}

static void fill_basic(smt_caps *caps, const VkPhysicalDeviceProperties *p) {
    snprintf(caps->name, sizeof caps->name, "%s", p->deviceName);
    caps->kind = kind_of(p->deviceType);
    smt_caps_family(caps->kind, NULL, &caps->family);
    caps->vendor_id = p->vendorID;
    caps->device_id = p->deviceID;
    caps->api_version = p->apiVersion;
    caps->driver_version = p->driverVersion;
    memcpy(caps->pipeline_cache_uuid, p->pipelineCacheUUID, sizeof caps->pipeline_cache_uuid);
    const VkPhysicalDeviceLimits *limits = &p->limits;
    caps->max_storage_range = limits->maxStorageBufferRange;
    caps->max_allocation = UINT64_MAX;
    caps->storage_align = (uint32_t)limits->minStorageBufferOffsetAlignment;
    caps->atom_size = (uint32_t)limits->nonCoherentAtomSize;
    caps->max_push_bytes = limits->maxPushConstantsSize;
    caps->max_shared_bytes = limits->maxComputeSharedMemorySize;
    caps->max_invocations = smt_min_u32(limits->maxComputeWorkGroupInvocations, limits->maxComputeWorkGroupSize[0]);
    caps->max_stage_buffers = smt_min_u32(limits->maxPerStageDescriptorStorageBuffers, limits->maxDescriptorSetStorageBuffers);
    uint32_t textures = smt_min_u32(limits->maxPerStageDescriptorSampledImages, limits->maxDescriptorSetSampledImages);
    if (textures >= SMT_VK_MAX_WINDOWS + SMT_VK_MAX_BUFFERS) caps->max_texels = limits->maxTexelBufferElements;
    caps->texel_align = (uint32_t)limits->minTexelBufferOffsetAlignment;
    for (int i = 0; i < 3; i++) caps->max_group_count[i] = limits->maxComputeWorkGroupCount[i];
    if (isfinite(limits->timestampPeriod)) caps->timestamp_ns = (double)limits->timestampPeriod;
}

static void fill_identity(smt_caps *caps, const query *q) {
    const VkPhysicalDeviceVulkan12Properties *p12 = &q->properties12;
    snprintf(caps->driver_name, sizeof caps->driver_name, "%s", p12->driverName);
    snprintf(caps->driver_info, sizeof caps->driver_info, "%s", p12->driverInfo);
    caps->driver_id = (uint32_t)p12->driverID;
    memcpy(caps->device_uuid, q->properties11.deviceUUID, sizeof caps->device_uuid);
    memcpy(caps->driver_uuid, q->properties11.driverUUID, sizeof caps->driver_uuid);
    for (int i = 0; i < 16; i++) snprintf(caps->uuid_text + 2 * i, 3, "%02x", caps->device_uuid[i]);
    caps->max_allocation = q->properties11.maxMemoryAllocationSize;
    if (q->maintenance4.maxBufferSize) caps->max_allocation = smt_min_u64(caps->max_allocation, q->maintenance4.maxBufferSize);
}

static void fill_subgroups(smt_vk_facts *facts, const query *q) {
    smt_caps *caps = &facts->caps;
    const VkPhysicalDeviceVulkan11Properties *p11 = &q->properties11;
    bool here = p11->subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
    VkSubgroupFeatureFlags operations = here ? p11->subgroupSupportedOperations : 0;
    caps->subgroup_basic = operations & VK_SUBGROUP_FEATURE_BASIC_BIT;
    caps->subgroup_ballot = operations & VK_SUBGROUP_FEATURE_BALLOT_BIT;
    caps->subgroup_shuffle = operations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    caps->subgroup_arithmetic = operations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    /* Where no size can be demanded for compute shaders, they run with this one. */
    caps->subgroup_size = caps->subgroup_min = caps->subgroup_max = p11->subgroupSize;
    caps->subgroup_size_control =
        q->size_control.subgroupSizeControl && q->size_limits.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    if (caps->subgroup_size_control) {
        caps->subgroup_min = q->size_limits.minSubgroupSize;
        caps->subgroup_max = q->size_limits.maxSubgroupSize;
    }
    facts->full_subgroups = caps->subgroup_size_control && q->size_control.computeFullSubgroups;
}

static void fill_features(smt_caps *caps, const query *q, uint32_t extensions) {
    const VkPhysicalDeviceFeatures *f10 = &q->features.features;
    const VkPhysicalDeviceVulkan12Features *f12 = &q->features12;
    caps->buffer_array_dynamic = f10->shaderStorageBufferArrayDynamicIndexing;
    caps->texel_array_dynamic = f12->shaderUniformTexelBufferArrayDynamicIndexing;
    caps->int16 = f10->shaderInt16;
    caps->int64 = f10->shaderInt64;
    caps->storage16 = q->features11.storageBuffer16BitAccess;
    caps->storage8 = f12->storageBuffer8BitAccess;
    caps->fp16 = f12->shaderFloat16;
    caps->int8 = f12->shaderInt8;
    caps->timeline = f12->timelineSemaphore;
    caps->sync2 = q->sync2.synchronization2;
    caps->int_dot = q->int_dot.shaderIntegerDotProduct;
    caps->int_dot_accelerated = caps->int_dot && q->int_dot_speed.integerDotProduct4x8BitPackedSignedAccelerated;
    /* Compilers give such kernels this memory model; with it on, atomics of all kernels need the wide scope. */
    caps->coop_matrix = q->coop_matrix.cooperativeMatrix && f12->vulkanMemoryModel && f12->vulkanMemoryModelDeviceScope;
    caps->executable_properties = q->executable.pipelineExecutableInfo;
    caps->memory_budget = extensions & SMT_VK_EXT_MEMORY_BUDGET;
    caps->external_memory_host = extensions & SMT_VK_EXT_EXTERNAL_HOST;
}

/* Whether buffers as vk_share.c makes them can leave a logical device and enter another. */
static bool can_share(const smt_vk *vk, VkPhysicalDevice physical, uint32_t extensions) {
    const VkPhysicalDeviceExternalBufferInfo info = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_BUFFER_INFO,
                                                     .usage = SMT_VK_SHARED_USAGE,
                                                     .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT};
    VkExternalBufferProperties out = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_BUFFER_PROPERTIES};
    const VkExternalMemoryFeatureFlags both =
        VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT | VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT;
    if (!(extensions & SMT_VK_EXT_EXTERNAL_FD)) return false;
    vk->fn.GetPhysicalDeviceExternalBufferProperties(physical, &info, &out);
    return (out.externalMemoryProperties.externalMemoryFeatures & both) == both;
}

/* The device's own list, less what multiplies other types or is held by more than a subgroup. */
static void fill_coop(const smt_vk *vk, VkPhysicalDevice physical, smt_vk_facts *facts) {
    VkCooperativeMatrixPropertiesKHR list[MOST_COOP];
    smt_coop_shape shapes[MOST_COOP];
    uint32_t count = MOST_COOP, n = 0;
    if (!facts->caps.coop_matrix || !vk->fn.GetPhysicalDeviceCooperativeMatrixPropertiesKHR) return;
    for (uint32_t i = 0; i < MOST_COOP; i++)
        list[i] = (VkCooperativeMatrixPropertiesKHR){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
    if (vk->fn.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(physical, &count, list) < 0) return;
    for (uint32_t i = 0; i < count; i++) {
        const VkCooperativeMatrixPropertiesKHR *p = &list[i];
        if (p->AType == VK_COMPONENT_TYPE_FLOAT16_KHR && p->BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
            p->CType == VK_COMPONENT_TYPE_FLOAT32_KHR && p->ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
            p->scope == VK_SCOPE_SUBGROUP_KHR)
            shapes[n++] = (smt_coop_shape){p->MSize, p->NSize, p->KSize};
    }
    facts->caps.coop = smt_vk_choose_coop(facts, shapes, n);
}

static void fill_memory(const smt_vk *vk, VkPhysicalDevice physical, smt_caps *caps) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory2 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                                 .pNext = &budget};
    VkPhysicalDeviceMemoryProperties memory;
    vk->fn.GetPhysicalDeviceMemoryProperties(physical, &memory);
    if (caps->memory_budget && memory.memoryHeapCount) vk->fn.GetPhysicalDeviceMemoryProperties2(physical, &memory2);
    caps->n_heaps = smt_min_u32(memory.memoryHeapCount, SMT_CAPS_MAX_HEAPS);
    caps->n_types = smt_min_u32(memory.memoryTypeCount, SMT_CAPS_MAX_TYPES);
    for (uint32_t i = 0; i < caps->n_heaps; i++) {
        uint64_t bytes = memory.memoryHeaps[i].size;
        caps->heaps[i] = (smt_caps_heap){.bytes = bytes,
                                         .budget = budget.heapBudget[i] ? budget.heapBudget[i] : bytes,
                                         .device_local = memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
    }
    for (uint32_t i = 0; i < caps->n_types; i++) {
        VkMemoryPropertyFlags flags = memory.memoryTypes[i].propertyFlags;
        caps->types[i] = (smt_caps_memory_type){.heap = memory.memoryTypes[i].heapIndex,
                                                .device_local = flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT,
                                                .host_visible = flags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT,
                                                .host_coherent = flags & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                                                .host_cached = flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT};
    }
}

static void fill_families(const smt_vk *vk, VkPhysicalDevice physical, smt_vk_facts *facts) {
    VkQueueFamilyProperties families[SMT_VK_MAX_FAMILIES];
    uint32_t count = 0;
    vk->fn.GetPhysicalDeviceQueueFamilyProperties(physical, &count, NULL); /* SwiftShader fills what room there is, else */
    count = smt_min_u32(count, SMT_VK_MAX_FAMILIES);
    vk->fn.GetPhysicalDeviceQueueFamilyProperties(physical, &count, families);
    facts->n_families = count;
    for (uint32_t i = 0; i < count; i++) {
        VkQueueFlags flags = families[i].queueFlags;
        bool compute = flags & VK_QUEUE_COMPUTE_BIT, graphics = flags & VK_QUEUE_GRAPHICS_BIT;
        facts->families[i] = (smt_vk_family){.n_queues = families[i].queueCount,
                                             .timestamp_bits = families[i].timestampValidBits,
                                             .compute = compute,
                                             .graphics = graphics,
                                             /* compute and graphics queues copy, whether or not they say so */
                                             .transfer = compute || graphics || flags & VK_QUEUE_TRANSFER_BIT};
    }
}

smt_status smt_vk_snapshot(const smt_vk *vk, VkPhysicalDevice physical, uint32_t index, smt_vk_facts *out, smt_error *err) {
    *out = (smt_vk_facts){0};
    smt_caps *caps = &out->caps;
    snprintf(caps->id, sizeof caps->id, "vk%u", index);
    VkPhysicalDeviceProperties properties;
    vk->fn.GetPhysicalDeviceProperties(physical, &properties);
    fill_basic(caps, &properties);
    SMT_TRY(list_extensions(vk, physical, &out->extensions, err));
    fill_families(vk, physical, out);
    if (caps->api_version >= VK_API_VERSION_1_2) {
        query q = {0};
        ask(vk, physical, caps->api_version, out->extensions, &q);
        fill_identity(caps, &q);
        fill_subgroups(out, &q);
        fill_features(caps, &q, out->extensions);
        fill_coop(vk, physical, out);
        caps->external_memory_fd = can_share(vk, physical, out->extensions);
    }
    fill_memory(vk, physical, caps);

    smt_vk_choice choice;
    if (smt_vk_choose(out, &choice, NULL) == SMT_OK) {
        caps->queue_family = choice.queue_family;
        caps->transfer_family = choice.transfer_family;
    }
    if (!choice.timestamp_bits) caps->timestamp_ns = 0;
    return SMT_OK;
}
