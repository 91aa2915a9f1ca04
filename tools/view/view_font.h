/* view_font.h: text. SDL2_ttf makes each character's picture once per face; from then on text is copied out of the glyph atlas.
 *
 * Three files of the DejaVu family are needed. They are looked for in the folder given (--font-dir), then where they were when the
 * program was configured, then in the places where systems keep them. y is always the top of a line of the face. */
#ifndef VIEW_FONT_H
#define VIEW_FONT_H

#include "view_draw.h"

#include <stddef.h>

typedef enum view_face { FACE_SMALL, FACE_BODY, FACE_BOLD, FACE_BIG, FACE_MONO, FACE_COUNT } view_face;
typedef enum view_align { ALIGN_LEFT, ALIGN_MIDDLE, ALIGN_RIGHT } view_align;

typedef struct view_glyph {
    uint32_t codepoint; /* 0: a free entry */
    int w, h, dx, advance;
    size_t at; /* in the atlas */
} view_glyph;

typedef struct view_face_data {
    void *ttf; /* TTF_Font, owned */
    int height, n_glyphs, n_entries;
    view_glyph *entries; /* [n_entries], owned: a hash table, at most half full */
} view_face_data;

typedef struct view_font {
    view_face_data faces[FACE_COUNT];
    uint8_t *atlas; /* owned: coverages of all glyphs, one after the other */
    size_t atlas_bytes, atlas_capacity;
    char folder[512]; /* where the files were found */
} view_font;

/* `scale`: pixels for each point of the design. On failure false and a sentence; view_font_close in either case. */
bool view_font_open(view_font *font, const char *folder, double scale, char *message, size_t capacity);
void view_font_close(view_font *font);

int view_line_height(const view_font *font, view_face face);
int view_text_width(view_font *font, view_face face, const char *text);
/* Draws UTF-8 (what is none appears as U+FFFD) and returns the width. */
int view_text(view_canvas *canvas, view_font *font, view_face face, int x, int y, uint32_t colour, const char *text);
/* In a rectangle, in the middle of its height; cut with an ellipsis where it is too narrow. Returns the width. */
int view_text_in(view_canvas *canvas, view_font *font, view_face face, view_rect rect, view_align align, uint32_t colour,
                 const char *text);
/* One character, for those who place each by themselves. */
void view_char(view_canvas *canvas, view_font *font, view_face face, int x, int y, uint32_t colour, uint32_t codepoint);
int view_advance(view_font *font, view_face face, uint32_t codepoint);

/* The character at *at, which moves on; 0 at the end, U+FFFD for bytes that are none. */
uint32_t view_next_char(const char **at, const char *end);

#endif
