/* seamount.h: the whole public interface of the seamount inference library.
 *
 * Three handles carry the work:
 *   smt_engine   a loaded model and its devices. Shareable between threads.
 *   smt_runner   queues, scratch memory, cache pool and recorded command buffers; advances rows of tokens. One thread at a time.
 *   smt_session  one timeline of tokens, a slot of a runner. One thread at a time, and never at once with its runner's others.
 * Two more need neither tensors nor Vulkan: smt_file (what a GGUF file says) and smt_tokenizer (text <-> ids).
 *
 * Conventions
 *   - Every fallible call returns smt_status and fills the caller's smt_error (may be NULL) where the failure is known.
 *     Out-parameters are zeroed on entry; on failure they stay zero and nothing leaks.
 *   - Option structs begin with struct_size (set it to sizeof the struct); every other field may be zero, which means default.
 *   - Handles are opaque; the matching _free accepts NULL. Strings are UTF-8, paths too on every system; strings returned are owned by
 *     the handle.
 *   - The library never exits, prints, aborts, or reads the environment. A lost device is an error code.
 *   - Vulkan drivers do read it: Mesa's software driver computes with 512 bits only where the program has set LP_NATIVE_VECTOR_WIDTH=512
 *     before the first device or engine is created (README.md, "In a program of yours").
 *   - "Thread-safe": any thread at any time. "One thread at a time": the caller serialises. */
#ifndef SEAMOUNT_H
#define SEAMOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define SMT_API /* the list of what the DLL exports is made of these marks */
#else
#define SMT_API __attribute__((visibility("default")))
#endif

#define SMT_VERSION_MAJOR 0
#define SMT_VERSION_MINOR 1
#define SMT_VERSION_PATCH 0

/* Version of the library at run time, as major * 10000 + minor * 100 + patch. Thread-safe. */
SMT_API uint32_t smt_version(void);

/* ---- status ------------------------------------------------------------------------------------------------------- */

/* One list makes the enum, the names and the texts. Codes keep their meaning for ever; new ones go at the end. */
#define SMT_STATUS_LIST(X)                                     \
    X(OK, "ok")                                                \
    X(INVALID, "invalid argument")                             \
    X(MEMORY, "out of host memory")                            \
    X(DEVICE_MEMORY, "out of device memory")                   \
    X(IO, "file could not be read or written")                 \
    X(FORMAT, "file is damaged or not of the expected format") \
    X(UNSUPPORTED, "not supported")                            \
    X(NOT_FOUND, "not found")                                  \
    X(NO_VULKAN, "no Vulkan on this system")                   \
    X(VULKAN, "a Vulkan call failed")                          \
    X(DEVICE_LOST, "the device was lost")                      \
    X(COMPILE, "a kernel did not compile")                     \
    X(FULL, "the context is full")                             \
    X(CANCELLED, "cancelled")                                  \
    X(INTERNAL, "internal error")                              \
    X(WRONG_RESULT, "the device computes wrong results")

typedef enum smt_status {
#define X(name, text) SMT_##name,
    SMT_STATUS_LIST(X)
#undef X
        SMT_STATUS_COUNT
} smt_status;

/* "SMT_FORMAT" style name and a short text; never NULL, whatever the value. Thread-safe. */
SMT_API const char *smt_status_name(smt_status status);
SMT_API const char *smt_status_text(smt_status status);

/* Caller-owned; the message names the thing (tensor, key, heap) and the numbers. `file` and `line` say where in the library. */
typedef struct smt_error {
    smt_status code;
    int line;
    const char *file;
    char message[512];
} smt_error;

/* ---- callbacks ---------------------------------------------------------------------------------------------------- */

typedef enum smt_log_level { SMT_LOG_ERROR, SMT_LOG_WARN, SMT_LOG_INFO, SMT_LOG_DEBUG, SMT_LOG_VALIDATION } smt_log_level;
/* Called on the thread that is inside the library (validation messages: on any thread). `text` lives for the call only. */
typedef void (*smt_log_fn)(void *user, smt_log_level level, const char *text);

typedef enum smt_stage { SMT_STAGE_COMPILE, SMT_STAGE_LOAD, SMT_STAGE_EVAL, SMT_STAGE_WRITE } smt_stage;
/* `done` of `total`: kernels, bytes or tokens. Return false to cancel; the call under way then returns SMT_CANCELLED. */
typedef bool (*smt_progress_fn)(void *user, smt_stage stage, uint64_t done, uint64_t total);

typedef struct smt_callbacks {
    void *user;
    smt_log_fn log;           /* NULL: silent */
    smt_progress_fn progress; /* NULL: none */
} smt_callbacks;

/* ---- files -------------------------------------------------------------------------------------------------------- */

typedef struct smt_file smt_file;

/* Opens a GGUF file and reads its header; the tensors stay on disk. Any part of a model in several files (PREFIX-00001-of-00003.gguf)
 * opens all of them; SMT_IO names a part that is missing. Thread-safe. The result is read-only: any thread. */
SMT_API smt_status smt_file_open(const char *path, smt_file **out_file, smt_error *err);
SMT_API void smt_file_free(smt_file *file);

/* The files that hold the model, in the order of their numbers; 1 where it is in one. Path and size in bytes of each; SMT_INVALID
 * beyond the last. `path` is owned by the file. */
SMT_API uint32_t smt_file_part_count(const smt_file *file);
SMT_API smt_status smt_file_part(const smt_file *file, uint32_t part, const char **out_path, uint64_t *out_bytes);

typedef struct smt_key_info {
    const char *name, *type; /* type: "u32", "string", "array of f32"; name is owned by the file */
    uint64_t count;          /* elements of an array, else 1 */
} smt_key_info;
SMT_API uint64_t smt_file_key_count(const smt_file *file);
SMT_API smt_status smt_file_key(const smt_file *file, uint64_t index, smt_key_info *out_info);
/* Element `element` of key `index` as text, NUL-terminated and cut to `capacity`; invalid UTF-8 becomes U+FFFD.
 * Returns the full length in bytes, whatever was cut. */
SMT_API size_t smt_file_key_text(const smt_file *file, uint64_t index, uint64_t element, char *text, size_t capacity);

typedef struct smt_tensor_info {
    const char *name, *type; /* "blk.0.attn_q.weight", "Q4_K" */
    uint32_t n_dims;
    uint64_t ne[4];         /* ne[0] is the row length; unused dimensions are 1 */
    uint32_t part;          /* index of the file that holds it: see smt_file_part */
    uint64_t offset, bytes; /* from the start of that file */
} smt_tensor_info;
SMT_API uint64_t smt_file_tensor_count(const smt_file *file);
SMT_API smt_status smt_file_tensor(const smt_file *file, uint64_t index, smt_tensor_info *out_info);

/* What the file says of its model. Counts are parameters, not bytes. */
typedef struct smt_model_info {
    const char *architecture, *name; /* "deepseek2", "deepseek" or "llama"; name may be "" */
    uint32_t n_layers, n_embd, n_vocab, n_heads, n_kv_heads, n_ctx_train;
    uint32_t n_dense_layers, n_experts, n_experts_used, n_experts_shared, n_groups, n_groups_used;
    uint32_t q_lora_rank, kv_lora_rank, nope_dim, rope_dim, value_dim; /* head sizes; ranks are 0 for dense models */
    uint64_t n_params, n_params_active; /* active: every weight used for one token, the embedding table not counted */
    uint64_t tensor_bytes;
    uint64_t cache_values_per_token; /* elements of the key-value cache a token takes over all layers */
    uint32_t n_assumed;              /* metadata that was absent and took a default: see smt_file_assumed */
    /* New fields go to the end. Words are static texts, "" where the model has no such thing. */
    const char *rope_scaling;      /* "none", "linear" or "yarn" */
    double rope_base, rope_factor; /* rope_factor: 1 where there is no scaling */
    bool rope_divided;             /* frequencies are divided pair by pair, by rope_freqs.weight */
    const char *gate, *group_rule; /* scores of experts: "softmax" or "sigmoid"; of groups: "best" expert or sum of "top2" */
    bool selection_bias;           /* a bias steers the choice of experts */
    bool weights_normalized;       /* the chosen experts' weights are divided by their sum */
    double weights_scale;          /* and multiplied by this */
    bool tied, biased;             /* the output head is the embedding table; some product has a bias */
    uint32_t n_layers_skipped;     /* layers behind the model's own that predict tokens further ahead: not run, not counted */
    uint32_t n_tensors_skipped;    /* the tensors of those layers */
} smt_model_info;
/* SMT_UNSUPPORTED for an unknown architecture, SMT_FORMAT where metadata and tensors contradict each other. */
SMT_API smt_status smt_file_model(const smt_file *file, smt_model_info *out_info, smt_error *err);
/* The i-th assumed default as one line, such as "expert_gating_func: softmax"; NULL beyond the last. Of a file without a model
 * that can run, this tells what is assumed of its vocabulary. */
SMT_API const char *smt_file_assumed(const smt_file *file, uint32_t index);

/* ---- quantising --------------------------------------------------------------------------------------------------- */

/* Tensors whose name holds something that the regular expression describes become `type`. */
typedef struct smt_quantize_override {
    const char *pattern, *type; /* "ffn_down_exps", "Q6_K" */
} smt_quantize_override;

/* What became of one tensor (or would become: see dry_run). The strings live for the call only. */
typedef struct smt_quantize_tensor {
    const char *name, *from, *to;
    uint32_t n_dims;
    uint64_t ne[4];
    uint64_t bytes_before, bytes_after;
    bool fallback; /* the type wanted does not fit rows of ne[0] elements: another took its place */
    bool weighted; /* an importance matrix was used */
    double error;  /* root mean square of what changed, relative to that of the values; 0: copied; negative: dry run */
} smt_quantize_tensor;
typedef void (*smt_quantize_fn)(void *user, const smt_quantize_tensor *tensor);

typedef struct smt_quantize_options {
    size_t struct_size;
    const char *in_path, *out_path; /* required, but for out_path in a dry run */
    /* Required: a tensor type ("F16", "Q8_0") or a mix ("Q4_K_M"), in any case. Vectors, norms and routers stay as they are. */
    const char *type;
    const smt_quantize_override *overrides; /* [n_overrides]; the first that is found in a name decides */
    size_t n_overrides;
    const char *output_type, *embedding_type; /* of output.weight and token_embd.weight; NULL: as the mix says */
    const char *imatrix_path;                 /* importance matrix, in either form of llama.cpp's; NULL: none */
    bool pure;                                /* the mix's base type for every matrix */
    bool allow_requantize;                    /* take input that is quantised already */
    bool dry_run;                             /* decide and report, write nothing */
    uint32_t n_threads;                       /* 0: one for each core. The result does not depend on it. */
    smt_callbacks callbacks;                  /* progress: SMT_STAGE_WRITE, in bytes of the input */
    smt_quantize_fn report;                   /* called with callbacks.user for each tensor, in the order of the file */
} smt_quantize_options;

/* Writes a GGUF file with other tensor types; metadata is kept but for general.file_type and general.quantization_version.
 * out_path is replaced when all is on the disk, and untouched when the call fails or is cancelled. Thread-safe.
 * SMT_INVALID: unknown names, both paths one file, quantised input that is not allowed; SMT_FORMAT: damaged input, an element
 * that is not finite, importances of the wrong number; SMT_UNSUPPORTED: a type without encoder or decoder, an element beyond
 * the new type's range; SMT_IO; SMT_CANCELLED. */
SMT_API smt_status smt_quantize(const smt_quantize_options *options, smt_error *err);

/* ---- converting --------------------------------------------------------------------------------------------------- */

/* What a checkpoint is, or became. The strings are static or the caller's. */
typedef struct smt_convert_summary {
    const char *architecture, *type;      /* "deepseek2"; "BF16" */
    const char *tokenizer, *pretokenizer; /* "gpt2" or "llama"; "deepseek-llm", or NULL for "llama" */
    uint32_t n_layers, n_vocab, n_merges;
    uint64_t n_tensors, n_params, bytes;   /* of the new file */
    uint64_t n_source_tensors, n_left_out; /* of the checkpoint: all; those without a place in the new file */
} smt_convert_summary;

/* Called before each tensor's data, in the order of the new file. The strings live for the call only; offset is 0. */
typedef void (*smt_convert_fn)(void *user, const smt_tensor_info *tensor);

typedef struct smt_convert_options {
    size_t struct_size;
    /* config.json, tokenizer.json, and safetensors files: one model.safetensors, or those that the index names */
    const char *folder;
    const char *path; /* the GGUF file; required but in a dry run */
    const char *type; /* a tensor type or a mix, as for smt_quantize; NULL: BF16, F16 or F32, as the checkpoint (F8: BF16) */
    const char *name; /* general.name; NULL: the folder's own name */
    const char *pretokenizer; /* "deepseek-llm" and so on, where tokenizer.json describes one that is not recognised; else NULL */
    bool vocab_only;          /* no tensors: then only the JSON files are needed */
    bool dry_run;             /* check, decide and report; read no data, write nothing */
    smt_callbacks callbacks;  /* progress: SMT_STAGE_WRITE, in bytes of the new file */
    smt_convert_fn report;    /* called with callbacks.user; may be NULL */
    smt_convert_summary *summary; /* filled on success; may be NULL */
} smt_convert_options;

/* Writes a GGUF file from a checkpoint of DeepSeek V2, V3, or the first DeepSeek-MoE, or of Llama's shape. Needs memory for names
 * and vocabulary and for a slice of a matrix, however large the checkpoint. The file at `path` is replaced when all is on the
 * disk, and untouched when the call fails or is cancelled. Thread-safe.
 * SMT_UNSUPPORTED: an architecture, a configuration, a tokenizer or a tensor (named) that GGUF or the engine has no place for;
 * SMT_FORMAT: damaged or contradicting files, a missing tensor, a wrong shape (expected and found), a value that is not finite;
 * SMT_INVALID: unknown type or pre-tokenizer; SMT_IO: missing shards, full disk; SMT_NOT_FOUND: no checkpoint in the folder;
 * SMT_CANCELLED. */
SMT_API smt_status smt_convert(const smt_convert_options *options, smt_error *err);

/* ---- tokenizer ---------------------------------------------------------------------------------------------------- */

typedef struct smt_tokenizer smt_tokenizer;

/* From the vocabulary of an open file, which may be freed afterwards. Read-only once made: any thread. */
SMT_API smt_status smt_tokenizer_create(const smt_file *file, smt_tokenizer **out_tokenizer, smt_error *err);
SMT_API void smt_tokenizer_free(smt_tokenizer *tokenizer);

enum {
    SMT_TOKENIZE_BOS = 1,     /* put the beginning token in front, where the file asks for it */
    SMT_TOKENIZE_SPECIAL = 2, /* recognise control tokens in the text (never for text that a user typed) */
};
/* Any bytes are accepted; each undecodable one counts as U+FFFD. *out_tokens is malloc-owned by the caller: smt_free it. */
SMT_API smt_status smt_tokenize(const smt_tokenizer *tokenizer, const char *text, size_t text_bytes, uint32_t flags,
                                int32_t **out_tokens, size_t *out_count, smt_error *err);
/* The whole list as bytes (NUL-terminated besides); control tokens give nothing, but the marks of DeepSeek's calls of functions
 * (<｜tool▁...｜>) and of thoughts (<think>, </think>) do. An id out of range is SMT_INVALID. */
SMT_API smt_status smt_detokenize(const smt_tokenizer *tokenizer, const int32_t *tokens, size_t count, char **out_text,
                                  size_t *out_bytes, smt_error *err);
/* The bytes of one token as it stands inside a text (SPM: with the blank in front); NUL-terminated besides. */
SMT_API smt_status smt_token_text(const smt_tokenizer *tokenizer, int32_t token, char **out_text, size_t *out_bytes,
                                  smt_error *err);
SMT_API uint32_t smt_tokenizer_size(const smt_tokenizer *tokenizer);
SMT_API bool smt_tokenizer_is_end(const smt_tokenizer *tokenizer, int32_t token); /* eos, eot, eom and their like */
SMT_API bool smt_tokenizer_adds_bos(const smt_tokenizer *tokenizer);

/* Filling in the middle: the model writes what belongs between two texts. No special token is recognised in them. */
typedef struct smt_fim {
    size_t struct_size;
    const char *prefix, *suffix; /* may be NULL where the size is 0 */
    size_t prefix_bytes, suffix_bytes;
} smt_fim;
/* The prompt, in the order prefix, suffix, end: the answer is the middle, up to an end token. *out_tokens is the caller's
 * (smt_free). SMT_UNSUPPORTED names the mark that the vocabulary lacks. Thread-safe. */
SMT_API smt_status smt_fim_prompt(const smt_tokenizer *tokenizer, const smt_fim *request, int32_t **out_tokens, size_t *out_count,
                                  smt_error *err);
/* NULL, or one sentence why this model, although its vocabulary has the marks, was not trained to use them. */
SMT_API const char *smt_fim_notice(const smt_file *file);

/* ---- chat templates ----------------------------------------------------------------------------------------------- */

/* How a conversation becomes the prompt that a model was trained on. A file brings its template along, a program in Jinja, which
 * is interpreted; what the interpreter lacks is refused by name and line when the template is made. */
typedef struct smt_chat_template smt_chat_template;

/* `source` NULL: the file's own template. Else a program; or the name of a variant in the file (the key tokenizer.chat_template.NAME);
 * or the name of a template we know (smt_chat_template_known). The tokenizer must outlive the result, the file need not.
 * SMT_NOT_FOUND: the file has no template. SMT_FORMAT, SMT_UNSUPPORTED: what the template holds is wrong, or beyond the interpreter.
 * Thread-safe; the result is read-only: any thread. */
SMT_API smt_status smt_chat_template_create(const smt_file *file, const smt_tokenizer *tokenizer, const char *source,
                                            smt_chat_template **out_template, smt_error *err);
SMT_API void smt_chat_template_free(smt_chat_template *chat);
/* The known template that this one is, recognised by its marks ("deepseek2", "llama3"), else "custom". It decides nothing but
 * the two calls below it. */
SMT_API const char *smt_chat_template_name(const smt_chat_template *chat);
/* The i-th text that no answer holds because it begins the next turn, a stop string for interactive programs; NULL beyond the last. */
SMT_API const char *smt_chat_template_stop(const smt_chat_template *chat, uint32_t index);
/* Whether an answer ends at this token: the tokenizer's end tokens, and those that begin another turn. */
SMT_API bool smt_chat_template_is_end(const smt_chat_template *chat, int32_t token);
/* The name of the i-th known template; NULL beyond the last. Thread-safe. */
SMT_API const char *smt_chat_template_known(uint32_t index);

typedef struct smt_chat_message {
    const char *role;    /* "system", "user", "assistant", "tool" */
    const char *content; /* NULL: none */
    const char *fields;  /* JSON object of further fields: {"tool_calls": [...]}, {"name": "..."}; NULL: none */
} smt_chat_message;

typedef struct smt_chat_request {
    size_t struct_size;
    const smt_chat_message *messages; /* [n_messages] */
    size_t n_messages;
    bool no_generation_prompt; /* end after the last message, not where the model's answer begins */
    const char *tools;         /* JSON array of tool descriptions; NULL: none */
    const char *variables;     /* JSON object: further variables of the template, {"enable_thinking": false}; NULL: none */
} smt_chat_request;

/* The prompt as the template writes it, its beginning token's text included; NUL-terminated, smt_free it. Do not tokenize this
 * text to run it: a message could then forge a turn, and the beginning token might come twice. SMT_INVALID holds the template's
 * words where it refuses the messages ("roles must alternate"). */
SMT_API smt_status smt_chat_render(const smt_chat_template *chat, const smt_chat_request *request, char **out_text,
                                   size_t *out_bytes, smt_error *err);
/* The prompt as tokens, to be evaluated as they are: special tokens come from the template's own text alone, never from messages,
 * and the beginning token stands in front once, where the file asks for it. *out_tokens is the caller's (smt_free). */
SMT_API smt_status smt_chat_tokens(const smt_chat_template *chat, const smt_chat_request *request, int32_t **out_tokens,
                                   size_t *out_count, smt_error *err);

/* ---- streaming text ------------------------------------------------------------------------------------------------ */

/* Streaming: each call gives the longest text that is complete UTF-8; keeps at most 3 bytes back. One thread at a time. */
typedef struct smt_text_stream smt_text_stream;
SMT_API smt_status smt_text_stream_create(const smt_tokenizer *tokenizer, smt_text_stream **out_stream, smt_error *err);
SMT_API void smt_text_stream_free(smt_text_stream *stream);
/* *out_text is owned by the stream and valid until its next call. */
SMT_API smt_status smt_text_stream_push(smt_text_stream *stream, int32_t token, const char **out_text, size_t *out_bytes,
                                        smt_error *err);
/* The same for a text that brings no token: for stop strings in a part of what another stream gives. It is UTF-8, and comes behind
 * whole characters. */
SMT_API smt_status smt_text_stream_push_text(smt_text_stream *stream, const char *text, size_t text_bytes, const char **out_text,
                                             size_t *out_bytes, smt_error *err);
/* What is still held back, as U+FFFD where it cannot be completed. */
SMT_API void smt_text_stream_flush(smt_text_stream *stream, const char **out_text, size_t *out_bytes);
/* From here on the text ends in front of the first stop string to be complete, wherever tokens begin and end in it. What may be
 * the beginning of one is held back until that is decided; after a stop string nothing comes any more. stops: [n_stops] not empty,
 * UTF-8, copied; they replace former ones, and 0 of them end the stopping. Call it before the first token or after a flush: what is
 * held back is dropped. SMT_INVALID names the one that is wrong. */
SMT_API smt_status smt_text_stream_set_stops(smt_text_stream *stream, const char *const *stops, uint32_t n_stops, smt_error *err);
/* The stop string that has ended the text, as an index; -1: none. Of several complete at the same byte it is the longest. */
SMT_API int32_t smt_text_stream_stop(const smt_text_stream *stream);

/* Frees what a call handed over to the caller. Thread-safe; NULL is legal. */
SMT_API void smt_free(void *memory);

/* ---- devices ------------------------------------------------------------------------------------------------------ */

typedef struct smt_device_list smt_device_list;

typedef struct smt_heap_info {
    uint64_t bytes, budget; /* budget: VK_EXT_memory_budget, else bytes */
    bool device_local, host_visible;
} smt_heap_info;

typedef struct smt_memory_type {
    uint32_t heap;
    bool device_local, host_visible, host_coherent, host_cached;
} smt_memory_type;

typedef struct smt_device_info {
    const char *id, *name, *kind, *driver; /* "vk0", ..., "discrete" | "integrated" | "virtual" | "cpu" | "other" */
    const char *uuid;                      /* 32 hex digits */
    uint32_t vendor_id, device_id, api_version, driver_version;
    uint32_t n_heaps;
    smt_heap_info heaps[16];
    uint64_t max_allocation, max_storage_range;
    uint32_t max_push_constants, max_workgroup, max_shared_bytes, max_storage_buffers, subgroup_size;
    bool fp16, int8, int64, storage16, storage8, int_dot, coop_matrix, subgroup_arithmetic, timeline, memory_budget,
        executable_properties;
    const char *unusable;    /* NULL, or what the device lacks that the engine needs */
    const char *driver_info; /* the driver's own words about its version: "Mesa 25.0.7 (LLVM 15.0.6)" */
    /* Added for planning. In a description of a device that is not here, 0 memory types are made up from the heaps. */
    uint32_t n_memory_types;
    smt_memory_type memory_types[32];
    uint32_t storage_align; /* of offsets in storage buffers */
    uint32_t max_texels;    /* of a uniform texel buffer, where shaders may choose between several of them; else 0 */
    uint32_t texel_align, subgroup_min;
    bool subgroup_ballot;
    /* Rows, columns and depth of the cooperative matrices that kernels use: float16 [0, 2] times [2, 1] into float32 [0, 1]. Zeros: none that
     * they can use. */
    uint32_t coop_shape[3];
    bool external_memory; /* named twice, its two logical devices may have memory in common */
} smt_device_info;

typedef void (*smt_vulkan_fn)(void);

/* A Vulkan device that the host program has made, and shares. Handles are Vulkan's own, which are pointers; they must outlive whatever is
 * made with them. The struct and what it points to are read during the call. Nothing of it is ever destroyed, waited idle for, or changed.
 * Needed: Vulkan 1.2, the features timelineSemaphore and shaderStorageBufferArrayDynamicIndexing, a queue that computes. What else
 * the device was made with is used where kernels profit (16- and 8-bit storage, fp16, int8, ...). Only the named queue is submitted to. */
typedef struct smt_host_device {
    size_t struct_size;
    smt_vulkan_fn get_instance_proc_addr; /* vkGetInstanceProcAddr; NULL: that of the system's Vulkan loader */
    void *instance, *physical_device, *device, *queue;
    uint32_t queue_family;
    uint32_t api_version;    /* that the instance was made for: VkApplicationInfo.apiVersion */
    const void *create_info; /* the VkDeviceCreateInfo that the device was made with, its pNext chain of features included */
    /* Called around each use of the queue, on the thread that is inside the library; not nested. NULL, both: nobody else uses the queue. */
    void (*lock)(void *user), (*unlock)(void *user);
    void *user;
} smt_host_device;

/* Each kernel that is compiled for an engine can be given invented numbers before it is used, and what it makes of them is compared with the
 * same in plain C: about a millisecond a kernel. A driver that gets one wrong is named by SMT_WRONG_RESULT, with the kernel and both numbers.
 * AUTO: unless the cache folder knows that the kernel, of the same source on the same driver, was right before. */
typedef enum smt_self_test { SMT_SELF_TEST_AUTO, SMT_SELF_TEST_ALWAYS, SMT_SELF_TEST_NEVER } smt_self_test;

/* What every Vulkan-using call shares. */
typedef struct smt_device_options {
    size_t struct_size;
    /* Comma-separated ids, UUID prefixes or parts of names; NULL: automatic choice. An engine computes on all of them: layers are split
     * over the devices in this order. One that is named twice is two devices, with half its memory each. */
    const char *devices;
    const char *cache_dir;  /* SPIR-V and pipeline cache; NULL: none */
    const char *shader_dir; /* read shaders from here instead of the embedded ones; NULL: embedded */
    bool validation;        /* enable the Khronos layer with synchronisation validation where it is installed */
    bool minimum;           /* pretend that the device has no optional feature and no subgroup operations */
    smt_callbacks callbacks;
    /* The family of matrix kernels: "rows" (a matrix row per invocation), "wave" (invocations along a row); NULL or "": rows on
     * devices that are processors, wave on all others. Each family has its own order of summation: results of the two differ by
     * rounding. SMT_INVALID for another word. */
    const char *kernels;
    /* Compute on this device and look at no other: `devices` must be NULL then, and validation is the host's business. SMT_INVALID and
     * SMT_UNSUPPORTED name what is wrong with it. NULL: the library makes its own. */
    const smt_host_device *host;
    /* [n_shares] of the layers, or of the experts (SMT_SPLIT_EXPERT), for each of `devices`, which must be given then; NULL: by speed and
     * memory. For engines. */
    const double *shares;
    uint32_t n_shares;
    smt_self_test self_test;
    /* Activations that go from one of several devices to another pass through the host's hands even where both are one physical device and
     * could have memory in common (VK_KHR_external_memory_fd). For comparisons: the bits are the same. */
    bool no_external_memory;
} smt_device_options;

SMT_API smt_status smt_device_list_create(const smt_device_options *options, smt_device_list **out_list, smt_error *err);
SMT_API void smt_device_list_free(smt_device_list *list);
SMT_API uint32_t smt_device_list_count(const smt_device_list *list);
SMT_API smt_status smt_device_list_get(const smt_device_list *list, uint32_t index, smt_device_info *out_info);
/* Where in the list the device stands that is chosen where nobody names one, and one will do. */
SMT_API smt_status smt_device_list_chosen(const smt_device_list *list, uint32_t *out_index, smt_error *err);
/* Measured read bandwidth of device memory in bytes per second: compiles one kernel, takes a fraction of a second. */
SMT_API smt_status smt_device_bandwidth(const smt_device_list *list, uint32_t index, double *out_bytes_s, smt_error *err);

/* ---- planning ----------------------------------------------------------------------------------------------------- */

/* Bytes that may be used of a heap, in place of what its driver says. */
typedef struct smt_heap_budget {
    const char *device; /* as in smt_device_options.devices, one device; or "host": host memory, heap 0 */
    uint32_t heap;
    uint64_t bytes;
} smt_heap_budget;

/* What several devices share among them: the layers, each device having some of them whole; or the experts of each layer, while the first device
 * has all else. Sharing experts costs two hops a layer, and lets the devices read at the same time. */
typedef enum smt_split_mode { SMT_SPLIT_LAYER, SMT_SPLIT_EXPERT } smt_split_mode;

/* Where weights may go. Every field may be zero. */
typedef struct smt_placement_options {
    size_t struct_size;
    const smt_heap_budget *budgets; /* [n_budgets]; the last one of a heap counts */
    size_t n_budgets;
    uint64_t reserve_bytes; /* of each device-local heap, left alone; 0: some, by the kind of device */
    /* The matrices of so many layers at the front stay in host memory, where kernels read them in place; the experts of so many. */
    uint32_t host_layers, host_expert_layers;
    /* How often each expert is used, in any unit: [layers with experts, n_experts]. The rarest leave device memory first. NULL: all
     * alike. [n_expert_weights] must be of the model's size. */
    const float *expert_weights;
    size_t n_expert_weights;
    /* Memory for such a runner is kept free of weights. NULL: a plan takes the defaults, an engine what its compile_for says. */
    const struct smt_runner_options *runner;
    smt_split_mode split; /* SMT_SPLIT_EXPERT: SMT_INVALID for a model without experts */
    /* So much of each device's memory becomes slots for experts of its own that have no place in it, the same number in each layer: experts that the
     * routing wants are copied there from host memory after the step, and those leave that were not wanted for longest. Results stay the
     * same to the bit; the host waits for each step of an answer. With slots, experts that host memory has no room for stay in the file and
     * are read when they are wanted. 0: none. */
    uint64_t expert_cache_bytes;
} smt_placement_options;

/* A device of a machine that one plans for. What is 0 is assumed from the kind of device. */
typedef struct smt_machine_device {
    smt_device_info info; /* its strings are the caller's */
    double read_bytes_s;  /* measured: see smt_device_bandwidth */
    double link_bytes_s;  /* at which it reads host memory */
    double hop_s;         /* until activations that leave for another device have arrived */
} smt_machine_device;

typedef struct smt_plan_options {
    size_t struct_size;
    const smt_machine_device *machine; /* [n_machine]: all devices there are; required */
    uint32_t n_machine;
    const char
        *devices; /* those to use, in the order of their layers, as in smt_device_options; a device may be named twice: it is
                             then two, with half its memory each. NULL: the fewest that hold the model; software devices and GPUs with
                             shared memory only where there are no others */
    const double
        *shares; /* [n_shares] of the layers, or of each layer's experts, for each device named; NULL: by speed and memory */
    uint32_t n_shares;
    const char *kernels;                    /* see smt_device_options */
    const smt_placement_options *placement; /* NULL: defaults */
} smt_plan_options;

typedef struct smt_placement smt_placement;

/* Decides where every byte of a model would lie: from the header alone, without Vulkan, in well under a second. An engine made with the same
 * options loads exactly that; but where it may choose among several GPUs, or share the layers among them by speed, it measures them anew:
 * named devices and shares make sure. SMT_OK also when the model does not fit: smt_placement_get says so. `file` must outlive the placement.
 * SMT_INVALID, SMT_NOT_FOUND: words that name no device, a heap that is not there, shares that do not go with the devices;
 * SMT_UNSUPPORTED, SMT_FORMAT: the file has no model that can run. Thread-safe; the result is read-only: any thread. */
SMT_API smt_status smt_placement_create(const smt_file *file, const smt_plan_options *options, smt_placement **out_placement,
                                        smt_error *err);
SMT_API void smt_placement_free(smt_placement *placement);

typedef struct smt_placement_info {
    bool fits;
    const char *why; /* what does not fit, and what would make it fit; "" when all fits */
    double decode_tok_s,
        prefill_tok_s;           /* predicted: a token at half the context; a prompt of n_batch tokens. 0: nothing to predict */
    const char *bottleneck;      /* what a decoded token waits for longest */
    uint32_t n_devices, n_items; /* see smt_placement_device, smt_placement_item */
    uint32_t n_ctx, n_batch, n_sessions; /* defaults resolved */
    uint32_t cache_bits;                 /* of an element of the cache */
    /* Of the tokens that smt_placement_replay was given: experts that lie elsewhere and were found in slots, or were not, counted once for each
     * step; bytes of the latter. */
    uint64_t n_replayed, slot_hits, slot_misses, slot_miss_bytes;
} smt_placement_info;
SMT_API void smt_placement_get(const smt_placement *placement, smt_placement_info *out_info);
/* The next step of a recorded routing: experts [n_tokens, n_moe, n_used], n in all, as smt_trace_token has them of each token. A run with this
 * placement and routing, of one session, counts the same (smt_runner_stats); without slots nothing is counted. SMT_INVALID: the numbers
 * are those of another model. One thread at a time, and nobody looks at the placement meanwhile. */
SMT_API smt_status smt_placement_replay(smt_placement *placement, const uint16_t *experts, size_t n, smt_error *err);

typedef struct smt_placement_heap {
    uint64_t bytes, budget, planned;      /* budget: what the plan may use */
    const char *tier;                     /* see smt_placement_item */
    uint64_t dense, experts, cache, work; /* of `planned`; work: scratch, tables, buffers */
    uint32_t n_experts;                   /* whole experts among it */
} smt_placement_heap;

typedef struct smt_placement_device {
    const char *id, *name, *kind; /* of the machine's description; the last device is "host" */
    bool computes;                /* it holds layers [first_layer, last_layer), or of each of them experts */
    uint32_t first_layer, last_layer;
    double read_bytes_s, link_bytes_s;
    bool measured; /* read_bytes_s was given, not assumed */
    uint32_t n_heaps;
    smt_placement_heap heaps[16]; /* of "host": host memory, and the file, where experts stay */
    /* Of every layer the experts [first_expert, last_expert): less than all where devices share them. experts_only: it has nothing else. */
    uint32_t first_expert, last_expert;
    bool experts_only;
} smt_placement_device;
/* All devices of the machine, in its order, the host last; one that computes twice, for having been named twice, is there twice. */
SMT_API smt_status smt_placement_device_get(const smt_placement *placement, uint32_t index, smt_placement_device *out_device);

/* SLOT: room for one expert of the layer that lies elsewhere. */
typedef enum smt_item_kind { SMT_ITEM_MATRIX, SMT_ITEM_TABLE, SMT_ITEM_CACHE, SMT_ITEM_WORK, SMT_ITEM_SLOT } smt_item_kind;

/* One place. A matrix of an expert is a place of its own; gate, up and down of one lie together. */
typedef struct smt_placement_item {
    smt_item_kind kind;
    const char *name;        /* the tensor, or in words what it is */
    uint32_t part, n_parts;  /* a tensor cut in several, or the cache of a layer */
    uint32_t layer, expert;  /* UINT32_MAX: none */
    uint32_t device, reader; /* indices of smt_placement_device_get: in whose memory it lies, which device reads it */
    uint32_t heap;
    const char *tier;       /* "device-local", "device-local+host-visible", "host-visible", "file" */
    uint32_t memory_type;   /* of the reader; UINT32_MAX: in the file */
    uint32_t buffer;        /* number of the allocation that holds it, over the whole plan; UINT32_MAX: in the file */
    uint64_t offset, bytes; /* in the file: from the start of its part; bytes are those it takes on a device */
} smt_placement_item;
SMT_API smt_status smt_placement_item_get(const smt_placement *placement, uint32_t index, smt_placement_item *out_item);

/* ---- kernels ------------------------------------------------------------------------------------------------------ */

typedef struct smt_kernel_info {
    const char *kernel, *variant;
    bool ok;
    const char *message; /* the compiler's words when not ok */
    double compile_ms;
    /* from VK_KHR_pipeline_executable_properties; negative: unknown */
    double vgprs, spills, lds, occupancy, inverse_throughput;
} smt_kernel_info;
typedef void (*smt_kernel_fn)(void *user, const smt_kernel_info *info);

/* Compiles every kernel that `model_path` needs (NULL: every row of the catalogue) and reports each. Allocates no device
 * memory and dispatches nothing, unless options->self_test is SMT_SELF_TEST_ALWAYS: then each kernel is tested, too. SMT_COMPILE if one
 * failed, SMT_WRONG_RESULT if all compiled and one gave wrong results. */
SMT_API smt_status smt_kernels_compile(const smt_device_options *options, const char *model_path, smt_kernel_fn report,
                                       void *user, smt_error *err);

/* ---- engine ------------------------------------------------------------------------------------------------------- */

typedef struct smt_engine smt_engine;

typedef enum smt_cache_type { SMT_CACHE_F16, SMT_CACHE_F32 } smt_cache_type;

/* Arithmetic of the matrix products. EXACT: float32 weights and activations; the bits of a token's result do not depend on how it was
 * computed together with others. FAST: that holds too, but activations are rounded to eight bits, 32 with one scale, where the matrix is
 * Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K; other products are as in EXACT. The perplexity of the model in assets/ changes by less
 * than 0.5 %. Where the device has cooperative matrices of float16, products of 64 and more rows at once use those instead, for F16, BF16,
 * Q4_0, Q5_0, Q8_0, Q4_K, Q5_K and Q6_K: activations are rounded to float16 then, and the bits of a token's result do depend on whether it
 * was computed so (smt_runner_options.no_coop_matrix keeps the promise above). FAST exists in the kernels for GPUs
 * (smt_device_options.kernels "wave"); others refuse it with SMT_UNSUPPORTED. AUTO: FAST on devices that have these kernels and say that
 * they accelerate products of integers, else EXACT. */
typedef enum smt_precision { SMT_PRECISION_AUTO, SMT_PRECISION_EXACT, SMT_PRECISION_FAST } smt_precision;

typedef struct smt_runner_options {
    size_t struct_size;
    uint32_t n_ctx;            /* positions a session may hold; 0: the lesser of the model's and 4096 */
    uint32_t n_batch;          /* rows of a prefill step, at most; 0: 512 */
    uint32_t n_sessions;       /* slots; 0: 1 */
    smt_cache_type cache_type; /* element of the latent cache, for dense models of K and V */
    /* No submission shall take the device longer, in milliseconds; 0: 100. Steps are cut finer where measured times ask for it; a single
     * workgroup is not, and the first steps of a runner may take longer, as they are cut by a guess. Results are the same. */
    uint32_t submission_ms;
    smt_precision precision;
    bool no_coop_matrix; /* FAST without cooperative matrices; as returned, true where none are used */
} smt_runner_options;

typedef struct smt_engine_options {
    size_t struct_size;
    const char *model_path; /* required */
    /* While the weights load, the kernels that such a runner needs for single tokens and for long prompts compile on other threads;
     * NULL: every kernel compiles when a step first needs it. */
    const smt_runner_options *compile_for;
    const smt_placement_options *placement; /* NULL: defaults; what must not lie in device memory lies in host memory */
    smt_device_options device;              /* may grow: stays the last */
} smt_engine_options;

/* Opens the model, chooses the devices (where none are named: the fewest that hold it; software devices only where there is nothing else),
 * plans, uploads the weights. SMT_DEVICE_MEMORY before anything is allocated when the plan does not fit. Thread-safe. */
SMT_API smt_status smt_engine_create(const smt_engine_options *options, smt_engine **out_engine, smt_error *err);
/* Every runner of the engine must be gone. */
SMT_API void smt_engine_free(smt_engine *engine);
SMT_API const smt_file *smt_engine_file(const smt_engine *engine);
SMT_API void smt_engine_model(const smt_engine *engine, smt_model_info *out_info);
/* The devices that compute, in the order of their layers; a name is NULL beyond the last. */
SMT_API uint32_t smt_engine_device_count(const smt_engine *engine);
SMT_API const char *smt_engine_device_name(const smt_engine *engine, uint32_t index);

/* A heap of a device's memory as it is now, in bytes. */
typedef struct smt_memory_heap {
    uint64_t bytes;
    uint64_t budget; /* what the driver lets this process use; `bytes` where it does not say (smt_device_info.memory_budget) */
    uint64_t used;   /* by this process, as the driver says; 0: it does not */
    uint64_t held;   /* by this engine and its runners, on this device: more than the budget makes steps slow */
    bool device_local;
} smt_memory_heap;
typedef struct smt_memory {
    size_t struct_size;
    uint32_t n_heaps;
    smt_memory_heap heaps[16];
} smt_memory;
/* Fills *out_memory, struct_size too, of device `index` of the engine; SMT_INVALID beyond the last. Takes microseconds: for bars that move.
 * While steps run, the log is told by itself, once a second at most, when a budget falls below what is held (SMT_LOG_WARN) and when it no
 * longer is (SMT_LOG_INFO). Thread-safe. */
SMT_API smt_status smt_engine_memory(const smt_engine *engine, uint32_t index, smt_memory *out_memory);

/* ---- runner and session ------------------------------------------------------------------------------------------- */

typedef struct smt_runner smt_runner;
typedef struct smt_session smt_session;

/* Allocates cache and scratch. The engine must outlive the runner. */
SMT_API smt_status smt_runner_create(smt_engine *engine, const smt_runner_options *options, smt_runner **out_runner,
                                     smt_error *err);
SMT_API void smt_runner_free(smt_runner *runner);
/* May be called from any thread while an eval or a generation is under way: it returns SMT_CANCELLED at the next submission border. */
SMT_API void smt_runner_cancel(smt_runner *runner);
/* The options with defaults resolved. */
SMT_API void smt_runner_get_options(const smt_runner *runner, smt_runner_options *out_options);

/* Counted since the runner was made, but for what smt_session_profile does. */
typedef struct smt_runner_stats {
    size_t struct_size;
    uint64_t n_steps, n_submissions, n_dispatches;
    double longest_submission_s; /* by the host's clock: the device may have taken less */
    uint64_t n_dropped;          /* steps that drew a token behind the end of an answer */
    /* Experts that have no place in device memory, counted once for each step and layer that used them, where there are slots for them
     * (smt_placement_options.expert_cache_bytes): found in a slot or not; bytes that the device read of host memory in place; bytes copied
     * into slots, from host memory or the file. */
    uint64_t n_expert_hits, n_expert_misses, expert_link_bytes, expert_copied_bytes;
} smt_runner_stats;
/* Fills *out_stats, struct_size too. One thread at a time. */
SMT_API void smt_runner_get_stats(const smt_runner *runner, smt_runner_stats *out_stats);

SMT_API smt_status smt_session_create(smt_runner *runner, smt_session **out_session, smt_error *err);
SMT_API void smt_session_free(smt_session *session);
SMT_API uint32_t smt_session_length(const smt_session *session); /* tokens held */
/* Their ids, [smt_session_length], -1 for an embedding: owned by the session, until a call that changes it. */
SMT_API const int32_t *smt_session_tokens(const smt_session *session);
/* Forgets everything from token index `length` on; SMT_INVALID beyond the end. */
SMT_API smt_status smt_session_rewind(smt_session *session, uint32_t length, smt_error *err);
/* A new session of the same runner that begins with the first `length` tokens of this one and goes its own way from there: nothing is
 * computed again. What both have in common is kept once; one of them copies the end of it, at most 256 positions, when it goes on.
 * SMT_INVALID beyond the end, SMT_FULL when every slot is taken. One thread at a time. */
SMT_API smt_status smt_session_fork(const smt_session *session, uint32_t length, smt_session **out_session, smt_error *err);

/* A session as bytes, tokens and cache: a few hundred bytes to kilobytes a token (smt_model_info.cache_values_per_token times 2 or 4).
 * They fit any runner, on any device, of the same model with the same cache_type. *out_bytes is the caller's (smt_free). A file is there
 * whole or not at all. One thread at a time. */
SMT_API smt_status smt_session_save(const smt_session *session, void **out_bytes, size_t *out_count, smt_error *err);
SMT_API smt_status smt_session_save_file(const smt_session *session, const char *path, smt_error *err);
/* A new session with what was saved; it continues with the same bits on the same device. The bytes may come from anywhere: SMT_FORMAT says
 * what is wrong with them, SMT_UNSUPPORTED names another version of the format, SMT_INVALID another model or cache type; SMT_FULL: it is
 * longer than the context, or every slot is taken. One thread at a time. */
SMT_API smt_status smt_session_restore(smt_runner *runner, const void *bytes, size_t count, smt_session **out_session,
                                       smt_error *err);
SMT_API smt_status smt_session_restore_file(smt_runner *runner, const char *path, smt_session **out_session, smt_error *err);

typedef struct smt_eval {
    size_t struct_size;
    const int32_t *tokens; /* [n_tokens]; NULL: embeddings, below */
    uint32_t n_tokens;
    /* Rotary position of each token; NULL: its index in the session. The causal mask always goes by index. */
    const int32_t *positions; /* [n_tokens] */
    /* Outputs, each optional and owned by the caller. */
    bool all_logits; /* false: logits of the last token only */
    float *logits;   /* [n_tokens or 1, n_vocab], before any softmax */
    float *hidden;   /* [n_layers + 2, n_tokens, n_embd]: embedding, after each layer, after the final norm */
    /* [n_moe_layers, n_tokens, n_experts_used], in ascending layer; largest selection score first */
    int32_t *expert_ids;
    float *expert_weights; /* the factor of each expert's output, normalisation and scale included */
    /* In place of token ids: what enters the first layer, as `hidden` gives it out in front of that. For whatever is no token: images,
     * sounds, prompts that were trained. */
    const float *embeddings; /* [n_tokens, n_embd]; NULL: tokens */
} smt_eval;

/* Appends the tokens to the session and computes what was asked for. On failure the session keeps its former length.
 * SMT_INVALID names a token out of range, or says that there are both tokens and embeddings, or neither, SMT_FULL the context and the numbers. */
SMT_API smt_status smt_session_eval(smt_session *session, const smt_eval *eval, smt_error *err);

/* The part of one session in a step of several. */
typedef struct smt_batch_entry {
    smt_session *session; /* of the runner, in no other entry */
    const smt_eval *eval; /* as for smt_session_eval: a single token or a piece of a prompt, its outputs the caller's */
} smt_batch_entry;

/* What smt_session_eval does, for several sessions at once: the tokens of all entries are rows of the same device step, which reads
 * the weights once for all of them. Up to n_batch tokens (smt_runner_options) make one step, more of them, or many logits, several.
 * Each session gets the very bits that it gets alone, whoever else is in the batch. On failure, smt_runner_cancel included, every
 * session keeps its former length; with several entries the message names the one that is wrong. SMT_INVALID also for a session that is
 * there twice or belongs to another runner, and for no entries. One thread at a time. */
SMT_API smt_status smt_runner_eval(smt_runner *runner, const smt_batch_entry *entries, uint32_t n_entries, smt_error *err);

/* ---- measuring ---------------------------------------------------------------------------------------------------- */

/* What one step costs and where its time goes. Times are seconds. */
typedef struct smt_profile {
    size_t struct_size;
    double *layer_s; /* in: room for [n_layers] times of the layers; NULL: not wanted */
    bool
        host_clock; /* in: measure with the host's clock even where the device has one; then a submission's own cost counts too */
    bool device_clock; /* the device's timestamps were used: never on software devices */
    uint32_t rows;     /* the step has room for; more than the tokens given where those do not fill it */
    uint32_t n_submissions, n_dispatches;
    uint32_t n_stages;                       /* groups of dispatches that wait for the group before */
    uint32_t layer_dispatches, layer_stages; /* the same of one layer with experts (of any layer of a dense model): the most */
    /* Bytes that have to be read at least, for all tokens together, each byte once. Weights of routed experts: of those that one token
     * uses; of as many different ones as several tokens choose on average if all choices were as likely. */
    double weight_bytes, cache_bytes;
    double embed_s, head_s; /* before the layers: embedding; after them: output head, for the last token alone */
    double longest_submission_s;
    double hop_s; /* between the devices, by the host's clock: bringing over what one has computed for the next */
} smt_profile;

/* Appends n_tokens tokens to the session as smt_session_eval does, but layer by layer, each submitted and timed by itself, and for no
 * result but the times; afterwards the session is as if evaluated. Kernels of a shape that never ran before are compiled meanwhile:
 * evaluate as many tokens once in advance. SMT_INVALID, SMT_FULL as for smt_session_eval; SMT_INVALID also where the tokens exceed
 * one step (smt_runner_options.n_batch). One thread at a time. */
SMT_API smt_status smt_session_profile(smt_session *session, const int32_t *tokens, uint32_t n_tokens, smt_profile *profile,
                                       smt_error *err);

/* ---- routing: observer, traces, statistics ------------------------------------------------------------------------- */

/* Which experts every token went to: live (smt_observer), in a file (smt_trace_writer, smt_trace), counted (smt_routing_stats). All
 * three speak of the same two structs. Neither traces nor statistics need the model or Vulkan. */

/* Where experts lie: the device that computes them, and the kind of memory. */
typedef struct smt_trace_place {
    uint32_t device;  /* index into smt_trace_model.devices */
    const char *tier; /* from fast to slow "device", "device+host", "host", "file" */
} smt_trace_place;

/* A layer with routed experts. */
typedef struct smt_trace_layer {
    uint32_t layer;         /* block number from 0, layers without routed experts counted */
    uint64_t expert_bytes;  /* of one routed expert: gate, up and down */
    uint64_t shared_bytes;  /* of the shared experts together; 0: none */
    const uint16_t *places; /* [n_experts], indices into smt_trace_model.places */
} smt_trace_layer;

/* What does not change from token to token. */
typedef struct smt_trace_model {
    size_t struct_size;
    const char *name, *architecture;                /* never NULL; name may be "" */
    uint32_t n_layers, n_experts, n_used, n_shared; /* n_used routed experts a token and layer; dense models: 0 */
    uint32_t n_groups, n_groups_used;               /* expert e is in group e / (n_experts / n_groups); 1: no groups */
    uint32_t n_ctx;                                 /* positions a session may hold */
    uint64_t cache_bytes;                           /* of the key-value cache, a token */
    uint32_t n_devices, n_places, n_moe;
    const char *const *devices;    /* [n_devices], names */
    const smt_trace_place *places; /* [n_places] */
    const smt_trace_layer *layers; /* [n_moe], in ascending layer */
} smt_trace_model;

/* Parts of a step, which add up to the time since the step before. A step that runs ahead of the host (smt_session_generate) is under way
 * while the caller has the token before: only what is left of its time counts, and all of it is the device's. Where the host comes too late
 * to see its end, it is taken to have been as long as the last one whose end was seen, and the rest lies between. */
typedef enum smt_trace_phase {
    SMT_PHASE_BETWEEN, /* from the end of the runner's former step: sampling, and whatever the caller does; 0 for the first */
    SMT_PHASE_PREPARE, /* inputs written; what has to be compiled and recorded the first time */
    SMT_PHASE_DEVICE,  /* submitted until done */
    SMT_PHASE_READ,    /* results copied */
    SMT_PHASE_COUNT
} smt_trace_phase;

/* One token that went through the model, a prompt's or a generated one (which shows here when it is evaluated itself). */
typedef struct smt_trace_token {
    size_t struct_size;
    uint64_t number;                /* from 0, in the order of evaluation; numbers are missing where tokens were dropped */
    int32_t id;                     /* of the vocabulary; -1: it came as an embedding */
    uint32_t session;               /* slot of the runner, from 0 */
    uint32_t index;                 /* in its session; grows by 1 but for rewinds */
    int32_t position;               /* rotary position */
    uint32_t step, step_tokens;     /* tokens of one step were computed together and share its times; step_tokens: their number */
    double end_s;                   /* when the step ended, seconds since the observer was made */
    float phase_s[SMT_PHASE_COUNT]; /* seconds of the step's parts */
    const float *device_s;          /* [n_devices], seconds that each device worked in the step; NULL for writing: zeros */
    const char *text;               /* what smt_token_text says, NUL-terminated besides; NULL with 0 bytes: not known */
    size_t text_bytes;
    const uint16_t *experts; /* [n_moe, n_used], largest selection score first */
    const float *weights;    /* [n_moe, n_used], the factor of each expert's output; traces round them to half precision */
    /* [n_devices] both: how long the host took, in the step, to bring each device what others had computed for it, and how many bytes that
     * were; NULL for writing: zeros. Traces from before there were several devices have zeros. */
    const float *hop_s;
    const uint32_t *hop_bytes;
} smt_trace_token;

/* -- observer: live. The runner puts each token into a ring and never waits: when the ring is full the token is dropped and counted. */

typedef struct smt_observer smt_observer;

typedef struct smt_observer_options {
    size_t struct_size;
    uint32_t
        capacity; /* tokens the ring holds; 0: 1024, or as many as fit 64 MiB where that is less. Rounded up to a power of two. */
    const smt_tokenizer *tokenizer; /* gives the tokens' texts, on the polling thread; must outlive the observer; NULL: none */
} smt_observer_options;

/* Observes every token that the runner's sessions evaluate from now on (not those of smt_session_profile). A runner has one observer at a
 * time: SMT_INVALID for a second. The routing is copied in each step, and at most two steps of smt_session_generate are under way at a time;
 * prompts of wide models go in shorter steps, as what one step captures has to fit 64 MiB. Create and free it while no eval of the runner is
 * under way, and free it before the runner. */
SMT_API smt_status smt_observer_create(smt_runner *runner, const smt_observer_options *options, smt_observer **out_observer,
                                       smt_error *err);
SMT_API void smt_observer_free(smt_observer *observer);
/* Owned by the observer. Thread-safe. */
SMT_API const smt_trace_model *smt_observer_model(const smt_observer *observer);
/* The oldest token not yet taken, valid until the next call; NULL: none waits. Never blocks. May be called while evals run on another
 * thread; by one thread at a time. */
SMT_API const smt_trace_token *smt_observer_next(smt_observer *observer);
/* Tokens lost so far because the ring was full. Thread-safe. */
SMT_API uint64_t smt_observer_dropped(const smt_observer *observer);

/* -- trace files: compressed and checksummed in chunks; what a cut or damaged file still holds can be read. src/trace/trace.h specifies
 * the format. */

typedef struct smt_trace_writer smt_trace_writer;
/* The file grows beside `path` under a name of its own and takes its place by the commit; readers understand an unfinished one. The model
 * is copied. SMT_INVALID names what is out of range in it, SMT_IO path and cause. One thread at a time. */
SMT_API smt_status smt_trace_writer_create(const char *path, const smt_trace_model *model, smt_trace_writer **out_writer,
                                           smt_error *err);
/* Everything is copied. Numbers must grow; SMT_INVALID also for an expert out of range. */
SMT_API smt_status smt_trace_writer_add(smt_trace_writer *writer, const smt_trace_token *token, smt_error *err);
/* Ends the file; afterwards only the free remains. `dropped`: tokens that the observer lost. */
SMT_API smt_status smt_trace_writer_commit(smt_trace_writer *writer, uint64_t dropped, smt_error *err);
/* Without a commit: `path` is untouched and the unfinished file gone. */
SMT_API void smt_trace_writer_free(smt_trace_writer *writer);

typedef struct smt_trace smt_trace;
/* Reads the model and where the chunks lie. SMT_FORMAT: no trace, or not even its model is whole; SMT_UNSUPPORTED: a later version's.
 * Any bytes are safe to open. One thread at a time for each handle. */
SMT_API smt_status smt_trace_open(const char *path, smt_trace **out_trace, smt_error *err);
SMT_API void smt_trace_free(smt_trace *trace);
SMT_API const smt_trace_model *smt_trace_get_model(const smt_trace *trace);
SMT_API uint64_t smt_trace_count(const smt_trace *trace);   /* tokens held */
SMT_API uint64_t smt_trace_dropped(const smt_trace *trace); /* by the observer; 0 where the file's end is missing */
/* NULL for a whole file, else what is wrong: "cut off after 1234 tokens". Then fewer tokens are held than were recorded. */
SMT_API const char *smt_trace_damage(const smt_trace *trace);
/* Token `index` of those held, valid until the next call. Neighbours come from a decompressed chunk (about 6 us for 58 layers of 8
 * experts); a jump decompresses one (0.4 ms). SMT_INVALID beyond the end, SMT_FORMAT where the chunk is damaged: its tokens are
 * lost, others are not. */
SMT_API smt_status smt_trace_get(smt_trace *trace, uint64_t index, const smt_trace_token **out_token, smt_error *err);

/* -- statistics, over tokens of either source */

typedef struct smt_routing_stats smt_routing_stats;

typedef struct smt_routing_layer {
    uint32_t layer;         /* block number */
    const uint64_t *counts; /* [n_experts], how often chosen */
    const double *weights;  /* [n_experts], sums of their weights */
    double entropy;         /* of the experts' shares in the choices, bits; log2(n_experts) when all are equal */
    double busiest;         /* choices of the busiest expert over the mean of all; 1: equal */
    uint32_t n_unused;      /* experts never chosen */
    /* How far the experts' true loads lie apart: their standard deviation over their mean, with what so few tokens scatter by chance
     * taken off. 0: as even as chance has it; below 0.1, or below `chance`, there is no skew to make use of. */
    double spread;
    /* Hit rates of a cache of c experts of this layer, 0 <= c <= n_experts: share of the choices found there. Over the tokens after
     * smt_routing_stats_hold, else all. NULL without caches. */
    const float *hits_lru;    /* [n_experts + 1] the least recently used expert makes room */
    const float *hits_static; /* [n_experts + 1] it always holds those that were most often chosen before the hold */
    double chance;            /* the spread that so few tokens may show (3 standard deviations) although all experts are equal */
} smt_routing_layer;

/* Counts for tokens of such a model (the shape is copied). `caches`: hit rates too, which cost 0.1 ms a token of 58 layers of 8 out of 256. */
SMT_API smt_status smt_routing_stats_create(const smt_trace_model *model, bool caches, smt_routing_stats **out_stats,
                                            smt_error *err);
SMT_API void smt_routing_stats_free(smt_routing_stats *stats);
/* SMT_INVALID for an expert out of range. One thread at a time, as the next two. */
SMT_API smt_status smt_routing_stats_add(smt_routing_stats *stats, const smt_trace_token *token, smt_error *err);
/* Hit rates are measured from here on: on tokens that had no say in what the static cache holds. */
SMT_API void smt_routing_stats_hold(smt_routing_stats *stats);
SMT_API uint64_t smt_routing_stats_tokens(const smt_routing_stats *stats);
/* Of the index-th layer with routed experts, valid until the next add; NULL beyond the last. */
SMT_API const smt_routing_layer *smt_routing_stats_layer(smt_routing_stats *stats, uint32_t index);

/* ---- sampling ----------------------------------------------------------------------------------------------------- */

typedef struct smt_sampler smt_sampler;

typedef struct smt_logit_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY: the token is never chosen */
} smt_logit_bias;

/* Order of work: biases, penalties, temperature, top-k, top-p, min-p, draw. All zeros: always the likeliest token. */
typedef struct smt_sampler_options {
    size_t struct_size;
    float temperature;    /* 0: argmax, lowest id on a tie */
    uint32_t top_k;       /* 0: off */
    float top_p;          /* 0 or 1: off */
    float min_p;          /* 0: off */
    float repeat_penalty; /* 0 or 1: off; a positive logit is divided, another multiplied by it, if the token is in the window */
    uint32_t repeat_last; /* the window: so many tokens at the end of the history; 0: 64 */
    uint64_t seed;        /* any value */
    float presence_penalty;  /* taken from the logit of every token in the window; 0: off; may be negative */
    float frequency_penalty; /* the same, times how often the token is there */
    uint32_t n_biases;
    const smt_logit_bias *biases; /* [n_biases], copied by smt_sampler_create; a token may come up several times */
} smt_sampler_options;

/* SMT_INVALID names the option that is out of range, and its value. */
SMT_API smt_status smt_sampler_create(const smt_sampler_options *options, smt_sampler **out_sampler, smt_error *err);
SMT_API void smt_sampler_free(smt_sampler *sampler);

typedef struct smt_token_logprob {
    int32_t token;
    float logprob; /* natural logarithm of the probability */
} smt_token_logprob;

typedef struct smt_draw {
    size_t struct_size;
    const float *logits; /* [n_vocab], before any softmax */
    uint32_t n_vocab;
    size_t n_history;
    const int32_t
        *history;      /* [n_history], what the penalties look at, the newest last: prompt and answer, or the answer; or NULL */
    uint64_t position; /* of the token in its text: the same seed, position, history and logits give the same token */
    /* Outputs, each optional and owned by the caller. Log-probabilities are the model's own: of the logits as given, before
     * biases, penalties, temperature and cuts. */
    float *logprob;         /* of the token drawn */
    uint32_t n_top;         /* how many of the likeliest tokens `top` shall hold */
    smt_token_logprob *top; /* [n_top], the likeliest first; where fewer tokens are possible the rest is {-1, -INFINITY} */
    /* NULL, or [(n_vocab + 31) / 32]: token t can be drawn only where bit t % 32 of mask[t / 32] is set: see smt_grammar_mask.
     * Log-probabilities do not look at it. */
    const uint32_t *mask;
} smt_draw;

/* Draws one token. NaN and infinite logits are never drawn. SMT_INTERNAL if the mask leaves none that is finite, SMT_INVALID names
 * a token of the history or the biases outside the vocabulary. One thread at a time. */
SMT_API smt_status smt_sampler_draw(smt_sampler *sampler, const smt_draw *draw, int32_t *out_token, smt_error *err);

/* ---- grammars ----------------------------------------------------------------------------------------------------- */

/* What a text may look like. Before each token is drawn the grammar's state says which tokens may come next (smt_draw.mask); the
 * token drawn is then told to the state. A grammar learns while it is used, so it and all its states together are for one thread
 * at a time; different grammars of one tokenizer are independent. */
typedef struct smt_grammar smt_grammar;
typedef struct smt_grammar_state smt_grammar_state;

/* From a text in GBNF, llama.cpp's grammar language: rules `name ::= ...` with "texts", [classes], [^classes], `.`, ( ), |, * + ?
 * {m} {m,} {m,n}, # comments and a rule `root`; \n \r \t \\ \" \[ \] \xHH \uHHHH \UHHHHHHHH inside texts and classes. The
 * tokenizer must outlive the grammar. SMT_FORMAT names line and column of what is wrong: syntax, a rule that is missing, defined
 * twice or begins with itself (left recursion), a root that cannot end. SMT_UNSUPPORTED: too large (4 MiB of text, 524288
 * places). Thread-safe. */
SMT_API smt_status smt_grammar_create(const smt_tokenizer *tokenizer, const char *text, size_t text_bytes,
                                      smt_grammar **out_grammar, smt_error *err);
/* The grammar of the JSON texts that a JSON schema allows, for smt_grammar_create; {"type": "object"}: any object. The rule of
 * the whole is called `root` (NULL: "root") and all others root-..., so that the rules of several schemas, and rules of the
 * caller's that name them, can make one grammar. NUL-terminated, smt_free it.
 * Words: type (a list too), enum, const, anyOf, oneOf (as anyOf), allOf where it can be merged, $ref within the document
 * (recursion too), properties, required, additionalProperties, minProperties, maxProperties, items, prefixItems, minItems,
 * maxItems, minLength, maxLength, pattern (no look-around, back reference or \b), format (date, time, date-time, uuid, ipv4),
 * minimum, maximum and their exclusive forms (whole numbers), annotations. SMT_UNSUPPORTED names any other word and its path;
 * SMT_FORMAT: no JSON, or a schema that contradicts itself; SMT_NOT_FOUND: a reference to nothing.
 * Not every text that the schema allows is a text of the grammar: properties come in the order of the schema, those that are not
 * listed only where additionalProperties is there (or no property is listed), and white space is short. Thread-safe. */
SMT_API smt_status smt_schema_to_grammar(const char *schema, size_t schema_bytes, const char *root, char **out_text,
                                         size_t *out_bytes, smt_error *err);
/* Every state of the grammar must be gone. */
SMT_API void smt_grammar_free(smt_grammar *grammar);

/* A place in a text: at its beginning, or where another state stands (to rewind to, for example). */
SMT_API smt_status smt_grammar_state_create(smt_grammar *grammar, smt_grammar_state **out_state, smt_error *err);
SMT_API smt_status smt_grammar_state_copy(const smt_grammar_state *state, smt_grammar_state **out_state, smt_error *err);
SMT_API void smt_grammar_state_free(smt_grammar_state *state);

/* The text goes on with this token. SMT_INVALID: the grammar does not allow it; SMT_UNSUPPORTED: it can be read in too many ways
 * at once. An end token is accepted where the text may end. On failure, and after an end token, the state is what it was. */
SMT_API smt_status smt_grammar_accept(smt_grammar_state *state, int32_t token, smt_error *err);
/* The same for the bytes of a text, wherever tokens begin and end in it. */
SMT_API smt_status smt_grammar_accept_text(smt_grammar_state *state, const char *text, size_t text_bytes, smt_error *err);
/* Fills mask [(n_vocab + 31) / 32] for smt_draw: which tokens smt_grammar_accept would accept, end tokens included; 0 for ids
 * beyond the tokenizer's. Takes microseconds where the state was met before, else one walk over the vocabulary. SMT_UNSUPPORTED
 * as above. */
SMT_API smt_status smt_grammar_mask(smt_grammar_state *state, uint32_t *mask, uint32_t n_vocab, smt_error *err);
/* Whether the text is complete: it may end here; it must, because nothing can follow. */
SMT_API bool smt_grammar_may_end(const smt_grammar_state *state);
SMT_API bool smt_grammar_must_end(const smt_grammar_state *state);

/* ---- generating --------------------------------------------------------------------------------------------------- */

/* One token of an answer. The arrays live for the call only. */
typedef struct smt_generated {
    int32_t token;
    float logprob; /* 0 unless asked for, as what follows */
    uint32_t n_top;
    const smt_token_logprob *top; /* [n_top] as smt_draw has it */
    uint32_t n_evaluated;         /* tokens evaluated since the one before: at first all that were given, later the one before */
    const int32_t *expert_ids;    /* [n_moe_layers, n_evaluated, n_experts_used], of those */
} smt_generated;
/* Called on the thread that generates, while steps further on may run. False ends the answer with this token. It may call smt_runner_cancel,
 * but nothing else of the runner and its sessions. */
typedef bool (*smt_generated_fn)(void *user, const smt_generated *generated);

typedef struct smt_generate {
    size_t struct_size;
    /* [n_tokens], at least one: appended to the session first, as by smt_session_eval. Like `history` not read after the first call of on_token. */
    const int32_t *tokens;
    uint32_t n_tokens;
    uint32_t max_tokens; /* of the answer; 0: as many as the context has room for */
    smt_generated_fn on_token;
    void *user;
    const int32_t *history; /* [n_history]: what penalties look at besides, in front of `tokens`; or NULL */
    size_t n_history;
    /* Each of these three is work for the host, which then draws the tokens itself. */
    bool logprobs;
    uint32_t n_top;
    bool experts;
    /* Steps that are under way at a time while tokens are drawn on the device, 1 to 8; 0: 2. With an observer at most 2; with several devices
     * or slots 1. */
    uint32_t steps_ahead;
    bool draw_on_host; /* in any case: for comparisons */
    /* NULL, or where the answer begins in a grammar: only what it allows is drawn, on the host, and each token is told to it before
     * on_token is called. It belongs to the call while it lasts, but on_token may ask it whether the text is complete. */
    smt_grammar_state *grammar;
} smt_generate;

typedef enum smt_end { SMT_END_CALLBACK, SMT_END_LENGTH, SMT_END_FULL } smt_end;

/* Evaluates the tokens and draws an answer, token by token, each the input of the next step. The position of a token for the sampler is its
 * index in the session. Where the sampler's options are argmax or a top_k of 1 to 256, with any temperature, top_p, min_p and no biases and
 * penalties, no expert is in the file, and several devices have neither observer nor slots, tokens are drawn on the device (of several the
 * one with the output head), the same as the host draws. On one device steps run ahead of the host, but for slots that experts move into
 * between them; those behind the last token of the answer are dropped, and no observer is told of them.
 *
 * *out_end says what ended the answer: the callback, max_tokens, or the end of the context or of the cache. Afterwards the session holds the
 * tokens given and those of the answer but the last, which is the first to append next time. After a failure it holds the same of the tokens
 * that the callback has seen, and what it held before where there are none.
 * SMT_INVALID names an option or a token out of range; SMT_FULL: the tokens given exceed the context; SMT_INTERNAL: no logit was finite. One
 * thread at a time; smt_runner_cancel from any. */
SMT_API smt_status smt_session_generate(smt_session *session, smt_sampler *sampler, const smt_generate *request, smt_end *out_end,
                                        smt_error *err);

#ifdef __cplusplus
}
#endif
#endif
