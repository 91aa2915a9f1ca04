/* quant_fit.c: the searches behind quant_fit.h.
 *
 * Given the codes, the best scale (and minimum) is a linear least-squares problem with a closed solution; given the scale, the
 * best codes are the nearest. Alternating the two descends, but only into the nearest valley, so it starts from several
 * scales: those at which the extreme element lies a little inside or outside of the outermost code.
 * Where scales are themselves rounded to small integers (K-quants), each is then chosen among its neighbours by the error it
 * really causes, and the block's common factor is solved for once more with everything else fixed. */
#include "quant_fit.h"

#include <math.h>

#define ROUNDS 2 /* of the last step; a third changes nothing that can be measured */

#define SUB 32 /* elements of a sub-block at most */

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

/* A scale as a half float. Where halves lie far apart (subnormals), away from zero: what is divided by it still fits then. */
static uint16_t round_scale(float d) {
    uint16_t half = smt_float_to_half(d);
    bool subnormal = (half & 0x7c00) == 0;
    if (subnormal && fabsf(smt_half_to_float(half)) < fabsf(d)) half++;
    if (subnormal && d < 0) half |= 0x8000;
    return half;
}

void smt_fit_weights(const float *given, int n, float *out) {
    double sum = 0;
    for (int i = 0; given && i < n; i++) sum += given[i];
    float factor = sum > 0 ? (float)(n / sum) : 0;
    for (int i = 0; i < n; i++) out[i] = factor > 0 && isfinite(factor) ? given[i] * factor + 1e-6f : 1;
}

/* ---- sums and codes of a sub-block: written so that compilers can work on four elements at a time ---- */

/* n is a multiple of 4. The order of the additions is fixed. */
static float sum(const float *v, int n) {
    float lanes[4] = {0};
    for (int i = 0; i < n; i += 4)
        for (int k = 0; k < 4; k++) lanes[k] += v[i + k];
    return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

static float sum_of_products(const float *a, const float *b, int n) {
    float lanes[4] = {0};
    for (int i = 0; i < n; i += 4)
        for (int k = 0; k < 4; k++) lanes[k] += a[i + k] * b[i + k];
    return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

/* x * id held between low and high and rounded, halves up. NaN gives low. */
static float nearest(float x, float low, float high) {
    x = x > low ? x : low;
    x = x < high ? x : high;
    return (float)(int)(x - low + 0.5f) + low;
}

/* The level nearest to each x * id. */
static void nearest_levels(const smt_levels *levels, const float *x, int n, float id, float *v) {
    if (!levels->values) {
        const float low = (float)levels->low, high = (float)levels->high;
        for (int i = 0; i < n; i++) v[i] = nearest(x[i] * id, low, high);
        return;
    }
    for (int i = 0; i < n; i++) v[i] = (float)levels->values[0];
    for (int k = 1; k <= levels->high - levels->low; k++) { /* climbs the table: no branch, no look-up */
        const float rise = (float)(levels->values[k] - levels->values[k - 1]);
        const float border = 0.5f * (float)(levels->values[k] + levels->values[k - 1]);
        for (int i = 0; i < n; i++) v[i] += x[i] * id > border ? rise : 0;
    }
}

int smt_fit_code(const smt_levels *levels, float v) {
    if (!levels->values) return (int)nearest(v, (float)levels->low, (float)levels->high);
    int code = levels->low;
    for (int k = 1; k <= levels->high - levels->low; k++) code += v > 0.5f * (float)(levels->values[k] + levels->values[k - 1]);
    return code;
}

static float level(const smt_levels *levels, int code) {
    return (float)(levels->values ? levels->values[code - levels->low] : code);
}

/* ---- x = d * v ---- */

static float scale_error(const smt_levels *levels, const float *x, const float *w, int n, float d) {
    float v[SUB];
    nearest_levels(levels, x, n, inverse(d), v);
    for (int i = 0; i < n; i++) v[i] = w[i] * (d * v[i] - x[i]) * (d * v[i] - x[i]);
    return sum(v, n);
}

/* The best d for the codes that `id`, a guess at 1 / d, leads to; *gain is how much of the sum of squares it explains. */
static float solve_scale(const smt_levels *levels, const float *x, const float *w, int n, float id, float *gain) {
    float v[SUB], wv[SUB];
    nearest_levels(levels, x, n, id, v);
    for (int i = 0; i < n; i++) wv[i] = w[i] * v[i];
    float xv = sum_of_products(wv, x, n), vv = sum_of_products(wv, v, n);
    *gain = vv > 0 ? xv * xv / vv : 0;
    return vv > 0 ? xv / vv : 0;
}

/* The extreme element lands near the outermost level on the one side, and in turn on the other. */
static float best_scale(const smt_levels *levels, const float *x, const float *w, int n) {
    float extreme = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    if (!(fabsf(extreme) > 0)) return 0;
    float ends[2] = {level(levels, levels->low), level(levels, levels->high)};
    float best = extreme / ends[0], most = -1, gain;
    for (int e = 0; e < 2; e++)
        for (int step = -3; step <= 6; step++) {
            float reach = ends[e] * (1 + 0.04f * (float)step);
            float d = solve_scale(levels, x, w, n, reach / extreme, &gain);
            if (gain > most) {
                most = gain;
                best = d;
            }
        }
    float again = solve_scale(levels, x, w, n, inverse(best), &gain);
    return gain > most ? again : best;
}

void smt_fit_scale(const smt_levels *levels, const float *x, const float *w, int n, uint16_t *out_d, int8_t *codes) {
    *out_d = round_scale(best_scale(levels, x, w, n));
    float id = inverse(smt_half_to_float(*out_d));
    for (int i = 0; i < n; i++) codes[i] = (int8_t)smt_fit_code(levels, x[i] * id);
}

/* ---- x = d * q + m ---- */

typedef struct line {
    float d, m;
} line;

static int line_code(float x, float id, float m, int high) { return (int)nearest((x - m) * id, 0, (float)high); }

static void nearest_on_line(const float *x, int n, line l, int high, float *q) {
    const float id = inverse(l.d), top = (float)high;
    for (int i = 0; i < n; i++) q[i] = nearest((x[i] - l.m) * id, 0, top);
}

static float line_error(const float *x, const float *w, int n, int high, line l) {
    float q[SUB];
    nearest_on_line(x, n, l, high, q);
    for (int i = 0; i < n; i++) {
        float off = l.d * q[i] + l.m - x[i];
        q[i] = w[i] * off * off;
    }
    return sum(q, n);
}

/* The line of least error for the codes that `guess` leads to; `below`: m must not be positive. Everything is measured from
 * `base`, near the smallest element, so that a narrow range far from zero loses no digits. */
static line solve_line(const float *x, const float *w, int n, int high, line guess, float base, bool below) {
    float q[SUB], wq[SUB], y[SUB];
    nearest_on_line(x, n, guess, high, q);
    for (int i = 0; i < n; i++) {
        wq[i] = w[i] * q[i];
        y[i] = x[i] - base;
    }
    float sw = sum(w, n), sx = sum_of_products(w, y, n), sq = sum(wq, n);
    float sqq = sum_of_products(wq, q, n), sxq = sum_of_products(wq, y, n);
    float determinant = sw * sqq - sq * sq;
    if (!(determinant > 0)) return guess;
    line l = {(sw * sxq - sx * sq) / determinant, (sqq * sx - sq * sxq) / determinant + base};
    if (below && l.m > 0) l = (line){(sxq + base * sq) / sqq, 0};
    return l.d > 0 ? l : guess;
}

static line best_line(int high, const float *x, const float *w, int n, bool below) {
    float low = x[0], top = x[0];
    for (int i = 1; i < n; i++) {
        low = fminf(low, x[i]);
        top = fmaxf(top, x[i]);
    }
    if (below) low = fminf(low, 0);
    line best = {(top - low) / (float)high, low};
    if (!(best.d > 0)) return (line){0, low};
    float least = line_error(x, w, n, high, best);
    for (int step = -4; step <= 10; step++) {
        float reach = (float)high + 0.1f * (float)step;
        line l = solve_line(x, w, n, high, (line){(top - low) / reach, low}, low, below);
        l = solve_line(x, w, n, high, l, low, below);
        float error = line_error(x, w, n, high, l);
        if (error < least) {
            least = error;
            best = l;
        }
    }
    return best;
}

void smt_fit_line(int high, const float *x, const float *w, int n, uint16_t *out_d, uint16_t *out_m, int8_t *codes) {
    line l = best_line(high, x, w, n, false);
    *out_d = round_scale(l.d);
    *out_m = smt_float_to_half(l.m);
    float id = inverse(smt_half_to_float(*out_d)), m = smt_half_to_float(*out_m);
    for (int i = 0; i < n; i++) codes[i] = (int8_t)line_code(x[i], id, m, high);
}

/* ---- x = d * s[j] * v ---- */

/* Chooses s[j] for a given d, with the codes that follow; returns the block's error. */
static float choose_scales(const smt_fit_grid *g, const float *x, const float *w, const float *ideal, smt_fit_block *out) {
    float d = smt_half_to_float(out->d), total = 0;
    for (int j = 0; j < g->n_subs; j++) {
        const float *xj = x + j * g->size, *wj = w + j * g->size;
        int middle = smt_quant_nearest(ideal[j] * inverse(d), g->scale_low, g->scale_high), best = middle;
        float least = scale_error(&g->levels, xj, wj, g->size, d * (float)middle);
        for (int s = middle - 1; s <= middle + 1; s += 2) {
            if (s < g->scale_low || s > g->scale_high) continue;
            float error = scale_error(&g->levels, xj, wj, g->size, d * (float)s);
            if (error < least) {
                least = error;
                best = s;
            }
        }
        out->scales[j] = best;
        total += least;
        float id = inverse(d * (float)best);
        for (int i = 0; i < g->size; i++) out->codes[j * g->size + i] = (int8_t)smt_fit_code(&g->levels, xj[i] * id);
    }
    return total;
}

/* The best d for scales and codes as they are. */
static float solve_factor(const smt_fit_grid *g, const float *x, const float *w, const smt_fit_block *block) {
    float xv = 0, vv = 0;
    for (int i = 0; i < g->size * g->n_subs; i++) {
        float v = (float)block->scales[i / g->size] * level(&g->levels, block->codes[i]);
        xv += w[i] * x[i] * v;
        vv += w[i] * v * v;
    }
    return vv > 0 ? xv / vv : 0;
}

void smt_fit_scales(const smt_fit_grid *grid, const float *x, const float *w, smt_fit_block *out) {
    float ideal[SMT_FIT_MAX_SUBS], top = 0;
    for (int j = 0; j < grid->n_subs; j++) {
        ideal[j] = best_scale(&grid->levels, x + j * grid->size, w + j * grid->size, grid->size);
        if (fabsf(ideal[j]) > fabsf(top)) top = ideal[j];
    }
    *out = (smt_fit_block){.d = round_scale(top / (float)grid->scale_low)};
    float least = choose_scales(grid, x, w, ideal, out);
    for (int round = 0; round < ROUNDS; round++) {
        smt_fit_block next = {.d = round_scale(solve_factor(grid, x, w, out))};
        float error = choose_scales(grid, x, w, ideal, &next);
        if (!(error < least)) break;
        least = error;
        *out = next;
    }
}

/* ---- x = d * s[j] * q - dmin * m[j] ---- */

/* Chooses s[j] and m[j] for given d and dmin, with the codes that follow; returns the block's error. */
static float choose_lines(const smt_fit_grid *g, const float *x, const float *w, const line *ideal, smt_fit_block *out) {
    float d = smt_half_to_float(out->d), dmin = smt_half_to_float(out->dmin), total = 0;
    for (int j = 0; j < g->n_subs; j++) {
        const float *xj = x + j * g->size, *wj = w + j * g->size;
        int s0 = smt_quant_nearest(ideal[j].d * inverse(d), 0, g->scale_high);
        int m0 = smt_quant_nearest(-ideal[j].m * inverse(dmin), 0, g->scale_high);
        float least = INFINITY;
        out->scales[j] = s0;
        out->mins[j] = m0;
        for (int s = s0 > 0 ? s0 - 1 : 0; s <= s0 + 1 && s <= g->scale_high; s++)
            for (int m = m0 > 0 ? m0 - 1 : 0; m <= m0 + 1 && m <= g->scale_high; m++) {
                float error = line_error(xj, wj, g->size, g->levels.high, (line){d * (float)s, -dmin * (float)m});
                if (error < least) {
                    least = error;
                    out->scales[j] = s;
                    out->mins[j] = m;
                }
            }
        total += least;
        float id = inverse(d * (float)out->scales[j]), min = dmin * (float)out->mins[j];
        for (int i = 0; i < g->size; i++) out->codes[j * g->size + i] = (int8_t)line_code(xj[i], id, -min, g->levels.high);
    }
    return total;
}

/* The best d and dmin for scales, minimums and codes as they are. False: no two numbers follow from them. */
static bool solve_factors(const smt_fit_grid *g, const float *x, const float *w, const smt_fit_block *block, float *d,
                          float *dmin) {
    float aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int i = 0; i < g->size * g->n_subs; i++) {
        float a = (float)(block->scales[i / g->size] * block->codes[i]), b = -(float)block->mins[i / g->size];
        aa += w[i] * a * a;
        ab += w[i] * a * b;
        bb += w[i] * b * b;
        xa += w[i] * x[i] * a;
        xb += w[i] * x[i] * b;
    }
    float determinant = aa * bb - ab * ab;
    *d = (xa * bb - xb * ab) / determinant;
    *dmin = (xb * aa - xa * ab) / determinant;
    return determinant > 0 && *d > 0 && *dmin > 0;
}

void smt_fit_lines(const smt_fit_grid *grid, const float *x, const float *w, smt_fit_block *out) {
    line ideal[SMT_FIT_MAX_SUBS];
    float top = 0, top_min = 0, d, dmin;
    for (int j = 0; j < grid->n_subs; j++) {
        ideal[j] = best_line(grid->levels.high, x + j * grid->size, w + j * grid->size, grid->size, true);
        top = fmaxf(top, ideal[j].d);
        top_min = fmaxf(top_min, -ideal[j].m);
    }
    *out =
        (smt_fit_block){.d = round_scale(top / (float)grid->scale_high), .dmin = round_scale(top_min / (float)grid->scale_high)};
    float least = choose_lines(grid, x, w, ideal, out);
    for (int round = 0; round < ROUNDS && solve_factors(grid, x, w, out, &d, &dmin); round++) {
        smt_fit_block next = {.d = round_scale(d), .dmin = round_scale(dmin)};
        float error = choose_lines(grid, x, w, ideal, &next);
        if (!(error < least)) break;
        least = error;
        *out = next;
    }
}
