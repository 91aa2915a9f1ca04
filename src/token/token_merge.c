/* token_merge.c: the merge loop that byte-level BPE and SPM have in common.
 *
 * The text is a doubly linked list of symbols. Of all neighbours that may merge, the pair with the least priority number goes
 * first, the leftmost among equals; each merge makes at most two new candidates. A binary heap finds it in O(log n), so a text
 * of n symbols takes O(n log n), however long a run without spaces is.
 *
 * Candidates are never removed when a neighbour's merge makes them stale. They are recognised when popped: symbols only grow,
 * so the byte count of a left symbol and its present neighbour equals the recorded one only if neither has changed. */
#include "token_internal.h"

static void swap(smt_token_candidate *a, smt_token_candidate *b) {
    smt_token_candidate kept = *a;
    *a = *b;
    *b = kept;
}

static void heap_push(smt_token_work *work, smt_token_candidate candidate) {
    smt_token_candidate *heap = work->heap;
    size_t at = work->n_heap++;
    heap[at] = candidate;
    for (size_t up; at > 0 && heap[at].key < heap[up = (at - 1) / 2].key; at = up) swap(&heap[at], &heap[up]);
}

static smt_token_candidate heap_pop(smt_token_work *work) {
    smt_token_candidate *heap = work->heap, least = heap[0];
    heap[0] = heap[--work->n_heap];
    for (size_t at = 0;;) {
        size_t child = 2 * at + 1;
        if (child >= work->n_heap) return least;
        if (child + 1 < work->n_heap && heap[child + 1].key < heap[child].key) child++;
        if (heap[at].key <= heap[child].key) return least;
        swap(&heap[at], &heap[child]);
        at = child;
    }
}

static void consider(smt_token_work *work, smt_token_pair pair, int32_t left) {
    if (left < 0 || work->symbols[left].next < 0) return;
    const smt_token_symbol *l = &work->symbols[left], *r = &work->symbols[l->next];
    uint32_t priority;
    smt_token_candidate candidate = {.bytes = l->bytes + r->bytes};
    if (!pair(work, l, r, &priority, &candidate.id)) return;
    candidate.key = (uint64_t)priority << 32 | (uint32_t)left;
    heap_push(work, candidate);
}

smt_status smt_token_merge(smt_token_work *work, smt_token_pair pair, smt_error *err) {
    size_t n = work->n_symbols;
    /* n - 1 candidates at first; a merge takes one out and puts two in, and there are n - 1 merges at most. */
    SMT_TRY(smt_grow((void **)&work->heap, &work->heap_capacity, 2 * n, sizeof *work->heap, err));
    work->n_heap = 0;
    for (size_t i = 0; i < n; i++) consider(work, pair, (int32_t)i);
    while (work->n_heap) {
        smt_token_candidate candidate = heap_pop(work);
        int32_t left = (int32_t)(uint32_t)candidate.key;
        smt_token_symbol *l = &work->symbols[left];
        if (l->bytes == 0 || l->next < 0) continue;
        smt_token_symbol *r = &work->symbols[l->next];
        if (l->bytes + r->bytes != candidate.bytes) continue;
        l->bytes = candidate.bytes;
        l->id = candidate.id;
        l->next = r->next;
        r->bytes = 0;
        if (l->next >= 0) work->symbols[l->next].prev = left;
        consider(work, pair, l->prev);
        consider(work, pair, left);
    }
    return SMT_OK;
}

smt_status smt_token_symbols(smt_token_work *work, size_t count, smt_error *err) {
    SMT_TRY(smt_grow((void **)&work->symbols, &work->symbol_capacity, count, sizeof *work->symbols, err));
    work->n_symbols = count;
    for (size_t i = 0; i < count; i++) {
        work->symbols[i].prev = (int32_t)i - 1;
        work->symbols[i].next = i + 1 < count ? (int32_t)i + 1 : -1;
    }
    return SMT_OK;
}

smt_status smt_token_put(smt_token_work *work, int32_t id, smt_error *err) {
    SMT_TRY(smt_grow((void **)&work->ids, &work->id_capacity, work->n_ids + 1, sizeof *work->ids, err));
    work->ids[work->n_ids++] = id;
    return SMT_OK;
}
