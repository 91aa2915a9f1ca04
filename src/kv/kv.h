/* kv.h: which cache blocks belong to which session: pure bookkeeping over block numbers; the bytes live in the runner's buffers.
 *
 * A block is SMT_BLOCK consecutive positions of one session in every layer. The table [slots][blocks per slot] is what the device reads;
 * entries of blocks a session does not hold yet are 0 and never followed, since nothing attends beyond a session's length. */
#ifndef SMT_KV_H
#define SMT_KV_H

#include "base/base.h"

typedef struct smt_kv {
    uint32_t n_blocks, n_slots, per_slot; /* per_slot: blocks a session may hold */
    uint32_t *table;                      /* owned, [n_slots * per_slot] */
    uint32_t *held;                       /* owned, [n_slots] blocks held */
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

#endif
