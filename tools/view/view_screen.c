/* view_screen.c: see view_screen.h. */
#include "view_screen.h"

#include <SDL.h>

#include <string.h>
#include <time.h>

double view_processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- opening ---- */

/* SDL's own software renderer, or an OpenGL that runs on the processor. */
static bool is_processor(SDL_Renderer *renderer) {
    static const char *const names[] = {"llvmpipe", "softpipe", "SwiftShader"};
    enum { RENDERER = 0x1f01 }; /* GL_RENDERER */
    SDL_RendererInfo info;
    if (SDL_GetRendererInfo(renderer, &info) != 0 || (info.flags & SDL_RENDERER_SOFTWARE)) return true;
    if (strncmp(info.name, "opengl", 6)) return false;
    const unsigned char *(*get)(unsigned) = (const unsigned char *(*)(unsigned))(uintptr_t)SDL_GL_GetProcAddress("glGetString");
    const char *name = get ? (const char *)get(RENDERER) : NULL;
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strstr(name, names[i])) return true;
    return false;
}

/* Whether the window's memory holds pixels as the canvas does. */
static bool has_memory(SDL_Window *window) {
    const SDL_Surface *surface = SDL_GetWindowSurface(window);
    return surface && (surface->format->format == SDL_PIXELFORMAT_RGB888 || surface->format->format == SDL_PIXELFORMAT_ARGB8888);
}

static SDL_Renderer *find_gpu(SDL_Window *window) {
    SDL_Renderer *renderer = SDL_CreateRenderer(window, -1, SDL_RENDERER_ACCELERATED | SDL_RENDERER_PRESENTVSYNC);
    if (!renderer || !is_processor(renderer)) return renderer;
    SDL_DestroyRenderer(renderer);
    return NULL;
}

bool view_screen_open(view_screen *s, int w, int h, bool hidden) {
    *s = (view_screen){.density = 1, .whole = true};
    SDL_SetHint(SDL_HINT_VIDEO_HIGHDPI_DISABLED, "0");
    if (hidden) SDL_SetHintWithPriority(SDL_HINT_VIDEODRIVER, "dummy", SDL_HINT_OVERRIDE);
    if (SDL_Init(SDL_INIT_VIDEO) != 0) return false;
    if (!strcmp(SDL_GetCurrentVideoDriver(), "x11"))
        SDL_SetHint(SDL_HINT_FRAMEBUFFER_ACCELERATION, "0"); /* memory is to be memory */
    uint32_t flags = hidden ? 0 : SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI;
    s->window = SDL_CreateWindow("seamount-view", SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED, w, h, flags);
    if (!s->window) return false;
    if (!hidden) SDL_SetWindowMinimumSize(s->window, 480, 360);
    s->renderer = find_gpu(s->window);
    if (s->renderer || has_memory(s->window)) return true;
    s->renderer = SDL_CreateRenderer(s->window, -1, SDL_RENDERER_SOFTWARE);
    return s->renderer != NULL;
}

void view_screen_close(view_screen *s) {
    if (s->texture) SDL_DestroyTexture(s->texture);
    if (s->renderer) SDL_DestroyRenderer(s->renderer);
    if (s->window) SDL_DestroyWindow(s->window);
    *s = (view_screen){0};
}

/* ---- size ---- */

bool view_screen_follow(view_screen *s, bool *out_changed) {
    int w, h, points_w, points_h;
    *out_changed = false;
    if (s->renderer)
        SDL_GetRendererOutputSize(s->renderer, &w, &h);
    else {
        const SDL_Surface *surface = SDL_GetWindowSurface(s->window);
        if (!surface) return false;
        w = surface->w, h = surface->h;
    }
    if ((w == s->w && h == s->h) || w <= 0 || h <= 0) return true;
    SDL_GetWindowSize(s->window, &points_w, &points_h);
    s->density = points_w > 0 ? (double)w / points_w : 1;
    s->w = w, s->h = h;
    s->whole = *out_changed = true;
    if (!s->renderer) return true;
    if (s->texture) SDL_DestroyTexture(s->texture);
    s->texture = SDL_CreateTexture(s->renderer, SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_STREAMING, w, h);
    return s->texture != NULL;
}

/* ---- showing ---- */

static const uint32_t *row_of(const view_canvas *canvas, view_rect r, int y) {
    return canvas->pixels + (size_t)y * (size_t)canvas->w + r.x;
}

static void show_texture(view_screen *s, const view_canvas *canvas) {
    for (int i = 0; i < canvas->n_dirty; i++) {
        view_rect r = canvas->dirty[i];
        SDL_UpdateTexture(s->texture, &(SDL_Rect){r.x, r.y, r.w, r.h}, row_of(canvas, r, r.y),
                          canvas->w * (int)sizeof *canvas->pixels);
    }
    SDL_RenderCopy(s->renderer, s->texture, NULL, NULL);
    SDL_RenderPresent(s->renderer);
}

/* Copies the rows that changed; the rectangle that holds them all, h 0 where there are none. */
static SDL_Rect copy_rows(const view_canvas *canvas, view_rect r, SDL_Surface *to) {
    int first = r.y + r.h, last = r.y - 1;
    for (int y = r.y; y < r.y + r.h; y++) {
        uint8_t *row = (uint8_t *)to->pixels + (size_t)y * (size_t)to->pitch + (size_t)r.x * sizeof(uint32_t);
        size_t bytes = (size_t)r.w * sizeof(uint32_t);
        if (!memcmp(row, row_of(canvas, r, y), bytes)) continue;
        memcpy(row, row_of(canvas, r, y), bytes);
        first = y < first ? y : first;
        last = y;
    }
    return (SDL_Rect){r.x, first, r.w, last < first ? 0 : last - first + 1};
}

static void show_memory(view_screen *s, const view_canvas *canvas) {
    SDL_Surface *surface = SDL_GetWindowSurface(s->window);
    SDL_Rect changed[VIEW_MAX_DIRTY];
    int n = 0;
    if (!surface || surface->w != canvas->w || surface->h != canvas->h) return; /* the next frame has the new size */
    for (int i = 0; i < canvas->n_dirty; i++) {
        changed[n] = copy_rows(canvas, canvas->dirty[i], surface);
        n += changed[n].h > 0;
    }
    if (s->whole) { /* the surface may be a new one */
        copy_rows(canvas, (view_rect){0, 0, canvas->w, canvas->h}, surface);
        SDL_UpdateWindowSurface(s->window);
    } else if (n > 0)
        SDL_UpdateWindowSurfaceRects(s->window, changed, n);
}

void view_screen_show(view_screen *s, view_canvas *canvas) {
    if (canvas->n_dirty == 0 && !s->whole) return;
    if (s->renderer)
        show_texture(s, canvas);
    else
        show_memory(s, canvas);
    canvas->n_dirty = 0;
    s->whole = false;
}
