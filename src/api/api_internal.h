/* api_internal.h: what the files of src/api share: the insides of the handles that more than one file looks into, and the choice
 * of a device.
 *
 * Invariants
 *   1. An smt_file decides at opening time whether its model can run, and remembers the answer: afterwards it is read-only and
 *      any thread may use it. A file without a runnable model (vocabulary only, unknown architecture) still opens.
 *   2. The choice of a device is a pure function of snapshots and the user's words; only smt_api_pick_device talks to anybody. */
#ifndef SMT_API_INTERNAL_H
#define SMT_API_INTERNAL_H

#include "gguf/gguf.h"
#include "grammar/grammar.h"
#include "model/model.h"
#include "plan/plan.h"
#include "token/token.h"
#include "vk/vk.h"

#include <stdatomic.h>

struct smt_file {
    smt_gguf *gguf;          /* owned */
    smt_model *model;        /* owned; NULL when model_status is not SMT_OK */
    smt_status model_status; /* why there is no model, with model_error */
    smt_error model_error;
    char assumed_split[160]; /* a line for smt_file_assumed, "" where nothing is assumed */
};

/* What is made for a tokenizer when somebody first asks for it. */
typedef struct smt_tokenizer_lazy {
    _Atomic(smt_words *) words; /* owned; NULL until there is a grammar (api_grammar.c) */
} smt_tokenizer_lazy;

struct smt_tokenizer {
    smt_vocab *vocab;         /* owned */
    smt_tokenizer_lazy *lazy; /* owned */
};

/* Copies a caller's option struct over `known`, which is zeroed first, so that older callers get defaults for newer fields.
 * SMT_INVALID without struct_size, or when a newer caller sets a field that this library does not know. */
smt_status smt_api_copy_options(void *known, size_t known_bytes, const void *given, const char *name, smt_error *err);

/* ---- devices (api_choose.c) ---- */

/* Resolves `wanted` (see smt_device_options.devices) against the snapshots, in the order of its words; a device named twice is
 * there twice. NULL or "": one device by automatic choice: usable before unusable, then discrete, integrated or virtual, other,
 * cpu; then the larger device-local memory; then the order of enumeration.
 * SMT_NOT_FOUND: nothing matches a word, or no device at all. SMT_INVALID: a word matches several, an empty word, more than
 * `capacity` words. A device that lacks something (smt_caps_lacks) can be chosen: the caller says what it needs. */
smt_status smt_api_choose_devices(const smt_caps *const *caps, uint32_t n_caps, const char *wanted, uint32_t *out_indices,
                                  uint32_t capacity, uint32_t *out_count, smt_error *err);
/* The same where one device is wanted: SMT_UNSUPPORTED when `wanted` names several. */
smt_status smt_api_choose_device(const smt_caps *const *caps, uint32_t n_caps, const char *wanted, uint32_t *out_index,
                                 smt_error *err);
/* Vulkan as the options want it: an instance of our own, or the host program's device. */
smt_status smt_api_open_vulkan(const smt_device_options *options, smt_vk **out, smt_error *err);
/* smt_api_choose_device over the devices of `vk`; an automatic choice of a software device is told to the log. */
smt_status smt_api_pick_device(const smt_vk *vk, const smt_device_options *options, uint32_t *out_index, smt_error *err);
/* Tells the log that this software device was chosen; says nothing of others, or where the user has named devices. */
void smt_api_tell_software(const smt_device_options *options, const smt_caps *caps);

/* smt_device_bandwidth of a device that can run the engine (api_devices.c). */
smt_status smt_api_bandwidth(smt_vk *vk, uint32_t index, const smt_device_options *options, double *out_bytes_s, smt_error *err);

/* ---- planning (api_plan.c) ---- */

/* The part of a request that smt_placement_options describe, for devices with these snapshots. NULL options: defaults, without a demand. SMT_INVALID, SMT_NOT_FOUND. */
typedef struct smt_api_request {
    smt_plan_request request; /* points into what follows: do not copy */
    smt_plan_demand demand;
    smt_plan_budget *budgets; /* owned: smt_free */
} smt_api_request;
smt_status smt_api_placement_request(const smt_placement_options *options, const smt_model *model, const smt_caps *const *caps,
                                     uint32_t n_caps, smt_api_request *out, smt_error *err);
/* What such a runner needs becomes part of the request, unless there is a demand. */
smt_status smt_api_request_runner(const smt_runner_options *runner, smt_api_request *out, smt_error *err);

#endif
