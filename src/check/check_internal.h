/* check_internal.h: what the files of src/check share.
 *
 *   a case describes its parts -> smt_check_begin gives memory for them, and for what is expected of outputs
 *                              -> the case fills both, in plain C
 *                              -> smt_check_run dispatches the kernel and compares
 *
 * Memory of a case is host memory, copied to the device and back, so that plain C never reads what is slow to read. */
#ifndef SMT_CHECK_INTERNAL_H
#define SMT_CHECK_INTERNAL_H

#include "check/check.h"

#define SMT_CHECK_PARTS     (SMT_VK_MAX_WINDOWS + SMT_VK_MAX_BUFFERS)
#define SMT_CHECK_UNTOUCHED 0x7fc0deadu /* what outputs hold before: a NaN */

/* How an output is compared. FLOATS and HALVES: within the bound, relative to the value or the root mean square of all, whichever is
 * greater; untouched words exactly. */
typedef enum smt_check_kind { SMT_CHECK_INPUT, SMT_CHECK_WORDS, SMT_CHECK_FLOATS, SMT_CHECK_HALVES } smt_check_kind;

typedef struct smt_check_part {
    uint32_t binding; /* 0: the next window */
    smt_check_kind kind;
    uint32_t rows, stride; /* in words; a message names the row */
} smt_check_part;

typedef struct smt_check {
    smt_vk_device *device; /* borrowed, as the next two */
    const smt_kernel_key *key;
    const smt_vk_kernel *kernel;
    const smt_caps *caps;
    smt_kernel_spec spec;
    uint64_t timeout_ns;
    smt_arena arena; /* owned: all memory of the cases */
    uint64_t random;
    smt_check_part parts[SMT_CHECK_PARTS];
    uint32_t n_parts;
    void *memory[SMT_CHECK_PARTS];   /* of each part, in their order; inputs begin as zeros */
    void *expected[SMT_CHECK_PARTS]; /* of outputs */
} smt_check;

/* ---- check_run.c ---- */
smt_status smt_check_begin(smt_check *check, const smt_check_part *parts, uint32_t n_parts, smt_error *err);
/* `push` is the kernel's struct of params.h. */
smt_status smt_check_run(smt_check *check, const void *push, const uint32_t groups[3], double bound, smt_error *err);
smt_status smt_check_alloc(smt_check *check, size_t n, size_t size, void **out, smt_error *err); /* lives as long as the check */
/* Words of a step buffer with arrays of `rows`, and its head. */
static inline uint32_t smt_check_step_words(uint32_t rows) { return STEP_HEAD + STEP_ARRAYS * rows; }
void smt_check_step(uint32_t *step, uint32_t n_rows, uint32_t n_out, uint32_t max_rows);
static inline void smt_check_step_set(uint32_t *step, uint32_t array, uint32_t row, uint32_t value) {
    step[STEP_HEAD + array * step[STEP_MAX_ROWS] + row] = value;
}

/* ---- check_data.c ---- */
uint32_t smt_check_random(smt_check *check, uint32_t below);
/* n activations: multiples of 1/64 up to 127/64, which the first of every 32 is: rounded to eight bits they stay what they are, so that fast
 * precision gives the same products. */
void smt_check_fill(smt_check *check, float *x, uint32_t n);
double smt_check_dot(const float *a, const float *b, uint32_t k);

/* Rows of a type, each row's as it lies on the device. */
typedef struct smt_check_weights {
    smt_dtype type;
    uint32_t rows, k, row_bytes;
    uint8_t *bytes; /* [rows * row_bytes] */
    float *values;  /* [rows, k] */
} smt_check_weights;
/* A row length for the type that no vector divides where the type allows, of several blocks and more chunks than lanes share a row. */
uint32_t smt_check_length(smt_dtype type);
smt_status smt_check_weights_make(smt_check *check, smt_dtype type, uint32_t rows, uint32_t k, smt_check_weights *out,
                                  smt_error *err);

/* The work list of entries that chose ids[n_entries], as moe_group makes it. Returns the number of tiles. */
uint32_t smt_check_work(const uint32_t *ids, uint32_t n_entries, const struct group_params *p, uint32_t *work);

/* ---- the cases: one for every kernel of the catalogue ---- */
typedef smt_status (*smt_check_fn)(smt_check *check, smt_error *err);
smt_status smt_check_embed(smt_check *check, smt_error *err);
smt_status smt_check_norm(smt_check *check, smt_error *err);
smt_status smt_check_matmul(smt_check *check, smt_error *err);
smt_status smt_check_mla_cache(smt_check *check, smt_error *err);
smt_status smt_check_gqa_cache(smt_check *check, smt_error *err);
smt_status smt_check_attend(smt_check *check, smt_error *err);
smt_status smt_check_attend_merge(smt_check *check, smt_error *err);
smt_status smt_check_route(smt_check *check, smt_error *err);
smt_status smt_check_group(smt_check *check, smt_error *err);
smt_status smt_check_combine(smt_check *check, smt_error *err);
smt_status smt_check_parts(smt_check *check, smt_error *err);
smt_status smt_check_join(smt_check *check, smt_error *err);
smt_status smt_check_repack(smt_check *check, smt_error *err);
smt_status smt_check_moe_down(smt_check *check, smt_error *err);
smt_status smt_check_swiglu(smt_check *check, smt_error *err);
smt_status smt_check_sample_top(smt_check *check, smt_error *err);
smt_status smt_check_sample_draw(smt_check *check, smt_error *err);

#endif
