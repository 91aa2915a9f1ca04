/* quant_fit.h: finding the scales and codes of least squared error, for every block format. Private to this room.
 *
 * A block type is one of three problems, each over sub-blocks of 16 or 32 elements with codes on a small grid:
 *   scale   x = d * v              one d for a block                        Q4_0, Q5_0, IQ4_NL
 *   line    x = d * q + m          d and m for a block                      Q4_1, Q5_1
 *   block   x = d * s[j] * v       d for a block, small integers s[j]       Q3_K, Q6_K, IQ4_XS
 *           x = d * s[j] * q - dmin * m[j]   the same with minimums m[j]    Q2_K, Q4_K, Q5_K
 * where v is a level (an integer, or a number of a table) and q = 0 .. high. The encoders pack what comes out of here.
 *
 * Everything is float32 in a fixed order, so the same input gives the same bytes on every machine. No input is undefined
 * behaviour: what is not finite gives scales or codes that mean nothing. */
#ifndef SMT_QUANT_FIT_H
#define SMT_QUANT_FIT_H

#include "quant_internal.h"

#define SMT_FIT_MAX_SUBS 16

typedef struct smt_levels {
    int low, high;        /* codes; without a table the code is its level */
    const int8_t *values; /* ascending: levels of the codes low .. high; or NULL */
} smt_levels;

/* How a block of 256 is divided. */
typedef struct smt_fit_grid {
    smt_levels levels; /* low 0 for formats with minimums */
    int size, n_subs;
    int scale_low, scale_high; /* of s[j]; of m[j] 0 .. scale_high */
} smt_fit_grid;

typedef struct smt_fit_block {
    uint16_t d, dmin; /* half floats */
    int scales[SMT_FIT_MAX_SUBS], mins[SMT_FIT_MAX_SUBS];
    int8_t codes[256]; /* low .. high */
} smt_fit_block;

/* Weights for n elements of a block that no sum can break: of mean 1 and never 0. NULL gives ones. */
void smt_fit_weights(const float *given, int n, float *out);

/* `w` is what smt_fit_weights made. Codes follow from the rounded scale. */
void smt_fit_scale(const smt_levels *levels, const float *x, const float *w, int n, uint16_t *out_d, int8_t *codes);
void smt_fit_line(int high, const float *x, const float *w, int n, uint16_t *out_d, uint16_t *out_m, int8_t *codes);
void smt_fit_scales(const smt_fit_grid *grid, const float *x, const float *w, smt_fit_block *out);
void smt_fit_lines(const smt_fit_grid *grid, const float *x, const float *w, smt_fit_block *out);

/* The code whose level is nearest to v. */
int smt_fit_code(const smt_levels *levels, float v);

#endif
