/* view_main.c: seamount-view: opens what the command line asks for, and runs it in a window or without one. */
#include "view_app.h"

#include <SDL.h>
#include <SDL_ttf.h>

#include <stdio.h>

int main(int argc, char **argv) {
    view_options options;
    int status;
    char message[600];
    static view_app app;
    if (!view_options_read(argc, argv, &options, &status)) return status;
    if (!view_app_open(&app, &options, message, sizeof message))
        status = view_fail(app.source.wrong ? VIEW_WRONG : VIEW_FAILED, "%s", message);
    else
        status = options.screenshot ? view_run_headless(&app) : view_run_window(&app);
    view_app_close(&app);
    if (TTF_WasInit()) TTF_Quit();
    SDL_Quit();
    return status;
}
