/* params.h: what host and shaders agree on, included by both: the step buffer, the expert table, push constants.
 *
 * Units: offsets called *_off16 are in 16-byte units from the start of a window; strides of activations are in floats and multiples
 * of 4. Every push-constant struct is at most 128 bytes; the host asserts it below. */
#ifndef SMT_PARAMS_H
#define SMT_PARAMS_H

#ifdef VULKAN
#define u32 uint
#define f32 float
#else
#include <stdint.h>
typedef uint32_t u32;
typedef float f32;
#endif

/* Windows and buffers as texel buffers: binding b is texel binding TEXEL_BINDING + b. */
#define TEXEL_BINDING 16

/* Positions per block of the cache, and per chunk of attention: one number, so that a chunk lies in one block. */
#define SMT_BLOCK 256
/* Pairs of queries that one workgroup of the cache kernels rotates. */
#define SMT_TURN_PAIRS 512
/* Matrix products of the GPU family: lanes that share a row, which is part of the order of summation, and lines of a tile. */
#define SMT_WAVE_LANES 16
#define SMT_TILE_LINES 64
/* Rows whose 16-byte vectors alternate in a woven layout (src/quant/quant.h): as many as the lanes of a CPU driver, a row each. */
#define SMT_WEAVE 8
/* The most experts per token that moe_route keeps in local memory. */
#define SMT_MAX_USED 32

/* ---- the step buffer: u32 words written by the host before a step (run/run_step.c), or by the draw of the step before ----
 * STEP_HEAD words, then five arrays of max_rows words: token id, rotary position, index in the session's timeline, session slot,
 * and the list of rows whose logits are wanted. */
#define STEP_N_ROWS 0   /* active rows; the rest of the bucket is idle and writes nothing that lasts */
#define STEP_N_OUT 1    /* entries of the output list */
#define STEP_MAX_ROWS 2 /* length of each array */
#define STEP_ATTEND 4   /* indirect grid of the split attention: head groups, rows, chunks */
/* What sample_draw goes by (src/sample/sample.h, smt_sample_rule); it writes the next step of one row over the words above and the
 * arrays. */
#define STEP_TOP_K 16
#define STEP_INVERSE 17 /* float */
#define STEP_TOP_P 18
#define STEP_MIN_P 19
#define STEP_SEED 20    /* two words, the lower first */
#define STEP_DRAWN 22   /* tokens drawn so far: the next one goes to this place of the ring, modulo its size */
#define STEP_HEAD 32
#define STEP_ARRAY_TOKEN 0
#define STEP_ARRAY_POSITION 1
#define STEP_ARRAY_INDEX 2
#define STEP_ARRAY_SLOT 3
#define STEP_ARRAY_OUT 4
#define STEP_ARRAYS 5

/* ---- expert table: EXPERT_WORDS u32 per expert: where its three matrices lie ---- */
#define EXPERT_WINDOW 0
#define EXPERT_GATE 1 /* off16 */
#define EXPERT_UP 2
#define EXPERT_DOWN 3
#define EXPERT_WORDS 4

/* ---- expert work list, made on the device: by moe_group, or by moe_route for a single row ----
 * words 0..2: indirect grid of gate/up, 3: number of tiles, 4..6: indirect grid of down, then 8: tiles of {expert, first entry, entries};
 * entries (row * n_used + slot, ascending inside an expert) follow at the offset given in push constants. The tiles of a single row are as
 * many as its experts: its grids are known beforehand and stay unwritten. */
#define WORK_GRID_UP 0
#define WORK_TILES 3
#define WORK_GRID_DOWN 4
#define WORK_HEAD 8
#define WORK_TILE_WORDS 3

/* ---- codebooks of the IQ types: one buffer, bound at CODEBOOK_BINDING by the kernels that decode one; u32 words ----
 * Where each begins. IQ1 and IQ2 hold two entries a word (8 elements of 2 bits), IQ3 one (4 bytes); see src/quant/quant_codebook_data.c. */
#define CODEBOOK_BINDING 7
#define CODEBOOK_IQ2_XXS 0
#define CODEBOOK_IQ2_XS 128
#define CODEBOOK_IQ2_S 384
#define CODEBOOK_IQ1 896
#define CODEBOOK_IQ3_XXS 1920
#define CODEBOOK_IQ3_S 2176
#define CODEBOOK_WORDS 2688

/* embed: one part of the token table (rows row0 .. row0 + rows) to float rows. */
struct embed_params {
    u32 w_off16, row_bytes, row0, rows;
    u32 k, y_stride;
};

/* rmsnorm: y[r] = x[list ? out[r] : r] / rms * weight */
struct norm_params {
    u32 w_off16, k, x_stride, y_stride;
    u32 use_list, count_word;
    f32 eps;
};

/* matmul, moe_down: y[col][batch][row] = sum_i W[batch][row][i] x[col][batch][i]  (+ bias[row])  (+ residual[col][row])
 * dense: columns are rows of the step. expert: columns are entries of the work list, W is found in the expert table. */
struct matmul_params {
    u32 w_off16, w2_off16; /* dense; w2: the up matrix of a gated pair, or the bias */
    u32 row_bytes, k, rows;
    u32 w_batch_off16;            /* from plane to plane */
    u32 x_stride, x_batch;        /* floats from column to column, from plane to plane */
    u32 y_stride, y_batch, y_row; /* y_row: first row written (parts of a tall matrix) */
    u32 bias;                     /* add what window 1 holds, one float a row; dense, not gated */
    u32 residual, res_stride;     /* residual: add it */
    u32 count_word;               /* STEP_N_ROWS or STEP_N_OUT */
    u32 table_word;               /* expert: EXPERT_GATE or EXPERT_DOWN */
    u32 entries_word;             /* expert: where the entries begin in the work list */
    u32 x_div;                    /* expert: input row of an entry = entry / x_div (n_used for gate/up, 1 for down) */
    u32 range_size, has_shared;   /* moe_down: experts of a range that is summed apart; add a shared expert */
    u32 norm_k, norm_groups;      /* where a norm follows: values of the row, workgroups that write it */
    f32 eps;
    u32 max_chunks;               /* where the chunks of a split attention are merged: as in attend_params */
};

/* cache write and rotation, latent form (mla_cache) and plain form (gqa_cache); grid: rows, 1 + blocks of SMT_TURN_PAIRS of a row's queries */
struct cache_params {
    u32 n_heads, n_kv_heads;
    u32 kv_rank, nope, rope, value;
    u32 q_stride, kv_stride, v_stride, turned_stride; /* floats per row */
    u32 row_words;            /* u32 words of one cached row */
    u32 blocks_per_window, table_stride; /* table_stride: blocks per slot in the block table */
    u32 coarse_words;         /* words of the coarse rotary table, before the fine one */
    f32 eps, magnitude;
};

struct attend_params {
    u32 n_heads, heads_per_kv;
    u32 q_dim, q_stride;        /* values of a head's query in the first buffer */
    u32 turned_stride;          /* the rest of them lies in a second one */
    u32 o_stride;
    u32 key_off, value_off;     /* first value of key and value of kv head 0 in a cached row */
    u32 key_step, value_step;   /* from kv head to kv head */
    u32 row_words, blocks_per_window, table_stride;
    u32 max_chunks, split;      /* split: one workgroup per chunk; partial results per row and head */
    f32 scale;
};

struct route_params {
    u32 n_experts, n_used, n_groups, n_groups_used;
    u32 norm_weights, has_bias, bias_off16, logit_stride;
    f32 weight_scale;
    u32 entries_word; /* of the work list, where a single row's is made */
};

struct group_params {
    u32 first_expert, end_expert;   /* [first, end): those that this device has; entries of others are left out */
    u32 n_used, columns;            /* columns: of the expert kernels' tiles */
    u32 up_blocks, down_blocks;     /* row blocks of the two grids */
    u32 entries_word, max_entries;
};

struct combine_params {
    u32 n_embd, n_used, n_experts, n_ranges;
    u32 y_stride, shared_stride, res_stride, out_stride;
    u32 has_shared;
};

/* moe_parts, moe_join: the sum of experts that several devices share. parts: [range][part_rows][part_stride] floats; moe_parts writes from the
 * first of the ranges that its device owns on, moe_join reads all n_ranges. */
struct parts_params {
    u32 n_embd, n_used, n_ranges, range_size, first_range;
    u32 y_stride, part_rows, part_stride, shared_stride, res_stride, out_stride;
    u32 has_shared;
};

struct swiglu_params {
    u32 n, stride, per_entry; /* per_entry: rows are n_rows * per_entry */
};

/* sample_top, sample_draw: the vocabulary in groups of per_group logits, a tile of 64 groups after another; in a tile logit i belongs to
 * group i % 64. */
#define SAMPLE_TILE 64
#define SAMPLE_RING 64 /* places of the ring of drawn tokens */
struct sample_params {
    u32 n_vocab, per_group, n_groups;
};

/* repack: n_vectors 16-byte vectors of device rows from file rows that begin at byte 0. A row is the parts' planes, one after another, of
 * `vectors` each: of every block of the file its bytes [from, from + bytes), at multiples of `stride`, then zeros. A stride of 0: no such part.
 * woven: so many rows, whole groups of SMT_WEAVE, are woven. */
#define REPACK_PARTS 3
struct repack_params {
    u32 n_vectors, row_vectors;
    u32 file_row_bytes, block_bytes, blocks; /* blocks: of a row */
    u32 src_words, dst_off16, woven;
    u32 from[REPACK_PARTS], bytes[REPACK_PARTS], stride[REPACK_PARTS], vectors[REPACK_PARTS];
};

#ifndef VULKAN
#define SMT_CHECK_PUSH(name) _Static_assert(sizeof(struct name) <= 128, #name " exceeds the push constants every device has")
SMT_CHECK_PUSH(embed_params);
SMT_CHECK_PUSH(norm_params);
SMT_CHECK_PUSH(matmul_params);
SMT_CHECK_PUSH(cache_params);
SMT_CHECK_PUSH(attend_params);
SMT_CHECK_PUSH(route_params);
SMT_CHECK_PUSH(group_params);
SMT_CHECK_PUSH(combine_params);
SMT_CHECK_PUSH(parts_params);
SMT_CHECK_PUSH(swiglu_params);
SMT_CHECK_PUSH(sample_params);
SMT_CHECK_PUSH(repack_params);
#endif

#endif
