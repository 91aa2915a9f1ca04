/* chat_eval.c: evaluates expressions. An undefined value may be tested, compared, printed and chosen from, but not computed with:
 * a misspelt name in a template, or a message without content, is an error that names it. */
#include "chat_internal.h"

#include <math.h>
#include <string.h>

const smt_chat_value *smt_chat_variable_find(const smt_chat_run *run, smt_chat_text name) {
    for (size_t i = run->n_variables; i-- > run->visible;)
        if (smt_chat_equal(run->variables[i].name, name)) return &run->variables[i].value;
    for (size_t i = run->visible ? run->n_global : 0; i-- > 0;)
        if (smt_chat_equal(run->variables[i].name, name)) return &run->variables[i].value;
    return NULL;
}

static smt_status refuse_undefined(smt_chat_run *run, uint32_t line, const smt_chat_value *value) {
    if (value->kind != SMT_CHAT_UNDEFINED) return SMT_OK;
    return SMT_CHAT_FAIL(run, SMT_INVALID, line, "\"%.*s\" is undefined", SMT_CHAT_ARG(value->text));
}

static void eval_name(const smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    const smt_chat_value *variable = smt_chat_variable_find(run, node->text);
    int function = variable ? -1 : smt_chat_function_code(node->text);
    if (variable)
        *out = *variable;
    else if (function >= 0)
        *out = (smt_chat_value){.kind = SMT_CHAT_FUNCTION, .function = (uint32_t)function};
    else
        *out = smt_chat_undefined(node->text);
}

/* ---- making lists and dictionaries ---- */

static smt_status eval_list(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    size_t count = 0;
    for (const smt_chat_node *item = node->items; item; item = item->next) count++;
    smt_chat_value *items;
    SMT_TRY(smt_chat_list_make(run, count, out, &items));
    for (const smt_chat_node *item = node->items; item; item = item->next) SMT_TRY(smt_chat_eval(run, item, items++));
    return smt_chat_list_close(run, node->line, out);
}

static smt_status eval_dict(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    SMT_TRY(smt_chat_dict_make(run, SMT_CHAT_DICT, out));
    for (const smt_chat_node *pair = node->items; pair; pair = pair->next) {
        smt_chat_value key, value;
        SMT_TRY(smt_chat_eval(run, pair->a, &key));
        SMT_TRY(smt_chat_eval(run, pair->b, &value));
        if (key.kind != SMT_CHAT_STRING)
            return SMT_CHAT_FAIL(run, SMT_UNSUPPORTED, node->line, "%s as the key of a dictionary", smt_chat_kind_name(&key));
        SMT_TRY(smt_chat_dict_set(run, node->line, out, key.text, value));
    }
    return SMT_OK;
}

/* ---- parts of values ---- */

static smt_chat_value loop_attribute(const smt_chat_loop *loop, smt_chat_text name) {
    int64_t index = (int64_t)loop->index, count = (int64_t)loop->count;
    if (smt_chat_is(name, "index0")) return smt_chat_int(index);
    if (smt_chat_is(name, "index")) return smt_chat_int(index + 1);
    if (smt_chat_is(name, "revindex0")) return smt_chat_int(count - index - 1);
    if (smt_chat_is(name, "revindex")) return smt_chat_int(count - index);
    if (smt_chat_is(name, "length")) return smt_chat_int(count);
    if (smt_chat_is(name, "first")) return smt_chat_bool(index == 0);
    if (smt_chat_is(name, "last")) return smt_chat_bool(index == count - 1);
    if (smt_chat_is(name, "previtem") && index > 0) return loop->items[index - 1];
    if (smt_chat_is(name, "nextitem") && index < count - 1) return loop->items[index + 1];
    return smt_chat_undefined(name);
}

static smt_status eval_attribute(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_value value;
    SMT_TRY(smt_chat_eval(run, node->a, &value));
    SMT_TRY(refuse_undefined(run, node->line, &value));
    const smt_chat_value *found = smt_chat_is_mapping(&value) ? smt_chat_dict_find(value.dict, node->text) : NULL;
    if (found)
        *out = *found;
    else
        *out = value.kind == SMT_CHAT_LOOP ? loop_attribute(value.loop, node->text) : smt_chat_undefined(node->text);
    return SMT_OK;
}

/* Where the character of this index (from the end if negative) begins; text.bytes or beyond: there is none. */
static smt_chat_text character(smt_chat_text text, int64_t index) {
    if (index < 0) index += (int64_t)smt_chat_count(text);
    size_t at = 0;
    for (; index > 0 && at < text.bytes; index--) at += smt_chat_char(text, at);
    if (index != 0 || at >= text.bytes) return smt_chat_slice(text, 0, 0);
    return smt_chat_slice(text, at, at + smt_chat_char(text, at));
}

static smt_status eval_item(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_value value, index;
    SMT_TRY(smt_chat_eval(run, node->a, &value));
    SMT_TRY(smt_chat_eval(run, node->b, &index));
    SMT_TRY(refuse_undefined(run, node->line, &value));
    *out = smt_chat_undefined(SMT_CHAT_TEXT("an item that is not there"));
    if (index.kind == SMT_CHAT_STRING) {
        *out = smt_chat_undefined(index.text);
        const smt_chat_value *found = smt_chat_is_mapping(&value) ? smt_chat_dict_find(value.dict, index.text) : NULL;
        if (found) *out = *found;
        return SMT_OK;
    }
    if (index.kind != SMT_CHAT_INT) return SMT_OK;
    if (value.kind == SMT_CHAT_STRING) {
        SMT_TRY(smt_chat_spend(run, value.text.bytes / 16, node->line));
        smt_chat_text found = character(value.text, index.integer);
        if (found.bytes) *out = smt_chat_string(found);
    } else if (value.kind == SMT_CHAT_LIST) {
        int64_t count = (int64_t)value.list->count, at = index.integer < 0 ? index.integer + count : index.integer;
        if (at >= 0 && at < count) *out = value.list->items[at];
    }
    return SMT_OK;
}

/* Start, stop and step of a cut over `count` items, resolved: it takes start, start + step, ... before stop. */
static smt_status resolve_cut(smt_chat_run *run, const smt_chat_node *node, int64_t count, int64_t out[3]) {
    smt_chat_value parts[3];
    const smt_chat_node *item = node->items;
    for (int i = 0; i < 3; i++, item = item->next) {
        SMT_TRY(smt_chat_eval(run, item, &parts[i]));
        if (parts[i].kind != SMT_CHAT_INT && parts[i].kind != SMT_CHAT_NONE)
            return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "%s as the border of a slice", smt_chat_kind_name(&parts[i]));
    }
    int64_t step = parts[2].kind == SMT_CHAT_INT ? parts[2].integer : 1;
    if (step == 0) return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "a slice with step 0");
    if (step > count) step = count + 1; /* all the same, and adds without overflow */
    if (step < -count) step = -count - 1;
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
    for (int i = 0; i < 2; i++) {
        int64_t value = (i == 0) == (step > 0) ? low : high;
        if (parts[i].kind == SMT_CHAT_INT) {
            value = parts[i].integer;
            if (value < 0) value = value < -count ? low : value + count;
            value = value < low ? low : value > high ? high : value;
        }
        out[i] = value;
    }
    out[2] = step;
    return SMT_OK;
}

static smt_status eval_cut(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_value value;
    SMT_TRY(smt_chat_eval(run, node->a, &value));
    SMT_TRY(refuse_undefined(run, node->line, &value));
    if (value.kind != SMT_CHAT_STRING && value.kind != SMT_CHAT_LIST)
        return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "a slice of %s", smt_chat_kind_name(&value));
    const smt_chat_value *items;
    size_t count, n = 0;
    int64_t cut[3] = {0};
    SMT_TRY(smt_chat_items(run, node->line, &value, &items, &count));
    SMT_TRY(resolve_cut(run, node, (int64_t)count, cut));
    for (int64_t i = cut[0]; cut[2] > 0 ? i < cut[1] : i > cut[1]; i += cut[2]) n++;
    smt_chat_value *kept;
    SMT_TRY(smt_chat_list_make(run, n, out, &kept));
    for (size_t i = 0; i < n; i++) kept[i] = items[cut[0] + (int64_t)i * cut[2]];
    if (value.kind == SMT_CHAT_LIST) return smt_chat_list_close(run, node->line, out);
    smt_chat_value list = *out;
    return smt_chat_join(run, node->line, &list, SMT_CHAT_TEXT(""), out);
}

/* ---- operators ---- */

static smt_status add_lists(smt_chat_run *run, uint32_t line, const smt_chat_list *a, const smt_chat_list *b,
                            smt_chat_value *out) {
    smt_chat_value *items;
    SMT_TRY(smt_chat_list_make(run, a->count + b->count, out, &items));
    if (a->count) memcpy(items, a->items, a->count * sizeof *items);
    if (b->count) memcpy(items + a->count, b->items, b->count * sizeof *items);
    return smt_chat_list_close(run, line, out);
}

static smt_status concatenate(smt_chat_run *run, const smt_chat_value *a, const smt_chat_value *b, smt_chat_value *out) {
    smt_chat_builder builder = {0};
    SMT_TRY(smt_chat_write(run, &builder, a, false));
    SMT_TRY(smt_chat_write(run, &builder, b, false));
    *out = smt_chat_string(smt_chat_built(&builder));
    return SMT_OK;
}

static smt_status repeat(smt_chat_run *run, uint32_t line, smt_chat_text text, int64_t times, smt_chat_value *out) {
    smt_chat_builder builder = {0};
    for (int64_t i = 0; i < times && text.bytes; i++) {
        SMT_TRY(smt_chat_spend(run, 1, line));
        SMT_TRY(smt_chat_append(run, &builder, text));
    }
    *out = smt_chat_string(smt_chat_built(&builder));
    return SMT_OK;
}

static bool is_whole(const smt_chat_value *value) { return value->kind == SMT_CHAT_INT || value->kind == SMT_CHAT_BOOL; }

/* Whole numbers, rounding down as the language does; false: no such operation, overflow, or division by zero. */
static bool whole_arithmetic(uint32_t code, int64_t a, int64_t b, int64_t *out) {
    bool divides = code == 'f' || code == '%';
    if (code == '+') return !__builtin_add_overflow(a, b, out);
    if (code == '-') return !__builtin_sub_overflow(a, b, out);
    if (code == '*') return !__builtin_mul_overflow(a, b, out);
    if (!divides || b == 0 || (a == INT64_MIN && b == -1)) return false;
    bool down = a % b != 0 && (a < 0) != (b < 0);
    *out = code == 'f' ? a / b - down : a % b + (down ? b : 0);
    return true;
}

static bool real_arithmetic(uint32_t code, double a, double b, double *out) {
    if (code == '+') return *out = a + b, true;
    if (code == '-') return *out = a - b, true;
    if (code == '*') return *out = a * b, true;
    if (b == 0) return false;
    if (code == '/') return *out = a / b, true;
    if (code == 'f') return *out = floor(a / b), true;
    return *out = a - b * floor(a / b), code == '%';
}

static smt_status numbers(smt_chat_run *run, const smt_chat_node *node, const smt_chat_value *a, const smt_chat_value *b,
                          smt_chat_value *out) {
    int64_t x = a->kind == SMT_CHAT_BOOL ? a->truth : a->integer, y = b->kind == SMT_CHAT_BOOL ? b->truth : b->integer;
    bool good;
    if (is_whole(a) && is_whole(b) && node->code != '/') {
        *out = smt_chat_int(0);
        good = whole_arithmetic(node->code, x, y, &out->integer);
    } else {
        *out = (smt_chat_value){.kind = SMT_CHAT_REAL};
        good = real_arithmetic(node->code, is_whole(a) ? (double)x : a->real, is_whole(b) ? (double)y : b->real, &out->real);
    }
    if (good) return SMT_OK;
    return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "arithmetic that overflows or divides by zero");
}

static smt_status eval_arithmetic(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_value a, b;
    SMT_TRY(smt_chat_eval(run, node->a, &a));
    SMT_TRY(smt_chat_eval(run, node->b, &b));
    if (node->code == '~') return concatenate(run, &a, &b, out);
    SMT_TRY(refuse_undefined(run, node->line, &a));
    SMT_TRY(refuse_undefined(run, node->line, &b));
    if ((is_whole(&a) || a.kind == SMT_CHAT_REAL) && (is_whole(&b) || b.kind == SMT_CHAT_REAL))
        return numbers(run, node, &a, &b, out);
    if (node->code == '+' && a.kind == SMT_CHAT_STRING && b.kind == SMT_CHAT_STRING) return concatenate(run, &a, &b, out);
    if (node->code == '+' && a.kind == SMT_CHAT_LIST && b.kind == SMT_CHAT_LIST)
        return add_lists(run, node->line, a.list, b.list, out);
    if (node->code == '*' && a.kind == SMT_CHAT_STRING && b.kind == SMT_CHAT_INT)
        return repeat(run, node->line, a.text, b.integer, out);
    return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "%s %s %s is not possible", smt_chat_kind_name(&a),
                         node->code == 'f' ? "//" : (const char[]){(char)node->code, 0}, smt_chat_kind_name(&b));
}

static smt_status compare_one(smt_chat_run *run, const smt_chat_node *operand, const smt_chat_value *a, const smt_chat_value *b,
                              bool *out) {
    int order;
    switch (operand->code) {
    case '=':
    case '!':
        SMT_TRY(smt_chat_same(run, a, b, out));
        *out = *out == (operand->code == '=');
        return SMT_OK;
    case 'i':
        SMT_TRY(smt_chat_contains(run, operand->line, b, a, out));
        *out = *out != operand->negated;
        return SMT_OK;
    default:
        SMT_TRY(smt_chat_order(run, operand->line, a, b, &order));
        *out = operand->code == '<'   ? order < 0
               : operand->code == '>' ? order > 0
               : operand->code == 'l' ? order <= 0
                                      : order >= 0;
        return SMT_OK;
    }
}

static smt_status eval_compare(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_value left, right;
    SMT_TRY(smt_chat_eval(run, node->a, &left));
    bool holds = true;
    for (const smt_chat_node *operand = node->items; operand && holds; operand = operand->next) {
        SMT_TRY(smt_chat_eval(run, operand->a, &right));
        SMT_TRY(compare_one(run, operand, &left, &right, &holds));
        left = right;
    }
    *out = smt_chat_bool(holds);
    return SMT_OK;
}

static smt_status eval_sign(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    SMT_TRY(smt_chat_eval(run, node->a, out));
    bool minus = node->kind == SMT_CHAT_NEGATE;
    if (out->kind == SMT_CHAT_REAL) return out->real = minus ? -out->real : out->real, SMT_OK;
    if (out->kind == SMT_CHAT_INT && out->integer != INT64_MIN) return out->integer *= minus ? -1 : 1, SMT_OK;
    return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "a sign before %s", smt_chat_kind_name(out));
}

/* The value of the operand that decides, not just its truth. */
static smt_status eval_logic(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    SMT_TRY(smt_chat_eval(run, node->a, out));
    bool decided = smt_chat_truth(out) == (node->kind == SMT_CHAT_OR);
    return decided ? SMT_OK : smt_chat_eval(run, node->b, out);
}

static smt_status eval_choice(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_value condition;
    SMT_TRY(smt_chat_eval(run, node->b, &condition));
    if (smt_chat_truth(&condition)) return smt_chat_eval(run, node->a, out);
    if (node->c) return smt_chat_eval(run, node->c, out);
    *out = smt_chat_undefined(SMT_CHAT_TEXT("the else of an if without one"));
    return SMT_OK;
}

static smt_status eval_call(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_value callee;
    SMT_TRY(smt_chat_eval(run, node->a, &callee));
    SMT_TRY(refuse_undefined(run, node->line, &callee));
    if (callee.kind == SMT_CHAT_MACRO) return smt_chat_run_macro(run, node, callee.macro, out);
    if (callee.kind == SMT_CHAT_FUNCTION) return smt_chat_function(run, node, callee.function, out);
    return SMT_CHAT_FAIL(run, SMT_INVALID, node->line, "%s is called", smt_chat_kind_name(&callee));
}

/* Filters and methods: what they are applied to comes first. */
static smt_status eval_applied(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    smt_chat_value value;
    bool holds;
    SMT_TRY(smt_chat_eval(run, node->a, &value));
    if (node->kind == SMT_CHAT_FILTER) return smt_chat_filter(run, node, &value, out);
    if (node->kind == SMT_CHAT_METHOD) {
        SMT_TRY(refuse_undefined(run, node->line, &value));
        return smt_chat_method(run, node, &value, out);
    }
    if (node->kind == SMT_CHAT_TEST) {
        SMT_TRY(smt_chat_test(run, node, &value, &holds));
        *out = smt_chat_bool(holds != node->negated);
    } else {
        *out = smt_chat_bool(!smt_chat_truth(&value)); /* not */
    }
    return SMT_OK;
}

static smt_status eval(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    switch (node->kind) {
    case SMT_CHAT_LITERAL:
        *out = node->value;
        return SMT_OK;
    case SMT_CHAT_NAME:
        eval_name(run, node, out);
        return SMT_OK;
    case SMT_CHAT_MAKE_LIST:
        return eval_list(run, node, out);
    case SMT_CHAT_MAKE_DICT:
        return eval_dict(run, node, out);
    case SMT_CHAT_ATTRIBUTE:
        return eval_attribute(run, node, out);
    case SMT_CHAT_ITEM:
        return eval_item(run, node, out);
    case SMT_CHAT_CUT:
        return eval_cut(run, node, out);
    case SMT_CHAT_CALL:
        return eval_call(run, node, out);
    case SMT_CHAT_METHOD:
    case SMT_CHAT_FILTER:
    case SMT_CHAT_TEST:
    case SMT_CHAT_NOT:
        return eval_applied(run, node, out);
    case SMT_CHAT_NEGATE:
    case SMT_CHAT_PLUS:
        return eval_sign(run, node, out);
    case SMT_CHAT_AND:
    case SMT_CHAT_OR:
        return eval_logic(run, node, out);
    case SMT_CHAT_ARITHMETIC:
        return eval_arithmetic(run, node, out);
    case SMT_CHAT_COMPARE:
        return eval_compare(run, node, out);
    case SMT_CHAT_CHOICE:
        return eval_choice(run, node, out);
    default:
        return SMT_CHAT_FAIL(run, SMT_INTERNAL, node->line, "a node of kind %d as an expression", node->kind);
    }
}

smt_status smt_chat_eval(smt_chat_run *run, const smt_chat_node *node, smt_chat_value *out) {
    SMT_TRY(smt_chat_spend(run, 1, node->line));
    SMT_TRY(smt_chat_descend(run, node->line));
    SMT_TRY(eval(run, node, out));
    run->depth--;
    return SMT_OK;
}
