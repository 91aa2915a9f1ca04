/* fuzz_tokenizer_json.c: any bytes as tokenizer.json, and as the file beside it: the vocabulary, and every key of the new file.
 *
 * The input is one or two JSON documents with a NUL between: tokenizer.json, tokenizer_config.json. Seeds: nothing special. */
#include "convert/convert_internal.h"
#include "corpus.h"

#include <string.h>

#define N_ROWS 600 /* as many tokens as the small vocabularies have */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    smt_error err = {0};
    smt_convert_options options = {.struct_size = sizeof options, .folder = "."};
    smt_hf_vocab vocab = {.options = &options};
    smt_gguf_output *output = NULL;
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t first = end ? (size_t)(end - data) : size;
    smt_status status = smt_convert_json_parse("fuzz", (const char *)data, first, &vocab.tokenizer, &err);
    if (status == SMT_OK && end)
        status = smt_convert_json_parse("fuzz", (const char *)end + 1, size - first - 1, &vocab.config, &err);
    if (status == SMT_OK) status = smt_hf_vocab_build(&vocab, N_ROWS, &err);
    if (status == SMT_OK) status = smt_gguf_output_create(&output, &err);
    if (status == SMT_OK) smt_hf_vocab_keys(&vocab, output, &err);
    smt_gguf_output_free(output);
    smt_hf_vocab_free(&vocab);
    return 0;
}
