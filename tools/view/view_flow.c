/* view_flow.c: see view_flow.h. A line end is a character that stands at its place and after which the next line begins; a tab stands
 * for blanks up to the next column that 4 divides. */
#include "view_flow.h"
#include "view_font.h"

#include <stdlib.h>

enum { TAB = 4 };

static void step_over(view_spot *spot, uint32_t columns, uint32_t codepoint) {
    spot->column += codepoint == '\t' ? TAB - spot->column % TAB : 1;
    if (codepoint == '\n' || spot->column >= columns) *spot = (view_spot){spot->line + 1, 0};
}

void view_walk_begin(view_walk *walk, const view_flow *flow, const view_model *model, uint32_t token) {
    const view_token *t = &model->tokens[token];
    const char *text = model->text + t->text_at;
    *walk = (view_walk){text, text + t->text_bytes, flow->spots[token], flow->columns};
}

bool view_walk_next(view_walk *walk, uint32_t *codepoint, view_spot *spot) {
    *codepoint = view_next_char(&walk->at, walk->end);
    *spot = walk->spot;
    if (*codepoint == 0) return false;
    step_over(&walk->spot, walk->columns, *codepoint);
    return true;
}

/* Columns up to the token's end or its first line end. */
static uint32_t breadth(const view_model *model, uint32_t token) {
    const view_token *t = &model->tokens[token];
    const char *at = model->text + t->text_at, *end = at + t->text_bytes;
    uint32_t n = 0;
    for (uint32_t c; (c = view_next_char(&at, end)) && c != '\n';) n += c == '\t' ? TAB : 1;
    return n;
}

/* Between what one side of a conversation wrote and the other: prompts come in steps of many tokens, answers one by one. */
static bool begins_turn(const view_model *model, uint32_t token) {
    const view_token *t = &model->tokens[token];
    return token > 0 && (t[0].step_tokens > 1) != (t[-1].step_tokens > 1);
}

static void append(view_flow *flow, const view_model *model, uint32_t token, bool turns) {
    uint32_t n = breadth(model, token), c;
    view_spot spot;
    bool full = flow->end.column + n > flow->columns && n <= flow->columns;
    if (full || (turns && flow->end.column > 0 && begins_turn(model, token))) flow->end = (view_spot){flow->end.line + 1, 0};
    flow->spots[token] = flow->end;
    view_walk walk;
    view_walk_begin(&walk, flow, model, token);
    while (view_walk_next(&walk, &c, &spot)) {
    }
    flow->end = walk.spot;
}

bool view_flow_update(view_flow *flow, const view_model *model, uint32_t columns, bool turns) {
    if (columns < TAB) columns = TAB;
    if (flow->columns != columns) {
        flow->columns = columns;
        flow->n_tokens = 0;
        flow->end = (view_spot){0, 0};
    }
    if (flow->capacity < model->n_tokens) {
        view_spot *grown = realloc(flow->spots, (size_t)model->capacity * sizeof *grown);
        if (!grown) return false;
        flow->spots = grown;
        flow->capacity = model->capacity;
    }
    for (; flow->n_tokens < model->n_tokens; flow->n_tokens++) append(flow, model, flow->n_tokens, turns);
    return true;
}

void view_flow_free(view_flow *flow) {
    free(flow->spots);
    *flow = (view_flow){0};
}

uint32_t view_flow_first(const view_flow *flow, uint32_t line) {
    uint32_t low = 0, high = flow->n_tokens;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (flow->spots[middle].line < line)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0; /* the one before may reach into the line */
}
