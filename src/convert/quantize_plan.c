/* quantize_plan.c: from a file and the user's wishes to one decision per tensor.
 *
 * What is asked for, in falling order: a pattern of the user's; --output-tensor-type and --token-embedding-type; the mix (with
 * `pure`, its base type). Where the rows do not fit the type, the stand-in of smt_mix_fit. Everything that can be refused is
 * refused here, before a byte is written. */
#include "quantize_internal.h"
#include "os/os.h"
#include "quant/quant.h"

#include <inttypes.h>
#include <string.h>

typedef struct planner {
    const smt_quantize_options *options;
    smt_quantize_plan *plan;
    smt_mix_facts facts;
    smt_overrides *overrides; /* owned */
    smt_error *err;
} planner;

/* The type asked for, before anybody has looked at the rows. */
static smt_status wanted_type(planner *p, const smt_gguf_tensor *tensor, smt_dtype *out) {
    const smt_quantize_options *o = p->options;
    bool found;
    SMT_TRY(smt_overrides_match(p->overrides, tensor->name, &found, out, p->err));
    if (found) return SMT_OK;
    if (o->output_type && smt_mix_is_output(&p->facts, tensor->name))
        return smt_quantize_type_of(o->output_type, "the type of the output tensor", out, p->err);
    if (o->embedding_type && !strcmp(tensor->name, "token_embd.weight"))
        return smt_quantize_type_of(o->embedding_type, "the type of the token embedding", out, p->err);
    *out = o->pure ? p->plan->mix->base : smt_mix_choose(p->plan->mix, &p->facts, tensor);
    return SMT_OK;
}

static smt_status check_change(const planner *p, const smt_quantize_item *item) {
    const smt_gguf_tensor *tensor = item->tensor;
    const char *from = smt_dtype_get((uint32_t)tensor->type)->name, *to = smt_dtype_get((uint32_t)item->type)->name;
    float none;
    if (!smt_quant_encode(item->type, &none, &none, 0))
        return SMT_FAIL(p->err, SMT_UNSUPPORTED, "tensor %s: there is no encoder for %s", tensor->name, to);
    if (!smt_quant_decode(tensor->type, &none, &none, 0))
        return SMT_FAIL(p->err, SMT_UNSUPPORTED, "tensor %s: %s cannot be read", tensor->name, from);
    if (smt_dtype_get((uint32_t)tensor->type)->elems > 1 && !p->options->allow_requantize)
        return SMT_FAIL(p->err, SMT_INVALID,
                        "tensor %s is %s already; making it %s loses more than quantising the original would, and has to be "
                        "allowed (allow_requantize)",
                        tensor->name, from, to);
    return SMT_OK;
}

static smt_status find_weights(const planner *p, smt_quantize_item *item) {
    const smt_gguf_tensor *tensor = item->tensor;
    const smt_imatrix_entry *entry = p->plan->imatrix ? smt_imatrix_find(p->plan->imatrix, tensor->name) : NULL;
    if (!entry || smt_dtype_get((uint32_t)item->type)->elems == 1) return SMT_OK;
    uint64_t planes = tensor->ne[2] * tensor->ne[3]; /* the reader has seen the product of all dimensions */
    if (entry->n != tensor->ne[0] * planes)
        return SMT_FAIL(p->err, SMT_FORMAT,
                        "%.200s: %" PRIu64 " importances for tensor %s, which has %" PRIu64 " columns in %" PRIu64 " planes",
                        p->options->imatrix_path, entry->n, tensor->name, tensor->ne[0], planes);
    item->weights = entry->values;
    return SMT_OK;
}

static smt_status decide(planner *p, smt_quantize_item *item) {
    const smt_gguf_tensor *tensor = item->tensor;
    item->type = tensor->type;
    item->bytes = tensor->bytes;
    if (smt_mix_keeps(tensor)) return SMT_OK;
    smt_dtype wanted;
    SMT_TRY(wanted_type(p, tensor, &wanted));
    item->type = smt_mix_fit(wanted, tensor->ne[0]);
    item->fallback = item->type != wanted;
    if (item->type == tensor->type) return SMT_OK;
    SMT_TRY(check_change(p, item));
    uint64_t rows = tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
    if (!smt_mul_u64(rows, smt_dtype_row_bytes(item->type, tensor->ne[0]), &item->bytes) || item->bytes > INT64_MAX)
        return SMT_FAIL(p->err, SMT_INVALID, "tensor %s would exceed 2^63 bytes", tensor->name);
    return find_weights(p, item);
}

static smt_status open_inputs(planner *p) {
    const smt_quantize_options *o = p->options;
    smt_quantize_plan *plan = p->plan;
    if (!o->in_path || !o->type || (!o->out_path && !o->dry_run))
        return SMT_FAIL(p->err, SMT_INVALID, "an input file, an output file and a type are needed");
    plan->mix = smt_mix_find(o->type);
    if (!plan->mix) {
        char list[256];
        smt_mix_list(list, sizeof list);
        return SMT_FAIL(p->err, SMT_INVALID, "there is no type or mix \"%.40s\"; there are: %s", o->type, list);
    }
    SMT_TRY(smt_overrides_create(o->overrides, o->n_overrides, &p->overrides, p->err));
    SMT_TRY(smt_gguf_open(o->in_path, &plan->input, p->err));
    for (uint32_t i = 0; o->out_path && i < smt_gguf_part_count(plan->input); i++)
        if (smt_os_same_file(smt_gguf_part_path(plan->input, i), o->out_path))
            return SMT_FAIL(p->err, SMT_INVALID, "%.200s and %.200s are the same file", smt_gguf_part_path(plan->input, i),
                            o->out_path);
    if (o->imatrix_path) SMT_TRY(smt_imatrix_open(o->imatrix_path, &plan->imatrix, p->err));
    smt_mix_facts_of(plan->input, &p->facts);
    p->facts.has_imatrix = plan->imatrix != NULL;
    return SMT_OK;
}

static smt_status make(planner *p) {
    smt_quantize_plan *plan = p->plan;
    SMT_TRY(open_inputs(p));
    size_t n = (size_t)smt_gguf_tensor_count(plan->input);
    plan->items = smt_alloc(n, sizeof *plan->items);
    if (!plan->items) return SMT_FAIL(p->err, SMT_MEMORY, "out of memory for a plan of %zu tensors", n);
    for (plan->n_items = 0; plan->n_items < n; plan->n_items++) {
        plan->items[plan->n_items].tensor = smt_gguf_tensor_at(plan->input, plan->n_items);
        SMT_TRY(decide(p, &plan->items[plan->n_items]));
    }
    return SMT_OK;
}

smt_status smt_quantize_plan_make(const smt_quantize_options *options, smt_quantize_plan *out, smt_error *err) {
    *out = (smt_quantize_plan){0};
    planner p = {.options = options, .plan = out, .err = err};
    smt_status status = make(&p);
    smt_overrides_free(p.overrides);
    return status;
}

void smt_quantize_plan_free(smt_quantize_plan *plan) {
    smt_free(plan->items);
    smt_imatrix_free(plan->imatrix);
    smt_gguf_free(plan->input);
    *plan = (smt_quantize_plan){0};
}
