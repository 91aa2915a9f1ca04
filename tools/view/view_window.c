/* view_window.c: the window: events, and the loop.
 *
 * The picture is in pixels of the screen, so that on dense screens letters are sharp; the mouse comes in points and is converted. When
 * nothing moves, the loop waits for events. Beside a model at work it draws as often as a small share of the processors allows: a picture
 * every 33 to 250 ms, and sooner for whoever touches mouse or keys. */
#include "view_app.h"
#include "view_screen.h"

#include <SDL.h>

#include <math.h>
#include <string.h>

/* Canvas and fonts follow the window's size. */
static bool follow_size(view_screen *screen, view_app *app, char *message, size_t capacity) {
    bool changed;
    if (!view_screen_follow(screen, &changed)) {
        SDL_snprintf(message, capacity, "nothing to draw on: %s", SDL_GetError());
        return false;
    }
    if (!changed) return true;
    double scale = app->options.scale > 0 ? app->options.scale : screen->density;
    return view_app_resize(app, screen->w, screen->h, scale, message, capacity);
}

static bool moves(const view_app *app) {
    return (app->source.live && !app->source.ended) || app->now < app->notice_until ||
           (!app->playing.paused && view_current(app) + 1 < app->model.n_tokens);
}

/* Beside a model the title says whether it is at work: that is seen when the window is hidden, too. */
static void set_title(const view_screen *screen, const view_app *app) {
    const char *title = !app->source.live   ? "seamount-view"
                        : app->source.ended ? "seamount-view: waiting"
                                            : "seamount-view: at work";
    if (strcmp(SDL_GetWindowTitle(screen->window), title)) SDL_SetWindowTitle(screen->window, title);
}

static void take_event(view_screen *screen, view_app *app, const SDL_Event *event) {
    screen->whole |= event->type == SDL_WINDOWEVENT &&
                     (event->window.event == SDL_WINDOWEVENT_EXPOSED || event->window.event == SDL_WINDOWEVENT_SIZE_CHANGED);
    view_input(app, event, screen->density);
}

/* ---- pace ---- */

/* What drawing may take of all processors beside a model at work, which may compute on them; the screen takes about as much again. */
#define SHARE 0.0025

typedef struct pace {
    double now;  /* when this frame began, seconds */
    double cost; /* of a frame, processor time: the mean of the last ones */
} pace;

static double seconds(void) { return (double)SDL_GetPerformanceCounter() / (double)SDL_GetPerformanceFrequency(); }

/* Seconds from one frame to the next, where the screen does not set the pace, and as long as nobody touches the window. */
static double period(const view_app *app, const pace *p) {
    if (!app->source.live || app->source.ended) return 1 / 60.0;
    return fmin(fmax(p->cost / (SHARE * SDL_GetCPUCount()), 1 / 30.0), 1 / 4.0);
}

/* Until the next frame is due, or something happens. */
static void wait_for_events(view_screen *screen, view_app *app, const pace *p) {
    double left = moves(app) ? period(app, p) - (seconds() - p->now) : 0.25;
    SDL_Event event;
    if (left > 0 && SDL_WaitEventTimeout(&event, (int)(1000 * left + 0.5))) {
        take_event(screen, app, &event);
        double soon = 1 / 60.0 - (seconds() - p->now); /* a mouse has hundreds of events a second */
        if (soon > 0) SDL_Delay((uint32_t)(1000 * soon));
    }
    while (SDL_PollEvent(&event)) take_event(screen, app, &event);
}

/* ---- the loop ---- */

static bool loop(view_screen *screen, view_app *app, char *message, size_t capacity) {
    pace p = {.now = seconds()};
    while (!app->quit) {
        wait_for_events(screen, app, &p);
        if (!follow_size(screen, app, message, capacity)) return false;
        double before = p.now, start = view_processor_seconds();
        p.now = seconds();
        SDL_snprintf(message, capacity, "out of memory");
        if (!view_app_frame(app, fmin(p.now - before, 0.25))) return false;
        set_title(screen, app);
        view_screen_show(screen, &app->canvas);
        SDL_snprintf(message, capacity, "no thread for the model");
        if (app->source.live && !view_live_begin(&app->source)) return false; /* opening a window takes processors too */
        p.cost += (view_processor_seconds() - start - p.cost) / 4;
    }
    return true;
}

int view_run_window(view_app *app) {
    view_screen screen;
    char message[512];
    int status = VIEW_DONE;
    if (!view_screen_open(&screen, app->options.width, app->options.height, false))
        status = view_fail(VIEW_FAILED, "no window: %s (--screenshot works without)", SDL_GetError());
    else if (!follow_size(&screen, app, message, sizeof message) || !loop(&screen, app, message, sizeof message))
        status = view_fail(VIEW_FAILED, "%s", message);
    view_screen_close(&screen);
    return status;
}
