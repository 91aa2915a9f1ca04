/* view_options.c: one table of options and the parser over it; see view_options.h. */
#include "view_options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum kind { FLAG, TEXT, INTEGER, REAL, SIZE, SHARES, SPLIT } kind;

typedef struct row {
    const char *short_name, *name;
    kind kind;
    size_t at; /* in view_options */
    double low, high, standard;
    const char *value, *help;
} row;

#define AT(field) offsetof(view_options, field)
static const row rows[] = {
    {"-m", "model", TEXT, AT(model), 0, 0, 0, "FILE",
     "the model to run, a GGUF file; default: the small one that comes with seamount"},
    {"-p", "prompt", TEXT, AT(prompt), 0, 0, 0, "TEXT", "the text to continue"},
    {NULL, "chat", FLAG, AT(chat), 0, 0, 0, NULL, "a conversation: -p is its first message, further ones are typed (Enter)"},
    {"-n", "n-predict", INTEGER, AT(n_predict), -1, INT32_MAX, 256, "N",
     "tokens to generate at most; -1: as many as fit; default: 256"},
    {NULL, "record", TEXT, AT(record), 0, 0, 0, "FILE", "write what was seen to a trace file"},
    {NULL, "replay", TEXT, AT(replay), 0, 0, 0, "FILE", "show a trace file; needs neither model nor Vulkan"},
    {NULL, "compare", TEXT, AT(compare), 0, 0, 0, "FILE", "with --replay: a second trace beside it, and the difference"},
    {NULL, "session", INTEGER, AT(session), -1, INT32_MAX, -1, "N",
     "with --replay: only tokens of this session of several; -1: all"},
    {NULL, "speed", REAL, AT(speed), 0, 4096, 0, "N", "tokens a second; default: a live run's own, 30 for traces"},
    {NULL, "paused", FLAG, AT(paused), 0, 0, 0, NULL, "begin paused"},
    {NULL, "load-map", FLAG, AT(load_map), 0, 0, 0, NULL, "begin with the load so far, not with the token's experts"},
    {NULL, "light", FLAG, AT(light), 0, 0, 0, NULL, "dark on light"},
    {NULL, "safe-colours", FLAG, AT(safe), 0, 0, 0, NULL, "colours that colour-blind eyes tell apart"},
    {NULL, "window", SIZE, 0, 0, 0, 0, "WxH", "size of the window; default: 1280x800"},
    {NULL, "scale", REAL, AT(scale), 0.5, 8, 0, "X", "size of everything in it; default: as the screen asks"},
    {NULL, "font-dir", TEXT, AT(font_dir), 0, 0, 0, "DIR", "where the DejaVu fonts lie"},
    {NULL, "screenshot", TEXT, AT(screenshot), 0, 0, 0, "OUT.png", "no window: write the last frame and end"},
    {NULL, "frames", INTEGER, AT(frames), 1, INT32_MAX, 0, "N",
     "with --screenshot: frames to draw, one for each token; default: until the last token"},
    {NULL, "at", INTEGER, AT(at), 0, INT32_MAX, 0, "N", "begin at this token of a trace, from 0"},
    {NULL, "csv", TEXT, AT(csv), 0, 0, 0, "OUT.csv", "with --screenshot: write the statistics too"},
    {NULL, "regions", TEXT, AT(regions), 0, 0, 0, "OUT.json", "with --screenshot: write where in the picture everything is"},
    {"-c", "ctx-size", INTEGER, AT(ctx_size), 0, INT32_MAX, 0, "N",
     "positions the cache holds; 0: the model's own, at most 4096"},
    {"-s", "seed", INTEGER, AT(seed), -1, 9e15, -1, "N", "of the random choice; -1: a new one each time"},
    {NULL, "temp", REAL, AT(temp), 0, 1e6, 0.8, "T", "temperature; 0: always the likeliest token"},
    {NULL, "top-k", INTEGER, AT(top_k), 0, INT32_MAX, 40, "K", "choose among the K likeliest; 0: off"},
    {NULL, "top-p", REAL, AT(top_p), 0, 1, 0.95, "P", "choose among the likeliest that together reach P; 1: off"},
    {NULL, "min-p", REAL, AT(min_p), 0, 1, 0.05, "P", "leave out what is less likely than P times the likeliest; 0: off"},
    {"-dev", "device", TEXT, AT(device), 0, 0, 0, "LIST", "by id (vk0), start of the UUID, or part of the name"},
    {"-ts", "tensor-split", SHARES, 0, 0, 0, 0, "LIST",
     "shares of the layers, or with -sm expert of the experts, for the devices of -dev, such as 3,1; default: by speed and "
     "memory"},
    {"-sm", "split-mode", SPLIT, 0, 0, 0, 0, "WHAT",
     "what several devices share: layer (default), or expert: those of every layer, all else on the first"},
    {NULL, "cache-dir", TEXT, AT(cache_dir), 0, 0, 0, "DIR",
     "compiled kernels are kept here; default: seamount in the user's cache folder; empty: nowhere"},
    {"-v", "verbose", FLAG, AT(verbose), 0, 0, 0, NULL,
     "say more on stderr: the speed of the answer; with --screenshot, the time a frame took"},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

int view_fail(int status, const char *format, ...) {
    va_list list;
    char words[1024];
    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    for (char *c = words; *c; c++)
        if ((unsigned char)*c < ' ') *c = ' ';
    fprintf(stderr, "seamount-view: %s\n", words);
    return status;
}

/* ---- values ---- */

static bool read_number(const row *r, const char *text, double *out) {
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    if (*text && !*end && !errno && *out >= r->low && *out <= r->high && (r->kind == REAL || *out == floor(*out))) return true;
    view_fail(VIEW_WRONG, "--%s \"%s\" is not %s from %g to %g", r->name, text, r->kind == REAL ? "a number" : "an integer",
              r->low, r->high);
    return false;
}

static bool read_size(const char *text, view_options *options) {
    char rest;
    if (sscanf(text, "%dx%d%c", &options->width, &options->height, &rest) == 2 && options->width >= 320 &&
        options->height >= 240 && options->width <= 16384 && options->height <= 16384)
        return true;
    view_fail(VIEW_WRONG, "--window \"%s\" is not WIDTHxHEIGHT of 320x240 at least", text);
    return false;
}

/* Numbers separated by commas or slashes. How many there have to be, the library knows. */
static bool read_shares(const char *text, view_options *options) {
    char *end;
    options->n_shares = 0;
    for (const char *at = text; options->n_shares < VIEW_MAX_SHARES; at = end + 1) {
        double share = strtod(at, &end);
        if (end == at || !(share >= 0) || !strchr(",/", *end)) break;
        options->shares[options->n_shares++] = share;
        if (!*end) return true;
    }
    view_fail(VIEW_WRONG, "-ts \"%s\": not a list of at most %d shares, such as 3,1", text, VIEW_MAX_SHARES);
    return false;
}

static bool read_split(const char *text, view_options *options) {
    options->split = !strcmp(text, "expert") ? SMT_SPLIT_EXPERT : SMT_SPLIT_LAYER;
    if (!strcmp(text, "expert") || !strcmp(text, "layer")) return true;
    view_fail(VIEW_WRONG, "-sm \"%s\": neither layer nor expert", text);
    return false;
}

static bool set(const row *r, const char *text, view_options *options) {
    char *field = (char *)options + r->at;
    double number;
    if (r->kind == SIZE) return read_size(text, options);
    if (r->kind == SHARES) return read_shares(text, options);
    if (r->kind == SPLIT) return read_split(text, options);
    if (r->kind == TEXT) {
        *(const char **)(void *)field = text;
        return true;
    }
    if (r->kind == FLAG) {
        *(bool *)(void *)field = !text || !strcmp(text, "1");
        if (!text || !strcmp(text, "1") || !strcmp(text, "0")) return true;
        view_fail(VIEW_WRONG, "SEAMOUNT_ option for --%s: \"%s\" is neither 1 nor 0", r->name, text);
        return false;
    }
    if (!read_number(r, text, &number)) return false;
    if (r->kind == INTEGER)
        *(int64_t *)(void *)field = (int64_t)number;
    else
        *(double *)(void *)field = number;
    return true;
}

static bool read_environment(view_options *options) {
    for (int i = 0; i < N_ROWS; i++) {
        char name[64] = "SEAMOUNT_";
        for (size_t n = strlen(name), k = 0; rows[i].name[k] && n + 1 < sizeof name; k++, n++) {
            char c = rows[i].name[k];
            name[n] = c == '-' ? '_' : (char)(c - 'a' + 'A');
            name[n + 1] = 0;
        }
        const char *text = system_environment(name);
        if (text && !set(&rows[i], text, options)) return false;
    }
    return true;
}

/* ---- words ---- */

static void print_help(void) {
    printf("usage: seamount-view [-m FILE] [-p TEXT] | --replay TRACE\n\n"
           "Shows which experts a model uses, token by token: of a run, or of a recorded trace.\n\n");
    for (int i = 0; i < N_ROWS; i++) {
        char words[64];
        snprintf(words, sizeof words, "%s%s--%s %s", rows[i].short_name ? rows[i].short_name : "", rows[i].short_name ? ", " : "",
                 rows[i].name, rows[i].value ? rows[i].value : "");
        printf("  %-26s %s\n", words, rows[i].help);
    }
    printf("\nEach can be set in the environment: --ctx-size as SEAMOUNT_CTX_SIZE. H in the window lists its keys.\n");
}

static void print_version(void) {
    uint32_t version = smt_version();
    printf("seamount-view %u.%u.%u\n", version / 10000, version / 100 % 100, version % 100);
}

static const row *find(const char *word, const char **value) {
    *value = NULL;
    for (int i = 0; i < N_ROWS; i++) {
        size_t n = strlen(rows[i].name);
        if (rows[i].short_name && !strcmp(word, rows[i].short_name)) return &rows[i];
        if (strncmp(word, "--", 2) || strncmp(word + 2, rows[i].name, n)) continue;
        if (word[2 + n] == 0) return &rows[i];
        if (word[2 + n] == '=' && rows[i].kind != FLAG) {
            *value = word + 3 + n;
            return &rows[i];
        }
    }
    return NULL;
}

static bool read_words(int argc, char **argv, view_options *options) {
    for (int i = 1; i < argc; i++) {
        const char *value;
        const row *r = find(argv[i], &value);
        if (!r) {
            view_fail(VIEW_WRONG, "\"%s\" is no option: --help lists them", argv[i]);
            return false;
        }
        if (r->kind != FLAG && !value && ++i == argc) {
            view_fail(VIEW_WRONG, "--%s needs a value", r->name);
            return false;
        }
        if (!set(r, r->kind == FLAG ? NULL : value ? value : argv[i], options)) return false;
    }
    return true;
}

/* Words that contradict each other. */
static bool consistent(const view_options *o) {
    const char *wrong = NULL;
    if (o->compare && !o->replay) wrong = "--compare needs --replay";
    if (o->session >= 0 && (!o->replay || o->compare)) wrong = "--session goes with --replay of one trace";
    if (o->replay && (o->model || o->prompt || o->chat || o->record))
        wrong = "--replay shows a trace: -m, -p, --chat and --record do not go with it";
    if (o->n_shares && !(o->device && *o->device)) wrong = "-ts is for the devices of -dev, which is not there";
    if (!o->screenshot && (o->csv || o->regions || o->frames)) wrong = "--frames, --csv and --regions go with --screenshot";
    if (!o->replay && !o->prompt && (!o->chat || o->screenshot))
        wrong = "what to show? -p TEXT to run the model on it, or --replay TRACE";
    if (wrong) view_fail(VIEW_WRONG, "%s", wrong);
    return !wrong;
}

bool view_options_read(int argc, char **argv, view_options *options, int *exit_status) {
    *options = (view_options){.width = 1280, .height = 800};
    for (int i = 0; i < N_ROWS; i++) {
        char *field = (char *)options + rows[i].at;
        if (rows[i].kind == INTEGER) *(int64_t *)(void *)field = (int64_t)rows[i].standard;
        if (rows[i].kind == REAL) *(double *)(void *)field = rows[i].standard;
    }
    *exit_status = VIEW_DONE;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) return print_help(), false;
        if (!strcmp(argv[i], "--version")) return print_version(), false;
    }
    *exit_status = VIEW_WRONG;
    return read_environment(options) && read_words(argc, argv, options) && consistent(options);
}

/* ---- folders ---- */

const char *view_model_path(const view_options *options) {
    static const char *const folders[] = {SEAMOUNT_DATA_DIR, SEAMOUNT_ASSETS_DIR};
    return options->model && *options->model ? options->model : system_find_data("seamount-coder.gguf", folders, 2);
}

const char *view_cache_dir(const view_options *options) {
    static char path[4096];
    if (options->cache_dir) return *options->cache_dir ? options->cache_dir : NULL;
    return system_user_folder(SYSTEM_CACHE, path, sizeof path) ? path : NULL;
}
