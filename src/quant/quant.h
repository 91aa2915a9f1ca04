/* quant.h: what the bytes of each tensor type mean, and the layout in which a device holds them.
 *
 * The C functions are the truth that shaders are tested against: values are computed in float32 in the order that
 * the format defines (scale times small integer first, then times code, then minus the min), so a shader that does the same is
 * equal to the bit.
 *
 * Layouts. A device keeps each matrix as rows of equal stride; kernels walk a row in chunks of 32 elements.
 *   SMT_LAYOUT_ROWS   the file's bytes, unchanged (the codebook types; a row is a whole number of blocks).
 *   SMT_LAYOUT_PLANES whole 16-byte vectors: first the bulk of every block, then the blocks' small parts (scales, high bits), each kind
 *                     together and padded to a vector. A row has the file's bytes plus at most two paddings. Nothing is computed:
 *                     bytes move.
 *   SMT_LAYOUT_PAD32  F32, F16, BF16: each row padded with zeros to a multiple of 32 elements, so that a kernel may read whole
 *                     chunks; the same bytes as the file where 32 divides the row, as it does in every real model.
 * Woven (smt_kernel_weaves): of each piece of a matrix, its rows in groups of SMT_WEAVE take turns vector by vector, so that lanes that own
 * a row each read side by side. Rows left over at the end of a piece stay as they are; sizes do not change. */
#ifndef SMT_QUANT_H
#define SMT_QUANT_H

#include "base/dtype.h"

#include <params.h>

typedef enum smt_layout { SMT_LAYOUT_ROWS, SMT_LAYOUT_PAD32, SMT_LAYOUT_PLANES } smt_layout;

/* The layout in which kernels want the type. */
smt_layout smt_quant_layout(smt_dtype type);
/* Whether kernels read the type as whole 16-byte vectors. */
bool smt_quant_vectors(smt_dtype type);
/* Bytes of one device row of n elements in that layout; 0 when the type's block does not divide n. */
uint64_t smt_quant_device_row_bytes(smt_dtype type, uint64_t n);
/* Whether device rows of n elements are the file's bytes, so that they may be read straight to their place. */
bool smt_quant_same_bytes(smt_dtype type, uint64_t n);
/* File rows to device rows: `rows` rows of n elements. dst holds rows * smt_quant_device_row_bytes(type, n). woven: only for types that
 * kernels read as vectors; the rows begin a group. */
void smt_quant_to_device(smt_dtype type, const void *src, void *dst, uint64_t rows, uint64_t n, bool woven);
/* The same as push constants of the repack kernel, for a target that begins at its binding's. The device bytes must be below 2^32. */
struct repack_params smt_quant_repack(smt_dtype type, uint64_t rows, uint64_t n, bool woven);

/* n elements (a multiple of the block) to float32. False for a type without a C decoder. src need not be aligned. */
bool smt_quant_decode(smt_dtype type, const void *src, float *dst, uint64_t n);
/* 32 elements as integers: w[i] = scale[i / 16] * q[i] + min, rounded in that order: the element's value to the bit. */
#define SMT_QUANT_CHUNK 32
typedef struct smt_quant_codes {
    int8_t q[SMT_QUANT_CHUNK];
    float scale[2], min; /* min is -0 where the format has none: adding it changes nothing */
    bool halves;         /* the format gives the halves scales of their own */
} smt_quant_codes;
/* Whether chunks of the type are of that form: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K. */
bool smt_quant_has_codes(smt_dtype type);
/* Elements 32 chunk ... 32 chunk + 31 of a file row of such a type; row need not be aligned. */
void smt_quant_codes_at(smt_dtype type, const void *row, uint64_t chunk, smt_quant_codes *out);

/* Encodes n elements (as above), each counting alike. Deterministic; any input gives defined bytes, only finite input gives
 * meaningful ones. False: no encoder. */
bool smt_quant_encode(smt_dtype type, const float *src, void *dst, uint64_t n);
/* The same with `weights` [n] or NULL: how much each element's squared error counts; finite and not negative. */
bool smt_quant_encode_weighted(smt_dtype type, const float *src, const float *weights, void *dst, uint64_t n);

/* The codebooks of the IQ1, IQ2 and IQ3 types, as decoders here and on the device read them: quant_codebook_data.c says how they are packed. */
extern const uint32_t smt_quant_codebooks[CODEBOOK_WORDS];
/* True for a type whose kernels read them. */
bool smt_quant_has_codebook(smt_dtype type);

#endif
