/* quant_layout.c: the layouts in which a device holds rows.
 *
 * A type of one element a block is padded with zeros to whole chunks of 32, so that a kernel needs no test at the end of a row; zero bytes are
 * the value zero in every such type. Block types become planes, except those whose kernels look up codebooks.
 *
 *   row of planes:  [bulk of block 0][bulk of block 1]... [small part of block 0][of block 1]... pad [second small part of block 0]... pad
 *
 * The bulk of a block is a multiple of 16 bytes, so every code a kernel wants lies in aligned vectors; in the file a block of Q8_0 has 34
 * bytes. Woven, eight rows of V vectors become
 *
 *   [vector 0 of row 0][vector 0 of row 1]...[vector 0 of row 7][vector 1 of row 0]...[vector V - 1 of row 7] */
#include "quant.h"

#include <string.h>

#define CHUNK  32 /* elements a kernel reads at a time: see quant.h */
#define VECTOR 16

/* Where the parts of a block lie in the file, and the bytes that a block's small part takes in its plane. */
typedef struct part {
    uint8_t from, bytes, stride;
} part;
typedef struct planes {
    part bulk, small[REPACK_PARTS - 1];
} planes;

static const planes table[SMT_DTYPE_LIMIT] = {
    [SMT_DTYPE_Q4_0] = {{2, 16, 16}, {{0, 2, 2}}},            /* codes; d */
    [SMT_DTYPE_Q4_1] = {{4, 16, 16}, {{0, 4, 4}}},            /* codes; d, m */
    [SMT_DTYPE_Q5_0] = {{6, 16, 16}, {{0, 2, 2}, {2, 4, 4}}}, /* codes; d; fifth bits */
    [SMT_DTYPE_Q5_1] = {{8, 16, 16}, {{0, 4, 4}, {4, 4, 4}}}, /* codes; d, m; fifth bits */
    [SMT_DTYPE_Q8_0] = {{2, 32, 32}, {{0, 2, 2}}},            /* codes; d */
    [SMT_DTYPE_Q2_K] = {{0, 80, 80}, {{80, 4, 4}}},           /* scales, codes; d, dmin */
    [SMT_DTYPE_Q3_K] = {{0, 96, 96}, {{96, 14, 16}}},         /* third bits, codes; scales, d */
    [SMT_DTYPE_Q4_K] = {{0, 144, 144}, {{0}}},                /* the file's block */
    [SMT_DTYPE_Q5_K] = {{0, 176, 176}, {{0}}},                /* the file's block */
    [SMT_DTYPE_Q6_K] = {{0, 208, 208}, {{208, 2, 2}}},        /* low bits, high bits, scales; d */
    [SMT_DTYPE_IQ4_NL] = {{2, 16, 16}, {{0, 2, 2}}},          /* codes; d */
    [SMT_DTYPE_IQ4_XS] = {{8, 128, 128}, {{0, 8, 8}}},        /* codes; d, scales */
    [SMT_DTYPE_MXFP4] = {{1, 16, 16}, {{0, 1, 1}}},           /* codes; exponent */
};

static const planes *find(smt_dtype type) {
    return (uint32_t)type < SMT_DTYPE_LIMIT && table[type].bulk.bytes ? &table[type] : NULL;
}

smt_layout smt_quant_layout(smt_dtype type) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    return info && info->elems == 1 ? SMT_LAYOUT_PAD32 : find(type) ? SMT_LAYOUT_PLANES : SMT_LAYOUT_ROWS;
}

bool smt_quant_vectors(smt_dtype type) { return smt_quant_layout(type) != SMT_LAYOUT_ROWS; }

uint64_t smt_quant_device_row_bytes(smt_dtype type, uint64_t n) {
    if (n > UINT64_MAX - CHUNK) return 0;
    smt_layout layout = smt_quant_layout(type);
    uint64_t bytes = smt_dtype_row_bytes(type, layout == SMT_LAYOUT_PAD32 ? smt_align_up(n, CHUNK) : n);
    if (layout != SMT_LAYOUT_PLANES || !bytes) return bytes;
    const planes *p = find(type);
    uint64_t blocks = n / smt_dtype_get((uint32_t)type)->elems;
    return blocks * p->bulk.stride + smt_align_up(blocks * p->small[0].stride, VECTOR) +
           smt_align_up(blocks * p->small[1].stride, VECTOR);
}

bool smt_quant_same_bytes(smt_dtype type, uint64_t n) {
    const planes *p = find(type);
    uint64_t bytes = smt_quant_device_row_bytes(type, n);
    return bytes && bytes == smt_dtype_row_bytes(type, n) && (!p || !p->small[0].bytes);
}

/* A device row that is being written: its vectors lie `step` vectors apart. */
typedef struct target {
    uint8_t *row;
    uint64_t step;
} target;

static uint8_t *place(const target *to, uint64_t byte) { return to->row + byte / VECTOR * VECTOR * to->step + byte % VECTOR; }

static void clear(const target *to, uint64_t from, uint64_t bytes) {
    for (uint64_t at = from; at < from + bytes; at += VECTOR) memset(place(to, at), 0, VECTOR);
}

/* One part of every block of a row to its plane, which begins at byte `at` of the row; returns where the next plane begins. A part is whole
 * vectors, or lies in one. */
static uint64_t gather(const part *p, const uint8_t *src, uint64_t block_bytes, uint64_t blocks, const target *to, uint64_t at) {
    uint64_t bytes = smt_align_up(blocks * p->stride, VECTOR);
    if (p->bytes != p->stride || bytes != blocks * p->stride) clear(to, at, bytes);
    src += p->from;
    /* sizes the compiler knows become moves; these are most of a model's bytes */
#define MOVE(size)                                                                                                \
    case size:                                                                                                    \
        for (uint64_t b = 0; b < blocks; b++) memcpy(place(to, at + b * p->stride), src + b * block_bytes, size); \
        break
    switch (p->bytes % VECTOR) {
    case 0:
        for (uint64_t b = 0; b < blocks; b++)
            for (uint64_t v = 0; v < p->bytes; v += VECTOR)
                memcpy(place(to, at + b * p->stride + v), src + b * block_bytes + v, VECTOR);
        break;
        MOVE(2);
        MOVE(4);
    default:
        for (uint64_t b = 0; b < blocks; b++) memcpy(place(to, at + b * p->stride), src + b * block_bytes, p->bytes);
    }
#undef MOVE
    return at + bytes;
}

static void to_planes(const planes *p, const uint8_t *src, uint64_t block_bytes, uint64_t blocks, const target *to) {
    uint64_t at = gather(&p->bulk, src, block_bytes, blocks, to, 0);
    for (size_t i = 0; i < SMT_COUNT(p->small); i++)
        if (p->small[i].bytes) at = gather(&p->small[i], src, block_bytes, blocks, to, at);
}

/* A row of single values, and zeros behind it. */
static void to_padded(const uint8_t *src, uint64_t bytes, uint64_t device_bytes, const target *to) {
    uint64_t whole = bytes / VECTOR * VECTOR;
    for (uint64_t at = 0; at < whole; at += VECTOR) memcpy(place(to, at), src + at, VECTOR);
    clear(to, whole, device_bytes - whole);
    if (whole < bytes) memcpy(place(to, whole), src + whole, bytes - whole);
}

void smt_quant_to_device(smt_dtype type, const void *src, void *dst, uint64_t rows, uint64_t n, bool woven) {
    uint64_t file_bytes = smt_dtype_row_bytes(type, n), device_bytes = smt_quant_device_row_bytes(type, n);
    if (!device_bytes) return;
    if (!woven && smt_quant_same_bytes(type, n)) {
        memcpy(dst, src, rows * file_bytes);
        return;
    }
    const planes *p = find(type);
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    uint64_t n_woven = woven ? rows / SMT_WEAVE * SMT_WEAVE : 0;
    for (uint64_t r = 0; r < rows; r++) {
        const uint8_t *from = (const uint8_t *)src + r * file_bytes;
        uint64_t lane = r < n_woven ? r % SMT_WEAVE : 0;
        const target to = {(uint8_t *)dst + (r - lane) * device_bytes + lane * VECTOR, r < n_woven ? SMT_WEAVE : 1};
        if (p)
            to_planes(p, from, info->bytes, n / info->elems, &to);
        else
            to_padded(from, file_bytes, device_bytes, &to);
    }
}

struct repack_params smt_quant_repack(smt_dtype type, uint64_t rows, uint64_t n, bool woven) {
    static const planes unchanged = {.bulk = {0, VECTOR, VECTOR}}; /* and zeros behind the row */
    const planes *p = find(type);
    uint64_t file_bytes = smt_dtype_row_bytes(type, n), row_bytes = smt_quant_device_row_bytes(type, n);
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    uint64_t blocks = p ? n / info->elems : row_bytes / VECTOR;
    struct repack_params out = {.n_vectors = (uint32_t)(rows * row_bytes / VECTOR),
                                .row_vectors = (uint32_t)(row_bytes / VECTOR),
                                .file_row_bytes = (uint32_t)file_bytes,
                                .block_bytes = p ? info->bytes : VECTOR,
                                .blocks = (uint32_t)blocks,
                                .src_words = (uint32_t)(smt_align_up(rows * file_bytes, 4) / 4),
                                .woven = woven ? (uint32_t)(rows / SMT_WEAVE * SMT_WEAVE) : 0};
    if (!p) p = &unchanged;
    for (int i = 0; i < REPACK_PARTS; i++) {
        const part *one = i == 0 ? &p->bulk : &p->small[i - 1];
        out.from[i] = one->from;
        out.bytes[i] = one->bytes;
        out.stride[i] = one->stride;
        out.vectors[i] = (uint32_t)(smt_align_up(blocks * one->stride, VECTOR) / VECTOR);
    }
    return out;
}
