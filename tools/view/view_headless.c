/* view_headless.c: --screenshot: the same frames without a screen, one for each token, the last one written to a file.
 *
 * SDL's dummy driver and software renderer take the picture as a window would, so that the whole way is exercised and its time is
 * measured. The clock is not the real one: a frame is as long as a token, so the picture does not depend on the machine's speed. */
#include "view_app.h"

#include <SDL.h>

#include <stdio.h>
#include <time.h>

typedef struct screen {
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture;
} screen;

/* Of this thread, which draws: a model at work has others. */
static double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bool open_screen(screen *s, int w, int h) {
    SDL_SetHintWithPriority(SDL_HINT_VIDEODRIVER, "dummy", SDL_HINT_OVERRIDE);
    if (SDL_Init(SDL_INIT_VIDEO) != 0) return false;
    s->window = SDL_CreateWindow("seamount-view", 0, 0, w, h, 0);
    if (s->window) s->renderer = SDL_CreateRenderer(s->window, -1, SDL_RENDERER_SOFTWARE);
    if (s->renderer) s->texture = SDL_CreateTexture(s->renderer, SDL_PIXELFORMAT_ARGB8888, SDL_TEXTUREACCESS_STREAMING, w, h);
    return s->texture != NULL;
}

static void close_screen(screen *s) {
    if (s->texture) SDL_DestroyTexture(s->texture);
    if (s->renderer) SDL_DestroyRenderer(s->renderer);
    if (s->window) SDL_DestroyWindow(s->window);
}

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

static bool draw_frames(view_app *app, screen *s, uint64_t *n_frames) {
    uint32_t token = (uint32_t)app->options.at;
    uint64_t most = app->options.frames ? (uint64_t)app->options.frames : UINT64_MAX;
    for (*n_frames = 0; *n_frames < most; token++) {
        if (!wait_for(app, token)) return false;
        if (token >= app->model.n_tokens && *n_frames > 0) break;
        stand_at(app, token);
        if (!view_app_frame(app, 0)) return false;
        view_present(s->renderer, s->texture, &app->canvas);
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
    screen s = {0};
    char message[512];
    uint64_t n_frames = 0;
    double scale = app->options.scale > 0 ? app->options.scale : 1;
    int w = (int)(app->options.width * scale), h = (int)(app->options.height * scale), status;
    if (!open_screen(&s, w, h))
        status = view_fail(VIEW_FAILED, "SDL without a screen: %s", SDL_GetError());
    else if (!view_app_resize(app, w, h, scale, message, sizeof message))
        status = view_fail(VIEW_FAILED, "%s", message);
    else {
        double start = processor_seconds();
        bool drawn = draw_frames(app, &s, &n_frames);
        double seconds = processor_seconds() - start;
        if (app->options.verbose)
            fprintf(stderr, "frames: %llu, %.3f ms of processor time each\n", (unsigned long long)n_frames,
                    n_frames ? 1000 * seconds / (double)n_frames : 0);
        status = drawn ? export(app, message, sizeof message) : view_fail(VIEW_FAILED, "out of memory");
    }
    close_screen(&s);
    return status;
}
