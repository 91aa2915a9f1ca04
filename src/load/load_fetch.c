/* load_fetch.c: one expert out of the file, while the model is in use. Always through the ring, also where memory is mapped: the device then
 * keeps the copy apart from what was submitted before it, and the host never writes what a kernel may be reading. */
#include "load_internal.h"

struct smt_load_fetch {
    smt_load_args args;
    const smt_weights *weights; /* borrowed */
    smt_upload upload;
};

smt_status smt_load_fetch_create(const smt_load_args *args, const smt_weights *weights, smt_load_fetch **out, smt_error *err) {
    *out = smt_alloc(1, sizeof **out);
    if (!*out) return SMT_FAIL(err, SMT_MEMORY, "out of memory for reading experts");
    **out = (smt_load_fetch){
        .args = *args, .weights = weights, .upload = {.device = args->device, .force_staging = true, .repack = args->repack}};
    return SMT_OK;
}

smt_status smt_load_fetch_expert(smt_load_fetch *f, uint32_t layer, uint32_t expert, const smt_plan_place *to, uint64_t after,
                                 smt_error *err) {
    smt_load_jobs jobs[SMT_LOAD_WAYS];
    smt_load_hand hand = {.upload = &f->upload};
    const smt_item *item = &f->args.items->items[smt_items_expert(f->args.items, layer, expert)];
    f->upload.after = after;
    smt_status status = smt_load_list_expert(&f->args, f->weights, &f->upload, item, to, jobs, err);
    for (size_t i = 0; status == SMT_OK && i < jobs[SMT_LOAD_STAGED].n; i++)
        status = smt_load_job_do(&hand, &jobs[SMT_LOAD_STAGED].jobs[i], err);
    smt_load_list_free(jobs);
    return status;
}

uint64_t smt_load_fetch_copied(const smt_load_fetch *f) { return f->upload.copied; }

void smt_load_fetch_free(smt_load_fetch *fetch) {
    if (!fetch) return;
    smt_upload_finish(&fetch->upload, NULL);
    smt_free(fetch);
}
