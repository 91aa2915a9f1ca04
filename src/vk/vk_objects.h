/* vk_objects.h: the structs behind the handles of vk.h, for the files of src/vk/ alone.
 *
 * Ownership: smt_vk owns the library, the instance and the snapshots; a device borrows its smt_vk and owns its layouts, the
 * pipeline cache, the timeline semaphores and the compiler. Buffers, kernels and recordings borrow their device. */
#ifndef SMT_VK_OBJECTS_H
#define SMT_VK_OBJECTS_H

#include "vk_internal.h"
#include "vk_table.h"

#include <stdatomic.h>

typedef struct smt_vk_physical {
    VkPhysicalDevice handle;
    smt_vk_facts facts;
} smt_vk_physical;

struct smt_vk {
    void *library;
    smt_vk_global_table global;
    smt_vk_instance_table fn;
    VkInstance instance;
    smt_host_device host; /* borrowed handles; device NULL: instance and devices are our own */
    VkDebugUtilsMessengerEXT messenger;
    smt_callbacks callbacks;
    _Atomic uint32_t n_messages;
    uint32_t layer_version; /* spec version of the validation layer we enabled; 0: none */
    smt_vk_physical *physical;
    uint32_t n_physical;
};

#define SMT_VK_LATEST    200
#define SMT_VK_N_LAYOUTS 3 /* N = 1, 4, 16 windows */
typedef struct smt_vk_layout {
    uint32_t n_windows;
    VkDescriptorSetLayout set;
    VkPipelineLayout pipeline;
} smt_vk_layout;

/* A device has a queue for kernels and, where a family of queues only copies, one of that for copies. */
enum { SMT_VK_KERNELS, SMT_VK_COPIES, SMT_VK_QUEUES };
typedef struct smt_vk_queue {
    VkQueue handle;
    VkSemaphore timeline;       /* none: there is no such queue, or a device without memory heaps, which only compiles */
    _Atomic uint64_t submitted; /* value that the latest submission signals; read by waiters on other threads */
    _Atomic uint64_t seen;      /* that the host has waited for */
    uint64_t joined;            /* of the other queue's: submissions here come after it */
} smt_vk_queue;

struct smt_vk_device {
    smt_vk *vk; /* borrowed */
    smt_caps caps;
    smt_vk_choice choice;
    VkPhysicalDevice physical;
    VkDevice handle;
    _Atomic uint64_t held[SMT_CAPS_MAX_HEAPS]; /* bytes of its slabs */
    smt_vk_device_table fn;
    bool twin;   /* of another device, whose caches are kept in its stead */
    bool loaded; /* fn is complete */
    smt_vk_queue queues[SMT_VK_QUEUES];
    smt_os_mutex *queue_mutex;  /* held while submitting; guards what follows, and what the queues have joined */
    char latest[SMT_VK_LATEST]; /* name of the latest submission's recording, which may be gone by now */
    uint64_t latest_value;      /* that it signals; 0: there was none */
    smt_os_mutex *loss_mutex;   /* guards what follows, up to the layouts */
    bool lost;
    smt_error loss;            /* the first cause */
    smt_error cache_complaint; /* the first SPIR-V that could not be written; empty: none, or told */
    bool cache_complained;
    smt_vk_key *trusted; /* owned: kernels that gave right results (vk_trust.c) */
    size_t n_trusted, trusted_capacity;
    bool trust_changed, trust_withdrawn; /* since they were read: anything; a key of the file is trusted no more */
    smt_vk_layout layouts[SMT_VK_N_LAYOUTS];
    VkPipelineCache pipeline_cache;
    smt_vk_key cache_key;
    uint64_t cache_hash;          /* of the data as last loaded or saved: an unchanged cache is not written again */
    char *cache_dir, *shader_dir; /* owned, may be NULL */
    smt_vk_glsl *glsl;
};

/* What is done with memory that several logical devices have. */
#define SMT_VK_SHARED_USAGE (VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT)
struct smt_vk_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    bool imported; /* another device has allocated the memory */
    uint32_t memory_type;
    uint64_t bytes, allocated;
    uint32_t heap;
    void *map;
    bool coherent;
};

struct smt_vk_kernel {
    VkPipeline pipeline;
    const smt_vk_layout *layout; /* the device's */
    uint32_t push_bytes, buffer_texels;
    smt_texel window_texels;
    char *label;
    smt_vk_key key; /* of its SPIR-V */
    smt_vk_kernel_stats stats;
};

typedef struct smt_vk_pool {
    VkDescriptorPool handle;
    uint32_t n_sets, used;
} smt_vk_pool;

struct smt_vk_recording {
    smt_vk_device *device;
    uint32_t queue; /* of the device's, for which it is */
    char *name;
    VkCommandPool command_pool;
    VkCommandBuffer commands;
    smt_vk_pool *pools; /* the last one is filled */
    size_t n_pools, pools_capacity;
    VkBufferView *views; /* owned */
    size_t n_views, views_capacity;
    VkQueryPool stamps;
    VkPipeline bound;
    bool ended;
    smt_status status; /* of the calls that return nothing; reported by smt_vk_recording_end */
    smt_error failure;
};

/* vk_loader.c */
smt_status smt_vk_load_global(smt_vk *vk, const char *library, smt_error *err);
smt_status smt_vk_load_instance(smt_vk *vk, smt_error *err);
smt_status smt_vk_load_device(smt_vk_device *device, smt_error *err);
/* vk_caps.c */
smt_status smt_vk_snapshot(const smt_vk *vk, VkPhysicalDevice physical, uint32_t index, smt_vk_facts *out, smt_error *err);
/* vk_host.c */
smt_status smt_vk_adopt(smt_vk *vk, const smt_host_device *host, smt_error *err); /* in place of an instance of our own */
/* vk_debug.c */
SMT_PRINTF(3, 4)
void smt_vk_log(const smt_vk *vk, smt_log_level level, const char *format, ...);
void smt_vk_messenger_info(smt_vk *vk, VkDebugUtilsMessengerCreateInfoEXT *out);
void smt_vk_name(const smt_vk_device *device, VkObjectType type, uint64_t handle, const char *name);
#if UINTPTR_MAX > 0xffffffffu
#define SMT_VK_HANDLE(handle) ((uint64_t)(uintptr_t)(handle))
#else
#define SMT_VK_HANDLE(handle) ((uint64_t)(handle))
#endif
/* vk_buffer.c */
typedef struct smt_vk_slab {
    uint32_t memory_type;
    uint64_t bytes;
    const char *name;
    bool shared;             /* other devices may have the memory */
    smt_vk_device *owner;    /* shared, in place of new memory: that of a slab of this device */
    const smt_vk_buffer *of; /* the slab */
} smt_vk_slab;
smt_status smt_vk_buffer_make(smt_vk_device *device, const smt_vk_slab *slab, smt_vk_buffer **out, smt_error *err);
/* vk_share.c */
VkResult smt_vk_allocate_shared(smt_vk_device *device, smt_vk_buffer *buffer, const smt_vk_slab *slab,
                                VkMemoryAllocateInfo *info);
/* vk_queue.c */
smt_status smt_vk_queues_create(smt_vk_device *device, smt_error *err);
void smt_vk_queues_destroy(smt_vk_device *device);
/* vk_pipeline.c */
smt_status smt_vk_layouts_create(smt_vk_device *device, smt_error *err);
void smt_vk_layouts_destroy(smt_vk_device *device);
/* vk_stats.c */
void smt_vk_stats_query(smt_vk_device *device, VkPipeline pipeline, smt_vk_kernel_stats *out);
/* vk_cache.c */
smt_status smt_vk_pipeline_cache_open(smt_vk_device *device, smt_error *err);
/* vk_trust.c */
void smt_vk_trust_open(smt_vk_device *device);
smt_status smt_vk_trust_save(smt_vk_device *device, smt_error *err);
/* vk_timer.c */
void smt_vk_stamps_destroy(smt_vk_recording *recording);

#endif
