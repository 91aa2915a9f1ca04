/* kv_blocks.c: a stack of free blocks, a table, and how many slots hold each block. */
#include "kv/kv.h"

#include <params.h>

smt_status smt_kv_init(smt_kv *kv, uint32_t n_slots, uint32_t per_slot, uint32_t n_blocks, smt_error *err) {
    *kv = (smt_kv){.n_blocks = n_blocks, .n_slots = n_slots, .per_slot = per_slot, .n_free = n_blocks};
    kv->table = smt_alloc((size_t)n_slots * per_slot, sizeof *kv->table);
    kv->held = smt_alloc(n_slots, sizeof *kv->held);
    kv->owners = smt_alloc(n_blocks, sizeof *kv->owners);
    kv->free_list = smt_alloc(n_blocks, sizeof *kv->free_list);
    kv->slot_used = smt_alloc(n_slots, sizeof *kv->slot_used);
    if (!kv->table || !kv->held || !kv->owners || !kv->free_list || !kv->slot_used) {
        smt_kv_free(kv);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for a table of %u x %u cache blocks", n_slots, per_slot);
    }
    for (uint32_t i = 0; i < n_blocks; i++) kv->free_list[i] = n_blocks - 1 - i; /* block 0 goes out first */
    return SMT_OK;
}

void smt_kv_free(smt_kv *kv) {
    smt_free(kv->table);
    smt_free(kv->held);
    smt_free(kv->owners);
    smt_free(kv->free_list);
    smt_free(kv->slot_used);
    *kv = (smt_kv){0};
}

smt_status smt_kv_take_slot(smt_kv *kv, uint32_t *out_slot, smt_error *err) {
    *out_slot = 0;
    for (uint32_t i = 0; i < kv->n_slots; i++)
        if (!kv->slot_used[i]) {
            kv->slot_used[i] = true;
            *out_slot = i;
            return SMT_OK;
        }
    return SMT_FAIL(err, SMT_FULL, "the runner has %u sessions, all in use", kv->n_slots);
}

static uint32_t take_block(smt_kv *kv) {
    uint32_t block = kv->free_list[--kv->n_free];
    kv->owners[block] = 1;
    return block;
}

static void leave_block(smt_kv *kv, uint32_t block) {
    if (--kv->owners[block] == 0) kv->free_list[kv->n_free++] = block;
}

static void shrink(smt_kv *kv, uint32_t slot, uint32_t to) {
    uint32_t *row = kv->table + (size_t)slot * kv->per_slot;
    while (kv->held[slot] > to) {
        uint32_t *entry = &row[--kv->held[slot]];
        leave_block(kv, *entry);
        *entry = 0;
    }
}

void smt_kv_release_slot(smt_kv *kv, uint32_t slot) {
    shrink(kv, slot, 0);
    kv->slot_used[slot] = false;
}

static smt_status no_block(const smt_kv *kv, smt_error *err) {
    return SMT_FAIL(err, SMT_FULL, "no cache block is free: %u of %u positions each are in use", kv->n_blocks, SMT_BLOCK);
}

smt_status smt_kv_resize(smt_kv *kv, uint32_t slot, uint32_t length, smt_error *err) {
    uint32_t before = kv->held[slot], want = smt_div_up(length, SMT_BLOCK);
    if (want > kv->per_slot)
        return SMT_FAIL(err, SMT_FULL, "%u positions exceed the context of %u", length, kv->per_slot * SMT_BLOCK);
    shrink(kv, slot, want);
    while (kv->held[slot] < want) {
        if (kv->n_free == 0) {
            shrink(kv, slot, before);
            return no_block(kv, err);
        }
        kv->table[(size_t)slot * kv->per_slot + kv->held[slot]++] = take_block(kv);
    }
    return SMT_OK;
}

void smt_kv_share(smt_kv *kv, uint32_t to, uint32_t from, uint32_t length) {
    const uint32_t *source = kv->table + (size_t)from * kv->per_slot;
    uint32_t *row = kv->table + (size_t)to * kv->per_slot;
    for (uint32_t i = 0; i < smt_div_up(length, SMT_BLOCK); i++) {
        row[i] = source[i];
        kv->owners[row[i]]++;
        kv->held[to]++;
    }
}

smt_status smt_kv_shared_tail(const smt_kv *kv, uint32_t slot, uint32_t length, bool *out_shared, uint32_t *out_from,
                              uint32_t *out_to, smt_error *err) {
    *out_shared = false;
    *out_from = *out_to = 0;
    if (length % SMT_BLOCK == 0) return SMT_OK;
    uint32_t block = kv->table[(size_t)slot * kv->per_slot + length / SMT_BLOCK];
    if (kv->owners[block] == 1) return SMT_OK;
    if (kv->n_free == 0) return no_block(kv, err);
    *out_shared = true;
    *out_from = block;
    *out_to = kv->free_list[kv->n_free - 1];
    return SMT_OK;
}

void smt_kv_replace_tail(smt_kv *kv, uint32_t slot, uint32_t length) {
    uint32_t *entry = &kv->table[(size_t)slot * kv->per_slot + length / SMT_BLOCK];
    leave_block(kv, *entry);
    *entry = take_block(kv);
}
