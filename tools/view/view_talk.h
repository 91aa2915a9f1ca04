/* view_talk.h: a conversation with the model, or a text that both write, on a thread of its own.
 *
 * A turn takes what was written (the prompt first, then what comes from the window), evaluates it, and samples until the answer ends.
 * Between turns the thread sleeps. Whoever holds the talk may ask for its state and hand over the next words at any time; all the rest
 * belongs to the thread. */
#ifndef VIEW_TALK_H
#define VIEW_TALK_H

#include "view_options.h"
#include "seamount.h"

#include <stddef.h>

typedef enum view_talk_state { TALK_READING, TALK_GENERATING, TALK_WAITING, TALK_FAILED } view_talk_state;

typedef struct view_talk view_talk;

/* The engine's parts are borrowed and outlive the talk; chat NULL: a plain text is continued. It begins with options->prompt, or waits
 * where there is none. NULL without memory. */
view_talk *view_talk_start(const view_options *options, smt_runner *runner, const smt_tokenizer *tokenizer,
                           const smt_chat_template *chat, smt_sampler *sampler, smt_session *session);
/* Nothing is evaluated before. False without a thread. */
bool view_talk_begin(view_talk *talk);
/* Cancels the step under way, waits for the thread. NULL is legal. */
void view_talk_end(view_talk *talk);

view_talk_state view_talk_get_state(const view_talk *talk);
const char *view_talk_failure(const view_talk *talk); /* once the state is TALK_FAILED */
/* The next words, copied. False while it is not waiting, and without memory. */
bool view_talk_say(view_talk *talk, const char *words);

#endif
