/* test_radv_stats.c: what AMD's compiler makes of every kernel that a V2-Lite model needs, in the types that its files are published in,
 * against the table tests/data/radv_stats.csv: no spilled register, and no estimated time (inverse throughput) more than a tenth above the
 * table's. The figures are the compiler's own and the same on every machine, but not for every version of it: the table names the one it
 * was made with (the one that tools/deps.sh --newer-mesa unpacks), and with another, or none, this test reports "skipped".
 *
 * SMT_RADV_MANIFEST names the driver's manifest where it is not in build-mesa. SMT_RADV_RECORD=FILE writes the table instead, from all
 * families: tools/bench/record_radv.sh does that. By default one family is checked, with SMT_TEST_FULL all five. */
#include "big_model.h"
#include "kernel_support.h"
#include "vk_support.h"

#include "run/run.h"

#include <unistd.h>

#define WORSE      1.10 /* times the table's inverse throughput */
#define MOST_LINES 4096

static const char *const families[] = {"navi31", "polaris10", "vega10", "navi21", "gfx1201"};

typedef struct line {
    char family[16], kernel[96];
    double vgprs, spills, occupancy, inverse_throughput;
    bool seen;
} line;

static struct {
    line *lines; /* [n]: the table as read, or as made */
    size_t n;
    char driver[256]; /* that it was made with */
    uint32_t worse;   /* kernels that a check found wrong */
} table;

static bool set(const char *name) {
    const char *text = getenv(name);
    return text && *text && strcmp(text, "0") != 0;
}

static bool choose_family(const char *family) {
    const char *given = getenv("SMT_RADV_MANIFEST"),
               *manifest = given ? given : SMT_TEST_DATA "/../../build-mesa/radeon_icd.json";
    if (access(manifest, R_OK) != 0) return false;
    setenv("VK_ICD_FILENAMES", manifest, 1);
    setenv("VK_DRIVER_FILES", manifest, 1);
    setenv("RADV_FORCE_FAMILY", family, 1);
    setenv("MESA_SHADER_CACHE_DISABLE", "true", 1); /* statistics come from compiling */
    return true;
}

/* ---- the table ---- */

static line *find(const char *family, const char *kernel) {
    for (size_t i = 0; i < table.n; i++)
        if (!strcmp(table.lines[i].family, family) && !strcmp(table.lines[i].kernel, kernel)) return &table.lines[i];
    return NULL;
}

static void read_table(void) {
    char text[512];
    FILE *file = fopen(SMT_TEST_DATA "/radv_stats.csv", "r");
    assert_non_null(file);
    table.n = 0;
    for (uint32_t number = 1; fgets(text, sizeof text, file); number++) {
        line *l = &table.lines[table.n];
        if (sscanf(text, "# driver: %255[^\n]", table.driver) == 1 || !strncmp(text, "family,", 7)) continue;
        assert_true(table.n < MOST_LINES);
        *l = (line){0};
        if (sscanf(text, "%15[^,],%95[^,],%lf,%lf,%lf,%lf", l->family, l->kernel, &l->vgprs, &l->spills, &l->occupancy,
                   &l->inverse_throughput) != 6)
            fail_msg("radv_stats.csv:%u: %s", number, text);
        table.n++;
    }
    fclose(file);
    assert_true(table.n > 0 && table.driver[0]);
}

static void write_table(const char *path) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "# driver: %s\nfamily,kernel,vgprs,spills,occupancy,inverse_throughput\n", table.driver);
    for (size_t i = 0; i < table.n; i++) {
        const line *l = &table.lines[i];
        fprintf(file, "%s,%s,%.0f,%.0f,%.0f,%.0f\n", l->family, l->kernel, l->vgprs, l->spills, l->occupancy,
                l->inverse_throughput);
    }
    assert_int_equal(fclose(file), 0);
}

/* ---- kernels ---- */

static void complain(const char *family, const char *kernel, const char *what, double now, double before) {
    fprintf(stderr, "%s on %s: %s %g, the table has %g\n", kernel, family, what, now, before);
    table.worse++;
}

static void check(const char *family, const char *kernel, const smt_vk_kernel_stats *stats) {
    line *known = find(family, kernel);
    if (stats->spills != 0) complain(family, kernel, "spilled registers", stats->spills, known ? known->spills : 0);
    if (!known) {
        fprintf(stderr, "%s on %s is not in the table\n", kernel, family);
        table.worse++;
        return;
    }
    known->seen = true;
    if (stats->inverse_throughput > WORSE * known->inverse_throughput)
        complain(family, kernel, "inverse throughput", stats->inverse_throughput, known->inverse_throughput);
}

static void take(smt_vk_device *device, const char *family, const smt_kernel_key *key, bool record) {
    smt_kernel_spec spec;
    smt_vk_kernel_stats stats;
    smt_test_kernel_stats(device, key, &spec, &stats);
    if (!record) {
        check(family, spec.label, &stats);
        return;
    }
    assert_true(table.n < MOST_LINES);
    line *l = &table.lines[table.n++];
    *l = (line){.vgprs = stats.vgprs,
                .spills = stats.spills,
                .occupancy = stats.occupancy,
                .inverse_throughput = stats.inverse_throughput};
    snprintf(l->family, sizeof l->family, "%s", family);
    snprintf(l->kernel, sizeof l->kernel, "%s", spec.label);
}

typedef struct key_list {
    smt_kernel_key keys[512];
    size_t n;
} key_list;

static void add_graph(key_list *list, const smt_graph *graph) {
    for (size_t i = 0; i < graph->n_nodes; i++) {
        bool known = graph->nodes[i].copy;
        for (size_t j = 0; j < list->n && !known; j++) known = smt_kernel_equal(&list->keys[j], &graph->nodes[i].key);
        if (known) continue;
        assert_true(list->n < SMT_COUNT(list->keys));
        list->keys[list->n++] = graph->nodes[i].key;
    }
}

/* The kernels of a token, of a short and of a long prompt, exact, fast and fast with cooperative matrices, on a model whose matrices are all of one type. False: no such files here. */
static bool add_model(key_list *list, const smt_caps *caps, smt_dtype type) {
    static const uint32_t rows[] = {1, 8, 512};
    smt_big_shape shape = smt_big_v2_lite;
    smt_gguf *file;
    smt_model *model;
    smt_items items;
    smt_error err;
    shape.type = type;
    shape.split = true;
    if (!smt_big_open(&shape, &file)) return false;
    SMT_ASSERT_OK(smt_model_create(file, &model, &err), &err);
    SMT_ASSERT_OK(smt_items_create(model, caps, &items, &err), &err);
    for (size_t i = 0; i < 3 * SMT_COUNT(rows); i++) {
        const smt_run_options options = {.cache_f16 = true, .fast = i % 3 > 0, .coop = i % 3 == 2};
        smt_graph_shape step = smt_run_expected_shape(model, &options, rows[i / 3]);
        smt_graph *graph;
        SMT_ASSERT_OK(smt_graph_create(model, &items, caps, &step, &graph, &err), &err);
        add_graph(list, graph);
        smt_graph_free(graph);
    }
    smt_items_free(&items);
    smt_model_free(model);
    smt_gguf_free(file);
    return true;
}

/* ---- families ---- */

/* False: the driver is not the table's. */
static bool same_driver(const smt_caps *caps, bool record) {
    if (record) snprintf(table.driver, sizeof table.driver, "%s", caps->driver_info);
    if (!strcmp(caps->driver_info, table.driver)) return true;
    fprintf(stderr, "skipped: the driver is %s, the table was made with %s\n", caps->driver_info, table.driver);
    return false;
}

static bool run_family(const char *family, bool record) {
    static const smt_dtype types[] = {SMT_DTYPE_Q4_K, SMT_DTYPE_Q5_0, SMT_DTYPE_Q6_K,
                                      SMT_DTYPE_Q8_0, SMT_DTYPE_F16,  SMT_DTYPE_F32};
    static key_list list;
    smt_vk *vk;
    smt_vk_device *device;
    smt_error err;
    /* No validation: under a layer that is older than an extension, the device is taken not to have it. */
    if (smt_vk_open(&(smt_vk_options){0}, &vk, &err) != SMT_OK) return false;
    SMT_ASSERT_OK(smt_vk_device_create(vk, 0, &(smt_vk_device_options){0}, &device, &err), &err);
    const smt_caps *caps = smt_vk_device_caps(device);
    list.n = 0;
    bool usable = same_driver(caps, record);
    for (size_t i = 0; i < SMT_COUNT(types) && usable; i++) usable = add_model(&list, caps, types[i]);
    for (size_t i = 0; i < list.n && usable; i++) take(device, family, &list.keys[i], record);
    smt_vk_device_destroy(device);
    smt_vk_close(vk);
    return usable;
}

static void test_table(void **state) {
    (void)state;
    const char *record = getenv("SMT_RADV_RECORD");
    size_t n = record || set("SMT_TEST_FULL") ? SMT_COUNT(families) : 1;
    if (!record) read_table();
    for (size_t i = 0; i < n; i++)
        if (!choose_family(families[i]) || !run_family(families[i], record != NULL)) skip();
    if (record) {
        write_table(record);
        return;
    }
    for (size_t i = 0; i < table.n; i++)
        for (size_t j = 0; j < n; j++)
            if (!table.lines[i].seen && !strcmp(table.lines[i].family, families[j])) {
                fprintf(stderr, "%s on %s is in the table, but no model needs it\n", table.lines[i].kernel, families[j]);
                table.worse++;
            }
    if (table.worse)
        fail_msg("%u kernels differ from the table; on purpose: tools/bench/record_radv.sh writes it anew", table.worse);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table)};
    table.lines = calloc(MOST_LINES, sizeof *table.lines);
    int failed = table.lines ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    free(table.lines);
    return failed;
}
