/* convert_internal.h: what the files of smt_convert share, in the order of the work: JSON, checkpoint, configuration, vocabulary,
 * tensor list, rows. See convert.h for who does what. */
#ifndef SMT_CONVERT_INTERNAL_H
#define SMT_CONVERT_INTERNAL_H

#include "convert.h"
#include "gguf/gguf_output.h"
#include "os/os.h"
#include "quantize_internal.h"

#include <jansson.h>

/* ---- convert_json.c ---- */

/* Whether `folder` has anything by this name. */
smt_status smt_convert_find_file(const char *folder, const char *name, bool *out, smt_error *err);
/* Whole small files of `folder`; more than `limit` bytes are refused. *out: json_decref it. */
smt_status smt_convert_text_load(const char *folder, const char *name, size_t limit, smt_str *out, smt_error *err);
smt_status smt_convert_json_load(const char *folder, const char *name, size_t limit, json_t **out, smt_error *err);
/* The same; *out is NULL where there is no such file. */
smt_status smt_convert_json_optional(const char *folder, const char *name, size_t limit, json_t **out, smt_error *err);
smt_status smt_convert_json_parse(const char *label, const char *text, size_t bytes, json_t **out, smt_error *err);

/* Reads from an object; `label` (the file's name) goes into messages. An absent key, or null, leaves *out as it is. */
json_t *smt_convert_value(const json_t *object, const char *key); /* NULL: absent or null */
smt_status smt_convert_f64(const char *label, const json_t *object, const char *key, double low, double high, bool required,
                           double *out, smt_error *err);
smt_status smt_convert_u32(const char *label, const json_t *object, const char *key, uint32_t low, uint32_t high, bool required,
                           uint32_t *out, smt_error *err);
smt_status smt_convert_bool(const char *label, const json_t *object, const char *key, bool *out, bool *found, smt_error *err);
smt_status smt_convert_text(const char *label, const json_t *object, const char *key, const char **out, smt_error *err);
bool smt_convert_u64_of(const json_t *value, uint64_t *out); /* a whole number of at most 2^53 */
bool smt_convert_is(const char *text, const char *word);     /* text may be NULL */

/* ---- convert_safetensors.c ---- */

#define SMT_ST_INDEX  "model.safetensors.index.json"
#define SMT_ST_SINGLE "model.safetensors"

typedef enum smt_st_kind { SMT_ST_F32, SMT_ST_F16, SMT_ST_BF16, SMT_ST_F8_E4M3, SMT_ST_INTEGER, SMT_ST_OTHER } smt_st_kind;

typedef struct smt_st_tensor {
    const char *name; /* in the arena */
    smt_st_kind kind;
    uint8_t row_of_kinds; /* of the table behind the next two functions */
    bool used;            /* has a place in the result */
    uint32_t n_dims, shard;
    uint64_t dims[8];       /* slowest first */
    uint64_t offset, bytes; /* in the shard's file */
} smt_st_tensor;
uint32_t smt_st_value_bytes(const smt_st_tensor *tensor);
const char *smt_st_kind_name(const smt_st_tensor *tensor);

typedef struct smt_st { /* all shards; zero is valid and empty */
    const char *folder; /* borrowed */
    const char **shards;
    smt_st_tensor *tensors; /* owned */
    size_t n_shards, shard_capacity, n_tensors, tensor_capacity;
    uint32_t *slots; /* owned: name -> index + 1 */
    uint64_t slot_mask;
    smt_os_file file; /* owned: the shard read last */
    size_t open_shard;
    smt_str path; /* owned: of that shard */
    smt_arena arena;
} smt_st;

/* Reads index and headers. Whatever it returns, smt_st_close takes the object. */
smt_status smt_st_open(smt_st *st, const char *folder, smt_error *err);
void smt_st_close(smt_st *st);
smt_st_tensor *smt_st_find(smt_st *st, const char *name); /* NULL: absent */
smt_status smt_st_read(smt_st *st, const smt_st_tensor *tensor, uint64_t first_byte, void *out, size_t bytes, smt_error *err);
/* The steps of smt_st_open, which the fuzzer takes by itself: length word, header of one shard, look-up table. file_bytes >= 8. */
smt_status smt_st_header_bytes(const char *shard, const uint8_t *length, uint64_t file_bytes, uint64_t *out, smt_error *err);
smt_status smt_st_add(smt_st *st, const char *shard, const char *header, size_t header_bytes, uint64_t file_bytes,
                      smt_error *err);
smt_status smt_st_finish(smt_st *st, smt_error *err);

/* ---- convert_config.c, convert_rope.c: config.json as numbers ---- */

typedef enum smt_hf_family { SMT_HF_LLAMA, SMT_HF_DEEPSEEK, SMT_HF_DEEPSEEK2 } smt_hf_family;
typedef enum smt_hf_scaling { SMT_HF_PLAIN, SMT_HF_LINEAR, SMT_HF_YARN, SMT_HF_LLAMA3 } smt_hf_scaling;

typedef struct smt_hf_rope {
    double base;
    smt_hf_scaling scaling;
    double factor, beta_fast, beta_slow, mscale_all_dim; /* beta and mscale: YaRN */
    double low_freq_factor, high_freq_factor;            /* Llama 3 */
    uint32_t original_ctx;                               /* YaRN and Llama 3 */
} smt_hf_rope;

typedef struct smt_hf_config {
    smt_hf_family family;
    const char *architecture; /* the GGUF name of the family */
    uint32_t n_layers, n_embd, n_vocab, n_heads, n_kv_heads, head_dim, n_ff, n_ctx;
    double norm_eps;
    bool tied;
    smt_hf_rope rope;
    uint32_t q_rank, kv_rank, nope_dim, rope_dim, value_dim; /* deepseek2; q_rank 0: one query matrix */
    uint32_t n_dense_layers, n_experts, n_used, n_shared, n_ff_expert, n_groups, n_groups_used; /* n_experts 0: dense */
    bool sigmoid, norm_weights, selection_bias;
    double weight_scale;
    uint32_t n_nextn;                   /* layers behind n_layers that predict further tokens: left out */
    uint32_t block_rows, block_columns; /* of F8 scales; 0: none declared */
} smt_hf_config;

smt_status smt_hf_config_read(const json_t *config, smt_hf_config *out, smt_error *err);
smt_status smt_hf_rope_read(const json_t *config, smt_hf_config *out, smt_error *err);
/* The divisors of Llama 3's scaling: [dim / 2]. */
void smt_hf_rope_divisors(const smt_hf_rope *rope, uint32_t dim, float *out);
/* The keys below the architecture's name. */
smt_status smt_convert_config_keys(const smt_hf_config *config, smt_gguf_output *output, smt_error *err);

/* ---- convert_vocab.c and its helpers: the vocabulary ---- */

typedef struct smt_hf_token {
    const char *text; /* borrowed from the JSON, or in the arena; NULL: a row without a token */
    int32_t type;     /* as tokenizer.ggml.token_type numbers them */
} smt_hf_token;

typedef struct smt_hf_vocab {
    json_t *tokenizer, *config, *generation; /* owned; tokenizer_config.json and generation_config.json may be NULL */
    const json_t *model;                     /* borrowed: the model of the tokenizer */
    const json_t *model_config;              /* borrowed: config.json, which may know ids too; may be NULL */
    smt_str chat_template;                   /* owned: chat_template.jinja, where that file exists */
    smt_hf_token *tokens;                    /* owned, [n_tokens] */
    uint32_t n_tokens, n_merges;
    bool spm;
    const char *pre; /* NULL for SPM */
    smt_arena arena;
    const smt_convert_options *options; /* borrowed */
} smt_hf_vocab;

/* `n_rows`: rows of the embedding table. Whatever it returns, smt_hf_vocab_free takes the object. */
smt_status smt_hf_vocab_load(smt_hf_vocab *vocab, const smt_convert_options *options, const json_t *model_config, uint32_t n_rows,
                             smt_error *err);
/* The part after the files were read, over vocab->tokenizer, ->config and ->generation. */
smt_status smt_hf_vocab_build(smt_hf_vocab *vocab, uint32_t n_rows, smt_error *err);
void smt_hf_vocab_free(smt_hf_vocab *vocab);
int32_t smt_hf_vocab_find(const smt_hf_vocab *vocab, const char *text); /* -1: none */
smt_status smt_hf_vocab_keys(smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err);
/* convert_pre.c: which pre-tokenizer the JSON describes, by our name for it. SMT_UNSUPPORTED says what was seen. */
smt_status smt_hf_pre_find(const json_t *pre_tokenizer, const char **out, smt_error *err);
bool smt_hf_pre_known(const char *name);
/* convert_spm.c: whether text gets a space in front, and the score of every token from the ranks of the merges. */
smt_status smt_hf_spm_space_prefix(const smt_hf_vocab *vocab, bool *out, smt_error *err);
smt_status smt_hf_spm_scores(const smt_hf_vocab *vocab, float *out, smt_error *err);
/* Both halves of a merge, "left right" or ["left", "right"]; *scratch holds them until the next call. */
smt_status smt_hf_merge(const json_t *merges, size_t index, smt_str *scratch, const char **left, const char **right,
                        smt_error *err);
/* convert_special.c: ids, flags, chat templates. */
smt_status smt_hf_special_keys(const smt_hf_vocab *vocab, smt_gguf_output *output, smt_error *err);

/* ---- convert_list.c, convert_families.c: what the result holds ---- */

typedef enum smt_convert_order {
    SMT_CONVERT_AS_IS,
    SMT_CONVERT_PAIRS,    /* rows of each slice from half-split to pair order: row 2i is row i, row 2i + 1 is row i + n/2 */
    SMT_CONVERT_TRANSPOSE /* each slice transposed */
} smt_convert_order;

typedef struct smt_convert_source {
    const smt_st_tensor *matrix, *scale; /* scale: NULL, or what F8 blocks are to be multiplied with */
} smt_convert_source;

/* One tensor of the result. It is made of `n_sources` matrices, and of each `n_slices` runs of `slice_rows` rows, of which the
 * first begins at row `slice_first` and each next one `slice_step` rows further:
 *     plain matrix             1 source, 1 slice: all rows       experts     a source per expert, 1 slice each
 *     query or key, by pairs   1 source, a slice per head        k_b, v_b    1 source (kv_b), a slice per head, every n + v rows
 * Without sources, `values` are the numbers. */
typedef struct smt_convert_tensor {
    char name[64];
    smt_dtype type;
    uint32_t n_dims;
    uint64_t ne[4]; /* unused ones are 1 */
    smt_convert_order order;
    size_t first_source;
    uint32_t n_sources, n_slices;
    uint64_t slice_first, slice_rows, slice_step;
    float *values; /* in the arena */
} smt_convert_tensor;

typedef struct smt_convert_list {
    smt_st *st;                     /* borrowed */
    const smt_hf_config *config;    /* borrowed */
    const smt_callbacks *callbacks; /* borrowed */
    const smt_mix *mix;             /* which type a matrix gets */
    smt_mix_facts facts;
    smt_convert_tensor *tensors; /* owned */
    smt_convert_source *sources; /* owned */
    size_t n_tensors, tensor_capacity, n_sources, source_capacity;
    uint64_t n_params, n_bytes; /* of the result */
    size_t n_left_out;          /* tensors of the checkpoint without a place in it */
    smt_arena arena;
    smt_error *err;
} smt_convert_list;

/* Fills tensors and sources; marks what is used of the checkpoint. Whatever it returns, _free takes the object. */
smt_status smt_convert_list_build(smt_convert_list *list);
void smt_convert_list_free(smt_convert_list *list);

/* What the families are written in. Names stand below "blk.LAYER." and "model.layers.LAYER."; SMT_CONVERT_MODEL: no layer. */
#define SMT_CONVERT_MODEL UINT32_MAX
/* [rows, k], or with rows 0 a vector [k] */
smt_status smt_convert_put(smt_convert_list *list, uint32_t layer, const char *to, const char *from, uint64_t rows, uint64_t k);
/* The same, always F32. */
smt_status smt_convert_put_f32(smt_convert_list *list, uint32_t layer, const char *to, const char *from, uint64_t rows,
                               uint64_t k);
/* Rows of `heads` heads of rotated values, turned into pair order. */
smt_status smt_convert_put_pairs(smt_convert_list *list, uint32_t layer, const char *to, const char *from, uint32_t heads,
                                 uint32_t head, uint64_t k);
/* A plane [rows, k] per head out of [heads * step, source_k]: rows from `first` of each run of `step`, perhaps transposed. */
typedef struct smt_convert_planes {
    const char *to, *from;
    uint32_t heads, step, first, count; /* rows taken of each run */
    uint64_t source_k;
    bool transposed;
} smt_convert_planes;
smt_status smt_convert_put_planes(smt_convert_list *list, uint32_t layer, const smt_convert_planes *planes);
/* A plane per expert, each its own matrix below "mlp.experts.EXPERT.". */
smt_status smt_convert_put_experts(smt_convert_list *list, uint32_t layer, const char *to, const char *from, uint64_t rows,
                                   uint64_t k);
/* Numbers of our own; `values` lives in the list's arena. */
smt_status smt_convert_put_values(smt_convert_list *list, const char *to, float *values, uint64_t n);
/* convert_families.c */
smt_status smt_convert_family_tensors(smt_convert_list *list);

/* ---- convert_rows.c: values ---- */

typedef struct smt_convert_rows { /* zero is valid */
    smt_st *st;                   /* borrowed */
    uint32_t block_rows, block_columns;
    uint8_t *raw;  /* owned: bytes of the rows read last */
    float *scales; /* owned: all of `scales_of` */
    size_t raw_capacity, scale_capacity;
    const smt_st_tensor *scales_of;
} smt_convert_rows;
/* Rows [first, first + n) of a matrix (a vector is one row) to float32 [n, k]. SMT_FORMAT for values that are no number. */
smt_status smt_convert_rows_read(smt_convert_rows *rows, const smt_convert_source *source, uint64_t first, uint64_t n, float *out,
                                 smt_error *err);
void smt_convert_rows_free(smt_convert_rows *rows);
float smt_convert_f8_e4m3(uint8_t bits); /* NaN for the two codes that mean it */

#endif
