/* view_options.h: the command line of seamount-view. Every option has a mirror in the environment, SEAMOUNT_ and the long name in
 * capitals; the command line goes before it. Whatever is wrong is one line on stderr and exit status 2. */
#ifndef VIEW_OPTIONS_H
#define VIEW_OPTIONS_H

#include "seamount.h"
#include "system.h"

#include <stdbool.h>
#include <stdint.h>

enum { VIEW_DONE = 0, VIEW_FAILED = 1, VIEW_WRONG = 2 };
enum { VIEW_MAX_SHARES = 64 };

typedef struct view_options {
    const char *model, *prompt, *device, *cache_dir; /* NULL: not given */
    const char *replay, *compare, *record;
    const char *screenshot, *csv, *regions, *font_dir;
    bool chat, light, safe, load_map, paused, verbose;
    int64_t n_predict, ctx_size, seed, frames, at, top_k, session; /* session -1: all */
    double temp, top_p, min_p, speed, scale;                       /* speed 0: live: as the model goes; replay: 30 */
    int width, height;                                             /* of the window, in points */
    double shares[VIEW_MAX_SHARES];                                /* [n_shares] of the devices; none: the library's choice */
    uint32_t n_shares;
    smt_split_mode split;
} view_options;

/* Fills *options, or deals with the whole call (help, version, anything wrong): then returns false and *exit_status says how. */
bool view_options_read(int argc, char **argv, view_options *options, int *exit_status);
/* "seamount-view: " and the line on stderr; returns `status`. */
SYSTEM_PRINTF(2, 3) int view_fail(int status, const char *format, ...);
/* The model to load: the one given, else the small one that comes with seamount; NULL where that is missing. */
const char *view_model_path(const view_options *options);
/* Where compiled kernels are kept: the folder given, else the user's own; NULL: nowhere. */
const char *view_cache_dir(const view_options *options);

#endif
