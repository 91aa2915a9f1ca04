/* test_graph_bytes.c: the bytes that a step reads, against parameter counts: with every matrix in F32 they are four times as many. */
#include "support.h"

#include "graph/graph.h"
#include "invented.h"
#include "tiny_model.h"

#include <math.h>
#include <unistd.h>

typedef struct opened {
    smt_gguf *gguf;
    smt_model *model;
    smt_items items;
} opened;

static void open_tiny(opened *o, const smt_tiny_options *options) {
    char path[1024];
    smt_error err;
    smt_caps caps = smt_invented_device(&(smt_invented){0});
    snprintf(path, sizeof path, "%s/test_graph_bytes-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    SMT_ASSERT_OK(smt_tiny_deepseek2(path, options, &err), &err);
    SMT_ASSERT_OK(smt_gguf_open(path, &o->gguf, &err), &err);
    remove(path);
    SMT_ASSERT_OK(smt_model_create(o->gguf, &o->model, &err), &err);
    SMT_ASSERT_OK(smt_items_create(o->model, &caps, &o->items, &err), &err);
}

static void close_tiny(opened *o) {
    smt_items_free(&o->items);
    smt_model_free(o->model);
    smt_gguf_free(o->gguf);
}

static void check_near(double got, double want, double within) {
    if (fabs(got - want) > within) fail_msg("%.3f bytes, %.3f expected", got, want);
}

static double bytes_of(const opened *o, uint32_t n_rows) { return smt_graph_weight_bytes(o->model, &o->items, n_rows); }

/* One row uses the active parameters and its row of the embedding table, whether or not that table is the output head too. */
static void test_one_row(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        opened o;
        open_tiny(&o, &(smt_tiny_options){.type = SMT_DTYPE_F32, .tied = tied});
        check_near(bytes_of(&o, 1), 4.0 * ((double)o.model->n_params_active + o.model->n_embd), 0.5);
        close_tiny(&o);
    }
}

/* Two rows share all but the embedding and the experts that only one of them chooses; very many rows read everything. */
static void test_many_rows(void **state) {
    (void)state;
    opened o;
    open_tiny(&o, &(smt_tiny_options){.type = SMT_DTYPE_F32, .n_layers = 3, .n_experts = 8, .n_used = 3});
    const smt_model *m = o.model;
    double expert = 3.0 * m->layers[2].gate_exps.rows * m->n_embd, layers = 2, touched = 8 * (1 - pow(5.0 / 8, 2));
    double more = layers * (touched - 3) * expert + m->n_embd;
    check_near(bytes_of(&o, 2) - bytes_of(&o, 1), 4 * more, 1);
    double table = (double)m->n_embd * m->n_vocab, rows = 1000;
    check_near(bytes_of(&o, 1000), 4 * ((double)m->n_params - table + rows * m->n_embd), 1);
    close_tiny(&o);
}

static void test_cache(void **state) {
    (void)state;
    opened o;
    open_tiny(&o, &(smt_tiny_options){.type = SMT_DTYPE_F32});
    double row = smt_model_cache_row(o.model), n_layers = o.model->n_layers;
    check_near(smt_graph_cache_bytes(o.model, false, 100, 1), 4 * row * n_layers * 101, 0.5);
    check_near(smt_graph_cache_bytes(o.model, true, 0, 64), 2 * row * n_layers * 64, 0.5);
    close_tiny(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_row), cmocka_unit_test(test_many_rows),
                                       cmocka_unit_test(test_cache)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
