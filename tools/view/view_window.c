/* view_window.c: the window: a texture that takes the canvas's changed rectangles, events, and the loop.
 *
 * The renderer is what SDL finds, its software renderer where there is no other. The picture is in pixels of the screen, so that on
 * dense screens letters are sharp; the mouse comes in points and is converted. When nothing moves, the loop waits for events. */
#include "view_app.h"

#include <SDL.h>

#include <math.h>
#include <string.h>

typedef struct window {
    SDL_Window *window;
    SDL_Renderer *renderer;
    SDL_Texture *texture;
    int w, h;       /* of the texture */
    double density; /* pixels for a point */
} window;

static bool open_window(window *win, const view_options *options) {
    SDL_SetHint(SDL_HINT_VIDEO_HIGHDPI_DISABLED, "0");
    if (SDL_Init(SDL_INIT_VIDEO) != 0) return false;
    win->window = SDL_CreateWindow("seamount-view", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, options->width,
                                   options->height, SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI);
    if (!win->window) return false;
    SDL_SetWindowMinimumSize(win->window, 480, 360);
    win->renderer = SDL_CreateRenderer(win->window, -1, SDL_RENDERER_ACCELERATED | SDL_RENDERER_PRESENTVSYNC);
    if (!win->renderer) win->renderer = SDL_CreateRenderer(win->window, -1, SDL_RENDERER_SOFTWARE);
    return win->renderer != NULL;
}

static void close_window(window *win) {
    if (win->texture) SDL_DestroyTexture(win->texture);
    if (win->renderer) SDL_DestroyRenderer(win->renderer);
    if (win->window) SDL_DestroyWindow(win->window);
}

/* Texture and canvas follow the window's size in pixels. */
static bool follow_size(window *win, view_app *app, char *message, size_t capacity) {
    int w, h, points_w, points_h;
    SDL_GetRendererOutputSize(win->renderer, &w, &h);
    SDL_GetWindowSize(win->window, &points_w, &points_h);
    if ((w == win->w && h == win->h) || w <= 0 || h <= 0) return true;
    if (win->texture) SDL_DestroyTexture(win->texture);
    win->texture = SDL_CreateTexture(win->renderer, SDL_PIXELFORMAT_ARGB8888, SDL_TEXTUREACCESS_STREAMING, w, h);
    win->w = w, win->h = h;
    win->density = points_w > 0 ? (double)w / points_w : 1;
    SDL_snprintf(message, capacity, "no texture of %d x %d: %s", w, h, SDL_GetError());
    double scale = app->options.scale > 0 ? app->options.scale : win->density;
    return win->texture && view_app_resize(app, w, h, scale, message, capacity);
}

void view_present(SDL_Renderer *renderer, SDL_Texture *texture, view_canvas *canvas) {
    if (canvas->n_dirty == 0) return;
    for (int i = 0; i < canvas->n_dirty; i++) {
        view_rect r = canvas->dirty[i];
        SDL_UpdateTexture(texture, &(SDL_Rect){r.x, r.y, r.w, r.h}, canvas->pixels + (size_t)r.y * (size_t)canvas->w + r.x,
                          canvas->w * (int)sizeof *canvas->pixels);
    }
    canvas->n_dirty = 0;
    SDL_RenderCopy(renderer, texture, NULL, NULL);
    SDL_RenderPresent(renderer);
}

static bool moves(const view_app *app) {
    return (app->source.live && !app->source.ended) || app->now < app->notice_until ||
           (!app->playing.paused && view_current(app) + 1 < app->model.n_tokens);
}

/* Beside a model the title says whether it is at work: that is seen when the window is hidden, too. */
static void set_title(window *win, const view_app *app) {
    const char *title = !app->source.live   ? "seamount-view"
                        : app->source.ended ? "seamount-view: waiting"
                                            : "seamount-view: at work";
    if (strcmp(SDL_GetWindowTitle(win->window), title)) SDL_SetWindowTitle(win->window, title);
}

static void take_event(window *win, view_app *app, const SDL_Event *event) {
    bool exposed = event->type == SDL_WINDOWEVENT && event->window.event == SDL_WINDOWEVENT_EXPOSED;
    if (exposed) view_touch(&app->canvas, (view_rect){0, 0, app->canvas.w, app->canvas.h});
    view_input(app, event, win->density);
}

/* Seconds a frame, where the screen does not set the pace. Beside a model at work half as many do: they may share a processor. */
static double pace(const view_app *app) {
    return app->source.live && !app->source.ended && app->playing.follow ? 1 / 30.0 : 1 / 60.0;
}

static bool loop(window *win, view_app *app, char *message, size_t capacity) {
    uint64_t frequency = SDL_GetPerformanceFrequency(), before = SDL_GetPerformanceCounter();
    while (!app->quit) {
        SDL_Event event;
        if (!moves(app) && SDL_WaitEventTimeout(&event, 250)) take_event(win, app, &event);
        while (SDL_PollEvent(&event)) take_event(win, app, &event);
        if (!follow_size(win, app, message, capacity)) return false;
        uint64_t now = SDL_GetPerformanceCounter();
        double seconds = (double)(now - before) / (double)frequency;
        before = now;
        SDL_snprintf(message, capacity, "out of memory");
        if (!view_app_frame(app, fmin(seconds, 0.25))) return false;
        set_title(win, app);
        view_present(win->renderer, win->texture, &app->canvas);
        double spent = (double)(SDL_GetPerformanceCounter() - now) / (double)frequency;
        if (moves(app) && spent < pace(app)) SDL_Delay((uint32_t)(1000 * (pace(app) - spent)));
    }
    return true;
}

int view_run_window(view_app *app) {
    window win = {.density = 1};
    char message[512];
    int status = VIEW_DONE;
    if (!open_window(&win, &app->options))
        status = view_fail(VIEW_FAILED, "no window: %s (--screenshot works without)", SDL_GetError());
    else if (!follow_size(&win, app, message, sizeof message) || !loop(&win, app, message, sizeof message))
        status = view_fail(VIEW_FAILED, "%s", message);
    close_window(&win);
    return status;
}
