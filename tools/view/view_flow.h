/* view_flow.h: how the text of all tokens breaks into lines of equally wide characters.
 *
 * Tokens are appended once and keep their place until the breadth changes. A token that no longer fits on its line begins the next one,
 * if it fits there; longer ones are cut wherever the line ends. */
#ifndef VIEW_FLOW_H
#define VIEW_FLOW_H

#include "view_model.h"

typedef struct view_spot {
    uint32_t line, column;
} view_spot;

typedef struct view_flow {
    uint32_t columns, n_tokens, capacity;
    view_spot *spots; /* [n_tokens], owned: where each token begins */
    view_spot end;    /* where the next one would */
} view_flow;

/* Takes up the tokens that are new; all of them when the breadth is another. turns: those of a conversation begin lines. False without memory.
 */
bool view_flow_update(view_flow *flow, const view_model *model, uint32_t columns, bool turns);
void view_flow_free(view_flow *flow);
/* The first token that has a part on this line or begins behind it; n_tokens if there is none. */
uint32_t view_flow_first(const view_flow *flow, uint32_t line);

/* Walks over a token's characters: the next one and where it stands; false at the end. Start with the token's spot. */
typedef struct view_walk {
    const char *at, *end;
    view_spot spot; /* of the next character */
    uint32_t columns;
} view_walk;
void view_walk_begin(view_walk *walk, const view_flow *flow, const view_model *model, uint32_t token);
bool view_walk_next(view_walk *walk, uint32_t *codepoint, view_spot *spot);

#endif
