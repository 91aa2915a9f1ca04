/* chat.h: from a list of messages to the prompt a model was trained on, by the model's own chat template.
 *
 *   source --lex, parse--> nodes --render with messages--> text, and for each byte of it who wrote it --> token ids
 *
 * Templates are programs in Jinja, the language the models are published with. This room interprets a subset of it, large
 * enough for the templates of the DeepSeek and Llama families and of most others; what lies outside is refused by name and line
 * when the template is read. There is no second mechanism: the templates known by name are programs in the same language, and
 * recognising a file's template only gives it a name and the marks that end an answer.
 *
 * chat_lex.c      source to tokens, white-space control        chat_value.c    strings, lists, dictionaries, comparison
 * chat_expr.c     tokens to expression nodes                   chat_write.c    values as text: printing, JSON
 * chat_parse.c    tokens to statement nodes                    chat_json.c     JSON text to values
 * chat_run.c      executes statements                          chat_eval.c     evaluates expressions
 * chat_filter.c   filters and tests                            chat_method.c   methods and functions
 * chat_known.c    templates known by name                      chat.c          the whole: messages in, text or ids out
 *
 * Invariants
 *   1. Template and messages are both hostile. Nesting, work and memory are bounded (SMT_CHAT_MAX_*); exceeding a bound is an
 *      error of the call.
 *   2. Each byte of a string knows whether it comes from the template or was given by the caller, through every operation.
 *      Special tokens are recognised in the template's bytes alone, so no message can forge a turn.
 *   3. A template is read-only once made: any thread may render with it. */
#ifndef SMT_CHAT_H
#define SMT_CHAT_H

#include "token/token.h"

typedef struct smt_chat smt_chat;

/* `source` is a program, or the name of a known template. Nothing is borrowed but `vocab`, which may be NULL: then there are no
 * beginning and end texts, and smt_chat_encode does not work. */
smt_status smt_chat_create(const char *source, size_t bytes, const smt_vocab *vocab, smt_chat **out, smt_error *err);
void smt_chat_free(smt_chat *chat);

/* The name of the known template that the source is or contains the marks of, else "custom". */
const char *smt_chat_name(const smt_chat *chat);
/* The i-th text that cannot be part of an answer but begins the next turn; NULL beyond the last. */
const char *smt_chat_stop(const smt_chat *chat, uint32_t index);
/* End tokens of the vocabulary, and tokens that begin another turn. */
bool smt_chat_ends(const smt_chat *chat, int32_t token);
/* Name of the i-th known template, NULL beyond the last. */
const char *smt_chat_known(uint32_t index);

/* *out_text as the template says (beginning token included where it has one), NUL-terminated; the caller frees it. */
smt_status smt_chat_text_of(const smt_chat *chat, const smt_chat_request *request, char **out_text, size_t *out_bytes,
                            smt_error *err);
/* The same as ids; with the beginning token in front, once, where the vocabulary adds one. */
smt_status smt_chat_encode(const smt_chat *chat, const smt_chat_request *request, int32_t **out_tokens, size_t *out_count,
                           smt_error *err);

#endif
