/* run.h: a model on its devices (smt_run_model), and what advances rows of tokens over it (smt_run).
 *
 * Each device has its share of both: weights and kernels of some layers (smt_run_device), and for every runner memory for these, a queue of
 * submissions and their pace (smt_run_part). Cache blocks are numbered alike on all devices; each holds the blocks of its own layers.
 *
 *   run_model.c    weights on the devices, shared by every runner
 *   run_kernels.c  compiled kernels, shared likewise
 *   run_check.c    a kernel's self-test
 *   run_record.c   graph + places -> command buffers, one per segment, cached by shape
 *   run_name.c     what a segment is, in words
 *   run_memory.c   a runner's memory, as planned; rotary tables
 *   run_queue.c    submissions under way: how many, how long each took, cancelling
 *   run_residency.c  budgets that shrink
 *   run_hop.c      what the host does between the submissions of two devices
 *   run_step.c     one step that the host waits for: fill the step buffer, submit the segments, wait, read back
 *   run_resident.c experts that come into slots of device memory and leave them
 *   run_cache.c    cached rows on the move: out of shared blocks, to the host and back
 *   run_decode.c   steps that follow from each other on the device, several under way
 *   run_stats.c    a step taken apart: how long each layer takes
 *   run_observe.c  the routing of every step, for whoever looks on; run_facts.c: what he is told of the model
 *
 * Everything a kernel needs is in device-visible memory, so a recording is submitted as it is, any number of times. Only run_decode.c
 * returns with submissions under way, and only until smt_run_decode_end; all else finds the step buffer its own. */
#ifndef SMT_RUN_H
#define SMT_RUN_H

#include "check/check.h"
#include "kv/kv.h"
#include "load/load.h"
#include "os/os.h"
#include "sample/sample.h"
#include "trace/trace.h"

#include <stdatomic.h>

/* ---- kernels of one device, compiled once per key ---- */
typedef struct smt_run_kernel {
    smt_kernel_key key;
    smt_vk_kernel *kernel;
} smt_run_kernel;

typedef struct smt_run_resident smt_run_resident;
/* What a device has of the model: that the items' range says. */
typedef struct smt_run_device {
    smt_vk_device *vk; /* borrowed */
    smt_items items;
    smt_plan_weights plan;
    smt_plan_bytes limits; /* of the device's heaps, for weights and runners together */
    smt_weights weights;
    smt_run_kernel *kernels; /* owned */
    size_t n_kernels, kernels_capacity;
    uint64_t told_budget[SMT_CAPS_MAX_HEAPS]; /* guarded by the model's `watch`: see run_residency.c */
    _Atomic uint32_t n_tested;  /* kernels that were compared with plain C and right, since they were last told to the log */
    smt_vk_kernel *repack;      /* owned; NULL: no rows change their layout on the device */
    smt_run_resident *resident; /* owned; NULL: it has no slots */
} smt_run_device;

typedef struct smt_run_model {
    const smt_model *model; /* borrowed */
    smt_run_device
        *devices; /* owned, [n_devices], in the order of their layers: the first embeds, the last that has any holds the head */
    uint32_t n_devices;
    smt_os_mutex *lock; /* owned: the list of kernels, when runners live on several threads */
    smt_os_mutex
        *watch; /* owned: what was told of budgets; `lock` is held while kernels compile, and steps do not wait for that */
    smt_os_mutex *step; /* owned: held for a step while experts stay in the file: nobody else may take the slots that it fills */
    bool slots, file;   /* some device has slots; some expert stays in the file */
    smt_callbacks callbacks;
    smt_self_test self_test;
} smt_run_model;

typedef struct smt_run_options smt_run_options;
typedef struct smt_run_model_options {
    smt_callbacks callbacks;
    bool force_staging;              /* tests: weights go through the staging ring even where memory is mapped */
    uint64_t copy_bytes;             /* tests: of a submission of copies into slots, about; 0: what suits links */
    const smt_run_options *expected; /* kernels of such a runner compile while the weights load; NULL: none do */
    const smt_plan_request
        *placement; /* budgets, demand (NULL: that of `expected`), what stays in host memory; its devices are not looked at */
    smt_self_test self_test;
} smt_run_model_options;
/* The whole model on one device. */
smt_status smt_run_model_create(smt_vk_device *device, const smt_model *model, const smt_run_model_options *options,
                                smt_run_model **out, smt_error *err);
/* As a placement has it, whose n-th device is devices[n]: what it says of weights is taken out of it; options->placement is not looked at.
 * What does not fit fails before any allocation. */
smt_status smt_run_model_load(smt_vk_device *const *devices, smt_placement *placement, const smt_run_model_options *options,
                              smt_run_model **out, smt_error *err);
void smt_run_model_free(smt_run_model *model);

/* ---- kernels (run_kernels.c) ---- */

/* smt_vk_device_create for an engine: without cooperative matrices where one of their kernels neither comes compiled nor compiles. */
smt_status smt_run_device_create(smt_vk *vk, uint32_t index, const smt_vk_device_options *options, smt_vk_device **out,
                                 smt_error *err);
/* A catalogue entry as the lower room wants it; it points into *spec and `defines`. */
smt_vk_kernel_desc smt_run_kernel_desc(const smt_kernel_spec *spec, smt_vk_define defines[SMT_KERNEL_MAX_DEFINES]);
/* A catalogue entry on a device, as the engine, the kernels report and the tests all make it. Thread-safe. */
smt_status smt_run_kernel_compile(smt_vk_device *device, const smt_kernel_spec *spec, bool want_stats, smt_vk_kernel **out,
                                  smt_error *err);
/* Whether the kernel computes what it should, as far as the model's options want to know (run_check.c). Thread-safe. */
smt_status smt_run_self_test(const smt_run_model *model, smt_run_device *on, const smt_run_kernel *kernel, smt_error *err);
/* A line for the log, where any were tested since the last one. */
void smt_run_tell_tested(smt_run_model *model);
/* Compiles what is missing of the graph's kernels, on all cores, with progress. */
smt_status smt_run_kernels_prepare(smt_run_model *model, const smt_graph *graph, smt_error *err);
typedef struct smt_run_compile smt_run_compile;
/* Other threads begin to compile the kernels of single tokens and of whole batches; the model's kernels are theirs until finish. */
smt_status smt_run_compile_expected(smt_run_model *model, const smt_run_options *options, smt_run_compile **out, smt_error *err);
/* Ends it: when all is compiled, or, not `wanted`, as soon as possible, with SMT_CANCELLED. NULL is legal. */
smt_status smt_run_compile_finish(smt_run_compile *job, bool wanted, smt_error *err);
/* The shape of a step of `rows` rows in such a runner. */
smt_graph_shape smt_run_expected_shape(const smt_model *model, const smt_run_options *options, uint32_t rows);
/* Kernels of the model's own; NULL: not compiled. */
const smt_vk_kernel *smt_run_kernel_find(const smt_run_device *device, const smt_kernel_key *key);

/* ---- the runner ---- */
struct smt_run_options {
    uint32_t n_ctx, n_batch, n_sessions;
    bool cache_f16;
    uint32_t submission_ms; /* cap of one submission */
    bool fast, coop;        /* as in smt_graph_shape */
};

typedef struct smt_run_plan_entry { /* one recorded shape; stays where it is as long as the runner lives */
    smt_graph *graph;
    smt_vk_recording **segments; /* owned, [n_segments]: graph->n_segments, where recording did not fail; NULL: the host's */
    size_t n_segments;
    double most[SMT_GRAPH_DEVICES]; /* work of a segment, as they are cut */
} smt_run_plan_entry;

typedef struct smt_run_stats {                                /* since the runner was made */
    uint64_t n_steps, n_dropped, n_submissions, n_dispatches; /* dropped: behind the end of an answer */
    double longest_s; /* of a submission: from its start, or the end of the one before, to its end */
    uint64_t expert_hits, expert_misses, expert_link_bytes, expert_copied_bytes; /* as in smt_runner_stats */
} smt_run_stats;

/* ---- submissions under way (run_queue.c) ---- */
#define SMT_RUN_FLIGHTS 64
typedef struct smt_run_flight {
    uint64_t value;   /* that the device reaches when it has finished */
    double submitted; /* seconds */
    double work;
    bool many; /* rows: see smt_run_pace */
} smt_run_flight;
typedef struct smt_run_queue {
    smt_run_flight flights[SMT_RUN_FLIGHTS]; /* a ring: the oldest at `first` */
    uint32_t first, n;
    double began;    /* when there came to be some, seconds */
    double finished; /* when the last one that was waited for had finished, seconds */
    bool seen;       /* and whether the host was there to see it */
} smt_run_queue;
/* Work that a submission may hold so that it stays below the cap, for steps of one row and of many: learned from how long they take. */
typedef struct smt_run_pace {
    double cap_s;
    double most[2];
    uint32_t alarm[2]; /* raised by a submission near the cap, sinking with each of the others */
} smt_run_pace;

/* Where the time of a device went, seconds, since the runner was made. */
typedef struct smt_run_spent {
    double busy_s;      /* submissions of this runner's were under way, by the host's clock */
    double hop_s;       /* the host brought what other devices had computed for it */
    uint64_t hop_bytes; /* so much */
} smt_run_spent;

/* A runner's share of a device. */
typedef struct smt_run_part {
    smt_run_device *on; /* borrowed from the model */
    smt_plan_runner plan;
    smt_vk_buffer **buffers;                 /* owned */
    smt_vk_buffer *peers[SMT_GRAPH_DEVICES]; /* owned: what other parts lend, as this device has it; NULL: nothing */
    uint64_t peers_read;                     /* when this is reached, it has read what they sent last */
    smt_run_queue queue;
    smt_run_pace pace;
    smt_run_spent spent;
    bool idle; /* it sits out: see SMT_HOST_CHOICE */
} smt_run_part;

typedef struct smt_run_observer smt_run_observer;
typedef struct smt_run {
    smt_run_model *model; /* borrowed */
    smt_run_options options;
    smt_kv kv;
    smt_run_part *parts; /* owned, [n_parts], as the model's devices */
    uint32_t n_parts;
    smt_run_plan_entry **shapes; /* owned */
    size_t n_shapes, shapes_capacity;
    smt_run_stats stats;
    uint32_t logits_rows;  /* rows of logits one step may return */
    uint32_t capture_rows; /* rows of one step that captures hidden states or routing */
    bool split;            /* partial results of the split attention fit its scratch */
    uint32_t n_rows;       /* of the step whose inputs were written last */
    double watched_s;      /* when budgets were last looked at, by smt_os_seconds */
    atomic_bool cancel;
    smt_run_observer *observer; /* borrowed: it puts itself here; NULL: nobody looks on */
} smt_run;

/* Resolves defaults in options (0: default) against the model. */
void smt_run_resolve(const smt_model *model, smt_run_options *options);
/* What the options ask for in memory. */
smt_plan_demand smt_run_demand(const smt_run_options *options);
smt_status smt_run_create(smt_run_model *model, const smt_run_options *options, smt_run **out, smt_error *err);
void smt_run_free(smt_run *run);

/* What is kept of a session's tokens on their way, [.., total, ..] so that steps land in one array; NULL: not wanted. */
typedef struct smt_run_capture {
    uint32_t total;
    float *hidden; /* slot s of token t: hidden + (s * total + t) * n_embd */
    int32_t *ids;  /* MoE layer l of token t: ids + (l * total + t) * n_used */
    float *weights;
} smt_run_capture;

typedef struct smt_run_row {
    int32_t token, position;
    const float *embedding;         /* [n_embd], in place of the token; NULL: the token counts */
    uint32_t slot, index;           /* session slot; place in its timeline */
    bool out;                       /* the output head runs for this row */
    float *logits;                  /* [n_vocab], where `out`; NULL: not read back */
    const smt_run_capture *capture; /* NULL: nothing */
    uint32_t at;                    /* the row's token in the capture */
} smt_run_row;

/* One step of n rows, of any slots; those of a slot stand together, with ascending index. The caller keeps n within
 * options.n_batch, or capture_rows if one row has a capture or an embedding or the run is watched, and the rows with `out` within
 * logits_rows.
 * Rows that give nothing are not waited for on the last of several devices: the first may begin with the next step meanwhile. After the
 * last of such steps the caller has smt_run_drain wait. */
smt_status smt_run_step(smt_run *run, const smt_run_row *rows, uint32_t n, smt_error *err);

/* ---- cached rows (run_cache.c) ---- */

/* Before n tokens are appended to the `length` of a slot: blocks for them, and a last block that no other slot shares. */
smt_status smt_run_extend(smt_run *run, uint32_t slot, uint32_t length, uint32_t n, smt_error *err);
/* Takes n bytes, or gives them. */
typedef smt_status (*smt_run_bytes_fn)(void *user, void *bytes, uint64_t n, smt_error *err);
/* Passes the cached rows of the slot's first `length` positions, [n_layers][length] as the device holds them, to `each`, piece after
 * piece; or has `each` give them, and the slot must hold blocks for them then. */
smt_status smt_run_move_rows(smt_run *run, uint32_t slot, uint32_t length, bool to_device, smt_run_bytes_fn each, void *user,
                             smt_error *err);

/* ---- somebody looks on (run_observe.c) ---- */

/* As smt_observer of seamount.h has it; one for each runner. */
smt_status smt_run_observer_create(smt_run *run, uint32_t capacity, smt_run_observer **out, smt_error *err);
void smt_run_observer_free(smt_run_observer *observer);
const smt_trace_model *smt_run_observer_model(const smt_run_observer *observer);
const smt_trace_token *smt_run_observer_next(smt_run_observer *observer);
uint64_t smt_run_observer_dropped(const smt_run_observer *observer);

/* Each step captures its routing, for the observer or for the slots. */
static inline bool smt_run_is_watched(const smt_run *run) {
    return (run->observer && run->model->model->n_experts) || run->model->slots;
}
/* Rows of a step that captures nothing for its caller. */
static inline uint32_t smt_run_rows_most(const smt_run *run) {
    return smt_run_is_watched(run) ? smt_min_u32(run->options.n_batch, run->capture_rows) : run->options.n_batch;
}
typedef struct smt_run_times {
    double begin, submit, done;             /* of a step, by smt_os_seconds */
    smt_run_spent spent[SMT_GRAPH_DEVICES]; /* in it, by each device */
} smt_run_times;
/* The rows of a step that has just been read back, with the captures of each device (NULL for a dense model). */
void smt_run_observe(smt_run_observer *observer, const smt_run_row *rows, uint32_t n, const smt_run_times *times,
                     const uint8_t *const *captures);
/* What traces say of the model (run_facts.c); arrays lie in the arena, texts are the model's and the device's own. */
smt_status smt_run_facts(const smt_run *run, smt_arena *arena, smt_trace_model *out, smt_error *err);

/* ---- steps that follow from each other (run_decode.c) ----
 * begin submits the rows given and draws a token from the last of them; from then on each token drawn is the next step's only row. */
#define SMT_RUN_AHEAD_MOST 8
typedef struct smt_run_answer {
    const smt_sample_rule *rule;
    /* Steps under way, 1 to SMT_RUN_AHEAD_MOST, but no more than SMT_GRAPH_TURNS with an observer, and one on several devices or with slots;
     * tokens wanted at most. */
    uint32_t ahead, most;
} smt_run_answer;
typedef struct smt_run_flown { /* a step under way */
    uint64_t value;            /* of its last submission */
    double submitted;          /* seconds */
} smt_run_flown;
typedef struct smt_run_decode {
    smt_run *run;                                 /* borrowed */
    smt_run_plan_entry *entries[SMT_GRAPH_TURNS]; /* the step of one row, in turns: the same where the run is not watched */
    smt_sample_rule rule;
    uint32_t index;                          /* timeline index of the next row that is submitted */
    uint32_t ahead, most;                    /* as in smt_run_answer */
    uint32_t submitted, taken;               /* tokens that steps were submitted for, and that were handed out */
    smt_run_flown steps[SMT_RUN_AHEAD_MOST]; /* step i at i % SMT_RUN_AHEAD_MOST */
    smt_run_row row;                         /* of the step that is taken next: for several devices, and the observer */
    double told;                             /* when the latter was told of the step before, by smt_os_seconds */
    double step_s;                           /* how long the last step took whose end the host saw */
} smt_run_decode;
/* Of the rows only the last has `out`, and none has a capture. After a failure there is nothing to end. */
smt_status smt_run_decode_begin(smt_run *run, const smt_run_row *rows, uint32_t n, const smt_run_answer *answer,
                                smt_run_decode *out, smt_error *err);
/* The next token. Cache blocks are taken ahead of the steps that fill them; where there are none, or no room in the context, steps under way
 * are the last: then, and after `most` tokens, *out_any is false. SMT_INTERNAL: no logit was finite. */
smt_status smt_run_decode_next(smt_run_decode *decode, bool *out_any, int32_t *out_token, smt_error *err);
/* Waits for what is still under way; its tokens are dropped. The caller sets the slot back to the length that it wants. */
smt_status smt_run_decode_end(smt_run_decode *decode, smt_error *err);

/* ---- a step taken apart (run_stats.c) ---- */

typedef struct smt_run_profile {
    double *layer_s;        /* in: [n_layers], the caller's */
    double embed_s, head_s; /* what stands before the layers and behind them */
    double hop_s;           /* between the devices, by the host's clock */
    double longest_s;       /* the longest of the submissions that smt_run_step makes of it */
    const smt_graph *graph; /* borrowed from the runner */
} smt_run_profile;
/* smt_run_step without readback, in pieces that neither a layer nor a submission reaches beyond: each is submitted and waited for by
 * itself. device_clock: timed by the device's timestamps, which SMT_UNSUPPORTED says it lacks; else by the host's clock, the
 * submission's own cost included. */
smt_status smt_run_profile_step(smt_run *run, const smt_run_row *rows, uint32_t n, bool device_clock, smt_run_profile *profile,
                                smt_error *err);

/* ---- experts that come and go (run_resident.c) ----
 * Slots hold the experts of a layer that were wanted last, of those that lie elsewhere. Copies and edits of expert tables are submissions of
 * their own, so a device's queues keep them apart from the steps of all runners: a step under way reads the one place or the other, to the
 * same bits. */

/* Where the plan has slots: on->resident. */
smt_status smt_run_resident_create(const smt_model *model, smt_run_device *on, uint64_t copy_bytes, smt_error *err);
void smt_run_resident_free(smt_run_device *on);
/* After a step of n rows, with the captures of each device: counts, and has experts that were missed copied from host memory. */
smt_status smt_run_resident_learn(smt_run *run, uint32_t n, const uint8_t *const *captures, smt_error *err);
/* In front of a part's segment that ends in this layer (more than all: behind the last): experts copied for its layers are in their slots
 * from here on. */
smt_status smt_run_resident_arrive(smt_run_part *part, uint32_t last_layer, smt_error *err);
/* Within a step, before the experts of a layer: reads those into slots that stay in the file and that this step's n rows want. ids: as
 * captured, [n, n_used]. */
smt_status smt_run_resident_fetch(smt_run *run, smt_run_part *part, uint32_t layer, const uint32_t *ids, uint32_t n,
                                  smt_error *err);

/* Shared by the files of this room. */
#define SMT_RUN_WAIT_NS ((uint64_t)600 * 1000000000) /* a software driver may compile for minutes at first use */
/* Of a step that draws, and the steps that follow it. */
typedef struct smt_run_follow {
    const smt_sample_rule *rule;
    const smt_graph *graph; /* of the steps that follow */
    uint32_t drawn;         /* tokens drawn by the steps before */
} smt_run_follow;
/* What a step is about. follow: NULL for a step that the host waits for. */
typedef struct smt_run_inputs {
    const smt_run_row *rows;
    uint32_t n;
    const smt_run_follow *follow;
} smt_run_inputs;
/* Into the memory of one device, which has nothing under way. */
smt_status smt_run_write_inputs(smt_run *run, uint32_t part, const smt_graph *graph, const smt_run_inputs *inputs,
                                smt_error *err);
/* The recorded shape that the rows run in, with the embeddings that they bring. */
smt_status smt_run_ready(smt_run *run, const smt_run_row *rows, uint32_t n, smt_run_plan_entry **out, smt_error *err);
/* Its devices, as a graph wants them: out [n_devices]. */
void smt_run_graph_devices(const smt_run_model *model, smt_graph_device *out);
/* Which part has a layer, and what is behind the last one; an expert of a layer. */
uint32_t smt_run_part_of(const smt_run *run, uint32_t layer);
uint32_t smt_run_part_of_expert(const smt_run *run, uint32_t layer, uint32_t expert);
/* Where a value of a graph lies. */
smt_vk_range smt_run_value_range(const smt_run *run, const smt_graph *graph, uint32_t id);
/* Memory that the graph's devices lend each other (run_hop.c). */
smt_status smt_run_borrow(smt_run *run, const smt_graph *graph, smt_error *err);
/* Does what a node of the host's says; what it needs has to be finished first, and is waited for. */
smt_status smt_run_act(smt_run *run, const smt_graph *graph, const smt_node *node, smt_error *err);
/* The nodes of a segment, or a part of one, with their barriers, into a recording under way. */
smt_status smt_run_record_nodes(const smt_run *run, const smt_graph *graph, const smt_segment *nodes, smt_vk_recording *recording,
                                smt_error *err);
/* Mapped bytes of a place that the device writes, made visible first. */
smt_status smt_run_readback(const smt_run_part *part, const smt_plan_place *place, const uint8_t **out, smt_error *err);
/* Tells the log of a device whose budget is below what it holds. */
void smt_run_watch_memory(smt_run *run);
/* What a segment of the graph is, in words (run_name.c). */
void smt_run_segment_name(const smt_graph *graph, size_t index, char *text, size_t capacity);
/* Submits the segments of a step, with `most` submissions under way at most on each device, and does the host's part between them;
 * cancellation is looked at before each. Inputs are written when a device has finished the step before; NULL: they are there. *out_value:
 * of the last. */
smt_status smt_run_submit(smt_run *run, smt_run_plan_entry *entry, const smt_run_inputs *inputs, uint32_t most,
                          uint64_t *out_value, smt_error *err);
/* Waits until a part's device has reached `value` (UINT64_MAX: everything under way). */
smt_status smt_run_wait(smt_run *run, smt_run_part *part, uint64_t value, smt_error *err);
/* Waits for everything under way on all devices. */
smt_status smt_run_drain(smt_run *run, smt_error *err);
void smt_run_pace_begin(smt_run_pace *pace, const smt_caps *caps, uint32_t cap_ms);
/* A submission took so long. */
void smt_run_pace_learn(smt_run_pace *pace, const smt_run_flight *flight, double seconds);
/* Whether segments with `most` work, n of them and of many rows or one, were cut for a pace that no longer holds. */
bool smt_run_pace_stale(const smt_run_pace *pace, double most, size_t n_segments, bool many);
/* The same of a step, on any device: smt_run_shape cuts it anew. */
bool smt_run_is_stale(const smt_run *run, const smt_run_plan_entry *entry);
/* The recorded shape. Where it has to be recorded anew, nothing is under way afterwards. */
smt_status smt_run_shape(smt_run *run, const smt_graph_shape *shape, smt_run_plan_entry **out, smt_error *err);
/* The sizes of the runner's memory, [n_parts]; its options and limits take what they allow. */
smt_status smt_run_measure(smt_run *run, smt_plan_runner_sizes *sizes, smt_error *err);
smt_status smt_run_memory_create(smt_run *run, const smt_plan_runner_sizes *sizes, smt_error *err);
smt_graph_shape smt_run_draw_shape(const smt_run *run, uint32_t rows, uint32_t turn);
smt_graph_shape smt_run_make_shape(const smt_run *run, uint32_t rows, uint32_t out_rows, bool keep_hidden, bool keep_routing);

#endif
