/* test_convert_quantize.c: smt_quantize as a host program calls it: what the new file holds, that threads do not matter, that the
 * model still computes nearly the same, and every way to fail, after which the disk is as it was. */
#include "gguf/gguf_output.h"
#include "os/os.h"
#include "quant/quant.h"
#include "ref/ref.h"
#include "support.h"
#include "tiny_model.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define FOLDER "test_convert_quantize"

/* The paths live as long as the program: what smt_test_work returns lives for a few calls. */
static char in_path[1024], out_path[1024], other_path[1024], imatrix_path[1024];

/* The number of files in the test's folder; removes them if told so. */
static int visit_files(bool removing) {
    char path[2048];
    DIR *folder = opendir(smt_test_work(FOLDER));
    int n = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        n++;
        snprintf(path, sizeof path, "%s/%s", smt_test_work(FOLDER), entry->d_name);
        if (removing) remove(path);
    }
    if (folder) closedir(folder);
    return n;
}

static int count_files(void) { return visit_files(false); }

static int make_paths(void **state) {
    (void)state;
    static const struct {
        char *path;
        const char *name;
    } paths[] = {{in_path, "in"}, {out_path, "out"}, {other_path, "other"}, {imatrix_path, "imatrix"}};
    for (size_t i = 0; i < SMT_COUNT(paths); i++)
        snprintf(paths[i].path, sizeof in_path, "%s/%s.gguf", smt_test_work(FOLDER), paths[i].name);
    if (smt_os_write_atomic(in_path, "", 0, NULL) != SMT_OK) return 1; /* makes the folder */
    visit_files(true);                                                 /* and what a run that was killed has left */
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    remove(in_path);
    remove(out_path);
    remove(other_path);
    remove(imatrix_path);
    return count_files();
}

static smt_quantize_options options_for(const char *type) {
    return (smt_quantize_options){
        .struct_size = sizeof(smt_quantize_options), .in_path = in_path, .out_path = out_path, .type = type, .n_threads = 1};
}

/* ---- files ---- */

typedef struct made_tensor {
    const char *name;
    uint64_t ne[4];
    float *values; /* owned by the caller */
} made_tensor;

static void write_file(const char *path, const made_tensor *tensors, size_t n) {
    smt_error err = {0};
    smt_gguf_output *o;
    SMT_ASSERT_OK(smt_gguf_output_create(&o, &err), &err);
    SMT_ASSERT_OK(smt_gguf_output_text(o, "general.architecture", "none", &err), &err);
    SMT_ASSERT_OK(smt_gguf_output_u32(o, "general.file_type", 0, &err), &err);
    SMT_ASSERT_OK(smt_gguf_output_u32(o, "kept", 12345, &err), &err);
    for (size_t i = 0; i < n; i++)
        SMT_ASSERT_OK(smt_gguf_output_tensor(o, tensors[i].name, SMT_DTYPE_F32, 4, tensors[i].ne, &err), &err);
    SMT_ASSERT_OK(smt_gguf_output_begin(o, path, &err), &err);
    for (size_t i = 0; i < n; i++) {
        const uint64_t *ne = tensors[i].ne;
        SMT_ASSERT_OK(smt_gguf_output_data(o, tensors[i].values, ne[0] * ne[1] * ne[2] * ne[3] * sizeof(float), &err), &err);
    }
    SMT_ASSERT_OK(smt_gguf_output_finish(o, &err), &err);
    smt_gguf_output_free(o);
}

static float *normal_numbers(size_t n, uint64_t seed) {
    smt_test_random random = {seed};
    float *x = smt_alloc(n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = smt_test_normal(&random);
    return x;
}

/* One matrix of [rows, k] called m.weight. */
static float *write_matrix(uint64_t k, uint64_t rows) {
    float *x = normal_numbers(k * rows, k);
    write_file(in_path, &(made_tensor){"m.weight", {k, rows, 1, 1}, x}, 1);
    return x;
}

static smt_gguf *open_file(const char *path) {
    smt_error err = {0};
    smt_gguf *gguf;
    SMT_ASSERT_OK(smt_gguf_open(path, &gguf, &err), &err);
    return gguf;
}

/* A tensor's bytes; owned by the caller. */
static uint8_t *bytes_of(const smt_gguf_tensor *tensor) {
    smt_error err = {0};
    uint8_t *bytes = smt_alloc((size_t)tensor->bytes, 1);
    assert_non_null(bytes);
    SMT_ASSERT_OK(smt_gguf_tensor_read(tensor, 0, bytes, tensor->bytes, &err), &err);
    return bytes;
}

/* ---- reports ---- */

typedef struct notes {
    size_t n_tensors, n_copied, n_fallback, n_weighted;
    uint64_t bytes;
    double worst;
    uint64_t done, total, stop_at; /* of progress; stop_at 0: never */
} notes;

static void note(void *user, const smt_quantize_tensor *tensor) {
    notes *n = user;
    n->n_tensors++;
    n->n_copied += !strcmp(tensor->from, tensor->to);
    n->n_fallback += tensor->fallback;
    n->n_weighted += tensor->weighted;
    n->bytes += tensor->bytes_after;
    if (tensor->error > n->worst) n->worst = tensor->error;
    assert_true(strcmp(tensor->from, tensor->to) || tensor->error == 0);
}

static bool follow(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    notes *n = user;
    assert_int_equal(stage, SMT_STAGE_WRITE);
    assert_true(done > n->done && done <= total);
    n->done = done;
    n->total = total;
    return n->stop_at == 0 || done < n->stop_at;
}

static void watch(smt_quantize_options *options, notes *n) {
    options->callbacks = (smt_callbacks){.user = n, .progress = follow};
    options->report = note;
}

/* ---- what is written ---- */

/* Every tensor of a whole model, encoded here a second time. */
static void test_contents(void **state) {
    (void)state;
    smt_error err = {0};
    notes n = {0};
    SMT_ASSERT_OK(smt_tiny_deepseek2(in_path, &(smt_tiny_options){.type = SMT_DTYPE_F32, .n_experts = 3}, &err), &err);
    smt_quantize_options options = options_for("q4_k_m");
    watch(&options, &n);
    SMT_ASSERT_OK(smt_quantize(&options, &err), &err);
    smt_gguf *in = open_file(in_path), *out = open_file(out_path);
    uint32_t types[SMT_DTYPE_LIMIT] = {0};
    uint64_t bytes = 0;
    assert_int_equal(smt_gguf_tensor_count(in), smt_gguf_tensor_count(out));
    for (uint64_t i = 0; i < smt_gguf_tensor_count(in); i++) {
        const smt_gguf_tensor *a = smt_gguf_tensor_at(in, i), *b = smt_gguf_tensor_at(out, i);
        uint64_t elements = a->ne[0] * a->ne[1] * a->ne[2] * a->ne[3];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->n_dims, b->n_dims);
        assert_memory_equal(a->ne, b->ne, sizeof a->ne);
        uint8_t *values = bytes_of(a), *got = bytes_of(b), *want = smt_alloc((size_t)b->bytes, 1);
        assert_true(smt_quant_encode(b->type, (const float *)values, want, elements));
        assert_memory_equal(got, want, b->bytes);
        smt_free(values);
        smt_free(got);
        smt_free(want);
        types[b->type]++;
        bytes += b->bytes;
    }
    assert_true(types[SMT_DTYPE_F32] && types[SMT_DTYPE_Q4_K] && types[SMT_DTYPE_Q5_0] && types[SMT_DTYPE_Q6_K]);
    assert_int_equal(n.n_tensors, smt_gguf_tensor_count(in));
    assert_int_equal(n.n_copied, types[SMT_DTYPE_F32]);
    assert_int_equal(n.bytes, bytes);
    assert_true(n.n_fallback > 0 && n.n_fallback < n.n_tensors);
    assert_true(n.worst > 0.01 && n.worst < 0.1);
    assert_true(n.total > 0 && n.done == n.total);

    uint32_t value = 0;
    SMT_ASSERT_OK(smt_gguf_u32(out, "general.file_type", &value, NULL, &err), &err);
    assert_int_equal(value, 15);
    SMT_ASSERT_OK(smt_gguf_u32(out, "general.quantization_version", &value, NULL, &err), &err);
    assert_int_equal(value, 2);
    for (uint64_t i = 0; i < smt_gguf_key_count(in); i++) { /* the others are there */
        const smt_gguf_key *a = smt_gguf_key_at(in, i), *b = smt_gguf_find(out, a->name);
        assert_non_null(b);
        assert_int_equal(a->kind, b->kind);
        assert_int_equal(a->count, b->count);
    }
    smt_gguf_free(in);
    smt_gguf_free(out);
}

static smt_dtype type_in(const char *path, const char *name) {
    smt_gguf *gguf = open_file(path);
    smt_dtype type = smt_gguf_find_tensor(gguf, name)->type;
    smt_gguf_free(gguf);
    return type;
}

static void test_wishes(void **state) {
    (void)state;
    smt_error err = {0};
    SMT_ASSERT_OK(smt_tiny_deepseek2(in_path, &(smt_tiny_options){.type = SMT_DTYPE_F16, .n_experts = 3}, &err), &err);
    smt_quantize_options options = options_for("Q4_K_M");
    options.output_type = "q5_k";
    options.embedding_type = "Q8_0";
    const smt_quantize_override overrides[] = {{"blk\\.1\\.ffn_(up|gate)_exps", "q3_K"}, {"blk\\.1\\.", "IQ4_NL"}};
    options.overrides = overrides;
    options.n_overrides = 2;
    SMT_ASSERT_OK(smt_quantize(&options, &err), &err);
    assert_int_equal(type_in(out_path, "output.weight"), SMT_DTYPE_Q5_K);
    assert_int_equal(type_in(out_path, "token_embd.weight"), SMT_DTYPE_Q8_0);
    assert_int_equal(type_in(out_path, "blk.1.ffn_up_exps.weight"), SMT_DTYPE_Q3_K);
    assert_int_equal(type_in(out_path, "blk.1.attn_output.weight"), SMT_DTYPE_IQ4_NL);
    assert_int_equal(type_in(out_path, "blk.1.attn_norm.weight"), SMT_DTYPE_F32);
    assert_int_equal(type_in(out_path, "blk.2.attn_output.weight"), SMT_DTYPE_Q4_K);

    options = options_for("Q2_K");
    options.pure = true;
    SMT_ASSERT_OK(smt_quantize(&options, &err), &err);
    assert_int_equal(type_in(out_path, "output.weight"), SMT_DTYPE_Q2_K);
    assert_int_equal(type_in(out_path, "blk.0.ffn_down.weight"), SMT_DTYPE_Q2_K);
    assert_int_equal(type_in(out_path, "blk.1.ffn_down_exps.weight"), SMT_DTYPE_IQ4_NL);

    /* Again from the result, to the same types: allowed, and a copy. */
    smt_quantize_options again = options;
    notes n = {0};
    again.in_path = out_path;
    again.out_path = other_path;
    watch(&again, &n);
    SMT_ASSERT_OK(smt_quantize(&again, &err), &err);
    assert_int_equal(n.n_copied, n.n_tensors);
    again.type = "Q4_0";
    again.report = NULL;
    again.callbacks.progress = NULL;
    assert_int_equal(smt_quantize(&again, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "is Q2_K already"));
    again.allow_requantize = true;
    SMT_ASSERT_OK(smt_quantize(&again, &err), &err);
    assert_int_equal(type_in(other_path, "blk.0.ffn_down.weight"), SMT_DTYPE_Q4_0);
}

static void test_dry_run(void **state) {
    (void)state;
    smt_error err = {0};
    notes n = {0};
    smt_free(write_matrix(512, 4));
    smt_quantize_options options = options_for("Q6_K");
    options.dry_run = true;
    options.out_path = NULL;
    watch(&options, &n);
    SMT_ASSERT_OK(smt_quantize(&options, &err), &err);
    assert_int_equal(n.n_tensors, 1);
    assert_int_equal(n.bytes, 4 * 2 * 210);
    assert_int_equal(n.total, 0);
    assert_int_equal(count_files(), 1);
}

/* A tensor of several batches and a last piece that is not full, on 1, 2 and 7 threads. */
static void test_threads(void **state) {
    (void)state;
    smt_error err = {0};
    char *first, *bytes;
    size_t n_first, n;
    smt_free(write_matrix(1280, 500));
    smt_quantize_options options = options_for("Q4_0");
    SMT_ASSERT_OK(smt_quantize(&options, &err), &err);
    SMT_ASSERT_OK(smt_os_read_file(out_path, &first, &n_first, &err), &err);
    static const uint32_t threads[] = {2, 7};
    for (size_t t = 0; t < SMT_COUNT(threads); t++) {
        options.n_threads = threads[t];
        SMT_ASSERT_OK(smt_quantize(&options, &err), &err);
        SMT_ASSERT_OK(smt_os_read_file(out_path, &bytes, &n, &err), &err);
        assert_int_equal(n, n_first);
        assert_memory_equal(bytes, first, n);
        smt_free(bytes);
    }
    smt_free(first);
}

/* ---- importance ---- */

enum { K = 288, ROWS = 300, PLANES = 2 }; /* rows that no piece divides */

static void write_imatrix(const float *sums, uint64_t k, uint64_t planes) {
    float counts[PLANES] = {2, 4};
    write_file(imatrix_path,
               (made_tensor[]){{"blk.0.ffn_up_exps.weight.in_sum2", {k, planes, 1, 1}, (float *)sums},
                               {"blk.0.ffn_up_exps.weight.counts", {1, planes, 1, 1}, counts}},
               2);
}

static void test_imatrix(void **state) {
    (void)state;
    smt_error err = {0};
    float *x = normal_numbers((size_t)K * ROWS * PLANES, 1), sums[K * PLANES];
    smt_test_random random = {2};
    for (int i = 0; i < K * PLANES; i++) sums[i] = expf(1.5f * smt_test_normal(&random));
    write_file(in_path,
               (made_tensor[]){{"blk.0.ffn_up_exps.weight", {K, ROWS, PLANES, 1}, x}, {"other.weight", {K, ROWS, 1, 1}, x}}, 2);
    write_imatrix(sums, K, PLANES);
    notes n = {0};
    smt_quantize_options options = options_for("Q4_1");
    options.imatrix_path = imatrix_path;
    options.n_threads = 3;
    watch(&options, &n);
    SMT_ASSERT_OK(smt_quantize(&options, &err), &err);
    assert_int_equal(n.n_weighted, 1);

    smt_gguf *out = open_file(out_path);
    const smt_gguf_tensor *tensor = smt_gguf_find_tensor(out, "blk.0.ffn_up_exps.weight");
    const uint64_t row_bytes = smt_dtype_row_bytes(SMT_DTYPE_Q4_1, K);
    uint8_t *got = bytes_of(tensor), want[K];
    bool differs = false;
    for (uint64_t r = 0; r < ROWS * PLANES; r++) { /* row by row, each plane with its own weights */
        float weights[K];
        for (int i = 0; i < K; i++) weights[i] = sums[r / ROWS * K + (uint64_t)i] / (r < ROWS ? 2 : 4);
        assert_true(smt_quant_encode_weighted(SMT_DTYPE_Q4_1, x + r * K, weights, want, K));
        assert_memory_equal(got + r * row_bytes, want, row_bytes);
        assert_true(smt_quant_encode(SMT_DTYPE_Q4_1, x + r * K, want, K));
        differs |= memcmp(got + r * row_bytes, want, row_bytes) != 0;
    }
    assert_true(differs);
    uint32_t entries = 0;
    SMT_ASSERT_OK(smt_gguf_u32(out, "quantize.imatrix.entries_count", &entries, NULL, &err), &err);
    assert_int_equal(entries, 1);
    smt_gguf_free(out);
    smt_free(got);
    smt_free(x);

    write_imatrix(sums, K, 1); /* for one plane only */
    options.report = NULL;
    options.callbacks.progress = NULL;
    assert_int_equal(smt_quantize(&options, &err), SMT_FORMAT);
    assert_non_null(
        strstr(err.message, "288 importances for tensor blk.0.ffn_up_exps.weight, which has 288 columns in 2 planes"));
}

/* ---- the model still works ---- */

/* Logits of one token after three others. */
static float *logits_of(const char *path, uint32_t *n_vocab) {
    smt_error err = {0};
    smt_gguf *gguf = open_file(path);
    smt_model *model;
    smt_ref *ref;
    SMT_ASSERT_OK(smt_model_create(gguf, &model, &err), &err);
    SMT_ASSERT_OK(smt_ref_create(model, 8, &ref, &err), &err);
    float *logits = smt_alloc(model->n_vocab, sizeof *logits);
    *n_vocab = model->n_vocab;
    for (int32_t i = 0; i < 4; i++) SMT_ASSERT_OK(smt_ref_step(ref, 10 * i + 1, i, logits, NULL, NULL, NULL, &err), &err);
    smt_ref_free(ref);
    smt_model_free(model);
    smt_gguf_free(gguf);
    return logits;
}

static void test_logits(void **state) {
    (void)state;
    static const struct {
        const char *type;
        double limit; /* of the change, relative; a few roundings above what was measured */
    } rows[] = {{"Q8_0", 0.03}, {"Q6_K", 0.08}, {"Q4_K_M", 0.3}, {"IQ4_XS", 0.3}};
    smt_error err = {0};
    uint32_t n;
    SMT_ASSERT_OK(smt_tiny_deepseek2(in_path, &(smt_tiny_options){.type = SMT_DTYPE_F32, .n_layers = 2, .n_experts = 3}, &err),
                  &err);
    float *want = logits_of(in_path, &n);
    for (size_t r = 0; r < SMT_COUNT(rows); r++) {
        smt_quantize_options options = options_for(rows[r].type);
        SMT_ASSERT_OK(smt_quantize(&options, &err), &err);
        float *got = logits_of(out_path, &n);
        double off = 0, sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            off += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
            sum += (double)want[i] * (double)want[i];
        }
        smt_free(got);
        double change = sqrt(off / sum);
        if (!(change > 0 && change < rows[r].limit)) fail_msg("%s changes the logits by %g", rows[r].type, change);
    }
    smt_free(want);
}

/* ---- failures ---- */

static void refused(const smt_quantize_options *options, smt_status status, const char *words) {
    smt_error err = {0};
    int before = count_files();
    assert_int_equal(smt_quantize(options, &err), status);
    assert_int_equal(err.code, status);
    if (!strstr(err.message, words)) fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    assert_int_equal(count_files(), before);
}

static void test_refusals(void **state) {
    (void)state;
    smt_free(write_matrix(256, 4));
    smt_quantize_options o = options_for("Q9_K");
    refused(&o, SMT_INVALID, "no type or mix \"Q9_K\"");
    o = options_for("Q4_K_M");
    o.out_path = in_path;
    refused(&o, SMT_INVALID, "are the same file");
    assert_int_equal(link(in_path, other_path), 0);
    o.out_path = other_path; /* by another name */
    refused(&o, SMT_INVALID, "are the same file");
    o = options_for("Q4_K_M");
    o.in_path = imatrix_path;
    refused(&o, SMT_IO, "imatrix.gguf");
    o = options_for("Q4_K_M");
    o.imatrix_path = in_path;
    refused(&o, SMT_FORMAT, "holds no importances");
    o = options_for("Q4_K_M");
    o.out_path = NULL;
    refused(&o, SMT_INVALID, "an output file");
    o = options_for("Q4_K_M");
    o.n_overrides = 1;
    o.overrides = &(smt_quantize_override){"m.weight", "IQ2_XS"};
    refused(&o, SMT_UNSUPPORTED, "no encoder for IQ2_XS");
    o.overrides = &(smt_quantize_override){"m.weight", "Q7_K"};
    refused(&o, SMT_INVALID, "no tensor type \"Q7_K\"");
    o.overrides = &(smt_quantize_override){"m.(weight", "Q8_0"};
    refused(&o, SMT_INVALID, "pattern \"m.(weight\"");
    o.overrides = &(smt_quantize_override){"((((.?)*)*)*)*(?!)", "Q8_0"};
    refused(&o, SMT_INVALID, "takes too long");
    o = options_for("Q4_K_M");
    o.output_type = "best"; /* the file has no output, and no embedding either: the word is not looked at */
    smt_error err = {0};
    SMT_ASSERT_OK(smt_quantize(&o, &err), &err);
}

static void refused_number(float number, uint64_t at, const char *type, smt_status status, const char *words) {
    float *x = normal_numbers(256 * 300, 9);
    x[at] = number;
    write_file(in_path, &(made_tensor){"m.weight", {256, 300, 1, 1}, x}, 1);
    smt_free(x);
    smt_quantize_options o = options_for(type);
    o.n_threads = 2;
    refused(&o, status, words);
}

static void test_numbers(void **state) {
    (void)state;
    refused_number(NAN, 70000, "Q4_K_M", SMT_FORMAT, "tensor m.weight: element 70000 (column 112) is nan");
    refused_number(-INFINITY, 3, "Q8_0", SMT_FORMAT, "element 3 (column 3) is -inf");
    refused_number(1e6f, 65536, "F16", SMT_UNSUPPORTED, "element 65536 (column 0) is 1e+06, more than F16 can hold");
    refused_number(1e38f, 5, "Q4_0", SMT_UNSUPPORTED, "more than Q4_0 can hold");
}

/* The old file survives whatever goes wrong while the new one is written. */
static void test_interrupted(void **state) {
    (void)state;
    smt_error err = {0};
    char *before, *after;
    size_t n_before, n_after;
    smt_free(write_matrix(1280, 1000));
    smt_quantize_options o = options_for("Q8_0");
    SMT_ASSERT_OK(smt_quantize(&o, &err), &err);
    SMT_ASSERT_OK(smt_os_read_file(out_path, &before, &n_before, &err), &err);

    notes n = {.stop_at = 2000000};
    o = options_for("Q4_0");
    watch(&o, &n);
    refused(&o, SMT_CANCELLED, "cancelled after");
    assert_true(n.done >= n.stop_at && n.done < n.total);

    struct rlimit old, tight = {0};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    tight.rlim_cur = 100000;
    tight.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    o = options_for("Q4_0");
    smt_status status = smt_quantize(&o, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, SMT_IO);
    assert_non_null(strstr(err.message, "out.gguf"));

    o.out_path = "/dev/full";
    refused(&o, SMT_IO, "/dev/full");

    SMT_ASSERT_OK(smt_os_read_file(out_path, &after, &n_after, &err), &err);
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_before);
    assert_int_equal(count_files(), 2);
    smt_free(before);
    smt_free(after);
}

static void test_allocation_failures(void **state) {
    (void)state;
    float *x = write_matrix(256, 4);
    float sums[256];
    for (int i = 0; i < 256; i++) sums[i] = (float)i;
    float count = 1;
    write_file(imatrix_path,
               (made_tensor[]){{"m.weight.in_sum2", {256, 1, 1, 1}, sums}, {"m.weight.counts", {1, 1, 1, 1}, &count}}, 2);
    smt_free(x);
    smt_quantize_options o = options_for("Q4_K_M");
    o.imatrix_path = imatrix_path;
    o.n_overrides = 1;
    o.overrides = &(smt_quantize_override){"^m", "Q5_K"};
    for (uint64_t n = 1;; n++) {
        smt_error err = {0};
        assert_true(n < 1000);
        smt_mem_fail_after(n);
        smt_status status = smt_quantize(&o, &err);
        smt_mem_fail_after(0);
        if (status == SMT_OK) {
            assert_true(n > 30);
            break;
        }
        assert_int_equal(status, SMT_MEMORY);
        assert_int_equal(err.code, SMT_MEMORY);
        assert_int_equal(count_files(), 2);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_paths, remove_files)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_contents), TEST(test_wishes),   TEST(test_dry_run), TEST(test_threads),     TEST(test_imatrix),
        TEST(test_logits),   TEST(test_refusals), TEST(test_numbers), TEST(test_interrupted), TEST(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
