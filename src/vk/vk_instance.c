/* vk_instance.c: smt_vk: the loader, one instance, and a snapshot of every device.
 *
 * Validation is asked for by option and used where the layer is installed; a missing layer is a warning in the log, because a
 * program must not fail for want of a developer's tool. Synchronisation validation is switched on with it. */
#include "vk_objects.h"

#include <stdio.h>
#include <string.h>

#define LAYER                   "VK_LAYER_KHRONOS_validation"
#define MAX_INSTANCE_EXTENSIONS 2

/* The extensions of `layer` (NULL: of loader and drivers) contain `name`. */
static smt_status has_extension(const smt_vk *vk, const char *layer, const char *name, bool *out, smt_error *err) {
    *out = false;
    uint32_t count = 0;
    VkResult result = vk->global.EnumerateInstanceExtensionProperties(layer, &count, NULL);
    if (result) return SMT_VK_FAIL(NULL, err, result, "vkEnumerateInstanceExtensionProperties");
    VkExtensionProperties *all = smt_alloc(count, sizeof *all);
    if (!all) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u instance extensions", count);
    result = vk->global.EnumerateInstanceExtensionProperties(layer, &count, all);
    for (uint32_t i = 0; result >= 0 && i < count; i++) *out |= strcmp(all[i].extensionName, name) == 0;
    smt_free(all);
    return result < 0 ? SMT_VK_FAIL(NULL, err, result, "vkEnumerateInstanceExtensionProperties") : SMT_OK;
}

/* Sets vk->layer_version where the validation layer is installed. */
static smt_status find_layer(smt_vk *vk, smt_error *err) {
    uint32_t count = 0;
    VkResult result = vk->global.EnumerateInstanceLayerProperties(&count, NULL);
    if (result) return SMT_VK_FAIL(NULL, err, result, "vkEnumerateInstanceLayerProperties");
    VkLayerProperties *all = smt_alloc(count, sizeof *all);
    if (!all) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u layers", count);
    result = vk->global.EnumerateInstanceLayerProperties(&count, all);
    for (uint32_t i = 0; result >= 0 && i < count; i++)
        if (strcmp(all[i].layerName, LAYER) == 0) vk->layer_version = all[i].specVersion;
    smt_free(all);
    if (result < 0) return SMT_VK_FAIL(NULL, err, result, "vkEnumerateInstanceLayerProperties");
    if (!vk->layer_version) smt_vk_log(vk, SMT_LOG_WARN, "validation was asked for, but " LAYER " is not installed");
    return SMT_OK;
}

static smt_status create_instance(smt_vk *vk, bool validation, smt_error *err) {
    uint32_t version = 0;
    VkResult result = vk->global.EnumerateInstanceVersion(&version);
    if (result) return SMT_VK_FAIL(NULL, err, result, "vkEnumerateInstanceVersion");
    if (version < VK_API_VERSION_1_2)
        return SMT_FAIL(err, SMT_NO_VULKAN, "the Vulkan loader is version %u.%u, 1.2 is needed", VK_API_VERSION_MAJOR(version),
                        VK_API_VERSION_MINOR(version));
    if (validation) SMT_TRY(find_layer(vk, err));
    bool debug_utils, features_extension = false;
    SMT_TRY(has_extension(vk, NULL, VK_EXT_DEBUG_UTILS_EXTENSION_NAME, &debug_utils, err));
    if (vk->layer_version) SMT_TRY(has_extension(vk, LAYER, VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME, &features_extension, err));

    const char *extensions[MAX_INSTANCE_EXTENSIONS], *layers[] = {LAYER};
    uint32_t n_extensions = 0;
    if (debug_utils) extensions[n_extensions++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    if (features_extension) extensions[n_extensions++] = VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME;
    VkValidationFeatureEnableEXT enable[] = {VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
    VkValidationFeaturesEXT features = {.sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
                                        .enabledValidationFeatureCount = SMT_COUNT(enable),
                                        .pEnabledValidationFeatures = enable};
    VkDebugUtilsMessengerCreateInfoEXT messenger; /* chained: reports on vkCreateInstance and vkDestroyInstance too */
    smt_vk_messenger_info(vk, &messenger);
    if (features_extension) messenger.pNext = &features;
    VkApplicationInfo application = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                     .pApplicationName = "seamount",
                                     .pEngineName = "seamount",
                                     .engineVersion = smt_version(),
                                     .apiVersion = VK_API_VERSION_1_3};
    VkInstanceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pNext = debug_utils          ? (const void *)&messenger
                                          : features_extension ? (const void *)&features
                                                               : NULL,
                                 .pApplicationInfo = &application,
                                 .enabledLayerCount = vk->layer_version ? 1 : 0,
                                 .ppEnabledLayerNames = layers,
                                 .enabledExtensionCount = n_extensions,
                                 .ppEnabledExtensionNames = extensions};
    result = vk->global.CreateInstance(&info, NULL, &vk->instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
        return SMT_FAIL(err, SMT_NO_VULKAN, "no Vulkan driver is installed (the loader found none that it can use)");
    if (result) return SMT_VK_FAIL(NULL, err, result, "vkCreateInstance");
    SMT_TRY(smt_vk_load_instance(vk, err));
    messenger.pNext = NULL;
    if (debug_utils && vk->fn.CreateDebugUtilsMessengerEXT) {
        result = vk->fn.CreateDebugUtilsMessengerEXT(vk->instance, &messenger, NULL, &vk->messenger);
        if (result) return SMT_VK_FAIL(NULL, err, result, "vkCreateDebugUtilsMessengerEXT");
    }
    return SMT_OK;
}

static smt_status enumerate(smt_vk *vk, smt_error *err) {
    uint32_t count = 0;
    VkResult result = vk->fn.EnumeratePhysicalDevices(vk->instance, &count, NULL);
    /* Some loaders report the absence of any usable driver only here. */
    if (result == VK_ERROR_INITIALIZATION_FAILED)
        return SMT_FAIL(err, SMT_NO_VULKAN, "no Vulkan driver is installed (the loader found none that it can use)");
    if (result < 0) return SMT_VK_FAIL(NULL, err, result, "vkEnumeratePhysicalDevices");
    VkPhysicalDevice *handles = smt_alloc(count, sizeof *handles);
    vk->physical = smt_alloc(count, sizeof *vk->physical);
    smt_status status = SMT_OK;
    if (!handles || !vk->physical) status = SMT_FAIL(err, SMT_MEMORY, "out of memory for %u devices", count);
    if (status == SMT_OK) {
        result = vk->fn.EnumeratePhysicalDevices(vk->instance, &count, handles);
        if (result < 0) status = SMT_VK_FAIL(NULL, err, result, "vkEnumeratePhysicalDevices");
    }
    for (uint32_t i = 0; status == SMT_OK && i < count; i++) {
        vk->physical[i].handle = handles[i];
        status = smt_vk_snapshot(vk, handles[i], i, &vk->physical[i].facts, err);
        vk->n_physical++;
    }
    smt_free(handles);
    return status;
}

smt_status smt_vk_open_library(const char *library, const smt_vk_options *options, smt_vk **out, smt_error *err) {
    *out = NULL;
    smt_vk *vk = smt_alloc(1, sizeof *vk);
    if (!vk) return SMT_FAIL(err, SMT_MEMORY, "out of memory opening Vulkan");
    const smt_host_device *host = options ? options->host : NULL;
    if (options) vk->callbacks = options->callbacks;
    if (host) vk->global.GetInstanceProcAddr = (PFN_vkGetInstanceProcAddr)host->get_instance_proc_addr;
    smt_status status = smt_vk_load_global(vk, library, err);
    if (status == SMT_OK && host) status = smt_vk_adopt(vk, host, err);
    if (status == SMT_OK && !host) status = create_instance(vk, options && options->validation, err);
    if (status == SMT_OK && !host) status = enumerate(vk, err);
    if (status == SMT_OK)
        *out = vk;
    else
        smt_vk_close(vk);
    return status;
}

smt_status smt_vk_open(const smt_vk_options *options, smt_vk **out, smt_error *err) {
    return smt_vk_open_library(NULL, options, out, err);
}

void smt_vk_close(smt_vk *vk) {
    if (!vk) return;
    if (vk->messenger) vk->fn.DestroyDebugUtilsMessengerEXT(vk->instance, vk->messenger, NULL);
    if (vk->instance && vk->fn.DestroyInstance && !vk->host.device) vk->fn.DestroyInstance(vk->instance, NULL);
    if (vk->library) smt_os_library_close(vk->library);
    smt_free(vk->physical);
    smt_free(vk);
}

uint32_t smt_vk_count(const smt_vk *vk) { return vk->n_physical; }

const smt_caps *smt_vk_caps(const smt_vk *vk, uint32_t index) {
    return index < vk->n_physical ? &vk->physical[index].facts.caps : NULL;
}

uint32_t smt_vk_message_count(const smt_vk *vk) { return atomic_load(&((smt_vk *)vk)->n_messages); }
