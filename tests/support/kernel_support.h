/* kernel_support.h: one dispatch of one kernel of the catalogue, made as the engine makes it (smt_kernel_describe), for the
 * kernel tests.
 *
 *   smt_lab_begin -> window / buffer / output / step: memory to fill -> smt_lab_run -> compare the outputs
 *
 * There is one job at a time: its memory lives until the next smt_lab_begin, so that a failed test leaves nothing behind.
 *
 * Every output starts as words of SMT_LAB_UNTOUCHED, and tests compare whole buffers: the reference writes its numbers into an
 * image of the same kind, so that a write too many fails like a wrong number. The pattern is a NaN, also good for the padding of
 * inputs: what is read by mistake shows in the result.
 *
 * Group fixtures as in vk_support.h. The lab holds a device of the driver under test for each mode, and keeps compiled
 * kernels until the end. Failures fail the running test. */
#ifndef SMT_KERNEL_SUPPORT_H
#define SMT_KERNEL_SUPPORT_H

#include "vk_support.h"

#include "kernel/kernel.h"
#include "quant/quant.h"

#include <params.h>

#define SMT_LAB_UNTOUCHED 0x7fc0deadu

/* The driver under test as it is; without optional features; with the family of matrix kernels that is not its own; both; with the GPU
 * family and no shaders but the library's own, so that those with cooperative matrices come compiled. */
typedef enum smt_lab_mode {
    SMT_LAB_FULL,
    SMT_LAB_MINIMUM,
    SMT_LAB_OTHER,
    SMT_LAB_OTHER_MINIMUM,
    SMT_LAB_COOP,
    SMT_LAB_MODES
} smt_lab_mode;
extern const char *const smt_lab_mode_names[SMT_LAB_MODES]; /* " minimum": for the end of a label */

typedef struct smt_lab_kernel {
    smt_lab_mode mode;
    smt_kernel_key key;
    smt_vk_kernel *kernel;
} smt_lab_kernel;

typedef struct smt_lab_job { /* of the dispatch under construction */
    smt_lab_mode mode;
    smt_kernel_key key;
    const smt_vk_kernel *kernel;
    smt_vk_buffer *windows[SMT_VK_MAX_WINDOWS], *buffers[SMT_VK_MAX_BUFFERS]; /* owned */
    uint32_t n_windows;
} smt_lab_job;

typedef struct smt_lab {
    smt_vk_fixture *vk;
    smt_vk_device *devices[SMT_LAB_MODES]; /* the first is the fixture's */
    smt_lab_kernel *kernels;               /* owned */
    size_t n_kernels, capacity;
    smt_lab_job job;
    bool thorough; /* SMT_TEST_FULL is set: sweep everything, however long it takes */
    bool repeats;  /* another version of the driver sees the other family: LLVM takes minutes for its kernels */
    bool fused;    /* the driver's fma() rounds once; lavapipe and SwiftShader compute a product and a sum */
} smt_lab;

/* A kernel of the catalogue; the caller's. */
smt_vk_kernel *smt_lab_compile(smt_vk_device *device, const smt_kernel_key *key);

int smt_lab_setup(void **state);
int smt_lab_teardown(void **state);

/* The mode of the GPU family, with or without optional features. */
smt_lab_mode smt_lab_wave(const smt_lab *lab, bool minimum);
/* Compiles a key, or finds it among those compiled before. */
const smt_vk_kernel *smt_lab_get_kernel(smt_lab *lab, smt_lab_mode mode, const smt_kernel_key *key);

void smt_lab_begin(smt_lab *lab, smt_lab_mode mode, const smt_kernel_key *key);
/* Zeroed memory of the next window, or of binding `binding`; valid until the next smt_lab_begin. */
void *smt_lab_window(smt_lab *lab, size_t bytes);
void *smt_lab_buffer(smt_lab *lab, uint32_t binding, size_t bytes);
void *smt_lab_output(smt_lab *lab, uint32_t binding, size_t words);
/* The step buffer; its arrays start as zeros and are filled with smt_lab_step_set. */
uint32_t *smt_lab_step(smt_lab *lab, uint32_t binding, uint32_t n_rows, uint32_t n_out, uint32_t max_rows);
static inline void smt_lab_step_set(uint32_t *step, uint32_t array, uint32_t row, uint32_t value) {
    step[STEP_HEAD + array * step[STEP_MAX_ROWS] + row] = value;
}
/* `push` is the kernel's struct of params.h. May be called again, with other numbers. */
void smt_lab_run(smt_lab *lab, const void *push, uint32_t groups_x, uint32_t groups_y, uint32_t groups_z);

/* ---- expected results ---- */

/* What fma() and a dot product of the shaders give on this driver, to the bit: those of ref.h where fma() is
 * fused, else the same operations in the same order with two roundings for each fma. The order of a dot product is
 * that of the family of the job's device. */
float smt_lab_fma(const smt_lab *lab, float a, float b, float c);
float smt_lab_dot(const smt_lab *lab, const float *a, const float *b, uint32_t k);
/* The same of a row of a matrix and x [k], in the precision of the job's kernel. */
typedef struct smt_lab_matrix smt_lab_matrix;
float smt_lab_row_dot(const smt_lab *lab, const smt_lab_matrix *matrix, uint32_t row, const float *x);

/* Words of SMT_LAB_UNTOUCHED; smt_free. */
void *smt_lab_image(size_t words);
/* Equal to the bit. `label` names the case in the message of a failure. */
void smt_lab_same(const char *label, const void *got, const void *expected, size_t words);
/* Bounds for smt_lab_close: of products by cooperative matrices, halves on both sides; and of two of them in a gated pair, where the error of one is
 * multiplied by the other. */
#define SMT_LAB_COOP_BOUND       0x1p-9
#define SMT_LAB_COOP_GATED_BOUND 0x1p-7
/* |got - expected| <= bound * max(|expected|, root mean square of all expected); words that are untouched in `expected` are
 * compared to the bit. Returns the greatest difference in that measure. */
double smt_lab_close(const char *label, const float *got, const float *expected, size_t words, double bound);

/* What the device's compiler says of a kernel, which is compiled for that and thrown away. */
void smt_test_kernel_stats(smt_vk_device *device, const smt_kernel_key *key, smt_kernel_spec *spec, smt_vk_kernel_stats *stats);

/* ---- fixtures ---- */

/* A matrix and its values. Block types get random blocks (random_blocks.h). */
struct smt_lab_matrix {
    smt_dtype type;
    uint32_t rows, k, row_bytes; /* row_bytes: on a device */
    uint8_t *file;               /* owned: as in a file */
    float *values;               /* owned, [rows, k] */
};
smt_lab_matrix smt_lab_matrix_make(smt_test_random *random, smt_dtype type, uint32_t rows, uint32_t k);
/* Rows [row0, row0 + rows) of it, one piece, as the job's device keeps them: rows * row_bytes. */
void smt_lab_matrix_put(const smt_lab *lab, const smt_lab_matrix *matrix, uint32_t row0, uint32_t rows, uint8_t *to);
void smt_lab_matrix_free(smt_lab_matrix *matrix);

/* The types that the engine runs, one after another: the first after `type`, or -1. Begin with smt_lab_next_type(-1). */
int smt_lab_next_type(int type);

/* Variant `index` of the sweep of the full tier; false: that was all. A type (number i) meets every column count c of the driver's own family,
 * each in one mode and form: the last two bits of i ^ c, so that each type and each column count meets all four pairs of them; and of the other
 * family one column and the smaller tile, one of them gated. Whatever else a kernel has takes turns by `turn`, i + c. */
typedef struct smt_lab_variant {
    smt_lab_mode mode;
    smt_dtype type;
    uint32_t columns, turn;
    bool gated;
} smt_lab_variant;
bool smt_lab_sweep(const smt_lab *lab, uint32_t index, smt_lab_variant *out);

/* rows * stride floats, of which the first k of each row are normal numbers and the others NaN. */
void smt_lab_fill(smt_test_random *random, float *x, uint32_t rows, uint32_t stride, uint32_t k);

/* ids[n_rows, n_used], distinct in a row: the last expert is in every row, expert 0 in the first row alone, and expert 1 in none.
 */
void smt_lab_experts(uint32_t *ids, uint32_t n_rows, uint32_t n_used, uint32_t n_experts);
/* The work list of moe_group in plain C, for entries 0 .. n_entries of ids. Returns the number of tiles. */
uint32_t smt_lab_work(const uint32_t *ids, uint32_t n_entries, const struct group_params *p, uint32_t *work);

#endif
