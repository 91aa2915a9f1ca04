/* vk_debug.c: the log callback, the validation messenger and debug names.
 *
 * The messenger is always installed where VK_EXT_debug_utils exists, validation asked for or not: when a layer was switched on
 * from outside, its words then reach the log callback instead of standard output. Messages may come on any thread. */
#include "vk_objects.h"

#include <stdio.h>

void smt_vk_log(const smt_vk *vk, smt_log_level level, const char *format, ...) {
    if (!vk->callbacks.log) return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vk->callbacks.log(vk->callbacks.user, level, text);
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
    (void)severity, (void)types;
    smt_vk *vk = user;
    atomic_fetch_add(&vk->n_messages, 1);
    if (vk->callbacks.log) vk->callbacks.log(vk->callbacks.user, SMT_LOG_VALIDATION, data->pMessage ? data->pMessage : "");
    return VK_FALSE;
}

void smt_vk_messenger_info(smt_vk *vk, VkDebugUtilsMessengerCreateInfoEXT *out) {
    *out = (VkDebugUtilsMessengerCreateInfoEXT){
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        /* Not GENERAL: with it the loader reports on drivers and layers that are none of our business. */
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = vk};
}

void smt_vk_name(const smt_vk_device *device, VkObjectType type, uint64_t handle, const char *name) {
    if (!device->vk->fn.SetDebugUtilsObjectNameEXT || !name) return;
    VkDebugUtilsObjectNameInfoEXT info = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
                                          .objectType = type,
                                          .objectHandle = handle,
                                          .pObjectName = name};
    device->vk->fn.SetDebugUtilsObjectNameEXT(device->handle, &info); /* a name that cannot be set is no failure of ours */
}
