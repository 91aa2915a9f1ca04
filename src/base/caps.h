/* caps.h: an immutable snapshot of one Vulkan device as plain numbers.
 *
 * vk_caps.c fills it (or a test invents it); the kernel catalogue, the graph and the planner decide from it alone, so that
 * every decision can be tested without a device. No Vulkan type appears here. */
#ifndef SMT_CAPS_H
#define SMT_CAPS_H

#include "base.h"

#define SMT_CAPS_MAX_HEAPS 16
#define SMT_CAPS_MAX_TYPES 32

typedef enum smt_device_kind {
    SMT_KIND_DISCRETE,
    SMT_KIND_INTEGRATED,
    SMT_KIND_VIRTUAL,
    SMT_KIND_CPU,
    SMT_KIND_OTHER
} smt_device_kind;

/* How the matrix kernels share out their work, and with that their order of summation: a row per lane, for processors; lanes along
 * a row, for GPUs. */
typedef enum smt_family { SMT_FAMILY_ROWS, SMT_FAMILY_WAVE } smt_family;

typedef struct smt_caps_heap {
    uint64_t bytes, budget; /* budget = bytes where VK_EXT_memory_budget is absent */
    bool device_local;
} smt_caps_heap;

/* Cooperative matrices: float16 weights [m, k] times float16 activations [k, n] give float32 sums [m, n], held by a subgroup. */
typedef struct smt_coop_shape {
    uint32_t m, n, k; /* 0: none that the kernels can use */
} smt_coop_shape;

typedef struct smt_caps_memory_type {
    uint32_t heap;
    bool device_local, host_visible, host_coherent, host_cached;
} smt_caps_memory_type;

typedef struct smt_caps {
    char id[16]; /* "vk0": order of enumeration */
    char name[256], driver_name[256], driver_info[256];
    char uuid_text[33];
    uint8_t device_uuid[16], driver_uuid[16], pipeline_cache_uuid[16];
    smt_device_kind kind;
    smt_family family; /* from the kind, unless the options of the device say otherwise */
    uint32_t vendor_id, device_id, driver_id, api_version, driver_version;

    uint64_t max_allocation;    /* bytes of one VkDeviceMemory, and of one VkBuffer: the lesser */
    uint64_t max_storage_range; /* bytes one storage-buffer descriptor may span */
    uint32_t storage_align;     /* minStorageBufferOffsetAlignment */
    uint32_t atom_size;         /* nonCoherentAtomSize */
    uint32_t max_push_bytes, max_shared_bytes, max_invocations, max_stage_buffers;
    uint32_t max_texels, texel_align; /* of a uniform texel buffer; 0 texels: too few of them can be bound */
    uint32_t max_group_count[3];
    double timestamp_ns; /* per tick; 0: no timestamps on the compute queue */

    uint32_t subgroup_size, subgroup_min, subgroup_max;
    bool subgroup_basic, subgroup_ballot, subgroup_shuffle, subgroup_arithmetic; /* in compute shaders */
    bool buffer_array_dynamic;                                                   /* shaderStorageBufferArrayDynamicIndexing */
    bool texel_array_dynamic; /* shaderUniformTexelBufferArrayDynamicIndexing */
    /* int_dot: there is an instruction for packed products of 4 x 8 bits; it may be slower than what it replaces */
    bool timeline, sync2, fp16, int8, int16, int64, storage16, storage8, int_dot, int_dot_accelerated, coop_matrix, memory_budget,
        executable_properties, subgroup_size_control, external_memory_host;
    bool external_memory_fd; /* memory of a buffer can leave a logical device, and enter another one, as a file descriptor */
    smt_coop_shape coop; /* where the device has coop_matrix; a device in use, only where the kernels can be had (run_device.c) */

    uint32_t n_heaps, n_types;
    smt_caps_heap heaps[SMT_CAPS_MAX_HEAPS];
    smt_caps_memory_type types[SMT_CAPS_MAX_TYPES];

    uint32_t queue_family; /* the compute family chosen; transfer_family equals it where there is none that only copies */
    uint32_t transfer_family;
} smt_caps;

/* Invocations of a subgroup, as kernels run on this device: the least that can be demanded. */
uint32_t smt_caps_subgroup(const smt_caps *caps);
/* NULL, or a text naming the first thing the engine needs and the device lacks, with numbers. `text` receives it. */
const char *smt_caps_lacks(const smt_caps *caps, char *text, size_t capacity);
/* Takes away every optional feature and all subgroup operations: what the minimum device mode tests with. */
void smt_caps_reduce(smt_caps *caps);
/* What one texel of a binding is, for a kernel that reads it as a texel buffer. */
typedef enum smt_texel { SMT_TEXEL_NONE, SMT_TEXEL_U32X4, SMT_TEXEL_F32X4, SMT_TEXEL_F16X4 } smt_texel;
/* Whether kernels read weights and activations through texel buffers: those of the rows family do, on CPU drivers. There a storage-buffer load
 * is a branch and a bounds check for each lane, a texel fetch one vector gather: on lavapipe 25.0 a bare Q8_0 product of one column ran 1.6 to
 * 2.9 times as fast. GPUs gain nothing; SwiftShader's texel buffers are too small. Items, kernels and bindings all ask here. */
bool smt_caps_texels(const smt_caps *caps);
/* Whether two logical devices can have memory in common: they are of one physical device and driver, which can do it. */
bool smt_caps_share_memory(const smt_caps *a, const smt_caps *b);
/* "rows" or "wave"; NULL or "": the one for a device of this kind. False: another word. */
bool smt_caps_family(smt_device_kind kind, const char *word, smt_family *out);
const char *smt_caps_kind_name(smt_device_kind kind);
/* First memory type with all of `want` (device_local, host_visible, host_cached as flags below); UINT32_MAX: none. */
enum { SMT_MEM_DEVICE = 1, SMT_MEM_HOST = 2, SMT_MEM_CACHED = 4 };
uint32_t smt_caps_find_memory(const smt_caps *caps, uint32_t want, uint32_t avoid);

#endif
