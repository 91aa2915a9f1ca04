/* cmd_kernels.c: `kernels`: compiles what a model needs (or the whole catalogue) on one device and reports each row; with --self-test each
 * is run, too. Exit status 1 if one does not compile or gives wrong results; the words about it go to stderr. */
#include "cli.h"

typedef struct report {
    json_t *document; /* NULL: text */
    unsigned count, failed;
} report;

/* Negative numbers stand for "unknown". */
static json_t *json_known(double value) { return value >= 0 ? json_real(value) : json_null(); }

/* Register and byte counts are whole numbers. */
static json_t *json_known_count(double value) { return value >= 0 ? json_integer((json_int_t)value) : json_null(); }

static void print_known(double value, int width) {
    if (value >= 0)
        cli_print(" %*.0f", width, value);
    else
        cli_print(" %*s", width, "-");
}

static void take(void *user, const smt_kernel_info *info) {
    report *r = user;
    r->count++;
    cli_progress_clear();
    if (!info->ok) {
        r->failed++;
        fprintf(stderr, "%s %s: %s\n", info->kernel, info->variant, info->message ? info->message : "did not compile");
    }
    if (r->document) {
        json_array_append_new(r->document,
                              json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "kernel", cli_json_text(info->kernel),
                                        "variant", cli_json_text(info->variant), "compile_ms",
                                        json_known(info->ok ? info->compile_ms : -1), "vgprs", json_known_count(info->vgprs),
                                        "spills", json_known_count(info->spills), "lds", json_known_count(info->lds), "occupancy",
                                        json_known(info->occupancy), "inverse_throughput", json_known(info->inverse_throughput)));
        return;
    }
    if (r->count == 1)
        cli_print("%-16s %-28s %9s %6s %6s %7s %6s %9s\n", "kernel", "variant", "ms", "vgprs", "spills", "lds", "waves",
                  "inv.thr.");
    cli_print("%-16s %-28s", info->kernel, info->variant);
    if (info->ok)
        cli_print(" %9.1f", info->compile_ms);
    else
        cli_print(" %9s", "failed");
    print_known(info->vgprs, 6);
    print_known(info->spills, 6);
    print_known(info->lds, 7);
    print_known(info->occupancy, 6);
    print_known(info->inverse_throughput, 9);
    cli_print("\n");
}

int cmd_kernels(const cli_args *args) {
    bool all = cli_flag(args, OPT_ALL);
    if (!all && !cli_need_model(args)) return CLI_WRONG;
    smt_device_options options;
    cli_device_options(args, &options);
    cli_watch_interrupts(NULL);
    report r = {.document = cli_flag(args, OPT_JSON) ? json_array() : NULL};
    smt_error err = {0};
    smt_status status = smt_kernels_compile(&options, all ? NULL : cli_model(args), take, &r, &err);
    cli_progress_clear();
    if (status != SMT_OK && r.count == 0) {
        json_decref(r.document);
        return cli_fail_device(args, status, &err);
    }
    if (r.document && !cli_write_json(r.document, false)) return CLI_FAILED;
    if (r.failed)
        return cli_fail(CLI_FAILED, "%u of %u kernels %s", r.failed, r.count,
                        status == SMT_WRONG_RESULT ? "give wrong results" : "did not compile");
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}
