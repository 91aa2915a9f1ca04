/* vk_loader.c: opens the Vulkan loader at run time and fills the function tables of vk_table.h.
 *
 * The program starts without Vulkan: a missing library is SMT_NO_VULKAN with a sentence, never a link error. The library is
 * never closed before its instance is destroyed (smt_vk_close sees to the order). */
#include "vk_objects.h"

#include <stdio.h>
#include <string.h>

/* A table is a struct of function pointers and nothing else, so a member can be filled through its offset. */
typedef struct entry {
    const char *name;
    size_t offset;
    bool optional;
} entry;

static const entry global_entries[] = {
#define X(name) {"vk" #name, offsetof(smt_vk_global_table, name), false},
    SMT_VK_GLOBAL_FUNCTIONS(X)
#undef X
};
static const entry instance_entries[] = {
#define X(name) {"vk" #name, offsetof(smt_vk_instance_table, name), false},
    SMT_VK_INSTANCE_FUNCTIONS(X)
#undef X
#define X(name) {"vk" #name, offsetof(smt_vk_instance_table, name), true},
        SMT_VK_OPTIONAL_INSTANCE_FUNCTIONS(X)
#undef X
};
static const entry device_entries[] = {
#define X(name) {"vk" #name, offsetof(smt_vk_device_table, name), false},
    SMT_VK_DEVICE_FUNCTIONS(X)
#undef X
#define X(name) {"vk" #name, offsetof(smt_vk_device_table, name), true},
        SMT_VK_OPTIONAL_DEVICE_FUNCTIONS(X)
#undef X
};

static void store(void *table, size_t offset, PFN_vkVoidFunction function) {
    memcpy((char *)table + offset, &function, sizeof function);
}

static smt_status open_library(smt_vk *vk, const char *library, smt_error *err) {
    if (!library) library = smt_os_vulkan_library();
    vk->library = smt_os_library_open(library);
    if (!vk->library) return SMT_FAIL(err, SMT_NO_VULKAN, "the Vulkan loader (%s) is not installed", library);
    void *symbol = smt_os_library_symbol(vk->library, "vkGetInstanceProcAddr");
    if (!symbol) return SMT_FAIL(err, SMT_NO_VULKAN, "the Vulkan loader lacks vkGetInstanceProcAddr");
    memcpy(&vk->global.GetInstanceProcAddr, &symbol, sizeof symbol);
    return SMT_OK;
}

smt_status smt_vk_load_global(smt_vk *vk, const char *library, smt_error *err) {
    if (!vk->global.GetInstanceProcAddr) SMT_TRY(open_library(vk, library, err)); /* a host program may have given its own */
    for (size_t i = 0; i < SMT_COUNT(global_entries); i++) {
        PFN_vkVoidFunction function = vk->global.GetInstanceProcAddr(NULL, global_entries[i].name);
        if (!function)
            return SMT_FAIL(err, SMT_NO_VULKAN, "the Vulkan loader is too old (1.2 is needed): it lacks %s",
                            global_entries[i].name);
        store(&vk->global, global_entries[i].offset, function);
    }
    return SMT_OK;
}

smt_status smt_vk_load_instance(smt_vk *vk, smt_error *err) {
    for (size_t i = 0; i < SMT_COUNT(instance_entries); i++) {
        PFN_vkVoidFunction function = vk->global.GetInstanceProcAddr(vk->instance, instance_entries[i].name);
        if (!function && !instance_entries[i].optional)
            return SMT_FAIL(err, SMT_NO_VULKAN, "the Vulkan loader is too old (1.2 is needed): it lacks %s",
                            instance_entries[i].name);
        store(&vk->fn, instance_entries[i].offset, function);
    }
    return SMT_OK;
}

smt_status smt_vk_load_device(smt_vk_device *device, smt_error *err) {
    for (size_t i = 0; i < SMT_COUNT(device_entries); i++) {
        PFN_vkVoidFunction function = device->vk->fn.GetDeviceProcAddr(device->handle, device_entries[i].name);
        if (!function && !device_entries[i].optional)
            return SMT_FAIL(err, SMT_VULKAN, "the driver of %s lacks %s", device->caps.name, device_entries[i].name);
        store(&device->fn, device_entries[i].offset, function);
    }
    return SMT_OK;
}
