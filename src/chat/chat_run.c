/* chat_run.c: executes statements. Scopes as the language has them: an `if` has none, a loop's body starts a new one in every
 * round (what outlives it needs a namespace), a macro sees its parameters and the template's own variables. */
#include "chat_internal.h"

/* ---- variables ---- */

typedef struct scope {
    size_t frame, visible;
} scope;

static scope open_scope(smt_chat_run *run) {
    scope outer = {run->frame, run->visible};
    if (run->scopes++ == 0) run->n_global = run->n_variables;
    run->frame = run->n_variables;
    return outer;
}

static void close_scope(smt_chat_run *run, scope outer) {
    run->n_variables = run->frame;
    run->frame = outer.frame;
    run->visible = outer.visible;
    run->scopes--;
}

smt_status smt_chat_variable_set(smt_chat_run *run, smt_chat_text name, smt_chat_value value) {
    for (size_t i = run->frame; i < run->n_variables; i++)
        if (smt_chat_equal(run->variables[i].name, name)) return run->variables[i].value = value, SMT_OK;
    SMT_TRY(smt_grow((void **)&run->variables, &run->variable_capacity, run->n_variables + 1, sizeof *run->variables, run->err));
    run->variables[run->n_variables++] = (smt_chat_variable){name, value};
    return SMT_OK;
}

static smt_status assign_one(smt_chat_run *run, const smt_chat_node *target, smt_chat_value value) {
    if (target->kind == SMT_CHAT_NAME) return smt_chat_variable_set(run, target->text, value);
    const smt_chat_value *space = smt_chat_variable_find(run, target->a->text);
    if (space && space->kind == SMT_CHAT_NAMESPACE) {
        smt_chat_value held = *space;
        return smt_chat_dict_set(run, target->line, &held, target->text, value);
    }
    return SMT_CHAT_FAIL(run, SMT_INVALID, target->line, "an assignment to %.*s.%.*s, which is not a namespace",
                         SMT_CHAT_ARG(target->a->text), SMT_CHAT_ARG(target->text));
}

/* To one target the value, to several its parts. */
static smt_status assign(smt_chat_run *run, const smt_chat_node *targets, const smt_chat_value *value) {
    if (!targets->next) return assign_one(run, targets, *value);
    const smt_chat_value *items;
    size_t count, n = 0;
    SMT_TRY(smt_chat_items(run, targets->line, value, &items, &count));
    for (const smt_chat_node *target = targets; target; target = target->next) n++;
    if (n != count) return SMT_CHAT_FAIL(run, SMT_INVALID, targets->line, "%zu values for %zu names", count, n);
    for (const smt_chat_node *target = targets; target; target = target->next) SMT_TRY(assign_one(run, target, *items++));
    return SMT_OK;
}

/* ---- statements ---- */

static smt_status run_if(smt_chat_run *run, const smt_chat_node *node) {
    for (const smt_chat_node *branch = node->items; branch; branch = branch->next) {
        smt_chat_value condition = smt_chat_bool(true);
        if (branch->a) SMT_TRY(smt_chat_eval(run, branch->a, &condition));
        if (smt_chat_truth(&condition)) return smt_chat_run_body(run, branch->body);
    }
    return SMT_OK;
}

/* The items that pass the loop's own filter. */
static smt_status filter_items(smt_chat_run *run, const smt_chat_node *node, const smt_chat_value **items, size_t *count) {
    if (!node->b) return SMT_OK;
    void *kept;
    size_t n = 0;
    SMT_TRY(smt_chat_alloc(run, *count, sizeof **items, &kept));
    scope outer = open_scope(run);
    for (size_t i = 0; i < *count; i++) {
        smt_chat_value passes;
        run->n_variables = run->frame;
        SMT_TRY(assign(run, node->items, &(*items)[i]));
        SMT_TRY(smt_chat_eval(run, node->b, &passes));
        if (smt_chat_truth(&passes)) ((smt_chat_value *)kept)[n++] = (*items)[i];
    }
    close_scope(run, outer);
    *items = kept;
    *count = n;
    return SMT_OK;
}

static smt_status run_for(smt_chat_run *run, const smt_chat_node *node) {
    smt_chat_value over;
    smt_chat_loop loop = {0};
    SMT_TRY(smt_chat_eval(run, node->a, &over));
    SMT_TRY(smt_chat_items(run, node->line, &over, &loop.items, &loop.count));
    SMT_TRY(filter_items(run, node, &loop.items, &loop.count));
    if (loop.count == 0) return smt_chat_run_body(run, node->otherwise);
    scope outer = open_scope(run);
    for (; loop.index < loop.count && run->flow != SMT_CHAT_BREAKS; loop.index++) {
        SMT_TRY(smt_chat_spend(run, 1, node->line));
        run->flow = SMT_CHAT_ON;
        run->n_variables = run->frame;
        SMT_TRY(smt_chat_variable_set(run, SMT_CHAT_TEXT("loop"), (smt_chat_value){.kind = SMT_CHAT_LOOP, .loop = &loop}));
        SMT_TRY(assign(run, node->items, &loop.items[loop.index]));
        SMT_TRY(smt_chat_run_body(run, node->body));
    }
    run->flow = SMT_CHAT_ON;
    close_scope(run, outer);
    return SMT_OK;
}

/* What the body prints, as a string; in a scope that is already open. */
static smt_status capture(smt_chat_run *run, const smt_chat_node *body, smt_chat_value *out) {
    smt_chat_builder builder = {0}, *outer = run->out;
    run->out = &builder;
    smt_status status = smt_chat_run_body(run, body);
    run->out = outer;
    *out = smt_chat_string(smt_chat_built(&builder));
    return status;
}

static smt_status run_set(smt_chat_run *run, const smt_chat_node *node) {
    smt_chat_value value;
    if (node->a) {
        SMT_TRY(smt_chat_eval(run, node->a, &value));
    } else {
        scope outer = open_scope(run);
        SMT_TRY(capture(run, node->body, &value));
        close_scope(run, outer);
    }
    return assign(run, node->items, &value);
}

/* The values given for the parameters of a macro, in their order; undefined where a call gives none. */
static smt_status read_arguments(smt_chat_run *run, const smt_chat_node *call, const smt_chat_node *macro, smt_chat_value **out) {
    size_t count = 0, n = 0;
    void *values;
    for (const smt_chat_node *parameter = macro->items; parameter; parameter = parameter->next) count++;
    SMT_TRY(smt_chat_alloc(run, count, sizeof **out, &values));
    *out = values;
    const smt_chat_node *argument = call->items;
    for (; argument && argument->kind != SMT_CHAT_KEYWORD && n < count; argument = argument->next)
        SMT_TRY(smt_chat_eval(run, argument, &(*out)[n++]));
    for (; argument; argument = argument->next) {
        size_t at = 0;
        const smt_chat_node *parameter = macro->items;
        for (; parameter && !smt_chat_equal(parameter->text, argument->text); parameter = parameter->next) at++;
        if (argument->kind != SMT_CHAT_KEYWORD || !parameter)
            return SMT_CHAT_FAIL(run, SMT_INVALID, call->line, "the macro %.*s has no such parameter", SMT_CHAT_ARG(macro->text));
        SMT_TRY(smt_chat_eval(run, argument->a, &(*out)[at]));
    }
    return SMT_OK;
}

smt_status smt_chat_run_macro(smt_chat_run *run, const smt_chat_node *call, const smt_chat_node *macro, smt_chat_value *out) {
    smt_chat_value *values;
    SMT_TRY(read_arguments(run, call, macro, &values));
    scope outer = open_scope(run);
    run->visible = run->frame;
    for (const smt_chat_node *parameter = macro->items; parameter; parameter = parameter->next, values++) {
        if (values->kind == SMT_CHAT_UNDEFINED) *values = smt_chat_undefined(parameter->text);
        if (values->kind == SMT_CHAT_UNDEFINED && parameter->a) SMT_TRY(smt_chat_eval(run, parameter->a, values));
        SMT_TRY(smt_chat_variable_set(run, parameter->text, *values));
    }
    SMT_TRY(capture(run, macro->body, out));
    close_scope(run, outer);
    return SMT_OK;
}

static smt_status run_statement(smt_chat_run *run, const smt_chat_node *node) {
    smt_chat_value value;
    switch (node->kind) {
    case SMT_CHAT_OUTPUT:
        return smt_chat_append(run, run->out, node->text);
    case SMT_CHAT_PRINT:
        SMT_TRY(smt_chat_eval(run, node->a, &value));
        return smt_chat_write(run, run->out, &value, false);
    case SMT_CHAT_IF:
        return run_if(run, node);
    case SMT_CHAT_FOR:
        return run_for(run, node);
    case SMT_CHAT_SET:
        return run_set(run, node);
    case SMT_CHAT_DEFINE:
        return smt_chat_variable_set(run, node->text, (smt_chat_value){.kind = SMT_CHAT_MACRO, .macro = node});
    case SMT_CHAT_BREAK:
        run->flow = SMT_CHAT_BREAKS;
        return SMT_OK;
    case SMT_CHAT_CONTINUE:
        run->flow = SMT_CHAT_CONTINUES;
        return SMT_OK;
    default:
        return SMT_CHAT_FAIL(run, SMT_INTERNAL, node->line, "a node of kind %d as a statement", node->kind);
    }
}

smt_status smt_chat_run_body(smt_chat_run *run, const smt_chat_node *body) {
    SMT_TRY(smt_chat_descend(run, body ? body->line : 0));
    for (; body && run->flow == SMT_CHAT_ON; body = body->next) {
        SMT_TRY(smt_chat_spend(run, 1, body->line));
        SMT_TRY(run_statement(run, body));
    }
    run->depth--;
    return SMT_OK;
}
