/* api_engine.h: the insides of engine, runner and session, for the files that make them. */
#ifndef SMT_API_ENGINE_H
#define SMT_API_ENGINE_H

#include "api/api_internal.h"
#include "run/run.h"
#include "sample/sample.h"

struct smt_engine {
    smt_file *file;                            /* owned */
    smt_vk *vk;                                /* owned */
    smt_vk_device *devices[SMT_GRAPH_DEVICES]; /* owned, [n_devices], in the order of their layers */
    uint32_t n_devices;
    smt_run_model *model; /* owned; borrows file and devices */
};

struct smt_runner {
    smt_engine *engine; /* borrowed; must outlive */
    smt_run *run;       /* owned */
};

struct smt_session {
    smt_runner *runner; /* borrowed; must outlive */
    uint32_t slot, length;
    int32_t *tokens; /* owned, [n_ctx]: the first `length` are its timeline */
};

struct smt_sampler {
    smt_sampler_options options;
    smt_logit_bias *biases;     /* owned, [options.n_biases] */
    smt_sample_scratch scratch; /* owned, [n_logits] and [n_best], grown to the largest vocabulary seen */
    size_t n_logits, n_best;
};

/* smt_runner_eval that does not forget a cancellation from before it (api_eval.c). */
smt_status smt_api_eval(smt_runner *runner, const smt_batch_entry *entries, uint32_t n_entries, smt_error *err);

/* The tokens of an eval, and their positions, against vocabulary and context (api_eval.c). */
smt_status smt_api_check_eval(const smt_session *session, const smt_eval *eval, smt_error *err);

/* What the device has computed becomes the session's; tokens NULL: embeddings (api_eval.c). */
void smt_api_append(smt_session *session, const int32_t *tokens, uint32_t n_tokens);

/* The options of a runner on the devices, checked, in the words of run.h; defaults stay unresolved, but for the precision (api_runner.c). */
smt_status smt_api_runner_options(const smt_runner_options *options, const smt_caps *const *caps, uint32_t n_caps,
                                  smt_run_options *out, smt_error *err);

/* ---- which devices an engine computes on, and what each of them holds (api_place.c) ---- */
typedef struct smt_api_place {
    smt_placement *placement;          /* owned */
    uint32_t index[SMT_GRAPH_DEVICES]; /* [placement->n_devices] in vk */
} smt_api_place;
smt_status smt_api_place_model(smt_vk *vk, const smt_model *model, const smt_device_options *device,
                               const smt_engine_options *options, smt_api_place *out, smt_error *err);

#endif
