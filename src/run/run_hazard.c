/* run_hazard.c: a barrier is due when something touched since the last one overlaps and either side writes. */
#include "run/run.h"

static bool conflict(const smt_run_access *a, const smt_run_access *b) {
    return (a->write || b->write) && a->space == b->space && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

smt_status smt_run_hazard_step(smt_run_hazards *hazards, const smt_run_access *accesses, size_t n, bool *out_barrier,
                               smt_error *err) {
    *out_barrier = false;
    for (size_t i = 0; i < n && !*out_barrier; i++)
        for (size_t j = 0; j < hazards->n && !*out_barrier; j++) *out_barrier = conflict(&accesses[i], &hazards->seen[j]);
    if (*out_barrier) hazards->n = 0;
    SMT_TRY(smt_grow((void **)&hazards->seen, &hazards->capacity, hazards->n + n, sizeof *hazards->seen, err));
    for (size_t i = 0; i < n; i++) hazards->seen[hazards->n++] = accesses[i];
    return SMT_OK;
}

void smt_run_hazards_free(smt_run_hazards *hazards) {
    smt_free(hazards->seen);
    *hazards = (smt_run_hazards){0};
}
