/* view_font.c: finding the fonts, the glyph atlas, lines of text; see view_font.h. */
#include "view_font.h"

#include <SDL_ttf.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *file;
    double points;
} faces[FACE_COUNT] = {[FACE_SMALL] = {"DejaVuSans.ttf", 10.5},
                       [FACE_BODY] = {"DejaVuSans.ttf", 12.5},
                       [FACE_BOLD] = {"DejaVuSans-Bold.ttf", 12.5},
                       [FACE_BIG] = {"DejaVuSans.ttf", 25},
                       [FACE_MONO] = {"DejaVuSansMono.ttf", 13.5}};

/* ---- files ---- */

static const char *const folders[] = {
    SEAMOUNT_FONT_DIR,      "/usr/share/fonts/truetype/dejavu",   "/usr/share/fonts/dejavu",
    "/usr/share/fonts/TTF", "/usr/share/fonts/dejavu-sans-fonts", "/usr/local/share/fonts/dejavu",
    "/Library/Fonts"};
enum { N_FOLDERS = sizeof folders / sizeof *folders };

static bool holds_all(const char *folder) {
    char path[1024];
    for (int i = 0; i < FACE_COUNT; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, faces[i].file);
        if (access(path, R_OK) != 0) return false;
    }
    return true;
}

static const char *find_folder(const char *given) {
    if (given && *given) return holds_all(given) ? given : NULL;
    for (int i = 0; i < N_FOLDERS; i++)
        if (*folders[i] && holds_all(folders[i])) return folders[i];
    return NULL;
}

static bool open_faces(view_font *font, double scale, char *message, size_t capacity) {
    char path[1024];
    for (int i = 0; i < FACE_COUNT; i++) {
        view_face_data *face = &font->faces[i];
        snprintf(path, sizeof path, "%s/%s", font->folder, faces[i].file);
        face->ttf = TTF_OpenFont(path, (int)lround(faces[i].points * scale));
        if (!face->ttf) {
            snprintf(message, capacity, "%s: %s", path, TTF_GetError());
            return false;
        }
        TTF_SetFontHinting(face->ttf, TTF_HINTING_LIGHT_SUBPIXEL);
        face->height = TTF_FontHeight(face->ttf);
    }
    return true;
}

bool view_font_open(view_font *font, const char *folder, double scale, char *message, size_t capacity) {
    *font = (view_font){0};
    const char *found = find_folder(folder);
    if (!found) {
        snprintf(
            message, capacity,
            "DejaVuSans.ttf, DejaVuSans-Bold.ttf and DejaVuSansMono.ttf are not in %s: install the package fonts-dejavu-core or "
            "name their folder with --font-dir",
            folder && *folder ? folder : SEAMOUNT_FONT_DIR " nor where systems keep fonts");
        return false;
    }
    snprintf(font->folder, sizeof font->folder, "%s", found);
    if (!TTF_WasInit() && TTF_Init() != 0) {
        snprintf(message, capacity, "SDL2_ttf: %s", TTF_GetError());
        return false;
    }
    return open_faces(font, scale, message, capacity);
}

void view_font_close(view_font *font) {
    for (int i = 0; i < FACE_COUNT; i++) {
        if (font->faces[i].ttf) TTF_CloseFont(font->faces[i].ttf);
        free(font->faces[i].entries);
    }
    free(font->atlas);
    *font = (view_font){0};
}

/* ---- atlas ---- */

static view_glyph *slot_of(view_glyph *entries, int n_entries, uint32_t codepoint) {
    uint32_t at = codepoint * 2654435761u;
    while (entries[at & (uint32_t)(n_entries - 1)].codepoint && entries[at & (uint32_t)(n_entries - 1)].codepoint != codepoint)
        at++;
    return &entries[at & (uint32_t)(n_entries - 1)];
}

static bool grow_table(view_face_data *face) {
    int n = face->n_entries ? face->n_entries * 2 : 256;
    view_glyph *entries = calloc((size_t)n, sizeof *entries);
    if (!entries) return false;
    for (int i = 0; i < face->n_entries; i++)
        if (face->entries[i].codepoint) *slot_of(entries, n, face->entries[i].codepoint) = face->entries[i];
    free(face->entries);
    face->entries = entries;
    face->n_entries = n;
    return true;
}

static bool reserve_atlas(view_font *font, size_t bytes) {
    if (font->atlas_bytes + bytes <= font->atlas_capacity) return true;
    size_t wanted = font->atlas_capacity ? font->atlas_capacity * 2 : 1u << 16;
    while (wanted < font->atlas_bytes + bytes) wanted *= 2;
    uint8_t *grown = realloc(font->atlas, wanted);
    if (!grown) return false;
    font->atlas = grown;
    font->atlas_capacity = wanted;
    return true;
}

/* The coverages of a rendered glyph go to the atlas. The picture begins at the pen, or left of it where the glyph does. */
static void keep_picture(view_font *font, SDL_Surface *picture, int min_x, view_glyph *glyph) {
    if (!reserve_atlas(font, (size_t)picture->w * (size_t)picture->h)) return;
    glyph->w = picture->w;
    glyph->h = picture->h;
    glyph->dx = min_x < 0 ? min_x : 0;
    glyph->at = font->atlas_bytes;
    for (int y = 0; y < picture->h; y++) {
        const uint32_t *row = (const uint32_t *)((const char *)picture->pixels + (size_t)y * (size_t)picture->pitch);
        for (int x = 0; x < picture->w; x++) font->atlas[font->atlas_bytes++] = (uint8_t)(row[x] >> 24);
    }
}

static view_glyph make_glyph(view_font *font, view_face_data *face, uint32_t codepoint) {
    view_glyph glyph = {.codepoint = codepoint};
    uint32_t shown = TTF_GlyphIsProvided32(face->ttf, codepoint) ? codepoint : 0xfffd;
    int min_x = 0;
    TTF_GlyphMetrics32(face->ttf, shown, &min_x, NULL, NULL, NULL, &glyph.advance);
    SDL_Surface *picture = TTF_RenderGlyph32_Blended(face->ttf, shown, (SDL_Color){255, 255, 255, 255});
    if (picture) keep_picture(font, picture, min_x, &glyph);
    SDL_FreeSurface(picture);
    return glyph;
}

static const view_glyph *find_glyph(view_font *font, view_face which, uint32_t codepoint) {
    static const view_glyph nothing;
    view_face_data *face = &font->faces[which];
    if (2 * (face->n_glyphs + 1) > face->n_entries && !grow_table(face)) return &nothing;
    view_glyph *slot = slot_of(face->entries, face->n_entries, codepoint);
    if (!slot->codepoint) {
        *slot = make_glyph(font, face, codepoint);
        face->n_glyphs++;
    }
    return slot;
}

/* ---- text ---- */

uint32_t view_next_char(const char **at, const char *end) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (*at >= end) return 0;
    unsigned char first = (unsigned char)*(*at)++;
    int n = first < 0x80 ? 1 : first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
    if (n == 1) return first ? first : 0xfffd;
    if (n == 0 || first >= 0xf5 || end - *at < n - 1) return 0xfffd;
    uint32_t value = first & (0xffu >> (n + 1));
    for (int i = 0; i < n - 1; i++) {
        if (((unsigned char)(*at)[i] & 0xc0) != 0x80) return 0xfffd;
        value = value << 6 | ((unsigned char)(*at)[i] & 0x3f);
    }
    if (value < least[n] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return 0xfffd;
    *at += n - 1;
    return value;
}

int view_line_height(const view_font *font, view_face face) { return font->faces[face].height; }

int view_advance(view_font *font, view_face face, uint32_t codepoint) { return find_glyph(font, face, codepoint)->advance; }

void view_char(view_canvas *canvas, view_font *font, view_face face, int x, int y, uint32_t colour, uint32_t codepoint) {
    const view_glyph *glyph = find_glyph(font, face, codepoint);
    if (glyph->w) view_mask(canvas, x + glyph->dx, y, font->atlas + glyph->at, glyph->w, glyph->h, glyph->w, colour);
}

static int width_of(view_font *font, view_face face, const char *text, const char *end) {
    int width = 0;
    for (uint32_t c; (c = view_next_char(&text, end));) width += view_advance(font, face, c);
    return width;
}

int view_text_width(view_font *font, view_face face, const char *text) { return width_of(font, face, text, text + strlen(text)); }

static int draw(view_canvas *canvas, view_font *font, view_face face, int x, int y, uint32_t colour, const char *text,
                const char *end) {
    int start = x;
    for (uint32_t c; (c = view_next_char(&text, end)); x += view_advance(font, face, c))
        view_char(canvas, font, face, x, y, colour, c);
    return x - start;
}

int view_text(view_canvas *canvas, view_font *font, view_face face, int x, int y, uint32_t colour, const char *text) {
    return draw(canvas, font, face, x, y, colour, text, text + strlen(text));
}

/* The end of what fits into `room` together with an ellipsis. */
static const char *cut(view_font *font, view_face face, const char *text, int room) {
    const char *end = text + strlen(text), *at = text, *fits = text;
    room -= view_advance(font, face, 0x2026);
    for (uint32_t c; (c = view_next_char(&at, end)); fits = at) {
        room -= view_advance(font, face, c);
        if (room < 0) break;
    }
    return fits;
}

int view_text_in(view_canvas *canvas, view_font *font, view_face face, view_rect rect, view_align align, uint32_t colour,
                 const char *text) {
    int width = view_text_width(font, face, text), y = rect.y + (rect.h - font->faces[face].height) / 2;
    if (width > rect.w) {
        const char *end = cut(font, face, text, rect.w);
        if (end == text) return 0;
        int drawn = draw(canvas, font, face, rect.x, y, colour, text, end);
        view_char(canvas, font, face, rect.x + drawn, y, colour, 0x2026);
        return drawn + view_advance(font, face, 0x2026);
    }
    int x = align == ALIGN_LEFT ? rect.x : align == ALIGN_RIGHT ? rect.x + rect.w - width : rect.x + (rect.w - width) / 2;
    return view_text(canvas, font, face, x, y, colour, text);
}
