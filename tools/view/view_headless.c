/* view_headless.c: --screenshot: the same frames without a screen, one for each token, the last one written to a file.
 *
 * A window of SDL's dummy driver takes the picture, so that the whole way is exercised and its time is measured. The clock is not the
 * real one: a frame is as long as a token, so the picture does not depend on the machine's speed. */
#include "view_app.h"
#include "view_screen.h"

#include <SDL.h>

#include <stdio.h>

/* Waits until the live run has the token, or has ended. */
static bool wait_for(view_app *app, uint32_t token) {
    while (app->source.live && !app->source.ended && app->model.n_tokens <= token) {
        SDL_Delay(2);
        if (!view_live_poll(&app->source, view_filter_filled(app))) return false;
    }
    return true;
}

static void stand_at(view_app *app, uint32_t token) {
    view_play_seek(app, token);
    app->playing.follow = false;
}

static bool draw_frames(view_app *app, view_screen *screen, uint64_t *n_frames) {
    uint32_t token = (uint32_t)app->options.at;
    uint64_t most = app->options.frames ? (uint64_t)app->options.frames : UINT64_MAX;
    for (*n_frames = 0; *n_frames < most; token++) {
        if (!wait_for(app, token)) return false;
        if (token >= app->model.n_tokens && *n_frames > 0) break;
        stand_at(app, token);
        if (!view_app_frame(app, 0)) return false;
        view_screen_show(screen, &app->canvas);
        ++*n_frames;
    }
    view_app_relayout(app); /* the last one with every figure of its own */
    return view_app_frame(app, 0);
}

static int export(view_app *app, char *message, size_t capacity) {
    const view_options *o = &app->options;
    if (!view_export_png(app, o->screenshot, message, capacity) || (o->csv && !view_export_csv(app, o->csv, message, capacity)) ||
        (o->regions && !view_export_regions(app, o->regions, message, capacity)))
        return view_fail(VIEW_FAILED, "%s", message);
    if (app->source.failed) return view_fail(VIEW_FAILED, "%s", app->source.status);
    return VIEW_DONE;
}

int view_run_headless(view_app *app) {
    view_screen screen;
    char message[512];
    uint64_t n_frames = 0;
    bool changed;
    double scale = app->options.scale > 0 ? app->options.scale : 1;
    int w = (int)(app->options.width * scale), h = (int)(app->options.height * scale), status;
    if (!view_screen_open(&screen, w, h, true) || !view_screen_follow(&screen, &changed))
        status = view_fail(VIEW_FAILED, "SDL without a screen: %s", SDL_GetError());
    else if (!view_app_resize(app, w, h, scale, message, sizeof message))
        status = view_fail(VIEW_FAILED, "%s", message);
    else if (app->source.live && !view_live_begin(&app->source))
        status = view_fail(VIEW_FAILED, "no thread for the model");
    else {
        double start = view_processor_seconds();
        bool drawn = draw_frames(app, &screen, &n_frames);
        double seconds = view_processor_seconds() - start;
        if (app->options.verbose)
            fprintf(stderr, "frames: %llu, %.3f ms of processor time each\n", (unsigned long long)n_frames,
                    n_frames ? 1000 * seconds / (double)n_frames : 0);
        status = drawn ? export(app, message, sizeof message) : view_fail(VIEW_FAILED, "out of memory");
    }
    view_screen_close(&screen);
    return status;
}
