/* kernel_table.c: keys to sources and defines, and the few choices that depend on the device.
 *
 * Group sizes. On CPU-like devices a workgroup is one task of one thread: matmul takes 32 rows, a few subgroups, so that small matrices
 * still make a task for every thread. The wave family gives 16 of 128 invocations two rows, or one of each matrix of a gated pair: few
 * rows make many workgroups, and the workgroup reads its activations once for all of them. Many columns: a workgroup of 128 makes a
 * tile. Attention and the draw of a token, a single workgroup, take one subgroup here and several waves there. All other kernels use 64. */
#include "kernel/kernel.h"

#include <params.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *source;
    uint32_t push_bytes;
} rows[] = {
#define X(name, source, params) {#name, source, sizeof(struct params)},
    SMT_KERNEL_LIST(X)
#undef X
};

#define GROUP              64
#define GROUP_MATMUL_ROWS  32
#define GROUP_MATMUL_WAVE  128
#define GROUP_DRAW         256
#define WAVE_ROWS          (2 * GROUP_MATMUL_WAVE / SMT_WAVE_LANES) /* the lanes share two rows */
#define COOP_COLUMNS       64
#define COOP_WINDOWS       4
#define TILE_COLUMNS       32    /* or twice as many */
#define ATTEND_TILE_SHARED 28672 /* bytes: keys of a chunk, or their weights, and what reductions need */

const char *smt_kernel_name(uint32_t kernel) { return kernel < SMT_KERNEL_COUNT ? rows[kernel].name : "?"; }

bool smt_kernel_decodes(uint32_t kernel) {
    return kernel == SMT_KERNEL_EMBED || kernel == SMT_KERNEL_MATMUL || kernel == SMT_KERNEL_MOE_DOWN;
}

bool smt_kernel_equal(const smt_kernel_key *a, const smt_kernel_key *b) { return memcmp(a, b, sizeof *a) == 0; }

uint32_t smt_kernel_matmul_rows(const smt_caps *caps, uint32_t n_columns, bool gated) {
    if (caps->family == SMT_FAMILY_ROWS) return GROUP_MATMUL_ROWS;
    return (n_columns < TILE_COLUMNS ? WAVE_ROWS : SMT_TILE_LINES) / (gated ? 2 : 1);
}

uint32_t smt_kernel_windows(uint32_t n) { return n <= 1 ? 1 : n <= 4 ? 4 : n <= 16 ? 16 : 0; }

/* Tiles of 64 columns take twice the registers: where a subgroup has 64 lanes, one wave would be left on a processor that wants several. */
static uint32_t tile_columns(const smt_caps *caps, bool many) {
    return many && caps->subgroup_min <= 32 ? 2 * TILE_COLUMNS : TILE_COLUMNS;
}

uint32_t smt_kernel_next_columns(const smt_caps *caps, uint32_t n_columns) {
    if (n_columns == 8 && caps->family == SMT_FAMILY_WAVE) return TILE_COLUMNS;
    if (n_columns == TILE_COLUMNS && tile_columns(caps, true) > n_columns) return tile_columns(caps, true);
    return n_columns == 0 ? 1 : n_columns < 8 ? n_columns * 2 : 0;
}

uint32_t smt_kernel_columns(const smt_caps *caps, uint32_t n_rows) {
    if (caps->family == SMT_FAMILY_WAVE && n_rows >= TILE_COLUMNS) return tile_columns(caps, n_rows >= 2 * TILE_COLUMNS);
    return n_rows >= 8 ? 8 : n_rows >= 4 ? 4 : n_rows >= 2 ? 2 : 1;
}

uint32_t smt_kernel_expert_columns(const smt_caps *caps, uint32_t n_rows, uint32_t n_used, uint32_t n_experts) {
    if (n_rows <= 1) return 1;
    uint32_t mean = n_rows * n_used / smt_max_u32(n_experts, 1);
    /* A tile is worth more than eight columns from about twelve on, and 64 columns than 32 where most of them are taken. */
    if (caps->family == SMT_FAMILY_WAVE && mean >= 12) return tile_columns(caps, mean >= 48);
    return mean >= 4 ? 8 : 2; /* few variants: each is a pipeline to compile */
}

bool smt_kernel_fast(const smt_caps *caps, smt_dtype type) {
    return caps->family == SMT_FAMILY_WAVE && smt_quant_has_codes(type);
}

bool smt_kernel_weaves(const smt_caps *caps, smt_dtype type) { return smt_caps_texels(caps) && smt_quant_vectors(type); }

/* Every variant with cooperative matrices is a file in shaders/prebuilt, so there are few: no more windows than GPUs need, which can bind 4 GiB as
 * one, and the types that files are made of. */
static const uint32_t coop_types[] = {SMT_DTYPE_F16,  SMT_DTYPE_BF16, SMT_DTYPE_Q4_0, SMT_DTYPE_Q5_0,
                                      SMT_DTYPE_Q8_0, SMT_DTYPE_Q4_K, SMT_DTYPE_Q5_K, SMT_DTYPE_Q6_K};

static bool has_coop(const smt_caps *caps, const smt_kernel_key *key) {
    if (!caps->coop.m || caps->family != SMT_FAMILY_WAVE || key->kernel != SMT_KERNEL_MATMUL) return false;
    if (key->columns != COOP_COLUMNS || key->windows > COOP_WINDOWS || key->norm || key->merge) return false;
    for (size_t i = 0; i < SMT_COUNT(coop_types); i++)
        if (coop_types[i] == key->type) return true;
    return false;
}

void smt_kernel_choose_fast(const smt_caps *caps, bool coop, smt_kernel_key *key) {
    if (coop && has_coop(caps, key)) {
        key->coop = 1;
        key->windows = COOP_WINDOWS;
    } else {
        key->fast = smt_kernel_fast(caps, (smt_dtype)key->type);
    }
}

bool smt_kernel_coop_catalogue(uint32_t index, smt_kernel_key *out) {
    *out = (smt_kernel_key){.kernel = SMT_KERNEL_MATMUL,
                            .windows = COOP_WINDOWS,
                            .columns = COOP_COLUMNS,
                            .coop = 1,
                            .expert = index & 1,
                            .gated = index >> 1 & 1,
                            .type = coop_types[index / 4 % SMT_COUNT(coop_types)]};
    return index < 4 * SMT_COUNT(coop_types);
}

void smt_kernel_attend_shape(const smt_caps *caps, uint32_t heads_per_kv, uint32_t n_rows, smt_kernel_key *key) {
    key->tile = caps->family == SMT_FAMILY_WAVE && caps->max_shared_bytes >= ATTEND_TILE_SHARED && caps->max_invocations >= 256;
    uint32_t columns = key->tile ? 16 : 8; /* more do not fit the registers; every shape is a pipeline to compile */
    key->heads = columns;
    while (heads_per_kv % key->heads) key->heads /= 2;
    key->rows = columns / key->heads;
    while (key->rows > n_rows) key->rows /= 2;
}

uint32_t smt_kernel_effort(const smt_kernel_key *key) {
    static const uint32_t each[SMT_KERNEL_COUNT] = {
        [SMT_KERNEL_EMBED] = 200,     [SMT_KERNEL_NORM] = 400,    [SMT_KERNEL_MATMUL] = 100,       [SMT_KERNEL_MLA_CACHE] = 500,
        [SMT_KERNEL_GQA_CACHE] = 500, [SMT_KERNEL_ATTEND] = 2000, [SMT_KERNEL_ATTEND_MERGE] = 300, [SMT_KERNEL_ROUTE] = 650,
        [SMT_KERNEL_GROUP] = 250,     [SMT_KERNEL_COMBINE] = 170, [SMT_KERNEL_PARTS] = 150,        [SMT_KERNEL_JOIN] = 150,
        [SMT_KERNEL_MOE_DOWN] = 300,  [SMT_KERNEL_SWIGLU] = 100,  [SMT_KERNEL_SAMPLE_TOP] = 30,    [SMT_KERNEL_SAMPLE_DRAW] = 900,
        [SMT_KERNEL_REPACK] = 300,
    };
    return each[key->kernel] + 40 * key->columns + 400 * key->norm + (key->merge ? 200 : 0) +
           (key->columns > 1 && key->gated ? 100 : 0);
}

/* On CPU-like devices: one subgroup, which then needs no barriers. */
static uint32_t subgroup_group(const smt_caps *caps) {
    uint32_t size = caps->subgroup_ballot ? caps->subgroup_size : 0;
    return size == 4 || size == 16 ? size : 8;
}

static void define(smt_kernel_spec *spec, const char *name, uint32_t value) {
    spec->defines[spec->n_defines].name = name;
    snprintf(spec->defines[spec->n_defines].value, sizeof spec->defines[0].value, "%u", value);
    spec->n_defines++;
}

static void add_label(smt_kernel_spec *spec, const char *format, ...) {
    size_t used = strlen(spec->label);
    va_list args;
    va_start(args, format);
    vsnprintf(spec->label + used, sizeof spec->label - used, format, args);
    va_end(args);
}

/* What lib/coop_matrix.glsl spells out. */
#define PLAIN_LANES 32
static const smt_coop_shape plain_coop = {16, 16, 16};

static void describe_product(const smt_caps *caps, const smt_kernel_key *key, smt_kernel_spec *spec) {
    bool wave = caps->family == SMT_FAMILY_WAVE;
    uint32_t each = key->columns <= 2 && !key->gated ? 2 : 1; /* rows of an invocation, in the other family */
    spec->group = wave ? GROUP_MATMUL_WAVE : GROUP_MATMUL_ROWS / each;
    define(spec, "SMT_WAVE", wave);
    define(spec, "SMT_ROWS", each);
    define(spec, "SMT_COLUMNS", key->columns);
    define(spec, "SMT_GATED", key->gated && !key->coop);
    define(spec, "SMT_EXPERT", key->expert);
    define(spec, "SMT_COOP", key->coop);
    define(spec, "SMT_NORM", key->norm);
    define(spec, "SMT_MERGE", key->merge);
    define(spec, "SMT_FAST", key->fast);
    define(spec, "SMT_DOT", key->fast && caps->int_dot);
    add_label(spec, " x%u%s%s%s%s%s", key->columns, wave ? " wave" : "",
              key->coop   ? " coop"
              : key->fast ? " fast"
                          : "",
              key->gated ? " gated" : "", key->expert ? " expert" : "", key->norm ? " norm" : "");
    if (key->merge) add_label(spec, " merge %u", key->merge * 4);
    if (!key->coop) return;
    const smt_coop_shape *shape = key->coop == 1 ? &caps->coop : &plain_coop;
    const uint32_t constants[] = {shape->m, shape->n, shape->k, key->coop == 1 ? smt_caps_subgroup(caps) : PLAIN_LANES,
                                  key->gated};
    memcpy(spec->constants, constants, sizeof constants);
    spec->n_constants = SMT_COUNT(constants);
    spec->portable = true;
}

static void describe_attend(const smt_caps *caps, const smt_kernel_key *key, smt_kernel_spec *spec) {
    /* GPUs: 64 invocations for every four columns. */
    spec->group = key->tile ? GROUP * smt_div_up(key->heads * key->rows, 4) : subgroup_group(caps);
    define(spec, "SMT_HEADS", key->heads);
    define(spec, "SMT_ROWS", key->rows);
    define(spec, "SMT_TILE", key->tile);
    define(spec, "SMT_KEY4", key->key4);
    define(spec, "SMT_QUERY4", key->query4);
    define(spec, "SMT_VALUE4", key->value4);
    add_label(spec, " %ux%u heads %u rows %u%s", key->key4 * 4, key->value4 * 4, key->heads, key->rows, key->tile ? " tile" : "");
    /* Texels have 16 bytes: half a head of float16 values must have them too. */
    if (!smt_caps_texels(caps) || (key->cache_f16 && (key->key4 % 2 || key->value4 % 2))) return;
    spec->window_texels = SMT_TEXEL_U32X4;
    spec->buffer_texels = 1u << 0 | (key->query4 < key->key4 ? 1u << 5 : 0u); /* the queries */
}

void smt_kernel_describe(const smt_caps *caps, const smt_kernel_key *key, smt_kernel_spec *out) {
    *out = (smt_kernel_spec){
        .source = rows[key->kernel].source, .windows = key->windows, .group = GROUP, .push_bytes = rows[key->kernel].push_bytes};
    snprintf(out->label, sizeof out->label, "%.*s", (int)(strlen(out->source) - strlen(".comp")), out->source);
    if (smt_kernel_decodes(key->kernel)) {
        define(out, "SMT_TYPE", key->type);
        if (smt_kernel_weaves(caps, (smt_dtype)key->type)) {
            out->window_texels = SMT_TEXEL_U32X4;
            out->buffer_texels = key->kernel == SMT_KERNEL_EMBED ? 0 : 1; /* the activations */
        }
        add_label(out, " %s", smt_dtype_get(key->type)->name);
    }
    switch (key->kernel) {
    case SMT_KERNEL_MATMUL:
    case SMT_KERNEL_MOE_DOWN:
        describe_product(caps, key, out);
        break;
    case SMT_KERNEL_ATTEND:
        describe_attend(caps, key, out);
        break;
    case SMT_KERNEL_ATTEND_MERGE:
        define(out, "SMT_VALUE4", key->value4);
        break;
    case SMT_KERNEL_SAMPLE_DRAW:
        out->group = caps->kind == SMT_KIND_CPU ? subgroup_group(caps) : smt_min_u32(caps->max_invocations, GROUP_DRAW);
        break;
    case SMT_KERNEL_ROUTE:
        define(out, "SMT_SIGMOID", key->sigmoid);
        define(out, "SMT_TOP2", key->top2);
        define(out, "SMT_LIST", key->list);
        add_label(out, "%s%s%s", key->sigmoid ? " sigmoid" : " softmax", key->top2 ? " top2" : "", key->list ? " list" : "");
        break;
    default:
        break;
    }
    if (key->kernel == SMT_KERNEL_MLA_CACHE || key->kernel == SMT_KERNEL_GQA_CACHE || key->kernel == SMT_KERNEL_ATTEND) {
        define(out, "SMT_CACHE", key->cache_f16);
        add_label(out, "%s", key->cache_f16 ? " f16" : " f32");
    }
    if (key->kernel == SMT_KERNEL_ROUTE || key->kernel == SMT_KERNEL_GROUP) define(out, "SMT_EXPERTS", key->experts);
    if (caps->kind == SMT_KIND_CPU && !key->coop) define(out, "SMT_ROLL", 1); /* see lib/turns.glsl */
    if (key->windows > 1) add_label(out, " w%u", key->windows);
}

/* ---- the catalogue without a model ---- */

static const uint32_t types[] = {SMT_DTYPE_F32,   SMT_DTYPE_F16,     SMT_DTYPE_BF16,  SMT_DTYPE_Q4_0,    SMT_DTYPE_Q4_1,
                                 SMT_DTYPE_Q5_0,  SMT_DTYPE_Q5_1,    SMT_DTYPE_Q8_0,  SMT_DTYPE_Q2_K,    SMT_DTYPE_Q3_K,
                                 SMT_DTYPE_Q4_K,  SMT_DTYPE_Q5_K,    SMT_DTYPE_Q6_K,  SMT_DTYPE_IQ4_NL,  SMT_DTYPE_IQ4_XS,
                                 SMT_DTYPE_MXFP4, SMT_DTYPE_IQ1_S,   SMT_DTYPE_IQ1_M, SMT_DTYPE_IQ2_XXS, SMT_DTYPE_IQ2_XS,
                                 SMT_DTYPE_IQ2_S, SMT_DTYPE_IQ3_XXS, SMT_DTYPE_IQ3_S};
/* those with integer products */
static const uint32_t fast_types[] = {SMT_DTYPE_Q4_0, SMT_DTYPE_Q4_1, SMT_DTYPE_Q5_0, SMT_DTYPE_Q5_1,
                                      SMT_DTYPE_Q8_0, SMT_DTYPE_Q4_K, SMT_DTYPE_Q5_K, SMT_DTYPE_Q6_K};
/* matmul variants of one type and column count */
static const struct {
    uint32_t gated, expert, windows;
} matmul_forms[] = {{0, 0, 1}, {1, 0, 4}, {1, 1, 1}, {1, 1, 4}, {1, 1, 16}, {0, 1, 1}, {0, 1, 4}, {0, 1, 16}};

/* what a single row needs besides, of one type; products of the GPU family are the first FAST_ROW_FORMS */
#define FAST_ROW_FORMS 2
static const smt_kernel_key row_forms[] = {
    {.kernel = SMT_KERNEL_MATMUL, .windows = 1, .norm = 1},
    {.kernel = SMT_KERNEL_MATMUL, .windows = 1, .merge = 128},
    {.kernel = SMT_KERNEL_MOE_DOWN, .windows = 1, .expert = 1, .norm = 1},
    {.kernel = SMT_KERNEL_MOE_DOWN, .windows = 4, .expert = 1, .norm = 1},
    {.kernel = SMT_KERNEL_MOE_DOWN, .windows = 16, .expert = 1, .norm = 1},
};

#define ATTEND_ROW(windows_, f16, heads_, rows_, tile_, key, query, value)                                                 \
    {                                                                                                                      \
        .kernel = SMT_KERNEL_ATTEND, .windows = windows_, .cache_f16 = f16, .heads = heads_, .rows = rows_, .tile = tile_, \
        .key4 = key, .query4 = query, .value4 = value                                                                      \
    }
static const smt_kernel_key singles[] = {
    {.kernel = SMT_KERNEL_NORM, .windows = 1},
    {.kernel = SMT_KERNEL_MLA_CACHE, .windows = 1, .cache_f16 = 0},
    {.kernel = SMT_KERNEL_MLA_CACHE, .windows = 1, .cache_f16 = 1},
    {.kernel = SMT_KERNEL_MLA_CACHE, .windows = 4, .cache_f16 = 1},
    {.kernel = SMT_KERNEL_GQA_CACHE, .windows = 1, .cache_f16 = 0},
    {.kernel = SMT_KERNEL_GQA_CACHE, .windows = 1, .cache_f16 = 1},
    ATTEND_ROW(1, 1, 8, 1, 0, 144, 128, 128),
    ATTEND_ROW(1, 0, 8, 1, 0, 144, 128, 128),
    ATTEND_ROW(4, 1, 4, 2, 0, 32, 32, 32),
    ATTEND_ROW(1, 1, 16, 1, 1, 144, 128, 128),
    ATTEND_ROW(1, 0, 16, 1, 1, 144, 128, 128),
    ATTEND_ROW(4, 1, 4, 4, 1, 32, 32, 32),
    ATTEND_ROW(1, 1, 1, 1, 1, 32, 32, 32),
    {.kernel = SMT_KERNEL_ATTEND_MERGE, .windows = 1, .value4 = 128},
    {.kernel = SMT_KERNEL_ROUTE, .windows = 1, .experts = 64},
    {.kernel = SMT_KERNEL_ROUTE, .windows = 1, .experts = 256, .sigmoid = 1, .top2 = 1},
    {.kernel = SMT_KERNEL_ROUTE, .windows = 1, .experts = 512, .sigmoid = 1, .top2 = 1},
    {.kernel = SMT_KERNEL_ROUTE, .windows = 1, .experts = 64, .list = 1},
    {.kernel = SMT_KERNEL_ROUTE, .windows = 1, .experts = 256, .sigmoid = 1, .top2 = 1, .list = 1},
    {.kernel = SMT_KERNEL_GROUP, .windows = 1, .experts = 256},
    {.kernel = SMT_KERNEL_COMBINE, .windows = 1},
    {.kernel = SMT_KERNEL_PARTS, .windows = 1},
    {.kernel = SMT_KERNEL_JOIN, .windows = 1},
    {.kernel = SMT_KERNEL_SWIGLU, .windows = 1},
    {.kernel = SMT_KERNEL_SAMPLE_TOP, .windows = 1},
    {.kernel = SMT_KERNEL_SAMPLE_DRAW, .windows = 1},
    {.kernel = SMT_KERNEL_REPACK, .windows = 1},
    {.kernel = SMT_KERNEL_MATMUL, .windows = 4, .type = SMT_DTYPE_F16, .columns = 8}, /* with a bias */
    {.kernel = SMT_KERNEL_MATMUL, .windows = 4, .type = SMT_DTYPE_F16, .columns = 1, .norm = 1},
    {.kernel = SMT_KERNEL_MOE_DOWN, .windows = 1, .type = SMT_DTYPE_F16, .columns = 1, .expert = 1}, /* no norm follows */
};

/* The products of n types: what a single row needs, the first n_row_forms of it, then every form for every number of columns. False:
 * *index is beyond them, and counts on from their end. */
static bool find_product(const smt_caps *caps, const uint32_t *list, uint32_t n, uint32_t n_row_forms, uint32_t *index,
                         smt_kernel_key *out) {
    const uint32_t n_forms = SMT_COUNT(matmul_forms);
    if (*index < n * n_row_forms) {
        *out = row_forms[*index % n_row_forms];
        out->type = list[*index / n_row_forms];
        out->columns = 1;
        return true;
    }
    *index -= n * n_row_forms;
    uint32_t n_columns = 1;
    while (n_columns && *index >= n * n_forms) *index -= n * n_forms, n_columns = smt_kernel_next_columns(caps, n_columns);
    *out = (smt_kernel_key){.kernel = SMT_KERNEL_MATMUL,
                            .windows = matmul_forms[*index % n_forms].windows,
                            .gated = matmul_forms[*index % n_forms].gated,
                            .expert = matmul_forms[*index % n_forms].expert,
                            .columns = n_columns,
                            .type = list[*index / n_forms % n]};
    return n_columns > 0;
}

bool smt_kernel_catalogue(const smt_caps *caps, uint32_t index, smt_kernel_key *out) {
    const uint32_t n_singles = SMT_COUNT(singles), n_types = SMT_COUNT(types);
    *out = (smt_kernel_key){0};
    if (index < n_singles) {
        *out = singles[index];
        return true;
    }
    index -= n_singles;
    if (index < n_types) {
        *out = (smt_kernel_key){.kernel = SMT_KERNEL_EMBED, .windows = 1, .type = types[index]};
        return true;
    }
    index -= n_types;
    if (find_product(caps, types, n_types, SMT_COUNT(row_forms), &index, out)) return true;
    if (caps->family != SMT_FAMILY_WAVE) return false;
    if (!find_product(caps, fast_types, SMT_COUNT(fast_types), FAST_ROW_FORMS, &index, out))
        return caps->coop.m && smt_kernel_coop_catalogue(index, out);
    out->fast = 1;
    return true;
}
