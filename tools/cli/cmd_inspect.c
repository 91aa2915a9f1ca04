/* cmd_inspect.c: `inspect`: header, metadata, tensors and what they add up to. Reads the header alone; needs no Vulkan.
 *
 * A file without a runnable model (only a vocabulary, an unknown architecture) is still shown; "model" is then null and
 * "problem" says why. Arrays of more than SHOWN_JSON elements show their first ones. */
#include "cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_JSON          64
#define SHOWN_TEXT          8
#define TEXT_WIDTH          80 /* of a value on the terminal */
#define CACHE_ELEMENT_BYTES 2  /* f16, the default of -ctk */

/* The full text of one element; freed by the caller. NULL: out of memory. */
static char *element_text(const smt_file *file, uint64_t key, uint64_t element, size_t *bytes) {
    *bytes = smt_file_key_text(file, key, element, NULL, 0);
    char *text = malloc(*bytes + 1);
    if (text) smt_file_key_text(file, key, element, text, *bytes + 1);
    return text;
}

/* ---- JSON ---- */

/* "array of u32" and "u32" hold the same elements. */
static const char *element_type(const char *type) {
    static const char prefix[] = "array of ";
    return strncmp(type, prefix, sizeof prefix - 1) ? type : type + sizeof prefix - 1;
}

static json_t *json_element(const smt_file *file, uint64_t key, const char *type, uint64_t element) {
    size_t bytes;
    char *text = element_text(file, key, element, &bytes);
    if (!text) return NULL;
    json_t *value;
    if (!strcmp(type, "string"))
        value = json_stringn(text, bytes);
    else if (!strcmp(type, "bool"))
        value = json_boolean(!strcmp(text, "true"));
    else if (!strcmp(type, "f32") || !strcmp(type, "f64"))
        value = isfinite(strtod(text, NULL)) ? json_real(strtod(text, NULL)) : json_null();
    else
        value = *text == '-' ? json_integer(strtoll(text, NULL, 10)) : cli_json_count(strtoull(text, NULL, 10));
    free(text);
    return value;
}

static json_t *json_keys(const smt_file *file) {
    json_t *keys = json_object();
    for (uint64_t i = 0; i < smt_file_key_count(file); i++) {
        smt_key_info info;
        smt_file_key(file, i, &info);
        const char *type = element_type(info.type);
        bool array = type != info.type;
        json_t *value = array ? json_array() : json_element(file, i, type, 0);
        for (uint64_t j = 0; array && j < info.count && j < SHOWN_JSON; j++)
            json_array_append_new(value, json_element(file, i, type, j));
        json_t *entry = json_pack("{s:s, s:o, s:o}", "type", info.type, "count", cli_json_count(info.count),
                                  info.count > SHOWN_JSON ? "first" : "value", value);
        json_t *name = cli_json_text(info.name);
        if (name) json_object_set_new(keys, json_string_value(name), entry);
        json_decref(name);
    }
    return keys;
}

static json_t *json_tensors(const smt_file *file) {
    json_t *tensors = json_array();
    for (uint64_t i = 0; i < smt_file_tensor_count(file); i++) {
        smt_tensor_info info;
        smt_file_tensor(file, i, &info);
        json_t *shape = json_array();
        for (uint32_t d = 0; d < info.n_dims; d++) json_array_append_new(shape, cli_json_count(info.ne[d]));
        json_array_append_new(tensors, json_pack("{s:o, s:s, s:o, s:o, s:o, s:o}", "name", cli_json_text(info.name), "type",
                                                 info.type, "shape", shape, "part", cli_json_count(info.part), "offset",
                                                 cli_json_count(info.offset), "bytes", cli_json_count(info.bytes)));
    }
    return tensors;
}

/* The files that hold the model; "part" of a tensor is an index into this list. */
static json_t *json_parts(const smt_file *file) {
    json_t *parts = json_array();
    for (uint32_t i = 0; i < smt_file_part_count(file); i++) {
        const char *path;
        uint64_t bytes;
        smt_file_part(file, i, &path, &bytes);
        json_array_append_new(parts, json_pack("{s:o, s:o}", "file", cli_json_text(path), "bytes", cli_json_count(bytes)));
    }
    return parts;
}

static void set_count(json_t *object, const char *name, uint64_t value) {
    json_object_set_new(object, name, cli_json_count(value));
}

static json_t *json_model(const smt_model_info *m) {
    json_t *model = json_object();
    json_object_set_new(model, "architecture", cli_json_text(m->architecture));
    json_object_set_new(model, "name", cli_json_text(m->name));
    set_count(model, "n_layers", m->n_layers);
    set_count(model, "n_embd", m->n_embd);
    set_count(model, "n_vocab", m->n_vocab);
    set_count(model, "n_heads", m->n_heads);
    set_count(model, "n_kv_heads", m->n_kv_heads);
    set_count(model, "n_ctx_train", m->n_ctx_train);
    set_count(model, "n_dense_layers", m->n_dense_layers);
    set_count(model, "n_experts", m->n_experts);
    set_count(model, "n_experts_used", m->n_experts_used);
    set_count(model, "n_experts_shared", m->n_experts_shared);
    set_count(model, "n_groups", m->n_groups);
    set_count(model, "n_groups_used", m->n_groups_used);
    set_count(model, "q_lora_rank", m->q_lora_rank);
    set_count(model, "kv_lora_rank", m->kv_lora_rank);
    set_count(model, "nope_dim", m->nope_dim);
    set_count(model, "rope_dim", m->rope_dim);
    set_count(model, "value_dim", m->value_dim);
    json_object_set_new(model, "rope_scaling", cli_json_text(m->rope_scaling));
    json_object_set_new(model, "rope_base", json_real(m->rope_base));
    json_object_set_new(model, "rope_factor", json_real(m->rope_factor));
    json_object_set_new(model, "rope_divided", json_boolean(m->rope_divided));
    json_object_set_new(model, "gate", cli_json_text(m->gate));
    json_object_set_new(model, "group_rule", cli_json_text(m->group_rule));
    json_object_set_new(model, "selection_bias", json_boolean(m->selection_bias));
    json_object_set_new(model, "weights_normalized", json_boolean(m->weights_normalized));
    json_object_set_new(model, "weights_scale", json_real(m->weights_scale));
    json_object_set_new(model, "tied", json_boolean(m->tied));
    json_object_set_new(model, "biased", json_boolean(m->biased));
    set_count(model, "n_layers_skipped", m->n_layers_skipped);
    set_count(model, "n_tensors_skipped", m->n_tensors_skipped);
    set_count(model, "parameters", m->n_params);
    set_count(model, "active_parameters", m->n_params_active);
    set_count(model, "tensor_bytes", m->tensor_bytes);
    set_count(model, "cache_values_per_token", m->cache_values_per_token);
    set_count(model, "cache_bytes_per_token", m->cache_values_per_token * CACHE_ELEMENT_BYTES);
    return model;
}

static int print_json(const char *path, const smt_file *file, const smt_model_info *model, const smt_error *problem) {
    json_t *assumed = json_array();
    for (uint32_t i = 0; smt_file_assumed(file, i); i++) json_array_append_new(assumed, cli_json_text(smt_file_assumed(file, i)));
    json_t *document =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "file", cli_json_text(path), "parts", json_parts(file), "model",
                  model ? json_model(model) : json_null(), "problem", model ? json_null() : cli_json_text(problem->message),
                  "assumed", assumed, "metadata", json_keys(file), "tensors", json_tensors(file));
    return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
}

/* ---- text ---- */

static void print_element(const smt_file *file, uint64_t key, uint64_t element, bool quoted) {
    char text[TEXT_WIDTH];
    size_t bytes = smt_file_key_text(file, key, element, text, sizeof text);
    if (quoted) cli_print("\"");
    cli_print_safe(text, bytes < sizeof text ? bytes : strlen(text));
    if (bytes >= sizeof text) cli_print("... (%zu bytes)", bytes);
    if (quoted) cli_print("\"");
}

static void print_keys(const smt_file *file) {
    cli_print("\nmetadata: %" PRIu64 " keys\n", smt_file_key_count(file));
    for (uint64_t i = 0; i < smt_file_key_count(file); i++) {
        smt_key_info info;
        smt_file_key(file, i, &info);
        const char *type = element_type(info.type);
        bool array = type != info.type, quoted = !strcmp(type, "string");
        cli_print("  ");
        cli_print_safe(info.name, strlen(info.name));
        cli_print(array ? " = %s[%" PRIu64 "] " : " = ", type, info.count);
        for (uint64_t j = 0; j < info.count && j < SHOWN_TEXT; j++) {
            if (j) cli_print(", ");
            print_element(file, i, j, quoted);
        }
        cli_print(info.count > SHOWN_TEXT ? ", ...\n" : "\n");
    }
}

static void print_parts(const smt_file *file) {
    if (smt_file_part_count(file) == 1) return;
    cli_print("\nfiles: %u\n", smt_file_part_count(file));
    for (uint32_t i = 0; i < smt_file_part_count(file); i++) {
        const char *path;
        uint64_t bytes;
        smt_file_part(file, i, &path, &bytes);
        cli_print("  %5u  %16" PRIu64 " bytes  ", i + 1, bytes);
        cli_print_safe(path, strlen(path));
        cli_print("\n");
    }
}

static void print_tensors(const smt_file *file) {
    cli_print("\ntensors: %" PRIu64 "\n", smt_file_tensor_count(file));
    for (uint64_t i = 0; i < smt_file_tensor_count(file); i++) {
        smt_tensor_info info;
        smt_file_tensor(file, i, &info);
        char shape[96];
        int used = 0;
        for (uint32_t d = 0; d < info.n_dims && used < (int)sizeof shape; d++)
            used += snprintf(shape + used, sizeof shape - (size_t)used, d ? " x %" PRIu64 : "%" PRIu64, info.ne[d]);
        cli_print("  %-8s %-24s %12" PRIu64 " bytes  ", info.type, shape, info.bytes);
        if (smt_file_part_count(file) > 1) cli_print("file %-5u  ", info.part + 1);
        cli_print_safe(info.name, strlen(info.name));
        cli_print("\n");
    }
}

static void print_count(const char *label, uint64_t count) {
    if (count >= 1000000000)
        cli_print("  %-24s %" PRIu64 " (%.2f billion)\n", label, count, (double)count * 1e-9);
    else if (count >= 1000000)
        cli_print("  %-24s %" PRIu64 " (%.2f million)\n", label, count, (double)count * 1e-6);
    else
        cli_print("  %-24s %" PRIu64 "\n", label, count);
}

static void print_experts(const smt_model_info *m) {
    cli_print("  %-24s %u, %u used for a token, %u shared\n", "experts", m->n_experts, m->n_experts_used, m->n_experts_shared);
    cli_print("  %-24s %s%s, weights %stimes %g", "routing", m->gate, m->selection_bias ? " with a selection bias" : "",
              m->weights_normalized ? "normalized, " : "", m->weights_scale);
    if (m->n_groups > 1)
        cli_print("; %u of %u groups by their %s", m->n_groups_used, m->n_groups,
                  strcmp(m->group_rule, "top2") ? "best expert" : "two best experts");
    cli_print("\n");
}

static void print_rules(const smt_model_info *m) {
    cli_print("  %-24s base %g, scaling %s", "rotation", m->rope_base, m->rope_scaling);
    if (m->rope_factor != 1) cli_print(" by %g", m->rope_factor);
    cli_print("%s\n", m->rope_divided ? ", divided by rope_freqs.weight" : "");
    if (m->n_experts) print_experts(m);
    if (m->biased) cli_print("  %-24s on some products\n", "biases");
    if (m->n_layers_skipped)
        cli_print(
            "  %-24s %u behind the model's own (from %u on, %u tensors): they predict tokens further ahead and are not run\n",
            "skipped layers", m->n_layers_skipped, m->n_layers, m->n_tensors_skipped);
}

static void print_model(const smt_file *file, const smt_model_info *m) {
    cli_print("model: ");
    cli_print_safe(m->name, strlen(m->name));
    cli_print("%s%s\n", *m->name ? ", " : "", m->architecture);
    print_count("parameters", m->n_params);
    print_count("active parameters", m->n_params_active);
    print_count("bytes of tensors", m->tensor_bytes);
    print_count("cache bytes per token", m->cache_values_per_token * CACHE_ELEMENT_BYTES);
    cli_print("  %-24s %u (%u dense), width %u, vocabulary %u, trained context %u\n", "layers", m->n_layers,
              m->n_experts ? m->n_dense_layers : m->n_layers, m->n_embd, m->n_vocab, m->n_ctx_train);
    if (m->kv_lora_rank)
        cli_print("  %-24s latent, %u heads of %u + %u (rotary), value %u, ranks: query %u, key-value %u\n", "attention",
                  m->n_heads, m->nope_dim, m->rope_dim, m->value_dim, m->q_lora_rank, m->kv_lora_rank);
    else
        cli_print("  %-24s %u heads of %u, %u key-value heads\n", "attention", m->n_heads, m->nope_dim + m->rope_dim,
                  m->n_kv_heads);
    print_rules(m);
    for (uint32_t i = 0; smt_file_assumed(file, i); i++) cli_print("  %-24s %s\n", "assumed", smt_file_assumed(file, i));
}

int cmd_inspect(const cli_args *args) {
    if (!args->positional[0]) return cli_fail(CLI_WRONG, "a file is needed: seamount inspect FILE");
    smt_error err = {0};
    smt_file *file;
    smt_status status = smt_file_open(args->positional[0], &file, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    smt_model_info model;
    bool runnable = smt_file_model(file, &model, &err) == SMT_OK;
    int result = CLI_DONE;
    if (cli_flag(args, OPT_JSON)) {
        result = print_json(args->positional[0], file, runnable ? &model : NULL, &err);
    } else {
        if (runnable) {
            print_model(file, &model);
        } else {
            cli_print("model: none that can run: ");
            cli_print_safe(err.message, strlen(err.message));
            cli_print("\n");
        }
        print_parts(file);
        print_keys(file);
        print_tensors(file);
    }
    smt_file_free(file);
    return result;
}
