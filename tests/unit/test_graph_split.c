/* test_graph_split.c: the nodes of a step on several devices, which share the layers or the experts of each: a device names what is its own,
 * and what it reads of another's has been brought by the host. */
#include "big_model.h"
#include "graph/graph.h"
#include "invented.h"
#include "support.h"
#include "tiny_model.h"

enum { MOST = 3 };

typedef struct fixture {
    smt_gguf *file;
    smt_model *model;
    smt_caps caps[MOST];
    smt_items items[MOST];
    smt_graph_device devices[MOST];
    uint32_t n;
    bool twins; /* the first two devices can have memory in common */
    smt_graph *graph;
} fixture;

static void open_tiny(fixture *f, const smt_tiny_options *options) {
    smt_error err;
    const char *path = smt_test_work("test_graph_split.gguf");
    *f = (fixture){0};
    SMT_ASSERT_OK(smt_tiny_deepseek2(path, options, &err), &err);
    SMT_ASSERT_OK(smt_gguf_open(path, &f->file, &err), &err);
    SMT_ASSERT_OK(smt_model_create(f->file, &f->model, &err), &err);
    remove(path);
}

/* Unlike devices: of both families, and one with small windows. */
static void use_devices(fixture *f, const smt_items_range *ranges, uint32_t n) {
    const smt_invented kinds[MOST] = {{0}, {.wave = true}, {.storage_align = 4096, .unified = true}};
    smt_error err;
    f->n = n;
    for (uint32_t i = 0; i < n; i++) {
        f->caps[i] = smt_invented_device(&kinds[i]);
        f->caps[i].external_memory_fd = f->twins;
        strcpy(f->caps[i].uuid_text, i < 2 ? "0123" : "4567");
        SMT_ASSERT_OK(smt_items_create_range(f->model, &f->caps[i], &ranges[i], &f->items[i], &err), &err);
        f->devices[i] = (smt_graph_device){&f->items[i], &f->caps[i]};
    }
}

static void drop_devices(fixture *f) {
    for (uint32_t i = 0; i < f->n; i++) smt_items_free(&f->items[i]);
}

static void close_model(fixture *f) {
    smt_model_free(f->model);
    smt_gguf_free(f->file);
}

/* ---- what holds for every split ---- */

/* What two devices can both have lies where it was sent; else it is brought. */
static void check_arrival(const fixture *f, const smt_value *from, const smt_value *to) {
    bool twins = f->twins && from->device < 2 && to->device < 2;
    assert_int_equal(to->kind, twins ? SMT_VALUE_HOP_PEER : SMT_VALUE_HOP_IN);
    if (!twins) return;
    assert_int_equal(to->peer, from->device);
    assert_int_equal(to->offset, from->offset);
    assert_true(f->graph->parts[from->device].lends);
}

static void check_hop(const fixture *f, const smt_node *node, bool *written) {
    const smt_graph *g = f->graph;
    const smt_value *from = &g->values[node->buffers[0]];
    assert_int_equal(from->kind, SMT_VALUE_HOP_OUT);
    assert_int_not_equal(from->device, node->device);
    assert_true(written[node->buffers[0]]);
    if (node->host != SMT_HOST_HOP) return;
    const smt_value *to = &g->values[node->buffers[1]];
    check_arrival(f, from, to);
    assert_int_equal(to->device, node->device);
    assert_true(node->copy_bytes <= from->bytes && node->copy_bytes <= to->bytes);
    written[node->buffers[1]] = true;
}

/* A node reads what is written, on its own device. */
static void check_reads(const smt_graph *g, uint32_t index, bool *written) {
    const smt_node *node = &g->nodes[index];
    for (uint32_t i = 0; i <= node->n_buffers; i++) {
        uint32_t id = i < node->n_buffers ? node->buffers[i] : node->indirect;
        if (id == SMT_NO_VALUE) continue;
        const smt_value *v = &g->values[id];
        bool write = i < node->n_buffers && (node->writes >> i & 1);
        bool made = v->kind == SMT_VALUE_SCRATCH || v->kind == SMT_VALUE_HOP_OUT || v->kind == SMT_VALUE_HOP_IN ||
                    v->kind == SMT_VALUE_HOP_PEER;
        if (v->device != node->device) fail_msg("node %u (%s): a value of another device", index, node->label);
        if (!write && made && !written[id]) fail_msg("node %u (%s) reads value %u", index, node->label, id);
    }
    for (uint32_t i = 0; i < node->n_buffers; i++)
        if (node->buffers[i] != SMT_NO_VALUE && (node->writes >> i & 1)) written[node->buffers[i]] = true;
}

static bool at_once(const smt_value *a, const smt_value *b) {
    if (a->kind == SMT_VALUE_SCRATCH) return a->first_node <= b->last_node && b->first_node <= a->last_node;
    return a->layer == b->layer; /* hops of a layer are under way together */
}

static void check_values(const smt_graph *g) {
    for (size_t i = 0; i < g->n_values; i++) {
        const smt_value *a = &g->values[i];
        const smt_graph_part *part = &g->parts[a->device];
        bool scratch = a->kind == SMT_VALUE_SCRATCH, in = a->kind == SMT_VALUE_HOP_IN;
        if ((!scratch && !in && a->kind != SMT_VALUE_HOP_OUT) || a->first_node == UINT32_MAX) continue;
        assert_true(a->offset + a->bytes <= (scratch ? part->scratch_bytes : in ? part->hop_in : part->hop_out));
        for (size_t j = 0; j < i; j++) {
            const smt_value *b = &g->values[j];
            if (b->kind != a->kind || b->device != a->device || b->first_node == UINT32_MAX || !at_once(a, b)) continue;
            if (a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes)
                fail_msg("values %zu and %zu (layers %u, %u) share bytes", i, j, a->layer, b->layer);
        }
    }
}

/* Segments hold every node once, of one device each; the host's stand alone. */
static void check_segments(const smt_graph *g) {
    for (size_t i = 0; i < g->n_segments; i++) {
        const smt_segment *s = &g->segments[i];
        if (s->to == 0) assert_int_equal(s->first, i ? g->segments[i - 1].last : 0);
        assert_int_equal(s->host, g->nodes[s->first].host != SMT_HOST_NONE);
        if (s->host) assert_int_equal(s->last, s->first + 1);
        bool reads = false;
        for (uint32_t n = s->first; n < s->last; n++) {
            const smt_node *node = &g->nodes[n];
            assert_int_equal(node->device, s->device);
            assert_false(node->ends_segment && n + 1 < s->last);
            reads |= node->copy && g->values[node->buffers[0]].kind == SMT_VALUE_HOP_PEER;
        }
        assert_int_equal(s->reads_peer, reads);
    }
    assert_int_equal(g->segments[g->n_segments - 1].last, g->n_nodes);
}

static uint32_t count(const smt_graph *g, uint32_t layer, const char *label) {
    uint32_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->nodes[i].layer == layer && !strcmp(g->nodes[i].label, label);
    return n;
}

static void check_graph(fixture *f, uint32_t rows, bool watched) {
    const smt_graph_shape shape = {.rows = rows,
                                   .out_rows = 1,
                                   .n_ctx = 512,
                                   .n_blocks = 2,
                                   .split = rows == 1,
                                   .keep_hidden = watched,
                                   .keep_routing = watched};
    smt_error err;
    SMT_ASSERT_OK(smt_graph_create_split(f->model, f->devices, f->n, &shape, &f->graph, &err), &err);
    const smt_graph *g = f->graph;
    bool *written = smt_alloc(g->n_values, 1);
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].host)
            check_hop(f, &g->nodes[i], written);
        else
            check_reads(g, i, written);
    }
    check_values(g);
    check_segments(g);
    smt_free(written);
}

/* ---- layers ---- */

static void test_layers(void **state) {
    (void)state;
    fixture f;
    open_tiny(&f, &(smt_tiny_options){.n_layers = 5});
    const smt_items_range ranges[] = {
        {.last = 2, .embedding = true}, {.first = 2, .last = 4}, {.first = 4, .last = 5, .head = true}};
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t rows = i % 2 ? 8 : 1, ends = 0;
        f.twins = i >= 2;
        use_devices(&f, ranges, MOST);
        check_graph(&f, rows, rows > 1);
        for (uint32_t l = 0; l < 5; l++) assert_int_equal(count(f.graph, l, "hop"), l == 2 || l == 4);
        for (size_t n = 0; n < f.graph->n_nodes; n++) ends += f.graph->nodes[n].ends_segment;
        assert_int_equal(ends, f.twins && rows > 1); /* where steps overlap, what is sent again soon is read at once */
        smt_graph_free(f.graph);
        drop_devices(&f);
    }
    close_model(&f);
}

/* ---- experts ---- */

/* Every range of a layer has one device; all devices have begun before anybody waits for one of them. */
static void check_layer(const fixture *f, uint32_t layer) {
    const smt_graph *g = f->graph;
    uint32_t ranges = 0, experts = 0, n_sharing = 0, waiting = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const smt_node *node = &g->nodes[i];
        if (node->layer != layer) continue;
        waiting += node->host == SMT_HOST_HOP && node->device == 0;
        if (node->host || node->copy) continue;
        const smt_items_range *range = &f->items[node->device].range;
        if (node->key.kernel == SMT_KERNEL_GROUP) {
            assert_int_equal(node->push.group.first_expert, range->first_expert);
            assert_int_equal(node->push.group.end_expert, range->end_expert);
            experts += range->end_expert - range->first_expert;
        } else if (node->key.kernel == SMT_KERNEL_PARTS) {
            assert_int_equal(node->push.parts.first_range * smt_graph_range_size(f->model), range->first_expert);
            ranges += node->groups[2];
            n_sharing++;
        }
        if (node->key.kernel == SMT_KERNEL_MATMUL && node->key.expert) assert_int_equal(waiting, 0);
    }
    assert_int_equal(experts, f->model->n_experts);
    assert_int_equal(ranges, smt_graph_ranges(f->model));
    assert_int_equal(n_sharing, f->items[0].n_experts ? f->n : f->n - 1);
    assert_int_equal(waiting, f->n - 1);
}

static void check_shared(fixture *f, const uint32_t *ends, uint32_t n) {
    smt_items_range ranges[MOST];
    for (uint32_t i = 0; i < n; i++)
        ranges[i] = (smt_items_range){.last = i ? 0 : f->model->n_layers,
                                      .embedding = i == 0,
                                      .head = i == 0,
                                      .shares_experts = true,
                                      .experts_only = i > 0,
                                      .first_expert = i ? ends[i - 1] : 0,
                                      .end_expert = ends[i]};
    f->twins = n > 2;
    use_devices(f, ranges, n);
    for (uint32_t rows = 1; rows <= 64; rows *= 8) {
        check_graph(f, rows, rows > 1);
        for (uint32_t l = 0; l < f->model->n_layers; l++) {
            if (f->model->layers[l].moe)
                check_layer(f, l);
            else
                assert_int_equal(count(f->graph, l, "hop"), 0);
        }
        smt_graph_free(f->graph);
    }
    drop_devices(f);
}

static void test_experts(void **state) {
    (void)state;
    fixture f;
    open_tiny(&f, &(smt_tiny_options){.n_experts = 20, .type = SMT_DTYPE_Q8_0}); /* ranges of 3, the last of 2 */
    assert_int_equal(smt_graph_ranges(f.model), 7);
    check_shared(&f, (const uint32_t[]){9, 20}, 2);
    check_shared(&f, (const uint32_t[]){0, 18, 20}, 3); /* the first one has none */
    close_model(&f);
    open_tiny(&f, &(smt_tiny_options){.n_experts = 16, .sigmoid = true, .q_lora = true, .type = SMT_DTYPE_IQ3_S});
    assert_int_equal(smt_graph_ranges(f.model), 8); /* groups of 2 */
    check_shared(&f, (const uint32_t[]){4, 6, 16}, 3);
    close_model(&f);
}

/* Items of a device that shares experts: these alone, and each matrix on one device. */
static void test_items(void **state) {
    (void)state;
    fixture f;
    open_tiny(&f, NULL);
    const smt_items_range ranges[] = {
        {.last = f.model->n_layers, .embedding = true, .head = true, .shares_experts = true, .end_expert = 5},
        {.shares_experts = true, .experts_only = true, .first_expert = 5, .end_expert = 8}};
    use_devices(&f, ranges, 2);
    smt_items whole;
    smt_error err;
    SMT_ASSERT_OK(smt_items_create(f.model, &f.caps[0], &whole, &err), &err);
    assert_int_equal(f.items[0].n_items + f.items[1].n_items, whole.n_items);
    for (uint32_t i = 0; i < f.items[1].n_items; i++) assert_in_range(f.items[1].items[i].expert, 5, 7);
    for (uint32_t l = 1; l < f.model->n_layers; l++)
        for (uint32_t e = 0; e < 8; e++) {
            const smt_items *items = &f.items[e >= 5];
            assert_int_equal(items->items[smt_items_expert(items, l, e)].expert, e);
            assert_int_equal(items->items[smt_items_expert(items, l, e)].layer, l);
        }
    assert_int_equal(smt_items_find(&f.items[0], &f.model->output), f.items[0].n_items - 1);
    assert_int_equal(smt_items_find(&f.items[1], &f.model->output), UINT32_MAX);
    smt_items_free(&whole);
    drop_devices(&f);
    close_model(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layers), cmocka_unit_test(test_experts),
                                       cmocka_unit_test(test_items)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
