/* kernel.h: the catalogue: every kernel there is, and how a key (kernel + variant numbers) becomes source, defines and group size
 * for a device. Pure: it reads caps, holds no handle, and knows no model.
 *
 * A key is plain data, compared field by field, so that a runner compiles each key once. Numbers that change per model and cost nothing as
 * push constants stay there; a key carries only what changes the code (types, columns, vector counts). */
#ifndef SMT_KERNEL_H
#define SMT_KERNEL_H

#include "base/caps.h"
#include "quant/quant.h"

/* X(NAME, source file, its push constants in shaders/shared/params.h) */
#define SMT_KERNEL_LIST(X)                              \
    X(EMBED, "embed.comp", embed_params)                \
    X(NORM, "rmsnorm.comp", norm_params)                \
    X(MATMUL, "matmul.comp", matmul_params)             \
    X(MLA_CACHE, "mla_cache.comp", cache_params)        \
    X(GQA_CACHE, "gqa_cache.comp", cache_params)        \
    X(ATTEND, "attend.comp", attend_params)             \
    X(ATTEND_MERGE, "attend_merge.comp", attend_params) \
    X(ROUTE, "moe_route.comp", route_params)            \
    X(GROUP, "moe_group.comp", group_params)            \
    X(COMBINE, "moe_combine.comp", combine_params)      \
    X(PARTS, "moe_parts.comp", parts_params)            \
    X(JOIN, "moe_join.comp", parts_params)              \
    X(MOE_DOWN, "moe_down.comp", matmul_params)         \
    X(SWIGLU, "swiglu.comp", swiglu_params)             \
    X(SAMPLE_TOP, "sample_top.comp", sample_params)     \
    X(SAMPLE_DRAW, "sample_draw.comp", sample_params)   \
    X(REPACK, "repack.comp", repack_params)

typedef enum smt_kernel_id {
#define X(name, source, params) SMT_KERNEL_##name,
    SMT_KERNEL_LIST(X)
#undef X
        SMT_KERNEL_COUNT
} smt_kernel_id;

typedef struct smt_kernel_key {
    uint32_t kernel;        /* smt_kernel_id */
    uint32_t windows;       /* 1, 4 or 16 */
    uint32_t type;          /* EMBED, MATMUL, MOE_DOWN: smt_dtype */
    uint32_t columns;       /* MATMUL: 1, 2, 4, 8; in the wave family 32, 64 as well */
    uint32_t gated, expert; /* MATMUL */
    uint32_t fast;          /* MATMUL of the wave family, of a type that smt_kernel_fast allows: integer products */
    uint32_t coop;      /* MATMUL, instead: cooperative matrices; 2: spelled out without them, for tests (lib/coop_matrix.glsl) */
    uint32_t norm;      /* MATMUL, MOE_DOWN of one column: the norm of the result follows */
    uint32_t merge;     /* MATMUL of one column: vec4s of an attention's chunks that are joined; 0: none */
    uint32_t cache_f16; /* *_CACHE, ATTEND */
    uint32_t heads, rows, tile;    /* ATTEND: heads and rows of a workgroup; tile: the GPU family */
    uint32_t key4, query4, value4; /* ATTEND; ATTEND_MERGE: value4 */
    uint32_t sigmoid, top2, list;  /* ROUTE */
    uint32_t experts;              /* ROUTE, GROUP: upper bound, a power of two */
} smt_kernel_key;

#define SMT_KERNEL_MAX_DEFINES    16
#define SMT_KERNEL_MAX_COLUMNS    64
#define SMT_KERNEL_COOP_CONSTANTS 5

/* A key made concrete for a device. The strings live in the struct. */
typedef struct smt_kernel_spec {
    const char *source;
    char label[96]; /* "matmul Q4_K x8 gated expert" */
    struct {
        const char *name;
        char value[16];
    } defines[SMT_KERNEL_MAX_DEFINES];
    uint32_t n_defines, windows, group, push_bytes;
    uint32_t constants[SMT_KERNEL_COOP_CONSTANTS], n_constants; /* as in smt_vk_kernel_desc, and so is portable */
    bool portable;
    smt_texel window_texels; /* as in smt_vk_kernel_desc: windows and buffers that are read as texels */
    uint32_t buffer_texels;
} smt_kernel_spec;

void smt_kernel_describe(const smt_caps *caps, const smt_kernel_key *key, smt_kernel_spec *out);
bool smt_kernel_equal(const smt_kernel_key *a, const smt_kernel_key *b);
const char *smt_kernel_name(uint32_t kernel);
/* Whether the kernel decodes weights of key.type, and so may need the codebooks. */
bool smt_kernel_decodes(uint32_t kernel);

/* Milliseconds that a CPU device's driver takes to compile it, roughly: those that take long are begun first. */
uint32_t smt_kernel_effort(const smt_kernel_key *key);

/* Rows of the weight matrix that one workgroup of MATMUL or MOE_DOWN covers on this device; gated: of each of the two. */
uint32_t smt_kernel_matmul_rows(const smt_caps *caps, uint32_t columns, bool gated);
/* The next larger number of columns that MATMUL has a variant for on this device, 1 after 0; 0 after the last. */
uint32_t smt_kernel_next_columns(const smt_caps *caps, uint32_t columns);
/* Columns of the matmul variant for a step of `rows` rows; expert: for `rows` rows that each choose n_used of n_experts. */
uint32_t smt_kernel_columns(const smt_caps *caps, uint32_t rows);
uint32_t smt_kernel_expert_columns(const smt_caps *caps, uint32_t rows, uint32_t n_used, uint32_t n_experts);
/* Whether products of the type have a form with integers on this device. */
bool smt_kernel_fast(const smt_caps *caps, smt_dtype type);
/* Whether matrices of the type are woven (quant.h) on this device: where an invocation owns a row and reads it as texels. */
bool smt_kernel_weaves(const smt_caps *caps, smt_dtype type);
/* Gives the key of a product its form in fast precision: cooperative matrices, where wanted, for many columns of types that they are there
 * for; else integers; else the key stays as it is. */
void smt_kernel_choose_fast(const smt_caps *caps, bool coop, smt_kernel_key *key);
/* The index-th of all keys with cooperative matrices, of any device that has them; past the last: false. */
bool smt_kernel_coop_catalogue(uint32_t index, smt_kernel_key *out);
/* Sets heads, rows and tile of an ATTEND key for a step of n_rows rows: heads divides heads_per_kv. */
void smt_kernel_attend_shape(const smt_caps *caps, uint32_t heads_per_kv, uint32_t n_rows, smt_kernel_key *key);
/* The window-array size for n windows: 1, 4, 16; 0: more than any kernel binds. */
uint32_t smt_kernel_windows(uint32_t n);

/* Every row worth compiling on the device without a model: the catalogue test and `kernels --all`. Index past the last returns false. */
bool smt_kernel_catalogue(const smt_caps *caps, uint32_t index, smt_kernel_key *out);

#endif
