/* view_export.c: what leaves the program: the picture as PNG, the statistics as CSV, the places of things as JSON. */
#include "view_app.h"

#include <png.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without filters: flat colours and letters become smaller so, and quickly. */
bool view_export_png(const view_app *app, const char *path, char *message, size_t capacity) {
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)app->canvas.w,
                       .height = (png_uint_32)app->canvas.h,
                       .format = PNG_FORMAT_RGB,
                       .flags = PNG_IMAGE_FLAG_FAST};
    size_t n = (size_t)app->canvas.w * (size_t)app->canvas.h;
    uint8_t *rgb = malloc(3 * n + 1);
    snprintf(message, capacity, "%s: out of memory", path);
    if (!rgb) return false;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++) rgb[3 * i + (size_t)c] = (uint8_t)(app->canvas.pixels[i] >> (16 - 8 * c));
    bool written = png_image_write_to_file(&image, path, 0, rgb, 3 * app->canvas.w, NULL);
    if (!written) snprintf(message, capacity, "%s: %s", path, image.message);
    free(rgb);
    return written;
}

/* ---- files of text ---- */

static FILE *open_file(const char *path, char *message, size_t capacity) {
    FILE *file = system_open(path, "wb");
    if (!file) snprintf(message, capacity, "%s: %s", path, strerror(errno));
    return file;
}

static bool close_file(FILE *file, const char *path, char *message, size_t capacity) {
    bool good = !ferror(file);
    good = fclose(file) == 0 && good;
    if (!good) snprintf(message, capacity, "%s: could not be written: %s", path, strerror(errno));
    return good;
}

/* One row an expert. The text fields are the library's own words and have neither commas nor quotes but for device names. */
static void write_quoted(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) fprintf(file, *text == '"' ? "\"\"" : "%c", *text);
    fputc('"', file);
}

static void write_layer(FILE *file, const view_app *app, uint32_t moe) {
    const smt_trace_model *shape = app->model.shape;
    const smt_trace_layer *layer = &shape->layers[moe];
    const smt_routing_layer *row = view_counts_layer(&app->counts, moe);
    for (uint32_t e = 0; e < shape->n_experts; e++) {
        const smt_trace_place *place = &shape->places[layer->places[e]];
        double choices = (double)app->counts.n * shape->n_used, count = (double)row->counts[e];
        fprintf(file, "%u,%u,%llu,%.9g,%.9g,%.9g,%llu,", layer->layer, e, (unsigned long long)row->counts[e],
                choices > 0 ? count / choices : 0, view_counts_load(&app->counts, row, e),
                count > 0 ? row->weights[e] / count : 0, (unsigned long long)layer->expert_bytes);
        write_quoted(file, shape->devices[place->device]);
        fprintf(file, ",%s,%.9g,%.9g\n", place->tier, row->entropy, row->busiest);
    }
}

bool view_export_csv(const view_app *app, const char *path, char *message, size_t capacity) {
    FILE *file = open_file(path, message, capacity);
    if (!file) return false;
    fputs("layer,expert,chosen,share,load,mean_weight,bytes,device,tier,layer_entropy_bits,layer_busiest\n", file);
    for (uint32_t l = 0; l < app->model.shape->n_moe; l++) write_layer(file, app, l);
    return close_file(file, path, message, capacity);
}

/* ---- regions ---- */

static void write_rect(FILE *file, const char *name, view_rect r, const char *end) {
    fprintf(file, "\"%s\": [%d, %d, %d, %d]%s", name, r.x, r.y, r.w, r.h, end);
}

static void write_pane(FILE *file, const view_pane *pane, const char *end) {
    fputs("    {", file);
    write_rect(file, "cells", pane->cells, ", ");
    write_rect(file, "gauges", pane->gauges, ", ");
    view_rect cell = view_cell(pane, 0, 0);
    fprintf(file, "\"first_cell\": [%d, %d, %d, %d], ", cell.x, cell.y, cell.w, cell.h);
    fprintf(file, "\"pitch\": [%d, %d], \"group_size\": %u, \"group_gap\": %d, \"band_gap\": %d,\n      \"hops\": [",
            pane->pitch_x, pane->pitch_y, pane->group_size, pane->group_gap, pane->band_gap);
    for (uint32_t i = 0; i < pane->n_bands; i++) {
        fprintf(file, "%s{\"layer\": %u, \"device\": %u, ", i ? ", " : "", pane->bands[i].layer, pane->bands[i].device);
        write_rect(file, "strip", view_hop_strip(pane, i), "}");
    }
    fprintf(file, "]}%s\n", end);
}

bool view_export_regions(const view_app *app, const char *path, char *message, size_t capacity) {
    static const char *const names[REGION_COUNT] = {"header", "grid", "text", "side", "timeline", "status"};
    FILE *file = open_file(path, message, capacity);
    if (!file) return false;
    fprintf(file, "{\"size\": [%d, %d], \"token\": %u, \"tokens\": %u,\n  \"regions\": {", app->canvas.w, app->canvas.h,
            view_current(app), app->model.n_tokens);
    for (int i = 0; i < REGION_COUNT; i++) write_rect(file, names[i], app->layout.regions[i], ", ");
    write_rect(file, "track", app->layout.track, "},\n");
    fprintf(file, "  \"ramp\": [\"%06x\", \"%06x\"], \"accent\": \"%06x\", \"slow\": \"%06x\",\n",
            app->palette.ramps[0][0] & 0xffffff, app->palette.ramps[0][VIEW_LEVELS - 1] & 0xffffff,
            app->palette.accent & 0xffffff, app->palette.slow & 0xffffff);
    fputs("  \"heaps\": [", file); /* held, used, budget */
    for (uint32_t i = 0; i < app->source.n_heaps; i++)
        fprintf(file, "%s[%llu, %llu, %llu]", i ? ", " : "", (unsigned long long)app->source.heaps[i].held,
                (unsigned long long)app->source.heaps[i].used, (unsigned long long)app->source.heaps[i].budget);
    fputs("],\n  \"panes\": [\n", file);
    for (uint32_t i = 0; i < app->layout.n_panes; i++)
        write_pane(file, &app->layout.panes[i], i + 1 < app->layout.n_panes ? "," : "");
    fputs("  ]}\n", file);
    return close_file(file, path, message, capacity);
}
