/* grammar_match.c: where texts stand in an automaton: readings, states, and the transitions between them.
 *
 *   state    a set of readings, ascending; equal sets have the same number
 *   reading  node << 32 | stack: a node that consumes a byte, and the stack of places to go on after the ends of rules
 *   stack    number of a frame {node, parent}; equal frames have the same number, 0 is the empty stack
 *
 * A step takes the readings whose edges accept the byte, and closes the result under everything that consumes nothing. A call in
 * the last place of a rule pushes no frame, so right recursion does not grow the stack. Only live nodes are entered, so every
 * reading can be completed to a text of the grammar. States are found again by a hash of their readings; numbers are handed out
 * in order of discovery, and smt_matcher_trim drops those that no cursor can name any more. */
#include "grammar_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- a map of 64-bit keys ---- */

static smt_status map_grow(smt_match_map *map, smt_error *err) {
    if (map->stamp == 0) map->stamp = 1;
    if (map->capacity > 2 * map->n) return SMT_OK;
    size_t capacity = map->capacity ? map->capacity * 2 : 64;
    smt_match_slot *slots = smt_alloc(capacity, sizeof *slots);
    if (!slots) return SMT_FAIL(err, SMT_MEMORY, "out of memory matching a grammar: a table of %zu places", capacity);
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->slots[i].stamp != map->stamp) continue;
        size_t at = XXH3_64bits(&map->slots[i].key, 8) & (capacity - 1);
        while (slots[at].stamp) at = (at + 1) & (capacity - 1);
        slots[at] = map->slots[i];
        slots[at].stamp = 1;
    }
    smt_free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    map->stamp = 1;
    return SMT_OK;
}

/* The slot of the key; it is new where its stamp is not the map's, and then to be filled by map_put. After map_grow only. */
static smt_match_slot *map_find(const smt_match_map *map, uint64_t key) {
    size_t at = XXH3_64bits(&key, sizeof key) & (map->capacity - 1);
    while (map->slots[at].stamp == map->stamp && map->slots[at].key != key) at = (at + 1) & (map->capacity - 1);
    return &map->slots[at];
}

static void map_put(smt_match_map *map, smt_match_slot *slot, uint64_t key, uint32_t value) {
    *slot = (smt_match_slot){key, value, map->stamp};
    map->n++;
}

static void map_clear(smt_match_map *map) {
    map->n = 0;
    if (++map->stamp == 0 && map->slots) {
        memset(map->slots, 0, map->capacity * sizeof *map->slots);
        map->stamp = 1;
    }
}

/* ---- stacks and states ---- */

static smt_status push_frame(smt_matcher *m, uint32_t node, uint32_t parent, uint32_t *out, smt_error *err) {
    uint64_t key = (uint64_t)node << 32 | parent;
    SMT_TRY(map_grow(&m->frame_map, err));
    smt_match_slot *slot = map_find(&m->frame_map, key);
    if (slot->stamp != m->frame_map.stamp) {
        SMT_TRY(smt_grow((void **)&m->frames, &m->frame_capacity, m->n_frames + 1, sizeof *m->frames, err));
        map_put(&m->frame_map, slot, key, (uint32_t)m->n_frames);
        m->frames[m->n_frames++] = (smt_match_frame){node, parent};
    }
    *out = slot->value;
    return SMT_OK;
}

size_t smt_matcher_bytes(const smt_matcher *m) {
    return m->n_states * (sizeof *m->states + m->automaton->n_classes * sizeof *m->next + 2 * sizeof(smt_match_slot)) +
           m->n_readings * sizeof *m->readings + m->n_frames * (sizeof *m->frames + 2 * sizeof(smt_match_slot));
}

static smt_status add_state(smt_matcher *m, const uint64_t *readings, size_t n, smt_error *err) {
    size_t n_classes = m->automaton->n_classes;
    if (smt_matcher_bytes(m) > SMT_GRAMMAR_MOST)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "the grammar is too ambiguous: more than %zu MiB of possible continuations",
                        SMT_GRAMMAR_MOST >> 20);
    SMT_TRY(smt_grow((void **)&m->states, &m->state_capacity, m->n_states + 1, sizeof *m->states, err));
    SMT_TRY(smt_grow((void **)&m->next, &m->next_capacity, (m->n_states + 1) * n_classes, sizeof *m->next, err));
    SMT_TRY(smt_grow((void **)&m->readings, &m->reading_capacity, m->n_readings + n, sizeof *m->readings, err));
    if (n) memcpy(m->readings + m->n_readings, readings, n * sizeof *readings);
    m->states[m->n_states] = (smt_match_state){.n = (uint32_t)n, .first = m->n_readings};
    for (size_t c = 0; c < n_classes; c++) m->next[m->n_states * n_classes + c] = n ? SMT_MATCH_UNKNOWN : SMT_MATCH_DEAD;
    m->n_readings += n;
    m->n_states++;
    return SMT_OK;
}

static bool same_readings(const smt_matcher *m, uint32_t state, const uint64_t *readings, size_t n) {
    const smt_match_state *s = &m->states[state];
    return s->n == n && (n == 0 || !memcmp(m->readings + s->first, readings, n * sizeof *readings));
}

/* `readings` are ascending, and not in the matcher's own table. */
static smt_status intern(smt_matcher *m, const uint64_t *readings, size_t n, uint32_t *out, smt_error *err) {
    static const uint64_t none;
    uint64_t key = XXH3_64bits(n ? readings : &none, n * sizeof *readings);
    SMT_TRY(map_grow(&m->state_map, err));
    smt_match_slot *slot;
    for (;; key++) { /* sets of equal hash lie under the keys that follow */
        slot = map_find(&m->state_map, key);
        if (slot->stamp != m->state_map.stamp) break;
        if (same_readings(m, slot->value, readings, n)) {
            *out = slot->value;
            return SMT_OK;
        }
    }
    SMT_TRY(add_state(m, readings, n, err));
    *out = (uint32_t)m->n_states - 1;
    map_put(&m->state_map, slot, key, *out);
    return SMT_OK;
}

/* ---- one step ---- */

static smt_status visit(smt_matcher *m, uint32_t node, uint32_t stack, smt_error *err) {
    uint64_t reading = (uint64_t)node << 32 | stack;
    if (!m->automaton->nodes[node].live) return SMT_OK;
    SMT_TRY(map_grow(&m->seen, err));
    smt_match_slot *slot = map_find(&m->seen, reading);
    if (slot->stamp == m->seen.stamp) return SMT_OK;
    if (m->n_work == SMT_GRAMMAR_MAX_WAYS)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "the grammar is too ambiguous: more than %u ways to read the same text",
                        SMT_GRAMMAR_MAX_WAYS);
    SMT_TRY(smt_grow((void **)&m->work, &m->work_capacity, m->n_work + 1, sizeof *m->work, err));
    map_put(&m->seen, slot, reading, 0);
    m->work[m->n_work++] = reading;
    return SMT_OK;
}

static smt_status keep(smt_matcher *m, uint64_t reading, smt_error *err) {
    SMT_TRY(smt_grow((void **)&m->found, &m->found_capacity, m->n_found + 1, sizeof *m->found, err));
    m->found[m->n_found++] = reading;
    return SMT_OK;
}

static smt_status follow(smt_matcher *m, uint32_t node, uint32_t stack, smt_error *err) {
    const smt_automaton *a = m->automaton;
    const smt_automaton_node *n = &a->nodes[node];
    switch ((smt_node_kind)n->kind) {
    case SMT_NODE_BYTES:
        return keep(m, (uint64_t)node << 32 | stack, err);
    case SMT_NODE_END:
        return stack ? visit(m, m->frames[stack].node, m->frames[stack].parent, err) : keep(m, 0, err);
    case SMT_NODE_SPLIT:
        for (uint32_t i = 0; i < n->b; i++) SMT_TRY(visit(m, a->edges[n->a + i].next, stack, err));
        return SMT_OK;
    case SMT_NODE_CALL:
        if (n->b != 0) SMT_TRY(push_frame(m, n->b, stack, &stack, err));
        return visit(m, a->rules[n->a].entry, stack, err);
    }
    return SMT_OK;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void begin_closure(smt_matcher *m) {
    m->n_work = m->n_found = 0;
    map_clear(&m->seen);
}

/* What was visited and all that follows from it without a byte becomes a state. */
static smt_status close_state(smt_matcher *m, uint32_t *out, smt_error *err) {
    for (size_t i = 0; i < m->n_work; i++) SMT_TRY(follow(m, (uint32_t)(m->work[i] >> 32), (uint32_t)m->work[i], err));
    if (m->n_found > 1) qsort(m->found, m->n_found, sizeof *m->found, by_value);
    return intern(m, m->found, m->n_found, out, err);
}

static smt_status step(smt_matcher *m, uint32_t state, uint8_t byte, uint32_t *out, smt_error *err) {
    const smt_automaton *a = m->automaton;
    const smt_match_state s = m->states[state];
    begin_closure(m);
    for (size_t i = s.first; i < s.first + s.n; i++) {
        const smt_automaton_node *node = &a->nodes[m->readings[i] >> 32];
        for (uint32_t e = 0; e < node->b; e++) {
            const smt_automaton_edge *edge = &a->edges[node->a + e];
            if (byte >= edge->low && byte <= edge->high) SMT_TRY(visit(m, edge->next, (uint32_t)m->readings[i], err));
        }
    }
    return close_state(m, out, err);
}

smt_status smt_matcher_next(smt_matcher *m, uint32_t state, uint32_t class_idx, uint32_t *out, smt_error *err) {
    size_t at = state * (size_t)m->automaton->n_classes + class_idx;
    *out = m->next[at];
    if (*out != SMT_MATCH_UNKNOWN) return SMT_OK;
    SMT_TRY(step(m, state, m->automaton->byte_of[class_idx], out, err));
    m->next[at] = *out;
    return SMT_OK;
}

bool smt_match_may_end(const smt_matcher *m, uint32_t state) {
    const smt_match_state *s = &m->states[state];
    return s->n && m->readings[s->first] == 0;
}

/* ---- making and trimming ---- */

/* Frame 0, the dead state and the state at the beginning of a text. */
static smt_status begin(smt_matcher *m, smt_error *err) {
    uint32_t dead;
    SMT_TRY(smt_grow((void **)&m->frames, &m->frame_capacity, 1, sizeof *m->frames, err));
    m->frames[0] = (smt_match_frame){0, 0};
    m->n_frames = 1;
    begin_closure(m);
    SMT_TRY(close_state(m, &dead, err));
    begin_closure(m);
    SMT_TRY(visit(m, m->automaton->rules[m->automaton->root].entry, 0, err));
    return close_state(m, &m->start, err);
}

smt_status smt_matcher_create(smt_automaton *automaton, const smt_words *words, smt_matcher **out, smt_error *err) {
    *out = NULL;
    smt_matcher *m = smt_alloc(1, sizeof *m);
    if (!m) {
        smt_automaton_free(automaton);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory making a grammar");
    }
    m->automaton = automaton;
    m->words = words;
    m->n_words = words->n_tokens / 32 + 1;
    m->path = smt_alloc((size_t)words->longest + 1, sizeof *m->path);
    smt_status status = m->path ? begin(m, err) : SMT_FAIL(err, SMT_MEMORY, "out of memory making a grammar");
    if (status == SMT_OK)
        *out = m;
    else
        smt_matcher_free(m);
    return status;
}

static void free_tables(smt_matcher *m) {
    smt_free(m->states);
    smt_free(m->next);
    smt_free(m->readings);
    smt_free(m->frames);
    smt_free(m->frame_map.slots);
    smt_free(m->state_map.slots);
}

void smt_matcher_free(smt_matcher *m) {
    if (!m) return;
    free_tables(m);
    smt_automaton_free(m->automaton);
    smt_free(m->seen.slots);
    smt_free(m->work);
    smt_free(m->found);
    smt_free(m->masks);
    smt_free(m->mask_state);
    smt_free(m->path);
    smt_free(m);
}

/* A stack of `old` in the tables of m, from the bottom up: `moved` [old->n_frames] remembers what was moved. */
static smt_status move_stack(smt_matcher *m, const smt_matcher *old, uint32_t stack, uint32_t *moved, uint32_t *out,
                             smt_error *err) {
    m->n_work = 0;
    for (; stack && !moved[stack]; stack = old->frames[stack].parent) {
        SMT_TRY(smt_grow((void **)&m->work, &m->work_capacity, m->n_work + 1, sizeof *m->work, err));
        m->work[m->n_work++] = stack;
    }
    *out = stack ? moved[stack] : 0;
    while (m->n_work) {
        stack = (uint32_t)m->work[--m->n_work];
        SMT_TRY(push_frame(m, old->frames[stack].node, *out, out, err));
        moved[stack] = *out;
    }
    return SMT_OK;
}

static smt_status move_state(smt_matcher *m, const smt_matcher *old, uint32_t state, uint32_t *moved, uint32_t *out,
                             smt_error *err) {
    const smt_match_state *s = &old->states[state];
    m->n_found = 0;
    for (size_t i = s->first; i < s->first + s->n; i++) {
        uint32_t stack;
        SMT_TRY(move_stack(m, old, (uint32_t)old->readings[i], moved, &stack, err));
        SMT_TRY(keep(m, (old->readings[i] >> 32) << 32 | stack, err));
    }
    if (m->n_found > 1) qsort(m->found, m->n_found, sizeof *m->found, by_value);
    return intern(m, m->found, m->n_found, out, err);
}

static void take_tables(smt_matcher *to, const smt_matcher *from) {
    to->states = from->states;
    to->next = from->next;
    to->readings = from->readings;
    to->frames = from->frames;
    to->frame_map = from->frame_map;
    to->state_map = from->state_map;
    to->n_states = from->n_states;
    to->state_capacity = from->state_capacity;
    to->next_capacity = from->next_capacity;
    to->n_readings = from->n_readings;
    to->reading_capacity = from->reading_capacity;
    to->n_frames = from->n_frames;
    to->frame_capacity = from->frame_capacity;
    to->start = from->start;
}

/* New tables with the states that cursors stand on; *states gets their numbers in the order of the list. */
static smt_status rebuild(smt_matcher *m, const smt_matcher *old, uint32_t *states, smt_error *err) {
    uint32_t *moved = smt_alloc(old->n_frames, sizeof *moved);
    if (!moved) return SMT_FAIL(err, SMT_MEMORY, "out of memory matching a grammar: %zu stacks", old->n_frames);
    smt_status status = begin(m, err);
    for (smt_cursor *c = m->cursors; c && status == SMT_OK; c = c->next)
        status = move_state(m, old, c->state, moved, states++, err);
    smt_free(moved);
    return status;
}

smt_status smt_matcher_trim(smt_matcher *m, smt_error *err) {
    if (smt_matcher_bytes(m) <= SMT_GRAMMAR_KEPT) return SMT_OK;
    size_t n = 0;
    for (smt_cursor *c = m->cursors; c; c = c->next) n++;
    uint32_t *states = smt_alloc(n, sizeof *states);
    if (!states) return SMT_FAIL(err, SMT_MEMORY, "out of memory matching a grammar in %zu places", n);
    smt_matcher old = *m;
    take_tables(m, &(smt_matcher){0});
    smt_status status = rebuild(m, &old, states, err);
    if (status == SMT_OK) {
        n = 0;
        for (smt_cursor *c = m->cursors; c; c = c->next) c->state = states[n++];
        if (m->mask_state) memset(m->mask_state, 0, SMT_GRAMMAR_MASKS * sizeof *m->mask_state);
        free_tables(&old);
    } else {
        free_tables(m);
        take_tables(m, &old);
    }
    smt_free(states);
    return status;
}
