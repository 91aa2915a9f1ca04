/* convert_run.c: the order of work: read the JSON files, list the tensors, write keys and infos, then stream the data.
 *
 *   slice of a matrix -> float32 -> rows in their new order -> encoded, decoded again to see that the type holds them -> file
 *
 * A plain matrix goes through in runs of rows of about CHUNK values; heads whose rows change places, whole. All that can be wrong
 * with names and shapes is found before the file is begun; what is wrong with values, when they come. */
#include "convert_internal.h"
#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CHUNK         (1u << 20) /* values: 4 MiB as float32 */
#define MAX_CONFIG    ((size_t)4 << 20)
#define QUANT_VERSION 2 /* general.quantization_version: of the block layouts */

typedef struct run {
    const smt_convert_options *options;
    json_t *json; /* owned: config.json */
    smt_hf_config config;
    smt_hf_vocab vocab;
    smt_st st;
    smt_convert_list list;
    smt_convert_rows rows;
    smt_gguf_output *output;        /* owned */
    float *values, *ordered, *back; /* owned: a slice as read, in its new order, and as the new type holds it */
    uint8_t *encoded;               /* owned */
    size_t value_capacity, ordered_capacity, back_capacity, encoded_capacity;
    uint64_t done; /* bytes of tensors */
    smt_error *err;
} run;

/* ---- values ---- */

/* `rows` rows of k values in the order that the result wants. */
static void reorder(smt_convert_order order, const float *in, uint64_t rows, uint64_t k, float *out) {
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t pair_row = r < rows / 2 ? 2 * r : 2 * (r - rows / 2) + 1;
        if (order == SMT_CONVERT_PAIRS)
            memcpy(out + pair_row * k, in + r * k, k * sizeof *out);
        else
            for (uint64_t c = 0; c < k; c++) out[c * rows + r] = in[r * k + c];
    }
}

/* Encodes n values (whole rows of the result) and writes them. */
static smt_status emit(run *r, const smt_convert_tensor *tensor, const float *values, uint64_t n) {
    uint64_t bytes = smt_dtype_row_bytes(tensor->type, n);
    SMT_TRY(smt_grow((void **)&r->encoded, &r->encoded_capacity, (size_t)bytes, 1, r->err));
    smt_quant_encode(tensor->type, values, r->encoded, n); /* there is an encoder: the list has seen to that */
    if (tensor->type != SMT_DTYPE_F32) {
        SMT_TRY(smt_grow((void **)&r->back, &r->back_capacity, (size_t)n, sizeof *r->back, r->err));
        smt_quant_decode(tensor->type, r->encoded, r->back, n);
        for (uint64_t i = 0; i < n; i++)
            if (!isfinite(r->back[i]))
                return SMT_FAIL(r->err, SMT_UNSUPPORTED, "tensor %s: %g in column %llu is more than %s can hold", tensor->name,
                                (double)values[i], (unsigned long long)(i % tensor->ne[0]),
                                smt_dtype_get((uint32_t)tensor->type)->name);
    }
    SMT_TRY(smt_gguf_output_data(r->output, r->encoded, bytes, r->err));
    r->done += bytes;
    const smt_callbacks *callbacks = &r->options->callbacks;
    if (callbacks->progress && !callbacks->progress(callbacks->user, SMT_STAGE_WRITE, r->done, r->list.n_bytes))
        return SMT_FAIL(r->err, SMT_CANCELLED, "cancelled at tensor %s, %llu of %llu bytes", tensor->name,
                        (unsigned long long)r->done, (unsigned long long)r->list.n_bytes);
    return SMT_OK;
}

/* Rows [first, first + n) of a source. */
static smt_status write_rows(run *r, const smt_convert_tensor *tensor, const smt_convert_source *source, uint64_t first,
                             uint64_t n) {
    uint64_t k = source->matrix->dims[source->matrix->n_dims - 1];
    size_t count = (size_t)(n * k);
    SMT_TRY(smt_grow((void **)&r->values, &r->value_capacity, count, sizeof *r->values, r->err));
    SMT_TRY(smt_convert_rows_read(&r->rows, source, first, n, r->values, r->err));
    if (tensor->order == SMT_CONVERT_AS_IS) return emit(r, tensor, r->values, count);
    SMT_TRY(smt_grow((void **)&r->ordered, &r->ordered_capacity, count, sizeof *r->ordered, r->err));
    reorder(tensor->order, r->values, n, k, r->ordered);
    return emit(r, tensor, r->ordered, count);
}

static smt_status write_slice(run *r, const smt_convert_tensor *tensor, const smt_convert_source *source, uint64_t first) {
    uint64_t k = source->matrix->dims[source->matrix->n_dims - 1], step = CHUNK / k ? CHUNK / k : 1;
    if (tensor->order != SMT_CONVERT_AS_IS) return write_rows(r, tensor, source, first, tensor->slice_rows);
    for (uint64_t row = 0; row < tensor->slice_rows; row += step)
        SMT_TRY(write_rows(r, tensor, source, first + row, smt_min_u64(step, tensor->slice_rows - row)));
    return SMT_OK;
}

static smt_status write_tensor(run *r, const smt_convert_tensor *tensor) {
    if (tensor->values) return emit(r, tensor, tensor->values, tensor->ne[0]);
    for (uint32_t i = 0; i < tensor->n_sources; i++)
        for (uint32_t slice = 0; slice < tensor->n_slices; slice++)
            SMT_TRY(write_slice(r, tensor, &r->list.sources[tensor->first_source + i],
                                tensor->slice_first + slice * tensor->slice_step));
    return SMT_OK;
}

/* ---- reading ---- */

/* Without a type the matrices keep theirs, going by the embedding. */
static smt_status choose_mix(run *r, const smt_mix **out) {
    const char *type = r->options->type;
    char known[256];
    if (!type) {
        const smt_st_tensor *embedding = smt_st_find(&r->st, "model.embed_tokens.weight");
        smt_st_kind kind = embedding ? embedding->kind : SMT_ST_BF16;
        type = kind == SMT_ST_F32 ? "F32" : kind == SMT_ST_F16 ? "F16" : "BF16";
    }
    *out = smt_mix_find(type);
    if (*out) return SMT_OK;
    smt_mix_list(known, sizeof known);
    return SMT_FAIL(r->err, SMT_INVALID, "\"%.40s\" is neither a tensor type nor a mix; there are %s", type, known);
}

static smt_status read_tensors(run *r) {
    SMT_TRY(smt_st_open(&r->st, r->options->folder, r->err));
    r->list = (smt_convert_list){.st = &r->st, .config = &r->config, .callbacks = &r->options->callbacks, .err = r->err};
    r->rows = (smt_convert_rows){.st = &r->st, .block_rows = r->config.block_rows, .block_columns = r->config.block_columns};
    SMT_TRY(choose_mix(r, &r->list.mix));
    return smt_convert_list_build(&r->list);
}

/* The new file must not take the place of one that it is made of. */
static smt_status check_target(const run *r) {
    smt_str path = {0};
    smt_status status = SMT_OK;
    for (size_t i = 0; i < r->st.n_shards && status == SMT_OK; i++) {
        path.bytes = 0;
        status = smt_str_printf(&path, r->err, "%s/%s", r->options->folder, r->st.shards[i]);
        if (status == SMT_OK && smt_os_same_file(path.text, r->options->path))
            status = SMT_FAIL(r->err, SMT_INVALID, "%s is a file of the checkpoint itself", r->options->path);
    }
    smt_str_free(&path);
    return status;
}

/* ---- writing ---- */

/* The last part of the folder's name; slashes behind it do not count. */
static smt_status put_name(run *r) {
    if (r->options->name) return smt_gguf_output_text(r->output, "general.name", r->options->name, r->err);
    const char *folder = r->options->folder;
    size_t end = strlen(folder), start;
    char name[256];
    while (end > 0 && smt_os_is_slash(folder[end - 1])) end--;
    for (start = end; start > 0 && !smt_os_is_slash(folder[start - 1]);) start--;
    snprintf(name, sizeof name, "%.*s", (int)smt_min_u64(end - start, 200), folder + start);
    bool says = *name && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    return says ? smt_gguf_output_text(r->output, "general.name", name, r->err) : SMT_OK;
}

static smt_status put_keys(run *r) {
    SMT_TRY(smt_gguf_output_create(&r->output, r->err));
    SMT_TRY(smt_gguf_output_text(r->output, "general.architecture", r->config.architecture, r->err));
    SMT_TRY(smt_gguf_output_text(r->output, "general.type", "model", r->err));
    SMT_TRY(put_name(r));
    if (!r->options->vocab_only) {
        SMT_TRY(smt_gguf_output_u32(r->output, "general.quantization_version", QUANT_VERSION, r->err));
        SMT_TRY(smt_gguf_output_u32(r->output, "general.file_type", r->list.mix->file_type, r->err));
    }
    SMT_TRY(smt_convert_config_keys(&r->config, r->output, r->err));
    return smt_hf_vocab_keys(&r->vocab, r->output, r->err);
}

static void report(const run *r, const smt_convert_tensor *tensor) {
    smt_tensor_info info = {.name = tensor->name, .type = smt_dtype_get((uint32_t)tensor->type)->name, .n_dims = tensor->n_dims};
    memcpy(info.ne, tensor->ne, sizeof info.ne);
    info.bytes = smt_dtype_row_bytes(tensor->type, tensor->ne[0]) * tensor->ne[1] * tensor->ne[2];
    if (r->options->report) r->options->report(r->options->callbacks.user, &info);
}

static smt_status write_file(run *r) {
    for (size_t i = 0; i < r->list.n_tensors; i++) {
        const smt_convert_tensor *tensor = &r->list.tensors[i];
        SMT_TRY(smt_gguf_output_tensor(r->output, tensor->name, tensor->type, tensor->n_dims, tensor->ne, r->err));
    }
    if (!r->options->dry_run) {
        SMT_TRY(check_target(r));
        SMT_TRY(smt_gguf_output_begin(r->output, r->options->path, r->err));
    }
    for (size_t i = 0; i < r->list.n_tensors; i++) {
        report(r, &r->list.tensors[i]);
        if (!r->options->dry_run) SMT_TRY(write_tensor(r, &r->list.tensors[i]));
    }
    return r->options->dry_run ? SMT_OK : smt_gguf_output_finish(r->output, r->err);
}

static void summarise(const run *r) {
    if (!r->options->summary) return;
    *r->options->summary = (smt_convert_summary){
        .architecture = r->config.architecture,
        .type = r->list.mix ? r->list.mix->name : "none",
        .tokenizer = r->vocab.spm ? "llama" : "gpt2",
        .pretokenizer = r->vocab.pre,
        .n_layers = r->config.n_layers,
        .n_vocab = r->vocab.n_tokens,
        .n_merges = r->vocab.n_merges,
        .n_tensors = r->list.n_tensors,
        .n_params = r->list.n_params,
        .bytes = smt_gguf_output_bytes(r->output),
        .n_source_tensors = r->st.n_tensors,
        .n_left_out = r->list.n_left_out,
    };
}

static smt_status execute(run *r) {
    const smt_convert_options *o = r->options;
    if (!o->folder || !*o->folder) return SMT_FAIL(r->err, SMT_INVALID, "no folder of a checkpoint given");
    if (!o->dry_run && (!o->path || !*o->path)) return SMT_FAIL(r->err, SMT_INVALID, "no name for the GGUF file given");
    SMT_TRY(smt_convert_json_load(o->folder, "config.json", MAX_CONFIG, &r->json, r->err));
    SMT_TRY(smt_hf_config_read(r->json, &r->config, r->err));
    SMT_TRY(smt_hf_vocab_load(&r->vocab, o, r->json, r->config.n_vocab, r->err));
    if (!o->vocab_only) SMT_TRY(read_tensors(r));
    SMT_TRY(put_keys(r));
    SMT_TRY(write_file(r));
    summarise(r);
    return SMT_OK;
}

smt_status smt_convert_checkpoint(const smt_convert_options *options, smt_error *err) {
    run *r = smt_alloc(1, sizeof *r);
    if (!r) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a conversion");
    r->options = options;
    r->err = err;
    if (options->summary) *options->summary = (smt_convert_summary){0};
    smt_status status = execute(r);
    smt_gguf_output_free(r->output);
    smt_convert_rows_free(&r->rows);
    smt_convert_list_free(&r->list);
    smt_st_close(&r->st);
    smt_hf_vocab_free(&r->vocab);
    json_decref(r->json);
    smt_free(r->values);
    smt_free(r->ordered);
    smt_free(r->back);
    smt_free(r->encoded);
    smt_free(r);
    return status;
}
