/* complete.c: the shortest useful program around the library: continues a text, likeliest token after likeliest token.
 *
 *     complete MODEL.gguf "def fib(n):" [how many tokens]
 */
#include <seamount.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static smt_error error;

static void need(smt_status status) {
    if (status == SMT_OK) return;
    fprintf(stderr, "complete: %s: %s\n", smt_status_text(status), error.message);
    exit(1);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: complete MODEL.gguf PROMPT [TOKENS]\n");
        return 2;
    }
    smt_engine_options engine_options = {.struct_size = sizeof engine_options, .model_path = argv[1]};
    smt_runner_options runner_options = {.struct_size = sizeof runner_options, .n_ctx = 2048};
    smt_engine *engine;
    smt_runner *runner;
    smt_session *session;
    smt_tokenizer *tokenizer;
    smt_text_stream *stream;
    need(smt_engine_create(&engine_options, &engine, &error));
    need(smt_runner_create(engine, &runner_options, &runner, &error));
    need(smt_session_create(runner, &session, &error));
    need(smt_tokenizer_create(smt_engine_file(engine), &tokenizer, &error));
    need(smt_text_stream_create(tokenizer, &stream, &error));

    int32_t *prompt, token;
    size_t n_prompt, n_text;
    const char *text;
    uint32_t n_vocab = smt_tokenizer_size(tokenizer);
    float *logits = malloc(n_vocab * sizeof *logits);
    if (!logits) return 1;
    need(smt_tokenize(tokenizer, argv[2], strlen(argv[2]), SMT_TOKENIZE_BOS, &prompt, &n_prompt, &error));
    smt_eval eval = {.struct_size = sizeof eval, .tokens = prompt, .n_tokens = (uint32_t)n_prompt, .logits = logits};
    for (long left = argc > 3 ? atol(argv[3]) : 64; left > 0; left--) {
        need(smt_session_eval(session, &eval, &error));
        token = 0;
        for (uint32_t i = 1; i < n_vocab; i++)
            if (logits[i] > logits[token]) token = (int32_t)i;
        if (smt_tokenizer_is_end(tokenizer, token)) break;
        need(smt_text_stream_push(stream, token, &text, &n_text, &error));
        fwrite(text, 1, n_text, stdout);
        fflush(stdout);
        eval.tokens = &token;
        eval.n_tokens = 1;
    }
    putchar('\n');

    free(logits);
    smt_free(prompt);
    smt_text_stream_free(stream);
    smt_tokenizer_free(tokenizer);
    smt_session_free(session);
    smt_runner_free(runner);
    smt_engine_free(engine);
    return 0;
}
