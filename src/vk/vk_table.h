/* vk_table.h: every Vulkan function we call, in lists that declare the table members and load them.
 *
 * Three tables: global (before an instance exists), instance, device. The device table is filled through
 * vkGetDeviceProcAddr, so that several devices of different drivers can be used at once and calls skip the loader's
 * trampoline. "Optional" members stay NULL where the extension is absent; all others are checked once, when loaded. The lists
 * of instance and device begin with the function that destroys it, so that a half-filled table suffices for cleaning up. */
#ifndef SMT_VK_TABLE_H
#define SMT_VK_TABLE_H

#ifndef VK_NO_PROTOTYPES
#define VK_NO_PROTOTYPES
#endif
#include <vulkan/vulkan.h>

/* Headers before 1.3.255 lack VK_KHR_cooperative_matrix; drivers of the same system may have it. */
#ifndef VK_KHR_cooperative_matrix
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR ((VkStructureType)1000506000)
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR               ((VkStructureType)1000506001)
typedef enum VkComponentTypeKHR { VK_COMPONENT_TYPE_FLOAT16_KHR = 0, VK_COMPONENT_TYPE_FLOAT32_KHR = 1 } VkComponentTypeKHR;
typedef enum VkScopeKHR { VK_SCOPE_SUBGROUP_KHR = 3 } VkScopeKHR;
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
    VkStructureType sType;
    void *pNext;
    VkBool32 cooperativeMatrix, cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
typedef struct VkCooperativeMatrixPropertiesKHR {
    VkStructureType sType;
    void *pNext;
    uint32_t MSize, NSize, KSize;
    VkComponentTypeKHR AType, BType, CType, ResultType;
    VkBool32 saturatingAccumulation;
    VkScopeKHR scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR *PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(VkPhysicalDevice, uint32_t *,
                                                                                   VkCooperativeMatrixPropertiesKHR *);
#endif

#define SMT_VK_GLOBAL_FUNCTIONS(X)          \
    X(EnumerateInstanceVersion)             \
    X(EnumerateInstanceExtensionProperties) \
    X(EnumerateInstanceLayerProperties)     \
    X(CreateInstance)

#define SMT_VK_INSTANCE_FUNCTIONS(X)             \
    X(DestroyInstance)                           \
    X(EnumeratePhysicalDevices)                  \
    X(EnumerateDeviceExtensionProperties)        \
    X(GetPhysicalDeviceProperties)               \
    X(GetPhysicalDeviceProperties2)              \
    X(GetPhysicalDeviceFeatures2)                \
    X(GetPhysicalDeviceMemoryProperties)         \
    X(GetPhysicalDeviceMemoryProperties2)        \
    X(GetPhysicalDeviceQueueFamilyProperties)    \
    X(GetPhysicalDeviceExternalBufferProperties) \
    X(CreateDevice)                              \
    X(GetDeviceProcAddr)

#define SMT_VK_OPTIONAL_INSTANCE_FUNCTIONS(X) \
    X(CreateDebugUtilsMessengerEXT)           \
    X(DestroyDebugUtilsMessengerEXT)          \
    X(SetDebugUtilsObjectNameEXT)             \
    X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR)

#define SMT_VK_DEVICE_FUNCTIONS(X)  \
    X(DestroyDevice)                \
    X(DeviceWaitIdle)               \
    X(GetDeviceQueue)               \
    X(CreateSemaphore)              \
    X(DestroySemaphore)             \
    X(WaitSemaphores)               \
    X(GetSemaphoreCounterValue)     \
    X(QueueSubmit)                  \
    X(AllocateMemory)               \
    X(FreeMemory)                   \
    X(MapMemory)                    \
    X(FlushMappedMemoryRanges)      \
    X(InvalidateMappedMemoryRanges) \
    X(CreateBuffer)                 \
    X(DestroyBuffer)                \
    X(GetBufferMemoryRequirements)  \
    X(BindBufferMemory)             \
    X(CreateBufferView)             \
    X(DestroyBufferView)            \
    X(CreateShaderModule)           \
    X(DestroyShaderModule)          \
    X(CreateDescriptorSetLayout)    \
    X(DestroyDescriptorSetLayout)   \
    X(CreatePipelineLayout)         \
    X(DestroyPipelineLayout)        \
    X(CreatePipelineCache)          \
    X(DestroyPipelineCache)         \
    X(GetPipelineCacheData)         \
    X(CreateComputePipelines)       \
    X(DestroyPipeline)              \
    X(CreateDescriptorPool)         \
    X(DestroyDescriptorPool)        \
    X(AllocateDescriptorSets)       \
    X(UpdateDescriptorSets)         \
    X(CreateCommandPool)            \
    X(DestroyCommandPool)           \
    X(AllocateCommandBuffers)       \
    X(BeginCommandBuffer)           \
    X(EndCommandBuffer)             \
    X(CreateQueryPool)              \
    X(DestroyQueryPool)             \
    X(GetQueryPoolResults)          \
    X(CmdBindPipeline)              \
    X(CmdBindDescriptorSets)        \
    X(CmdPushConstants)             \
    X(CmdDispatch)                  \
    X(CmdDispatchBase)              \
    X(CmdDispatchIndirect)          \
    X(CmdPipelineBarrier)           \
    X(CmdCopyBuffer)                \
    X(CmdFillBuffer)                \
    X(CmdResetQueryPool)            \
    X(CmdWriteTimestamp)

#define SMT_VK_OPTIONAL_DEVICE_FUNCTIONS(X) \
    X(GetPipelineExecutablePropertiesKHR)   \
    X(GetPipelineExecutableStatisticsKHR)   \
    X(GetMemoryFdKHR)

#define SMT_VK_MEMBER(name) PFN_vk##name name;
typedef struct smt_vk_global_table {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
    SMT_VK_GLOBAL_FUNCTIONS(SMT_VK_MEMBER)
} smt_vk_global_table;
typedef struct smt_vk_instance_table {
    SMT_VK_INSTANCE_FUNCTIONS(SMT_VK_MEMBER)
    SMT_VK_OPTIONAL_INSTANCE_FUNCTIONS(SMT_VK_MEMBER)
} smt_vk_instance_table;
typedef struct smt_vk_device_table {
    SMT_VK_DEVICE_FUNCTIONS(SMT_VK_MEMBER)
    SMT_VK_OPTIONAL_DEVICE_FUNCTIONS(SMT_VK_MEMBER)
} smt_vk_device_table;
#undef SMT_VK_MEMBER

#endif
