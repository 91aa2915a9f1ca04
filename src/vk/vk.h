/* vk.h: Vulkan for the rooms above, knowing nothing of models.
 *
 *   snapshot (vk_caps.c) -> choice (vk_choose.c, pure) -> device (vk_device.c) -> buffers, kernels, recordings, submissions
 *   a device of the host program's (vk_host.c): its snapshot has only what the host enabled, all else is the same
 *
 * Invariants
 *   1. The loader is opened at run time; without it smt_vk_open says so (SMT_NO_VULKAN). One function table per device.
 *   2. A feature is enabled only because the choice says so; the choice reads only the snapshot.
 *   3. One VkDeviceMemory and one VkBuffer make one smt_vk_buffer: a slab. Callers sub-allocate by offset, from their plan.
 *   4. One queue for kernels and one for copies, where the device has such; submitted to by one thread at a time (smt_vk_submit sees to it);
 *      one timeline semaphore per queue, +1 per submission. No vkDeviceWaitIdle outside teardown.
 *   5. VkResult is translated in one place; a lost device is sticky: every later call fails with the first cause, which names the last submission.
 *   6. Kernels never place barriers: the recorder does, as the caller's declared reads and writes demand.
 *
 * Binding model, the same for every kernel: set 0, binding 0 is an array W[N] of storage-buffer windows, N = 1, 4 or 16 (unused
 * slots repeat window 0); bindings 1 .. SMT_VK_MAX_BUFFERS are single storage buffers; push constants up to 128 bytes. Where smt_caps_texels
 * says so, a kernel may read any of them through a uniform texel buffer too, at binding TEXEL_BINDING (shared/params.h) + its own. */
#ifndef SMT_VK_H
#define SMT_VK_H

#include "base/caps.h"

#include <params.h>

#define SMT_VK_MAX_WINDOWS 16
#define SMT_VK_MAX_BUFFERS 11
#define SMT_VK_MAX_PUSH    128

typedef struct smt_vk smt_vk;                     /* loader, instance, snapshots */
typedef struct smt_vk_device smt_vk_device;       /* one logical device and its queues */
typedef struct smt_vk_buffer smt_vk_buffer;       /* a slab */
typedef struct smt_vk_kernel smt_vk_kernel;       /* a compute pipeline */
typedef struct smt_vk_recording smt_vk_recording; /* a command buffer that may be submitted again and again */

/* ---- instance and snapshots (vk_loader.c, vk_instance.c, vk_caps.c) ---- */
typedef struct smt_vk_options {
    bool
        validation; /* Khronos layer with synchronisation validation, where installed; messages go to log at SMT_LOG_VALIDATION */
    smt_callbacks callbacks;
    const smt_host_device *host; /* complete; NULL: an instance of our own. Else it is the one device there is */
} smt_vk_options;
smt_status smt_vk_open(const smt_vk_options *options, smt_vk **out, smt_error *err);
void smt_vk_close(smt_vk *vk); /* every device must be gone */
uint32_t smt_vk_count(const smt_vk *vk);
const smt_caps *smt_vk_caps(const smt_vk *vk, uint32_t index);
uint32_t smt_vk_message_count(const smt_vk *vk); /* validation warnings and errors so far */

/* ---- device (vk_choose.c, vk_device.c) ---- */
typedef struct smt_vk_device_options {
    bool minimum;                       /* smt_caps_reduce: enable no optional feature */
    const char *kernels;                /* smt_caps_family */
    const char *cache_dir, *shader_dir; /* see smt_device_options; copied */
} smt_vk_device_options;
smt_status smt_vk_device_create(smt_vk *vk, uint32_t index, const smt_vk_device_options *options, smt_vk_device **out,
                                smt_error *err);
/* Another logical device with the same choice and folders, which a driver that compiles inside its queue can compile for beside the first.
 * SMT_UNSUPPORTED where the device is the host program's. Thread-safe. */
smt_status smt_vk_device_twin(const smt_vk_device *device, smt_vk_device **out, smt_error *err);
void smt_vk_device_destroy(smt_vk_device *device); /* waits for its work; buffers, kernels, recordings must be gone. NULL ok */
const smt_caps *smt_vk_device_caps(const smt_vk_device *device); /* as reduced, when so asked */
void smt_vk_device_forgo_coop(smt_vk_device *device);            /* before it is used: caps->coop becomes zeros */

/* ---- slabs (vk_buffer.c, vk_memory.c) ---- */
/* `memory_type` indexes caps->types; a host-visible slab stays mapped. SMT_DEVICE_MEMORY names heap, bytes asked and budget. */
smt_status smt_vk_buffer_create(smt_vk_device *device, uint32_t memory_type, uint64_t bytes, const char *name,
                                smt_vk_buffer **out, smt_error *err);
void smt_vk_buffer_destroy(smt_vk_device *device, smt_vk_buffer *buffer); /* caller knows that no submission uses it */
uint64_t smt_vk_buffer_bytes(const smt_vk_buffer *buffer);
void *smt_vk_buffer_map(const smt_vk_buffer *buffer); /* NULL when not host-visible */
/* Needed around host access where the type is not coherent; no-ops where it is. */
smt_status smt_vk_buffer_flush(smt_vk_device *device, smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes, smt_error *err);
smt_status smt_vk_buffer_invalidate(smt_vk_device *device, smt_vk_buffer *buffer, uint64_t offset, uint64_t bytes,
                                    smt_error *err);

/* Of one heap, in bytes. */
typedef struct smt_vk_heap_use {
    uint64_t budget; /* what the driver lets this process use now; all of the heap where it does not say */
    uint64_t used;   /* by this process, as the driver says; 0: it does not */
    uint64_t held;   /* by the slabs of this device */
} smt_vk_heap_use;
/* Fills [caps->n_heaps]. Thread-safe. */
void smt_vk_memory_now(smt_vk_device *device, smt_vk_heap_use out[SMT_CAPS_MAX_HEAPS]);

/* ---- kernels (vk_shader.c, vk_include.c, vk_prebuilt.c, vk_pipeline.c, vk_cache.c, vk_trust.c) ---- */
typedef struct smt_vk_define {
    const char *name, *value;
} smt_vk_define;
typedef struct smt_vk_kernel_desc {
    const char *source; /* "matmul.comp", found among the embedded shaders or in shader_dir */
    const char *label;  /* for messages and debug names: "matmul Q4_K x8" */
    const smt_vk_define *defines;
    uint32_t n_defines;
    uint32_t n_windows;     /* 1, 4 or 16: also defined for the shader as SMT_WINDOWS */
    uint32_t group_size[3]; /* defined for the shader as SMT_GROUP_X, _Y, _Z */
    uint32_t push_bytes;
    smt_texel
        window_texels; /* not NONE: W is read as texels alone (SMT_TEXELS is 1 in the shader), and its windows may exceed caps->max_storage_range */
    const uint32_t *constants; /* specialization constants 0 ... n_constants - 1; booleans are 0 or 1 */
    uint32_t n_constants;
    bool portable;          /* the source is the same for every device (SMT_SUBGROUP is 0), and may be among the prebuilt ones */
    uint32_t buffer_texels; /* bit i: buffer i is read as texels of four floats, beside or instead of binding 1 + i */
} smt_vk_kernel_desc;
typedef struct smt_vk_kernel_stats { /* negative: unknown */
    double compile_ms, vgprs, spills, lds, occupancy, inverse_throughput;
    bool cached; /* the SPIR-V came from disk */
} smt_vk_kernel_stats;
/* GLSL -> SPIR-V (cached on disk) -> pipeline. SMT_COMPILE carries the compiler's words with the true file and line. Thread-safe.
 */
smt_status smt_vk_kernel_create(smt_vk_device *device, const smt_vk_kernel_desc *desc, bool want_stats, smt_vk_kernel **out,
                                smt_error *err);
/* Dispatches the kernel over no workgroup, `any` behind all its bindings, and waits: drivers that compile at the first dispatch do it
 * now. Thread-safe. */
smt_status smt_vk_kernel_warm(smt_vk_device *device, const smt_vk_kernel *kernel, smt_vk_buffer *any, uint64_t timeout_ns,
                              smt_error *err);
void smt_vk_kernel_destroy(smt_vk_device *device, smt_vk_kernel *kernel);
void smt_vk_kernel_get_stats(const smt_vk_kernel *kernel, smt_vk_kernel_stats *out);
/* True, once, after a compiled kernel could not be kept in the cache folder (which costs time and nothing else): a line for the log. */
bool smt_vk_cache_complaint(smt_vk_device *device, char *text, size_t capacity);
/* Whether the kernel, on this driver and of this source, has been judged right: in this process, or in one that used the cache folder
 * before. Thread-safe, both. */
bool smt_vk_kernel_trusted(smt_vk_device *device, const smt_vk_kernel *kernel);
void smt_vk_kernel_judge(smt_vk_device *device, const smt_vk_kernel *kernel, bool right);
/* Writes the pipeline cache and what was judged to disk (atomically). Called by device_destroy too. */
smt_status smt_vk_cache_save(smt_vk_device *device, smt_error *err);
/* GLSL to SPIR-V alone, for tests and tools: *out_words belongs to the caller (smt_free). */
smt_status smt_vk_compile_glsl(smt_vk_device *device, const smt_vk_kernel_desc *desc, uint32_t **out_words, size_t *out_count,
                               smt_error *err);

/* Whether a portable kernel comes compiled, or else compiles. */
bool smt_vk_portable_known(smt_vk_device *device, const smt_vk_kernel_desc *desc);
/* The text of a portable kernel, the name that its compiled form has in shaders/prebuilt, and whether it is there; for the tool that puts it
 * there. *out_text: smt_free. */
smt_status smt_vk_portable_text(const smt_vk_kernel_desc *desc, char **out_text, char name[33], bool *out_prebuilt,
                                smt_error *err);

/* ---- recordings and submissions (vk_cmd.c, vk_queue.c, vk_timer.c) ---- */
typedef struct smt_vk_range {
    smt_vk_buffer *buffer;
    uint64_t offset, bytes; /* offset: a multiple of caps->storage_align for bindings; bytes <= caps->max_storage_range */
} smt_vk_range;

typedef struct smt_vk_dispatch {
    const smt_vk_kernel *kernel;
    const smt_vk_range *windows; /* [n_windows], n_windows <= the kernel's; 0: the kernel declares no W */
    uint32_t n_windows;
    const smt_vk_range *buffers; /* binding 1 + i; a range with buffer NULL is skipped */
    uint32_t n_buffers;
    const void *push;
    uint32_t push_bytes;
    uint32_t groups[3];
    bool empty;            /* no workgroup at all: groups are not looked at */
    uint32_t base[3];      /* of the first workgroup, when a grid is divided */
    smt_vk_range indirect; /* buffer not NULL: three u32 at offset instead of groups */
} smt_vk_dispatch;

smt_status smt_vk_recording_begin(smt_vk_device *device, const char *name, smt_vk_recording **out, smt_error *err);
/* Of copies and fills alone: for the queue that does nothing else, where there is one. Elsewhere it is a recording like any other. */
smt_status smt_vk_recording_begin_copies(smt_vk_device *device, const char *name, smt_vk_recording **out, smt_error *err);
/* Whether copies have a queue of their own: then they are in no order with kernels but that of smt_vk_submit_after. */
bool smt_vk_copies_apart(const smt_vk_device *device);
smt_status smt_vk_record_dispatch(smt_vk_recording *recording, const smt_vk_dispatch *dispatch, smt_error *err);
/* Everything written before (shader, transfer or host) is visible to everything after (shader, indirect, transfer, host). */
void smt_vk_record_barrier(smt_vk_recording *recording);
void smt_vk_record_copy(smt_vk_recording *recording, const smt_vk_range *src, const smt_vk_range *dst); /* src->bytes */
void smt_vk_record_fill(smt_vk_recording *recording, const smt_vk_range *dst, uint32_t word);
void smt_vk_record_timestamp(smt_vk_recording *recording, uint32_t slot); /* slot < SMT_VK_MAX_STAMPS */
#define SMT_VK_MAX_STAMPS 512
smt_status smt_vk_recording_end(smt_vk_recording *recording, smt_error *err);
void smt_vk_recording_destroy(smt_vk_device *device, smt_vk_recording *recording); /* not while submitted */
/* Ticks as nanoseconds, valid after the submission finished. SMT_UNSUPPORTED without timestamps. */
smt_status smt_vk_recording_stamps(smt_vk_recording *recording, uint32_t count, double *out_ns, smt_error *err);

/* Submissions to a queue run in order. *out_value is the timeline value that this one signals. Thread-safe; a recording is one thread's. */
smt_status smt_vk_submit(smt_vk_device *device, smt_vk_recording *recording, uint64_t *out_value, smt_error *err);
/* It also comes after the submission to the other queue that signals `after` (0: none), and sees what that wrote. With a single queue the
 * order of submission says so already. */
smt_status smt_vk_submit_after(smt_vk_device *device, smt_vk_recording *recording, uint64_t after, uint64_t *out_value,
                               smt_error *err);
/* Waits until kernels have reached `value`; SMT_DEVICE_LOST, or SMT_VULKAN after `timeout_ns`. What the host has waited for, later
 * submissions to either queue see. */
smt_status smt_vk_wait(smt_vk_device *device, uint64_t value, uint64_t timeout_ns, smt_error *err);
/* The same on the recording's queue, for a value that it signals. */
smt_status smt_vk_recording_wait(smt_vk_recording *recording, uint64_t value, uint64_t timeout_ns, smt_error *err);
uint64_t smt_vk_reached(smt_vk_device *device);

#endif
