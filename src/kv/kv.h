/* kv.h: which cache blocks belong to which session: pure bookkeeping over block numbers; the bytes live in the runner's buffers. And what
 * a session looks like when it leaves the device (kv_state.c).
 *
 * A block is SMT_BLOCK consecutive positions of one session in every layer. The table [slots][blocks per slot] is what the device reads;
 * entries of blocks a session does not hold yet are 0 and never followed, since nothing attends beyond a session's length.
 * Sessions with a common beginning share its blocks. A session writes behind its own length only, so the one block of it that can be both
 * written to and shared is its last, partly filled one, and that is copied before (smt_kv_shared_tail). */
#ifndef SMT_KV_H
#define SMT_KV_H

#include "base/base.h"

typedef struct smt_kv {
    uint32_t n_blocks, n_slots, per_slot; /* per_slot: blocks a session may hold */
    uint32_t *table;                      /* owned, [n_slots * per_slot] */
    uint32_t *held;                       /* owned, [n_slots] blocks held */
    uint32_t *owners;                     /* owned, [n_blocks] slots that hold the block */
    uint32_t *free_list;                  /* owned, [n_blocks] */
    uint32_t n_free;
    bool *slot_used; /* owned */
} smt_kv;

smt_status smt_kv_init(smt_kv *kv, uint32_t n_slots, uint32_t per_slot, uint32_t n_blocks, smt_error *err);
void smt_kv_free(smt_kv *kv);
/* SMT_FULL when every slot is taken. */
smt_status smt_kv_take_slot(smt_kv *kv, uint32_t *out_slot, smt_error *err);
void smt_kv_release_slot(smt_kv *kv, uint32_t slot);
/* Makes slot hold exactly ceil(length / SMT_BLOCK) blocks. SMT_FULL when the pool is empty: then it holds what it held before. */
smt_status smt_kv_resize(smt_kv *kv, uint32_t slot, uint32_t length, smt_error *err);
/* Slot `to`, which holds nothing, shares the blocks of the first `length` positions of `from`. */
void smt_kv_share(smt_kv *kv, uint32_t to, uint32_t from, uint32_t length);
/* Is the block behind `length` positions partly filled, and shared? Then *out_to is a free block that the caller copies *out_from to
 * before smt_kv_replace_tail puts it in its place; else both are 0. SMT_FULL when no block is free. */
smt_status smt_kv_shared_tail(const smt_kv *kv, uint32_t slot, uint32_t length, bool *out_shared, uint32_t *out_from,
                              uint32_t *out_to, smt_error *err);
void smt_kv_replace_tail(smt_kv *kv, uint32_t slot, uint32_t length);

/* ---- a session outside of the device (kv_state.c) ----
 * Little-endian: SMT_KV_STATE_HEAD bytes of head, int32 token ids [length] (-1: an embedding), cached rows [n_layers][length] of row_bytes as the device
 * holds them, and SMT_KV_STATE_TAIL bytes of checksum (XXH3, 64 bits) over all before it. */
typedef struct smt_kv_state {
    uint64_t model;               /* smt_model_identity */
    uint32_t n_layers, row_bytes; /* follow from model and cache type; written down to be checked */
    uint32_t length;
    bool f16;
} smt_kv_state;
#define SMT_KV_STATE_HEAD 40
#define SMT_KV_STATE_TAIL 8
uint64_t smt_kv_state_bytes(const smt_kv_state *state); /* of the whole */
void smt_kv_state_head(const smt_kv_state *state, uint8_t out[SMT_KV_STATE_HEAD]);
/* What a head says, held against what the runner can take: all of *state but its length, which is the result. n_bytes: of the whole.
 * SMT_FORMAT, SMT_UNSUPPORTED for another version, SMT_INVALID for another model or cache type. */
smt_status smt_kv_state_check(const uint8_t head[SMT_KV_STATE_HEAD], uint64_t n_bytes, smt_kv_state *state, smt_error *err);

#endif
