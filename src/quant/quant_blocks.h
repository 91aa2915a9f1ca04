/* quant_blocks.h: the bytes of one block of each block type, as they lie in a file. Private to this room.
 *
 * Fields that a file may hold at any alignment are bytes, or 16-bit numbers in a struct that is copied whole before a field is
 * read: no codec casts a file pointer. What the bits of a field mean is said where they are decoded. A d or m is a half float. */
#ifndef SMT_QUANT_BLOCKS_H
#define SMT_QUANT_BLOCKS_H

#include <stdint.h>

/* ---- 32 elements: quant_block32.c, quant_nonlinear.c ---- */
typedef struct {
    uint16_t d;
    uint8_t qs[16];
} smt_block_q4_0, smt_block_iq4_nl;

typedef struct {
    uint16_t d, m;
    uint8_t qs[16];
} smt_block_q4_1;

typedef struct {
    uint16_t d;
    uint8_t qh[4]; /* bytes: a 32-bit field would be aligned */
    uint8_t qs[16];
} smt_block_q5_0;

typedef struct {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
} smt_block_q5_1;

typedef struct {
    uint16_t d;
    int8_t qs[32];
} smt_block_q8_0;

typedef struct {
    uint8_t e; /* an exponent */
    uint8_t qs[16];
} smt_block_mxfp4;

/* ---- 256 elements: quant_k.c ---- */
typedef struct {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
} smt_block_q2_k;

typedef struct {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
} smt_block_q3_k;

typedef struct {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} smt_block_q4_k;

typedef struct {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} smt_block_q5_k;

typedef struct {
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint16_t d;
} smt_block_q6_k;

/* ---- 256 elements: quant_nonlinear.c ---- */
typedef struct {
    uint16_t d, scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
} smt_block_iq4_xs;

/* ---- 256 elements in groups that a codebook lists: quant_codebook.c ---- */
typedef struct {
    uint16_t d;
    uint8_t qs[8][8]; /* of each 32 elements: 4 indices, then 32 bits of signs and scale */
} smt_block_iq2_xxs;

typedef struct {
    uint16_t d;
    uint16_t qs[32];
    uint8_t scales[8];
} smt_block_iq2_xs;

typedef struct {
    uint16_t d;
    uint8_t qs[32];
    uint8_t signs[32];
    uint8_t qh[8];
    uint8_t scales[8];
} smt_block_iq2_s;

typedef struct {
    uint16_t d;
    uint8_t qs[64];
    uint8_t signs[8][4]; /* of each 32 elements: 32 bits of signs and scale */
} smt_block_iq3_xxs;

typedef struct {
    uint16_t d;
    uint8_t qs[64];
    uint8_t qh[8];
    uint8_t signs[32];
    uint8_t scales[4];
} smt_block_iq3_s;

typedef struct {
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8];
} smt_block_iq1_s;

typedef struct {
    uint8_t qs[32];
    uint8_t qh[16];
    uint16_t scales[4]; /* d is spread over their tops */
} smt_block_iq1_m;

#define X(type, bytes) _Static_assert(sizeof(smt_block_##type) == (bytes), #type " is packed");
X(q4_0, 18)
X(iq4_nl, 18)
X(q4_1, 20)
X(q5_0, 22)
X(q5_1, 24) X(q8_0, 34) X(mxfp4, 17) X(q2_k, 84) X(q3_k, 110) X(q4_k, 144) X(q5_k, 176) X(q6_k, 210) X(iq4_xs, 136) X(iq2_xxs, 66)
    X(iq2_xs, 74) X(iq2_s, 82) X(iq3_xxs, 98) X(iq3_s, 110) X(iq1_s, 50) X(iq1_m, 56)
#undef X

#endif
