/* check_data.c: invented numbers. The same in every process: what a driver gets wrong it gets wrong again. */
#include "check/check_internal.h"

#include <math.h>

uint32_t smt_check_random(smt_check *check, uint32_t below) {
    uint64_t z = check->random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) >> 32) % below;
}

void smt_check_fill(smt_check *check, float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        x[i] = (float)(i % SMT_QUANT_CHUNK          ? (int)smt_check_random(check, 255) - 127
                       : smt_check_random(check, 2) ? 127
                                                    : -127) /
               64;
}

double smt_check_dot(const float *a, const float *b, uint32_t k) {
    double sums[4] = {0};
    for (uint32_t i = 0; i < k; i++) sums[i % 4] += (double)a[i] * (double)b[i];
    return sums[0] + sums[1] + sums[2] + sums[3];
}

uint32_t smt_check_length(smt_dtype type) {
    uint32_t block = smt_dtype_get((uint32_t)type)->elems;
    return block == 1 ? 556 : block <= 32 ? 17 * 32 : 3 * 256;
}

/* Random bits, until they are the block of sensible weights: none is beyond 8, and one at least reaches 1/2. That needs no knowledge of
 * where a format keeps its scales; a try in ten or so is one. */
static bool random_block(smt_check *check, smt_dtype type, uint8_t *block, float *values) {
    enum { TRIES = 1 << 16 };
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    for (int tries = 0; tries < TRIES; tries++) {
        bool sane = true, large = false;
        for (uint32_t i = 0; i < info->bytes; i++) block[i] = (uint8_t)smt_check_random(check, 256);
        if (!smt_quant_decode(type, block, values, info->elems)) return false;
        for (uint32_t i = 0; i < info->elems; i++) {
            sane = sane && fabsf(values[i]) <= 8; /* a NaN is not */
            large = large || fabsf(values[i]) >= 0.5f;
        }
        if (sane && large) return true;
    }
    return false;
}

static bool random_values(smt_check *check, smt_dtype type, uint8_t *file, float *values, size_t n) {
    for (size_t i = 0; i < n; i++) values[i] = (float)((int)smt_check_random(check, 255) - 127) / 64;
    return smt_quant_encode(type, values, file, n) && smt_quant_decode(type, file, values, n);
}

smt_status smt_check_weights_make(smt_check *check, smt_dtype type, uint32_t rows, uint32_t k, smt_check_weights *out,
                                  smt_error *err) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    size_t n = (size_t)rows * k, n_blocks = n / info->elems;
    void *file, *bytes, *values;
    *out = (smt_check_weights){.type = type, .rows = rows, .k = k, .row_bytes = (uint32_t)smt_quant_device_row_bytes(type, k)};
    SMT_TRY(smt_check_alloc(check, n_blocks, info->bytes, &file, err));
    SMT_TRY(smt_check_alloc(check, n, sizeof *out->values, &values, err));
    SMT_TRY(smt_check_alloc(check, rows, out->row_bytes, &bytes, err));
    out->values = values;
    out->bytes = bytes;
    bool made = info->elems > 1 || random_values(check, type, file, out->values, n);
    for (size_t b = 0; made && info->elems > 1 && b < n_blocks; b++)
        made = random_block(check, type, (uint8_t *)file + b * info->bytes, out->values + b * info->elems);
    if (!made) return SMT_FAIL(err, SMT_INTERNAL, "no sensible weights of type %s were found", info->name);
    smt_quant_to_device(type, file, out->bytes, rows, k);
    return SMT_OK;
}

uint32_t smt_check_work(const uint32_t *ids, uint32_t n_entries, const struct group_params *p, uint32_t *work) {
    uint32_t n = 0, tiles = 0;
    for (uint32_t e = p->first_expert; e < p->end_expert; e++) {
        uint32_t in_tile = p->columns;
        for (uint32_t i = 0; i < n_entries; i++) {
            if (ids[i] != e) continue;
            if (in_tile == p->columns) {
                uint32_t *tile = work + WORK_HEAD + tiles++ * WORK_TILE_WORDS;
                tile[0] = e, tile[1] = n, in_tile = 0;
            }
            work[p->entries_word + n++] = i;
            work[WORK_HEAD + (tiles - 1) * WORK_TILE_WORDS + 2] = ++in_tile;
        }
    }
    const uint32_t grid_up[] = {p->up_blocks, tiles, 1}, grid_down[] = {p->down_blocks, tiles, 1};
    for (uint32_t i = 0; i < 3; i++) work[WORK_GRID_UP + i] = grid_up[i], work[WORK_GRID_DOWN + i] = grid_down[i];
    work[WORK_TILES] = tiles;
    return tiles;
}
