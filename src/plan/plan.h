/* plan.h: where everything lies, decided before anything is allocated: model + device facts + options -> placement.
 *
 * Pure, in two layers.
 *   below   plan_place.c   pieces -> buffers: each becomes one device allocation of exactly that size; a place is {buffer, offset, bytes}
 *           plan_size.c    how much memory a runner needs
 *   above   plan_facts.c   what a device offers: pools of memory, limits, speeds (assumed where nobody measured)
 *           plan_pools.c   which pool every matrix and every expert of one device goes to
 *           plan_split.c   which devices, and which layers on each         plan_experts.c  or which experts of every layer
 *           plan_slots.c   how many slots each layer has for experts from elsewhere
 *           plan_create.c  smt_plan_create: the whole, as one smt_placement
 *           plan_predict.c how fast that will be, and what holds it back        plan_advice.c  what would make it fit
 *           plan_report.c  the placement as one list, for those who print it
 *           plan_replay.c  what its slots would have held of a recorded routing
 *
 * The engine takes items and weights of its device out of a placement and executes them: what is printed is what is loaded.
 *
 * Invariants
 *   1. Every matrix, and every routed expert (its gate, up and down together), has one place. Places of a buffer never overlap.
 *   2. No buffer exceeds the device's largest allocation, no window the range of a descriptor; offsets suit both.
 *   3. The same request gives the same placement, to the byte.
 *   4. What exceeds the limits is placed all the same, and `fits` is false: nobody executes such a plan.
 *
 * Host memory is counted once for all devices, besides the heaps that drivers show it as. On a device with unified memory what the user's
 * budget leaves of that memory, or what the user wants in host memory, is counted so; it is allocated and read in place like the rest. */
#ifndef SMT_PLAN_H
#define SMT_PLAN_H

#include "graph/graph.h"
#include "trace/trace.h"

#define SMT_MAX_WINDOWS 16
#define SMT_PLAN_HOST   UINT32_MAX /* in place of a device: host memory */
#define SMT_PLAN_FILE   UINT32_MAX /* in place of a buffer: the file */
/* The ring that weights pass through where the host does not see their memory: there while they load. */
#define SMT_UPLOAD_HALVES 2
#define SMT_UPLOAD_CHUNK  ((uint64_t)16 << 20)

/* ---- buffers and places (plan_place.c) ---- */

typedef enum smt_plan_pool {
    SMT_POOL_DEVICE,   /* device-local memory */
    SMT_POOL_MAPPED,   /* another device-local heap that the host sees too: the window of a card without a resizable one */
    SMT_POOL_HOST,     /* host-visible memory that kernels read in place */
    SMT_POOL_UPLOAD,   /* what the host writes for each step */
    SMT_POOL_READBACK, /* what it reads after one */
    SMT_POOL_LENT,     /* the same, which other logical devices have too (smt_caps_share_memory) */
    SMT_POOL_COUNT,
    SMT_POOL_FILE = SMT_POOL_COUNT /* no memory: an expert that stays in the file */
} smt_plan_pool;

typedef enum smt_plan_tier {
    SMT_TIER_DEVICE,      /* device-local */
    SMT_TIER_DEVICE_HOST, /* device-local and host-visible */
    SMT_TIER_HOST,        /* host-visible */
    SMT_TIER_FILE,        /* the file: experts that not even host memory has room for; read into slots when they are used */
    SMT_TIER_COUNT
} smt_plan_tier;

typedef struct smt_plan_buffer {
    uint32_t memory_type;
    smt_plan_pool pool;
    uint64_t bytes;
} smt_plan_buffer;

typedef struct smt_plan_place {
    uint32_t buffer;
    uint64_t offset, bytes;
} smt_plan_place;

typedef struct smt_plan {
    smt_plan_buffer *buffers; /* owned */
    size_t n_buffers, capacity;
    uint64_t slab_limit, align;
    uint32_t memory_type[SMT_POOL_COUNT]; /* UINT32_MAX: no such memory */
} smt_plan;

/* Bytes by heap, and those in host memory: once more for heaps that are not device-local, besides for SMT_POOL_HOST elsewhere. */
typedef struct smt_plan_bytes {
    uint64_t heap[SMT_CAPS_MAX_HEAPS], host;
    uint64_t shared; /* of limits, with unified memory: for heaps and host memory together; else 0 */
} smt_plan_bytes;

/* Weights: items (experts inside their layer's windows), expert tables, and the codebooks where a type reads them. Slots are device memory
 * in windows of their layer, each for one expert of it that lies elsewhere: run_resident.c moves experts in and out. */
typedef struct smt_plan_weights {
    smt_plan plan;
    smt_plan_place *items;    /* owned, [n_items]; for an expert: inside its window, or in SMT_PLAN_FILE */
    smt_plan_place *slots;    /* owned, those of layer l from first_slot[l] to first_slot[l + 1] */
    uint32_t *first_slot;     /* owned, [n_layers + 1] */
    smt_plan_place *windows;  /* owned, [n_layers * SMT_MAX_WINDOWS] */
    smt_plan_place *tables;   /* owned, [n_layers]; bytes 0 for dense layers */
    smt_plan_place codebooks; /* bytes 0: not needed */
} smt_plan_weights;

/* A runner: cache windows of every layer, rotary and block tables, scratch, step buffer, logits, capture, ring of tokens. */
typedef struct smt_plan_runner_sizes {
    uint32_t n_layers, n_cache_windows;
    uint64_t cache_window_bytes, cache_last_bytes; /* all windows of a layer but the last; the last */
    uint64_t rope, blocks, counter, scratch, step, logits, capture, ring;
    uint64_t hop_out, hop_in; /* activations on their way to another device, from another device; 0: none */
    bool lends;               /* another device reads hop_out where it lies */
    /* What follows needs no memory: the limits that the sizes were made for. */
    uint32_t n_batch;                  /* rows of a step; less than asked for where one activation would exceed a descriptor */
    uint32_t logits_rows;              /* rows of logits that one step may return */
    uint32_t capture_rows;             /* rows of a step that captures hidden states or routing */
    bool split;                        /* partial results of the split attention fit their scratch */
    uint32_t stages_one, stages_batch; /* of a step of one row, of n_batch rows: those of this device */
} smt_plan_runner_sizes;

typedef struct smt_plan_runner {
    smt_plan plan;
    smt_plan_place *cache; /* owned, [n_layers * n_cache_windows] */
    smt_plan_place rope, blocks, counter, scratch, step, logits, capture, ring, hop_out, hop_in;
} smt_plan_runner;

/* What was chosen for the items of one device. */
typedef struct smt_plan_choice {
    uint8_t *pools;  /* owned, [n_items] */
    uint32_t *slots; /* owned, [n_layers] */
} smt_plan_choice;
/* choice NULL: all in SMT_POOL_DEVICE. Experts of a layer that lie in several pools lie in windows of each, and so do its slots, so the
 * number of windows in `items` becomes what this plan needs. SMT_UNSUPPORTED: one piece exceeds the device's largest allocation, or a layer
 * needs more windows than there are. Limits are not looked at: see smt_plan_check. */
smt_status smt_plan_weights_create(const smt_model *model, smt_items *items, const smt_caps *caps, const smt_plan_choice *choice,
                                   smt_plan_weights *out, smt_error *err);
void smt_plan_weights_free(smt_plan_weights *plan);
/* The row of the expert table for an expert at this place of a layer's windows: its own, or a slot. Zeros for the file's. */
void smt_plan_expert_row(const smt_plan_weights *plan, const smt_items *items, uint32_t layer, const smt_plan_place *place,
                         uint32_t row[EXPERT_WORDS]);
static inline uint32_t smt_plan_slots(const smt_plan_weights *plan, uint32_t layer) {
    return plan->first_slot[layer + 1] - plan->first_slot[layer];
}
/* Rows of a step, at most, so that all experts in the file that it may want have slots: n_slots / n_used. UINT32_MAX: no limit (plan_slots.c). */
uint32_t smt_plan_step_rows(const smt_model *model, const smt_items *items, const smt_plan_weights *weights);
/* Whether an expert is used where it lies in device memory, and needs no slot. */
bool smt_plan_is_resident(const smt_plan_weights *plan, const smt_plan_place *expert);
smt_status smt_plan_runner_create(const smt_plan_runner_sizes *sizes, const smt_caps *caps, smt_plan_runner *out, smt_error *err);
void smt_plan_runner_free(smt_plan_runner *plan);
/* A plan without buffers for this device: its pools. SMT_UNSUPPORTED: memory that every device must have is missing. */
smt_status smt_plan_init(smt_plan *plan, const smt_caps *caps, smt_error *err);
smt_plan_tier smt_plan_buffer_tier(const smt_plan_buffer *buffer, const smt_caps *caps);
smt_plan_tier smt_plan_place_tier(const smt_plan *plan, const smt_plan_place *place, const smt_caps *caps); /* the file's too */
/* Whether a buffer counts as host memory and not as memory of its device's heap. */
bool smt_plan_in_host(const smt_plan_buffer *buffer, const smt_caps *caps);
/* Adds the plan's bytes to *used. */
void smt_plan_count(const smt_plan *plan, const smt_caps *caps, smt_plan_bytes *used);
/* SMT_DEVICE_MEMORY when a plan (`what`) exceeds the limits beside what is used (NULL: nothing), with the heap and all numbers. */
smt_status smt_plan_check(const smt_plan *plan, const smt_caps *caps, const smt_plan_bytes *limits, const smt_plan_bytes *used,
                          const char *what, smt_error *err);

/* ---- what a runner needs (plan_size.c) ---- */

/* What a runner shall hold; zero: default. */
typedef struct smt_plan_demand {
    uint32_t n_ctx, n_batch, n_sessions;
    bool cache_f16;
} smt_plan_demand;
void smt_plan_resolve(const smt_model *model, smt_plan_demand *demand);
/* The bucket that a step of n rows runs in: 1, or a power of two from 8 on; never above the batch's own bucket. */
uint32_t smt_plan_bucket(uint32_t n);
/* Whether split attention is used: its partial results must fit their scratch. */
bool smt_plan_splits(const smt_model *model, uint32_t n_ctx);
/* Sizes of a runner with this demand, defaults resolved, on each of the devices: out [n_devices]. SMT_UNSUPPORTED: a device cannot have it. */
smt_status smt_plan_measure(const smt_model *model, const smt_graph_device *devices, uint32_t n_devices,
                            const smt_plan_demand *demand, smt_plan_runner_sizes *out, smt_error *err);

/* ---- devices as the planner sees them (plan_facts.c) ---- */

typedef struct smt_plan_facts {
    smt_caps caps;
    double read_s; /* bytes a second that the device reads of its own memory; 0: assumed from its kind */
    double link_s; /* of host memory; 0: assumed */
    double hop_s;  /* seconds until activations that leave for the host, or come from it, have arrived; 0: assumed */
} smt_plan_facts;

typedef struct smt_plan_budget { /* bytes of a heap that may be used, in place of what the driver says */
    uint32_t device, heap;       /* index of the facts, or SMT_PLAN_HOST with heap 0 */
    uint64_t bytes;
} smt_plan_budget;

typedef struct smt_plan_request {
    const smt_plan_facts *facts; /* [n_facts] */
    uint32_t n_facts;
    const uint32_t *order; /* [n_order] the devices to use, in this order, one perhaps several times; 0: automatic choice */
    uint32_t n_order;
    const double *shares; /* [n_shares] of the layers, or of each layer's experts, for each of `order`; 0: by speed */
    uint32_t n_shares;
    bool by_experts;                /* several devices share the experts of each layer, instead of the layers */
    const smt_plan_demand *demand;  /* NULL: weights alone */
    const smt_plan_budget *budgets; /* [n_budgets]; the last one of a heap counts */
    size_t n_budgets;
    uint64_t reserve; /* bytes of each device-local heap left alone; 0: assumed from its kind */
    uint32_t host_layers,
        host_expert_layers;      /* all matrices, and the experts, of so many layers at the front go to host memory */
    const float *expert_weights; /* [MoE layers * n_experts] how often each expert is used; NULL: all alike */
    uint64_t expert_cache;       /* bytes of each device's memory for slots; 0: none, and no expert stays in the file */
} smt_plan_request;

typedef struct smt_plan_speeds {
    double read_s, link_s, hop_s;
    double file_s;  /* bytes of experts a second that arrive from the file: always assumed */
    double macs_s;  /* multiply-adds a second: always assumed */
    double stage_s; /* from the end of one stage to the start of the next: always assumed */
    bool measured;  /* read_s is */
} smt_plan_speeds;
smt_plan_speeds smt_plan_device_speeds(const smt_plan_facts *facts);
/* What may be used of a device's heaps; host: of host memory, if this device were the only one. */
smt_plan_bytes smt_plan_device_limits(const smt_plan_request *request, uint32_t device);
/* Host memory of the whole machine. */
uint64_t smt_plan_host_limit(const smt_plan_request *request);

/* ---- the whole (plan_create.c) ---- */

typedef struct smt_placed_device {
    uint32_t fact; /* index into the request's facts */
    smt_caps caps;
    smt_plan_speeds speeds;
    uint32_t first_layer, last_layer; /* [first, last) */
    bool first, last;                 /* it embeds; it holds the output head */
    smt_items items;                  /* owned: of its layers; where experts are shared, items.range says which it has */
    smt_plan_weights weights;         /* owned */
    smt_plan_runner_sizes sizes;      /* n_layers 0 without a demand */
    smt_plan_runner runner;           /* owned */
    uint64_t staging;                 /* bytes of host memory while the weights load */
    smt_plan_bytes limits, used;
} smt_placed_device;

typedef struct smt_plan_forecast {
    double decode_tok_s, prefill_tok_s; /* one session, at half the context; a batch of n_batch rows; 0 without a demand */
    char bottleneck[160];               /* what a decoded token waits for longest */
} smt_plan_forecast;

/* Over all tokens replayed so far. */
typedef struct smt_plan_replay {
    smt_trace_cache *caches; /* owned, [n_devices, n_layers]; NULL: nothing was replayed */
    uint64_t n_tokens, hits, misses, miss_bytes;
} smt_plan_replay;

struct smt_placement {
    const smt_model *model; /* borrowed */
    smt_plan_demand demand; /* resolved; n_ctx 0: there was none */
    smt_plan_facts *facts;  /* owned, [n_facts], all devices of the machine */
    smt_plan_bytes *limits; /* owned, [n_facts] */
    uint32_t n_facts;
    smt_placed_device *devices; /* owned, [n_devices] those that compute, in the order of their layers */
    uint32_t n_devices;
    bool by_experts; /* the first device has all layers, and every device some of their experts */
    uint64_t host_limit, host_used;
    bool fits;
    char why[512]; /* what does not fit, with numbers, and what would make it fit; "" when all fits */
    smt_plan_forecast forecast;
    smt_plan_replay replay;
    struct smt_plan_entry *entries; /* owned, [n_entries]: plan_report.c */
    size_t n_entries, entries_capacity;
};

/* SMT_OK also for a model that does not fit. A placement borrows from the model. */
smt_status smt_plan_create(const smt_model *model, const smt_plan_request *request, smt_placement **out, smt_error *err);
void smt_plan_free(smt_placement *placement);
/* A step of a recorded routing, behind those before: experts [n_tokens, n_moe, n_used], n in all, as traces have them of each token. Counts what
 * a run would count, on devices that have slots. SMT_INVALID: they are of another model. */
smt_status smt_plan_replay_step(smt_placement *placement, const uint16_t *experts, size_t n, smt_error *err);

/* ---- the placement as one list (plan_report.c) ---- */

typedef enum smt_plan_kind {
    SMT_PLAN_WEIGHT,
    SMT_PLAN_EXPERT,
    SMT_PLAN_TABLE,
    SMT_PLAN_SLOTS,
    SMT_PLAN_CACHE,
    SMT_PLAN_WORK
} smt_plan_kind;

typedef struct smt_plan_entry {
    smt_plan_kind kind;
    const char *name;       /* of the tensor, or of the piece; borrowed */
    uint32_t part, n_parts; /* of the tensor on this device, or of the layer's cache */
    uint32_t layer, expert; /* UINT32_MAX: none */
    uint32_t device;        /* index into devices: which reads it */
    uint32_t buffer;        /* over all devices: weights, then runner, of the first, ...; SMT_PLAN_FILE */
    bool host;              /* it counts as host memory, or lies in the file */
    uint32_t heap;          /* of the device; 0 in host memory, 1 in the file */
    uint32_t memory_type;   /* UINT32_MAX in the file */
    smt_plan_tier tier;
    uint64_t offset, bytes;
} smt_plan_entry;
smt_status smt_plan_list(smt_placement *placement, smt_error *err);

#endif
