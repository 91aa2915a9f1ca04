/* sampling.c: the sampler that the options describe: one place for what run and chat have in common.
 *
 * --logit-bias takes ID+BIAS and ID-BIAS as llama.cpp does; --ignore-eos is a ban of every end token. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool add(cli_biases *list, int32_t token, float bias) {
    if (!cli_reserve((void **)&list->at, &list->capacity, list->count + 1, sizeof *list->at)) return false;
    list->at[list->count++] = (smt_logit_bias){token, bias};
    return true;
}

/* "15043+1.5", "15043-2", "15043-inf". */
static bool parse(const char *text, int64_t *token, double *bias) {
    char *end;
    errno = 0;
    *token = strtoll(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || (*end != '+' && *end != '-')) return false;
    const char *number = end;
    if (!strcmp(number, "-inf")) {
        *bias = -INFINITY;
        return true;
    }
    *bias = strtod(number, &end);
    return *token <= INT32_MAX && *end == 0 && end > number + 1 && isfinite((float)*bias) &&
           strspn(number, "+-.0123456789eE") == strlen(number);
}

int cli_read_biases(const cli_args *args, cli_biases *out) {
    const cli_value *value = &args->values[OPT_LOGIT_BIAS];
    for (uint32_t i = 0; i < value->n_list; i++) {
        int64_t token;
        double bias;
        if (!parse(value->list[i], &token, &bias))
            return cli_fail(CLI_WRONG, "--logit-bias \"%s\" is neither ID+BIAS nor ID-BIAS", value->list[i]);
        if (!add(out, (int32_t)token, (float)bias)) return CLI_FAILED;
    }
    return CLI_DONE;
}

static int ban_ends(const smt_tokenizer *tokenizer, uint32_t n_vocab, cli_biases *list) {
    uint32_t n_texts = smt_tokenizer_size(tokenizer);
    for (uint32_t i = 0; i < n_vocab && i < n_texts; i++)
        if (smt_tokenizer_is_end(tokenizer, (int32_t)i) && !add(list, (int32_t)i, -INFINITY)) return CLI_FAILED;
    return CLI_DONE;
}

static uint64_t choose_seed(const cli_args *args) {
    if (cli_int(args, OPT_SEED) != -1) return (uint64_t)cli_int(args, OPT_SEED);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec) & INT64_MAX;
}

smt_sampler_options cli_sampler_options(const cli_args *args) {
    int64_t window = cli_int(args, OPT_REPEAT_LAST_N);
    smt_sampler_options options = {.struct_size = sizeof options,
                                   .temperature = (float)cli_real(args, OPT_TEMP),
                                   .top_k = (uint32_t)cli_int(args, OPT_TOP_K),
                                   .top_p = (float)cli_real(args, OPT_TOP_P),
                                   .min_p = (float)cli_real(args, OPT_MIN_P)};
    if (window != 0) {
        options.repeat_penalty = (float)cli_real(args, OPT_REPEAT_PENALTY);
        options.presence_penalty = (float)cli_real(args, OPT_PRESENCE_PENALTY);
        options.frequency_penalty = (float)cli_real(args, OPT_FREQUENCY_PENALTY);
        options.repeat_last = window < 0 ? UINT32_MAX : (uint32_t)window;
    }
    return options;
}

static int create(const cli_args *args, const cli_biases *list, smt_sampler **out) {
    smt_sampler_options options = cli_sampler_options(args);
    options.seed = choose_seed(args);
    options.n_biases = (uint32_t)list->count;
    options.biases = list->at;
    if (cli_flag(args, OPT_VERBOSE) && options.temperature > 0) fprintf(stderr, "seed: %llu\n", (unsigned long long)options.seed);
    smt_error err = {0};
    smt_status status = smt_sampler_create(&options, out, &err);
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

int cli_make_sampler(const cli_args *args, const smt_tokenizer *tokenizer, uint32_t n_vocab, cli_biases *biases,
                     smt_sampler **out) {
    int status = CLI_DONE;
    if (cli_flag(args, OPT_IGNORE_EOS)) status = ban_ends(tokenizer, n_vocab, biases);
    return status == CLI_DONE ? create(args, biases, out) : status;
}
