/* view_draw.c: filling and blending in memory; see view_draw.h. */
#include "view_draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool view_canvas_resize(view_canvas *canvas, int w, int h) {
    uint32_t *pixels = calloc((size_t)w * (size_t)h, sizeof *pixels);
    if (!pixels) return false;
    free(canvas->pixels);
    *canvas = (view_canvas){.pixels = pixels, .w = w, .h = h, .clip = {0, 0, w, h}};
    view_touch(canvas, canvas->clip);
    return true;
}

void view_canvas_free(view_canvas *canvas) {
    free(canvas->pixels);
    *canvas = (view_canvas){0};
}

view_rect view_common(view_rect a, view_rect b) {
    int x0 = a.x > b.x ? a.x : b.x, y0 = a.y > b.y ? a.y : b.y;
    int x1 = a.x + a.w < b.x + b.w ? a.x + a.w : b.x + b.w, y1 = a.y + a.h < b.y + b.h ? a.y + a.h : b.y + b.h;
    if (x1 <= x0 || y1 <= y0) return (view_rect){x0, y0, 0, 0};
    return (view_rect){x0, y0, x1 - x0, y1 - y0};
}

static view_rect around(view_rect a, view_rect b) {
    int x0 = a.x < b.x ? a.x : b.x, y0 = a.y < b.y ? a.y : b.y;
    int x1 = a.x + a.w > b.x + b.w ? a.x + a.w : b.x + b.w, y1 = a.y + a.h > b.y + b.h ? a.y + a.h : b.y + b.h;
    return (view_rect){x0, y0, x1 - x0, y1 - y0};
}

void view_touch(view_canvas *canvas, view_rect rect) {
    rect = view_common(rect, (view_rect){0, 0, canvas->w, canvas->h});
    if (rect.w == 0) return;
    if (canvas->n_dirty < VIEW_MAX_DIRTY)
        canvas->dirty[canvas->n_dirty++] = rect;
    else
        canvas->dirty[VIEW_MAX_DIRTY - 1] = around(canvas->dirty[VIEW_MAX_DIRTY - 1], rect);
}

void view_fill(view_canvas *canvas, view_rect rect, uint32_t colour) {
    rect = view_common(rect, canvas->clip);
    if (rect.w == 0) return;
    uint32_t *first = canvas->pixels + (size_t)rect.y * (size_t)canvas->w + rect.x;
    for (int x = 0; x < rect.w; x++) first[x] = colour;
    for (int y = 1; y < rect.h; y++) memcpy(first + (size_t)y * (size_t)canvas->w, first, (size_t)rect.w * sizeof *first);
}

void view_frame(view_canvas *canvas, view_rect r, int thickness, uint32_t colour) {
    if (2 * thickness >= r.w || 2 * thickness >= r.h) {
        view_fill(canvas, r, colour);
        return;
    }
    view_fill(canvas, (view_rect){r.x, r.y, r.w, thickness}, colour);
    view_fill(canvas, (view_rect){r.x, r.y + r.h - thickness, r.w, thickness}, colour);
    view_fill(canvas, (view_rect){r.x, r.y + thickness, thickness, r.h - 2 * thickness}, colour);
    view_fill(canvas, (view_rect){r.x + r.w - thickness, r.y + thickness, thickness, r.h - 2 * thickness}, colour);
}

static void blend_pixel(view_canvas *canvas, int x, int y, double coverage, uint32_t colour) {
    if (coverage <= 0 || !view_inside(canvas->clip, x, y)) return;
    uint32_t *pixel = canvas->pixels + (size_t)y * (size_t)canvas->w + x;
    *pixel = view_mix(*pixel, colour, coverage >= 1 ? 256u : (uint32_t)(coverage * 256));
}

void view_round(view_canvas *canvas, view_rect r, int radius, uint32_t colour) {
    int most = (r.w < r.h ? r.w : r.h) / 2;
    if (radius > most) radius = most;
    view_fill(canvas, (view_rect){r.x, r.y + radius, r.w, r.h - 2 * radius}, colour);
    view_fill(canvas, (view_rect){r.x + radius, r.y, r.w - 2 * radius, radius}, colour);
    view_fill(canvas, (view_rect){r.x + radius, r.y + r.h - radius, r.w - 2 * radius, radius}, colour);
    for (int dy = 0; dy < radius; dy++)
        for (int dx = 0; dx < radius; dx++) {
            double coverage = radius + 0.5 - hypot(radius - dx - 0.5, radius - dy - 0.5);
            blend_pixel(canvas, r.x + dx, r.y + dy, coverage, colour);
            blend_pixel(canvas, r.x + r.w - 1 - dx, r.y + dy, coverage, colour);
            blend_pixel(canvas, r.x + dx, r.y + r.h - 1 - dy, coverage, colour);
            blend_pixel(canvas, r.x + r.w - 1 - dx, r.y + r.h - 1 - dy, coverage, colour);
        }
}

/* Coverage is the distance of a pixel's middle from the segment, so the ends are round and joints of several lines are whole. */
void view_line(view_canvas *canvas, double x0, double y0, double x1, double y1, double width, uint32_t colour) {
    double half = width / 2, dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy;
    view_rect box = {(int)floor(fmin(x0, x1) - half - 1), (int)floor(fmin(y0, y1) - half - 1), 0, 0};
    box.w = (int)ceil(fmax(x0, x1) + half + 1) - box.x;
    box.h = (int)ceil(fmax(y0, y1) + half + 1) - box.y;
    box = view_common(box, canvas->clip);
    for (int y = box.y; y < box.y + box.h; y++)
        for (int x = box.x; x < box.x + box.w; x++) {
            double px = x + 0.5 - x0, py = y + 0.5 - y0;
            double along = length2 > 0 ? (px * dx + py * dy) / length2 : 0;
            along = along < 0 ? 0 : along > 1 ? 1 : along;
            blend_pixel(canvas, x, y, half + 0.5 - hypot(px - along * dx, py - along * dy), colour);
        }
}

void view_mask(view_canvas *canvas, int x, int y, const uint8_t *mask, int w, int h, int stride, uint32_t colour) {
    view_rect r = view_common((view_rect){x, y, w, h}, canvas->clip);
    for (int v = r.y; v < r.y + r.h; v++) {
        uint32_t *row = canvas->pixels + (size_t)v * (size_t)canvas->w;
        const uint8_t *cover = mask + (size_t)(v - y) * (size_t)stride - x;
        for (int u = r.x; u < r.x + r.w; u++)
            if (cover[u]) row[u] = view_mix(row[u], colour, cover[u] + (cover[u] >> 7));
    }
}
