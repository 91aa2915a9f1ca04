/* vk_internal.h: what the files of src/vk/ share and that needs no Vulkan type, so that unit tests can include it.
 *
 *   facts   = one physical device as plain numbers (vk_caps.c fills them, a test may invent them)
 *   choice  = what vk_choose.c decided from the facts: queue families, features and extensions to enable
 *   source  = one shader with its includes spliced in (vk_include.c); its text is what the compiler and the cache key see
 *   prebuilt = SPIR-V of sources that not every compiler takes (vk_prebuilt.c)
 *   glsl    = the GLSL compiler that CMake found (vk_shader.c)
 *   blob    = a checked file of the on-disk cache (vk_cache.c) */
#ifndef SMT_VK_INTERNAL_H
#define SMT_VK_INTERNAL_H

#include "vk.h"
#include "os/os.h"

/* ---- opening (vk_loader.c, vk_instance.c) ---- */

/* smt_vk_open with the file name of the loader library given, for tests; NULL: the usual names. */
smt_status smt_vk_open_library(const char *library, const smt_vk_options *options, smt_vk **out, smt_error *err);

/* ---- facts and choice (vk_caps.c, vk_choose.c) ---- */

#define SMT_VK_MAX_FAMILIES 16

/* Device extensions we know of, as bits and names. */
#define SMT_VK_EXTENSION_LIST(X)                                      \
    X(MEMORY_BUDGET, "VK_EXT_memory_budget")                          \
    X(EXECUTABLE_PROPERTIES, "VK_KHR_pipeline_executable_properties") \
    X(SUBGROUP_SIZE, "VK_EXT_subgroup_size_control")                  \
    X(INT_DOT, "VK_KHR_shader_integer_dot_product")                   \
    X(COOP_MATRIX, "VK_KHR_cooperative_matrix")                       \
    X(EXTERNAL_HOST, "VK_EXT_external_memory_host")                   \
    X(EXTERNAL_FD, "VK_KHR_external_memory_fd")                       \
    X(SYNC2, "VK_KHR_synchronization2")                               \
    X(MAINTENANCE4, "VK_KHR_maintenance4")
enum smt_vk_extension_index {
#define X(name, text) SMT_VK_INDEX_##name,
    SMT_VK_EXTENSION_LIST(X)
#undef X
        SMT_VK_EXTENSION_COUNT
};
enum smt_vk_extension {
#define X(name, text) SMT_VK_EXT_##name = 1 << SMT_VK_INDEX_##name,
    SMT_VK_EXTENSION_LIST(X)
#undef X
};
extern const char *const smt_vk_extension_names[SMT_VK_EXTENSION_COUNT];

typedef struct smt_vk_family {
    uint32_t n_queues, timestamp_bits;
    bool compute, graphics, transfer;
} smt_vk_family;

typedef struct smt_vk_facts {
    smt_caps caps;
    uint32_t extensions; /* advertised: smt_vk_extension bits */
    bool full_subgroups; /* computeFullSubgroups */
    uint32_t n_families;
    smt_vk_family families[SMT_VK_MAX_FAMILIES];
} smt_vk_facts;

typedef struct smt_vk_choice {
    uint32_t queue_family, transfer_family, timestamp_bits;
    uint32_t extensions;                        /* to enable */
    uint32_t subgroup_size;                     /* what SMT_SUBGROUP says in shaders; 0: no subgroup operations */
    bool require_subgroup_size, full_subgroups; /* pin that size when pipelines are made */
    bool fp16, int8, int16, int64, storage16, storage8, int_dot, coop_matrix, executable_properties, texels;
} smt_vk_choice;

/* SMT_UNSUPPORTED names what the device lacks. Does not ask for memory heaps: a device without any can compile kernels. */
smt_status smt_vk_choose(const smt_vk_facts *facts, smt_vk_choice *out, smt_error *err);
/* The shape to use of those that the device has for float16 times float16 into float32; zeros: none. */
smt_coop_shape smt_vk_choose_coop(const smt_vk_facts *facts, const smt_coop_shape *shapes, uint32_t n_shapes);

/* ---- results and loss (vk_result.c) ---- */

/* Fills *err from a VkResult: "<formatted text>: VK_ERROR_...". A lost device is remembered in `device` (may be NULL). */
#define SMT_VK_FAIL(device, err, result, ...) smt_vk_result_fail((device), (err), (result), __FILE__, __LINE__, __VA_ARGS__)
SMT_PRINTF(6, 7)
smt_status smt_vk_result_fail(smt_vk_device *device, smt_error *err, int result, const char *file, int line, const char *format,
                              ...);
const char *smt_vk_result_name(int result);
/* SMT_OK, or SMT_DEVICE_LOST with the first cause. */
smt_status smt_vk_check_lost(smt_vk_device *device, smt_error *err);

/* ---- shader sources (vk_include.c) ---- */

struct smt_vk_embedded {
    const char *name, *text;
    size_t bytes;
};
extern const struct smt_vk_embedded smt_vk_embedded_shaders[]; /* made at build time; ends with a NULL name */

typedef struct smt_vk_source {
    smt_str text; /* complete GLSL: version, defines, files with #line */
    char **files; /* owned; the index is the source-string number in #line; 0 stands for the defines */
    size_t n_files, files_capacity;
} smt_vk_source;
/* `defines` must be sorted by name. On failure *out is freed and zeroed. */
smt_status smt_vk_source_flatten(const char *shader_dir, const char *name, const smt_vk_define *defines, uint32_t n_defines,
                                 smt_vk_source *out, smt_error *err);
/* Appends the compiler's log to *out with "2:7:" turned into "lib/x.glsl:7:", one line per message. */
smt_status smt_vk_source_map_log(const smt_vk_source *source, const char *log, smt_str *out, smt_error *err);
void smt_vk_source_free(smt_vk_source *source);

/* ---- modules that come compiled (vk_prebuilt.c) ---- */

struct smt_vk_prebuilt {
    const char *name;           /* 32 hex digits: smt_vk_prebuilt_name of the source */
    const unsigned char *bytes; /* compressed by zstd */
    size_t n_bytes;
};
extern const struct smt_vk_prebuilt smt_vk_prebuilt_modules[]; /* made at build time; ends with a NULL name */
/* A hash of what a compiler sees of the source: comments, blank lines and #line do not count. */
smt_status smt_vk_prebuilt_name(const smt_vk_source *source, char name[33], smt_error *err);
bool smt_vk_prebuilt_has(const char *name);
/* *out_words: smt_free; NULL where there is no module of the name. */
smt_status smt_vk_prebuilt_load(const char *name, uint32_t **out_words, size_t *out_count, smt_error *err);

/* ---- compiler (vk_shader.c) ---- */

typedef struct smt_vk_glsl smt_vk_glsl;
smt_status smt_vk_glsl_create(smt_vk_glsl **out, smt_error *err);
void smt_vk_glsl_free(smt_vk_glsl *glsl);
const char *smt_vk_glsl_identity(void); /* compiler, its version and our target: part of the cache key */
/* *out_words: smt_free. SMT_COMPILE carries `label` and the mapped log. Thread-safe. */
smt_status smt_vk_glsl_compile(smt_vk_glsl *glsl, const smt_vk_source *source, const char *label, uint32_t **out_words,
                               size_t *out_count, smt_error *err);

/* ---- cache files (vk_cache.c) ---- */

typedef struct smt_vk_key {
    uint8_t bytes[16];
} smt_vk_key;
smt_vk_key smt_vk_source_key(const smt_vk_source *source);
/* Of what is made of it with these specialization constants. */
smt_vk_key smt_vk_kernel_key(const smt_vk_key *source, const uint32_t *constants, uint32_t n_constants);
/* The payload of `<dir>/<stem>-<key>.bin`, or NULL when there is none or anything about it is wrong. smt_free. */
void *smt_vk_blob_read(const char *dir, const char *stem, const smt_vk_key *key, size_t *out_bytes);
smt_status smt_vk_blob_write(const char *dir, const char *stem, const smt_vk_key *key, const void *payload, size_t bytes,
                             smt_error *err);
/* Words of a cached SPIR-V module, or NULL; and the other way. `dir` may be NULL: no cache. */
uint32_t *smt_vk_spirv_load(const char *dir, const smt_vk_key *key, size_t *out_count);
bool smt_vk_spirv_plausible(const void *bytes, size_t n_bytes);

#endif
