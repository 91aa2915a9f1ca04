/* vk_stats.c: what VK_KHR_pipeline_executable_properties tells of a compiled kernel.
 *
 * Statistics are named as each driver likes. The table lists the names we know; a name that occurs several times (spilled
 * scalar and vector registers) is summed, and what no driver names stays unknown (negative). A failure of any call here is not
 * the kernel's failure. */
#include "vk_objects.h"

#include <string.h>

#define MAX_STATISTICS 64

static const struct {
    const char *name;
    size_t offset;
} known[] = {
    {"VGPRs", offsetof(smt_vk_kernel_stats, vgprs)},
    {"Spilled VGPRs", offsetof(smt_vk_kernel_stats, spills)},
    {"Spilled SGPRs", offsetof(smt_vk_kernel_stats, spills)},
    {"Spill count", offsetof(smt_vk_kernel_stats, spills)},
    {"LDS size", offsetof(smt_vk_kernel_stats, lds)},
    {"Workgroup Memory Size", offsetof(smt_vk_kernel_stats, lds)},
    {"Occupancy", offsetof(smt_vk_kernel_stats, occupancy)},
    {"Subgroups per SIMD", offsetof(smt_vk_kernel_stats, occupancy)},
    {"Inverse Throughput", offsetof(smt_vk_kernel_stats, inverse_throughput)},
};

static double value_of(const VkPipelineExecutableStatisticKHR *statistic) {
    switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        return statistic->value.b32 ? 1 : 0;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        return (double)statistic->value.i64;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        return (double)statistic->value.u64;
    default:
        return statistic->value.f64;
    }
}

static void take(const VkPipelineExecutableStatisticKHR *statistic, smt_vk_kernel_stats *out) {
    for (size_t i = 0; i < SMT_COUNT(known); i++) {
        if (strcmp(known[i].name, statistic->name) != 0) continue;
        double *field = (double *)(void *)((char *)out + known[i].offset);
        *field = (*field < 0 ? 0 : *field) + value_of(statistic);
    }
}

void smt_vk_stats_query(smt_vk_device *device, VkPipeline pipeline, smt_vk_kernel_stats *out) {
    if (!device->fn.GetPipelineExecutablePropertiesKHR || !device->fn.GetPipelineExecutableStatisticsKHR) return;
    VkPipelineInfoKHR info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
    uint32_t n_executables = 0;
    if (device->fn.GetPipelineExecutablePropertiesKHR(device->handle, &info, &n_executables, NULL) || !n_executables) return;
    VkPipelineExecutableStatisticKHR statistics[MAX_STATISTICS];
    for (size_t i = 0; i < MAX_STATISTICS; i++)
        statistics[i] = (VkPipelineExecutableStatisticKHR){.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    /* A compute pipeline has one executable; where a driver makes variants, the first is the one that it prefers. */
    VkPipelineExecutableInfoKHR which = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
    uint32_t count = MAX_STATISTICS;
    VkResult result = device->fn.GetPipelineExecutableStatisticsKHR(device->handle, &which, &count, statistics);
    for (uint32_t i = 0; result >= 0 && i < count; i++) take(&statistics[i], out);
}
