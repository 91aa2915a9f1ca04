/* vk_memory.c: the heaps of a device as they are now: what the driver lets this process use, what that uses, and what this device's slabs hold.
 *
 * The snapshot (vk_caps.c) is of the moment when Vulkan was opened; other programs come and go. Asking costs microseconds. */
#include "vk_objects.h"

void smt_vk_memory_now(smt_vk_device *device, smt_vk_heap_use out[SMT_CAPS_MAX_HEAPS]) {
    const smt_caps *caps = &device->caps;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    if (caps->memory_budget) device->vk->fn.GetPhysicalDeviceMemoryProperties2(device->physical, &memory);
    for (uint32_t i = 0; i < caps->n_heaps; i++)
        out[i] = (smt_vk_heap_use){.budget = budget.heapBudget[i] ? budget.heapBudget[i] : caps->heaps[i].bytes,
                                   .used = budget.heapUsage[i],
                                   .held = atomic_load(&device->held[i])};
}
