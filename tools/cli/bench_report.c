/* bench_report.c: what bench has measured, as two tables for people (markdown), one line a test (CSV), or a list of objects (JSON).
 *
 * GB are 10^9 bytes. bytes_per_token are those that have to be read at least (see smt_profile); gb_s is how fast they were read, and
 * bandwidth_share that speed in parts of what the device reads at best, measured in the same call. */
#include "bench.h"

#include <math.h>
#include <string.h>

/* The figures of one test that follow from others. */
typedef struct figures {
    double bytes, gb_s, share; /* share: negative where the bandwidth is not known */
    double dense_ms, moe_ms;   /* mean of the layers without and with experts; negative: there are none */
} figures;

static double mean_ms(const double *seconds, uint32_t first, uint32_t last) {
    double sum = 0;
    for (uint32_t i = first; i < last; i++) sum += seconds[i];
    return last > first ? sum / (last - first) * 1e3 : -1;
}

static figures derive(const bench_setup *setup, const bench_test *t) {
    const smt_profile *p = &t->profile;
    figures f = {.bytes = (p->weight_bytes + p->cache_bytes) / t->step_tokens,
                 .dense_ms = mean_ms(p->layer_s, 0, setup->n_dense_layers),
                 .moe_ms = mean_ms(p->layer_s, setup->n_dense_layers, setup->n_layers)};
    f.gb_s = f.bytes * t->median / 1e9;
    f.share = setup->read_bytes_s > 0 ? f.gb_s * 1e9 / setup->read_bytes_s : -1;
    return f;
}

/* ---- JSON ---- */

static json_t *known(double value) { return value >= 0 ? json_real(value) : json_null(); }

static json_t *numbers(const double *values, uint32_t n, double factor) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) json_array_append_new(list, json_real(values[i] * factor));
    return list;
}

static json_t *profile_json(const bench_setup *setup, const bench_test *t, const figures *f) {
    const smt_profile *p = &t->profile;
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:f, s:f, s:f, s:f, s:o}", "clock",
                     p->device_clock ? "device" : "host", "dispatches", (json_int_t)p->n_dispatches, "stages",
                     (json_int_t)p->n_stages, "submissions", (json_int_t)p->n_submissions, "layer_dispatches",
                     (json_int_t)p->layer_dispatches, "layer_stages", (json_int_t)p->layer_stages, "dense_layer_ms",
                     known(f->dense_ms), "moe_layer_ms", known(f->moe_ms), "embed_ms", p->embed_s * 1e3, "head_ms",
                     p->head_s * 1e3, "longest_submission_ms", p->longest_submission_s * 1e3, "hop_ms", p->hop_s * 1e3,
                     "layer_ms", numbers(p->layer_s, setup->n_layers, 1e3));
}

static json_t *test_json(const bench_setup *setup, const bench_test *t) {
    figures f = derive(setup, t);
    json_t *object =
        json_pack("{s:s, s:f, s:f, s:f, s:f, s:o, s:f, s:s, s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:o, s:f, s:f, s:o}", "test",
                  t->name, "tok_s", t->median, "tok_s_spread", t->spread, "bytes_per_token", f.bytes, "gb_s", f.gb_s,
                  "bandwidth_share", known(f.share), "dispatches_per_token", t->dispatches, "precision", setup->precision,
                  "driver", setup->driver, "model", cli_json_text(setup->model), "device", cli_json_text(setup->device),
                  "cache_type", setup->cache_type, "n_prompt", (json_int_t)t->n_prompt, "n_gen", (json_int_t)t->n_gen, "n_depth",
                  (json_int_t)t->depth, "samples", numbers(t->samples, setup->repetitions, 1), "warmup_s", t->warmup_s, "load_s",
                  setup->load_s, "read_gb_s", known(setup->read_bytes_s > 0 ? setup->read_bytes_s / 1e9 : -1));
    json_object_set_new(object, "submissions_per_token", json_real(t->submissions));
    if (t->expert_hits + t->expert_misses > 0)
        json_object_set_new(object, "slots",
                            json_pack("{s:f, s:f, s:f, s:f}", "hits_per_token", t->expert_hits, "misses_per_token",
                                      t->expert_misses, "link_bytes_per_token", t->link_bytes, "copied_bytes_per_token",
                                      t->copied_bytes));
    json_object_set_new(object, "profile", profile_json(setup, t, &f));
    return object;
}

static int report_json(const bench_setup *setup, const bench_test *tests, size_t n_tests) {
    json_t *list = json_array();
    for (size_t i = 0; i < n_tests; i++) json_array_append_new(list, test_json(setup, &tests[i]));
    return cli_write_json(list, false) ? CLI_DONE : CLI_FAILED;
}

/* ---- CSV ---- */

/* In quotes, which are doubled inside. */
static void print_quoted(const char *text) {
    cli_print("\"");
    for (; *text; text++) {
        if (*text == '"') cli_print("\"");
        cli_print_safe(text, 1);
    }
    cli_print("\"");
}

static void print_known(double value) {
    if (value >= 0)
        cli_print(",%.4f", value);
    else
        cli_print(",");
}

static void print_csv(const bench_setup *setup, const bench_test *t) {
    const smt_profile *p = &t->profile;
    figures f = derive(setup, t);
    cli_print("%s,%.3f,%.3f,%.0f,%.3f", t->name, t->median, t->spread, f.bytes, f.gb_s);
    print_known(f.share);
    cli_print(",%.3f,%s,", t->dispatches, setup->precision);
    print_quoted(setup->driver);
    cli_print(",");
    print_quoted(setup->model);
    cli_print(",");
    print_quoted(setup->device);
    cli_print(",%s,%u,%u", setup->cache_type, p->layer_dispatches, p->layer_stages);
    print_known(f.dense_ms);
    print_known(f.moe_ms);
    cli_print(",%.4f,%.4f,%s,%.3f,%.3f\n", p->head_s * 1e3, p->longest_submission_s * 1e3, p->device_clock ? "device" : "host",
              t->warmup_s, setup->load_s);
}

static int report_csv(const bench_setup *setup, const bench_test *tests, size_t n_tests) {
    cli_print("test,tok_s,tok_s_spread,bytes_per_token,gb_s,bandwidth_share,dispatches_per_token,precision,driver,model,device,"
              "cache_type,layer_dispatches,layer_stages,dense_layer_ms,moe_layer_ms,head_ms,longest_submission_ms,clock,warmup_s,"
              "load_s\n");
    for (size_t i = 0; i < n_tests; i++) print_csv(setup, &tests[i]);
    return CLI_DONE;
}

/* ---- markdown ---- */

static void print_cell(double value, int decimals, const char *unit) {
    if (value >= 0)
        cli_print(" %.*f%s |", decimals, value, unit);
    else
        cli_print(" - |");
}

static void print_speed(const bench_setup *setup, const bench_test *t) {
    figures f = derive(setup, t);
    cli_print("| %s | %.2f | %.2f | %.1f | %.2f |", t->name, t->median, t->spread, f.bytes / 1e6, f.gb_s);
    print_cell(f.share < 0 ? -1 : f.share * 100, 1, " %");
    cli_print(" %.2f | %.3f |\n", t->dispatches, t->warmup_s);
}

static void print_slots(const bench_test *t) {
    double all = t->expert_hits + t->expert_misses;
    if (all > 0)
        cli_print("\n%s: %.1f %% of %.2f experts a token found in slots; %.2f MB a token read in place, %.2f MB copied\n",
                  t->name, 100 * t->expert_hits / all, all, t->link_bytes / 1e6, t->copied_bytes / 1e6);
}

static void print_profile(const bench_setup *setup, const bench_test *t) {
    const smt_profile *p = &t->profile;
    figures f = derive(setup, t);
    cli_print("| %s | %u | %u | %u |", t->name, t->step_tokens, p->layer_dispatches, p->layer_stages);
    print_cell(f.dense_ms, 3, "");
    print_cell(f.moe_ms, 3, "");
    cli_print(" %.3f | %u | %.1f |\n", p->head_s * 1e3, p->n_submissions, p->longest_submission_s * 1e3);
}

static int report_md(const bench_setup *setup, const bench_test *tests, size_t n_tests) {
    cli_print("model: ");
    cli_print_safe(setup->model, strlen(setup->model));
    cli_print("  \ndevice: %s, driver %s, ", setup->device, setup->driver);
    if (setup->read_bytes_s > 0)
        cli_print("reads %.1f GB/s  \n", setup->read_bytes_s / 1e9);
    else
        cli_print("read bandwidth unknown  \n");
    cli_print("precision: %s, cache %s; %u repetitions, medians; loading took %.2f s\n\n", setup->precision, setup->cache_type,
              setup->repetitions, setup->load_s);
    cli_print("| test | tok/s | spread | MB/token | GB/s | of device | dispatches/token | warm-up s |\n"
              "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < n_tests; i++) print_speed(setup, &tests[i]);
    for (size_t i = 0; i < n_tests; i++) print_slots(&tests[i]);
    cli_print("\nOne step in parts, by the %s's clock:\n\n", n_tests && tests[0].profile.device_clock ? "device" : "host");
    cli_print("| test | tokens | dispatches/layer | stages/layer | dense layer ms | MoE layer ms | output head ms | submissions "
              "| longest ms |\n"
              "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < n_tests; i++) print_profile(setup, &tests[i]);
    return CLI_DONE;
}

int bench_report(const bench_setup *setup, const bench_test *tests, size_t n_tests, bench_format format) {
    if (format == BENCH_JSON) return report_json(setup, tests, n_tests);
    return format == BENCH_CSV ? report_csv(setup, tests, n_tests) : report_md(setup, tests, n_tests);
}
