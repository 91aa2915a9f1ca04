/* view_play.c: the playhead: at which token the picture stands, and how it moves on by itself.
 *
 *   following   at the newest token, whatever its speed (live runs begin so; End comes back to it)
 *   playing     onwards at playing.speed tokens a second, until the last token
 *   paused      where it is; the engine, if there is one, goes on all the same */
#include "view_app.h"

#include <math.h>

enum { SLOWEST = 1, FASTEST = 4096 }; /* quarters of a token, tokens a second */

static double last(const view_app *app) { return app->model.n_tokens ? app->model.n_tokens - 1 : 0; }

uint32_t view_current(const view_app *app) {
    double at = app->playing.at < last(app) ? app->playing.at : last(app);
    return (uint32_t)at;
}

uint32_t view_shown(const view_app *app) { return app->token != NOTHING ? app->token : view_current(app); }

void view_play_advance(view_app *app, double seconds) {
    view_playing *play = &app->playing;
    if (play->paused) return;
    play->at = play->follow ? last(app) : play->at + seconds * play->speed;
    if (play->at > last(app)) play->at = last(app);
}

void view_play_seek(view_app *app, double token) {
    app->playing.at = token < 0 ? 0 : token > last(app) ? last(app) : token;
    app->playing.follow = app->source.live && token >= last(app);
}

void view_play_step(view_app *app, int tokens) {
    app->playing.paused = true;
    view_play_seek(app, (double)view_current(app) + tokens);
}

void view_play_toggle(view_app *app) {
    view_playing *play = &app->playing;
    play->paused = !play->paused;
    if (play->paused)
        play->at = floor(play->at);
    else if (!app->source.live && play->at >= last(app))
        play->at = 0; /* from the beginning again */
}

void view_play_speed(view_app *app, double factor) {
    view_playing *play = &app->playing;
    play->speed = fmin(fmax(play->speed * factor, SLOWEST / 4.0), FASTEST);
    play->follow = false;
    view_say(app, "%g tokens a second", play->speed);
}
