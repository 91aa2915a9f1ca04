/* plan_internal.h: what the upper files of this room share while a placement is being made. */
#ifndef SMT_PLAN_INTERNAL_H
#define SMT_PLAN_INTERNAL_H

#include "plan/plan.h"

/* Devices that one plan uses at most, one device named twice counted twice. */
#define SMT_PLAN_MOST_DEVICES SMT_GRAPH_DEVICES

/* Layers [first[i], first[i + 1]) on the device with facts[i]; or, where devices share the experts of each layer, all but these on the first
 * one, and experts of the ranges [first_range[i], first_range[i + 1]) on each. */
typedef struct smt_plan_split {
    uint32_t n;
    uint32_t facts[SMT_PLAN_MOST_DEVICES], first[SMT_PLAN_MOST_DEVICES + 1];
    bool by_experts;
    uint32_t first_range[SMT_PLAN_MOST_DEVICES + 1];
    uint32_t candidates[SMT_PLAN_MOST_DEVICES],
        n_candidates; /* of an automatic choice: all that may compute, the fastest first */
} smt_plan_split;

/* What every device is up against: bytes by layer in its layout, and its working memory. */
typedef struct smt_plan_costs {
    smt_status status; /* not SMT_OK: the device cannot have this model, `err` says why */
    smt_error err;
    uint64_t *dense, *experts;             /* owned, [n_layers]: without those that the request keeps in host memory */
    uint64_t *in_host;                     /* owned, [n_layers]: those */
    uint64_t embedding, head, work, cache; /* work: working memory in device memory; cache: of one layer */
    uint64_t capacity;                     /* of its device-local heaps that plans use */
    smt_plan_runner_sizes sizes;
    smt_plan_speeds speeds;
} smt_plan_costs;

/* [n_facts], owned by the caller. */
smt_status smt_plan_costs_create(const smt_model *model, const smt_plan_request *request, smt_plan_costs **out, smt_error *err);
void smt_plan_costs_free(smt_plan_costs *costs, uint32_t n);
/* SMT_UNSUPPORTED when no device can have the model, with the reason of one. */
smt_status smt_plan_split_layers(const smt_model *model, const smt_plan_request *request, const smt_plan_costs *costs,
                                 smt_plan_split *out, smt_error *err);

/* n_units for n devices in proportion to shares, which sum to more than 0. */
void smt_plan_apportion(uint32_t n_units, const double *shares, uint32_t n, uint32_t *out);
/* Shares the experts out (plan_experts.c) to the devices that the user names, or to at least as many as a split by layers has. SMT_INVALID:
 * there are none. */
smt_status smt_plan_split_experts(const smt_model *model, const smt_plan_request *request, const smt_plan_costs *costs,
                                  smt_plan_split *split, smt_error *err);

/* How often a token uses an expert: 0 to 1. */
double smt_plan_expert_use(const smt_model *model, const smt_plan_request *request, uint32_t layer, uint32_t expert);
/* Whether the request keeps this item in host memory. Vectors never are: they are small and always read. */
bool smt_plan_kept_in_host(const smt_plan_request *request, const smt_item *item);
/* The pool of every item of a device whose runner is counted in `used` already, and the slots of its layers. host_left: bytes that it may
 * keep in host memory. */
smt_status smt_plan_choose(const smt_model *model, const smt_plan_request *request, const smt_placed_device *device,
                           uint64_t host_left, smt_plan_choice *out, smt_error *err);
void smt_plan_choice_free(smt_plan_choice *choice);
/* slots [n_layers], in: windows that experts take where they lie; out: slots. */
void smt_plan_choose_slots(const smt_plan_request *request, const smt_placed_device *device, const uint8_t *pools,
                           uint32_t *slots);
/* The share of the uses of a layer's experts that lie elsewhere which would find a slot, if slots held the most used ones for good. */
double smt_plan_slot_hits(const smt_model *model, const smt_plan_request *request, const smt_placed_device *device,
                          uint32_t layer);

/* smt_plan_create without the advice. */
smt_status smt_plan_attempt(const smt_model *model, const smt_plan_request *request, smt_placement **out, smt_error *err);
/* Fills in the forecast (plan_predict.c). */
void smt_plan_predict(const smt_plan_request *request, smt_placement *placement);
void smt_plan_replay_free(smt_placement *placement);
/* "5.2 GiB", "18.0 MiB": never less than there are (plan_advice.c). */
#define SMT_PLAN_SIZE_WORDS 32
void smt_plan_size_words(double bytes, char text[SMT_PLAN_SIZE_WORDS]);
/* Writes into placement->why, behind what stands there, what would make the model fit (plan_advice.c). */
void smt_plan_advise(const smt_plan_request *request, smt_placement *placement);

#endif
