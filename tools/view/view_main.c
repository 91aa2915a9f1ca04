/* view_main.c: seamount-view: opens what the command line asks for, and runs it in a window or without one. */
#include "vector_width.h"
#include "view_app.h"

#include <SDL.h>
#include <SDL_ttf.h>

#include <stdio.h>

/* Of the last answer, as `seamount run -v` says it: from the end of its prompt. */
static void tell_speed(view_app *app) {
    const view_model *m = view_filter_filled(app);
    uint32_t n = 0;
    while (n + 1 < m->n_tokens && m->tokens[m->n_tokens - 1 - n].step_tokens == 1) n++;
    if (n == 0) return;
    double seconds = m->tokens[m->n_tokens - 1].end_s - m->tokens[m->n_tokens - 1 - n].end_s;
    fprintf(stderr, "answer: %u tokens, %.1f tokens/s\n", n, seconds > 0 ? n / seconds : 0);
}

int main(int argc, char **argv) {
    view_options options;
    int status;
    if (!system_start(&argc, &argv)) return view_fail(VIEW_FAILED, "out of memory");
    vector_width_ask();
    char message[600];
    static view_app app;
    if (!view_options_read(argc, argv, &options, &status)) return status;
    if (!view_app_open(&app, &options, message, sizeof message))
        status = view_fail(app.source.wrong ? VIEW_WRONG : VIEW_FAILED, "%s", message);
    else
        status = options.screenshot ? view_run_headless(&app) : view_run_window(&app);
    if (options.verbose && app.source.live) tell_speed(&app);
    view_app_close(&app);
    if (TTF_WasInit()) TTF_Quit();
    SDL_Quit();
    return status;
}
