/* grammar_schema_number.c: numbers, exact within bounds.
 *
 * Bounds are whole numbers of at most 2^53; a range of them becomes groups of digits of the same length. Numbers with a fraction
 * are a whole part below the upper bound and any fraction, or the upper bound itself; negative ones the mirror image. Numbers
 * without bounds have at most 16 digits in front of the point, as many as a double tells apart. */
#include "grammar_schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LARGEST 9999999999999999 /* 16 digits */
#define EXACT   9007199254740992.0

/* Values between low and high; open: the border itself is left out. */
typedef struct bounds {
    int64_t low, high;
    bool low_open, high_open;
} bounds;

/* ---- digits ---- */

static bool all(const char *digits, size_t n, char digit) {
    for (size_t i = 0; i < n; i++)
        if (digits[i] != digit) return false;
    return true;
}

/* Numbers of n digits, leading zeros included. Nests as deep as there are digits. */
static smt_status put_digits(smt_schema *s, const char *low, const char *high, size_t n, smt_str *out) {
    static const char zeros[] = "0000000000000000000", nines[] = "9999999999999999999";
    if (n == 0) return SMT_OK;
    if (all(low, n, '0') && all(high, n, '9')) {
        SMT_PUT(s, out, "[0-9]{%zu}", n);
        return SMT_OK;
    }
    if (*low == *high) {
        SMT_PUT(s, out, "\"%c\" ", *low);
        return put_digits(s, low + 1, high + 1, n - 1, out);
    }
    bool whole_low = all(low + 1, n - 1, '0'), whole_high = all(high + 1, n - 1, '9');
    int first = *low + !whole_low, last = *high - !whole_high;
    const char *bar = "";
    SMT_PUT(s, out, "(");
    if (first <= last) {
        SMT_PUT(s, out, "[%c-%c] [0-9]{%zu}", first, last, n - 1);
        bar = " | ";
    }
    if (!whole_low) {
        SMT_PUT(s, out, "%s\"%c\" ", bar, *low);
        SMT_TRY(put_digits(s, low + 1, nines, n - 1, out));
        bar = " | ";
    }
    if (!whole_high) {
        SMT_PUT(s, out, "%s\"%c\" ", bar, *high);
        SMT_TRY(put_digits(s, zeros, high + 1, n - 1, out));
    }
    SMT_PUT(s, out, ")");
    return SMT_OK;
}

/* Whole numbers from low to high, both included and not negative. */
static smt_status put_range(smt_schema *s, uint64_t low, uint64_t high, smt_str *out) {
    uint64_t first = 0, last = 9;
    const char *bar = "";
    SMT_PUT(s, out, "(");
    for (; first <= high; first = last + 1, last = last * 10 + 9) {
        if (last < low) continue;
        char from[24], to[24];
        snprintf(from, sizeof from, "%llu", (unsigned long long)(low > first ? low : first));
        snprintf(to, sizeof to, "%llu", (unsigned long long)(high < last ? high : last));
        SMT_PUT(s, out, "%s", bar);
        SMT_TRY(put_digits(s, from, to, strlen(from), out));
        bar = " | ";
    }
    SMT_PUT(s, out, ")");
    return SMT_OK;
}

/* ---- bounds ---- */

static smt_status read_bound(smt_schema *s, json_t *schema, const char *key, bool integer, double *out, bool *found) {
    json_t *value = json_object_get(schema, key);
    *found = value != NULL;
    if (!value) return SMT_OK;
    *out = json_number_value(value);
    if (!json_is_number(value)) return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "\"%s\" is no number", key);
    if (fabs(*out) > EXACT) return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"%s\" %g is beyond 2^53", key, *out);
    if (!integer && *out != floor(*out))
        return SMT_SCHEMA_FAIL(s, SMT_UNSUPPORTED, "\"%s\" %g is no whole number: such bounds are supported for integers only",
                               key, *out);
    return SMT_OK;
}

/* The tighter of the closed and the open bound; of integers, open ones become closed. */
static smt_status read_bounds(smt_schema *s, json_t *schema, bool integer, bounds *b, bool *out_any) {
    double closed, open;
    bool has_closed, has_open;
    *b = (bounds){.low = -LARGEST, .high = LARGEST};
    *out_any = false;
    SMT_TRY(read_bound(s, schema, "minimum", integer, &closed, &has_closed));
    SMT_TRY(read_bound(s, schema, "exclusiveMinimum", integer, &open, &has_open));
    if (has_closed) b->low = (int64_t)ceil(closed);
    if (has_open && integer) open = floor(open) + 1;
    if (has_open && (!has_closed || open >= closed)) {
        b->low = (int64_t)open;
        b->low_open = !integer;
    }
    *out_any = has_closed || has_open;
    SMT_TRY(read_bound(s, schema, "maximum", integer, &closed, &has_closed));
    SMT_TRY(read_bound(s, schema, "exclusiveMaximum", integer, &open, &has_open));
    if (has_closed) b->high = (int64_t)floor(closed);
    if (has_open && integer) open = ceil(open) - 1;
    if (has_open && (!has_closed || open <= closed)) {
        b->high = (int64_t)open;
        b->high_open = !integer;
    }
    *out_any = *out_any || has_closed || has_open;
    if (b->low > b->high || (b->low == b->high && (b->low_open || b->high_open)))
        return SMT_SCHEMA_FAIL(s, SMT_FORMAT, "no number lies between its bounds %lld and %lld", (long long)b->low,
                               (long long)b->high);
    return SMT_OK;
}

/* ---- numbers ---- */

static smt_status put_integer(smt_schema *s, const bounds *b, smt_str *out) {
    if (b->low < 0) {
        SMT_PUT(s, out, "\"-\" ");
        SMT_TRY(put_range(s, b->high < 0 ? (uint64_t)-b->high : 1, (uint64_t)-b->low, out));
    }
    if (b->low < 0 && b->high >= 0) SMT_PUT(s, out, " | ");
    if (b->high >= 0) SMT_TRY(put_range(s, b->low > 0 ? (uint64_t)b->low : 0, (uint64_t)b->high, out));
    return SMT_OK;
}

/* Not negative. */
static smt_status put_magnitude(smt_schema *s, const bounds *b, smt_str *out) {
    const char *bar = "";
    int64_t first = b->low + b->low_open;
    SMT_PUT(s, out, "(");
    if (first < b->high) {
        SMT_TRY(put_range(s, (uint64_t)first, (uint64_t)b->high - 1, out));
        SMT_PUT(s, out, " (\".\" [0-9]{1,16})?");
        bar = " | ";
    }
    if (b->low_open) {
        SMT_PUT(s, out, "%s\"%lld.\" [0-9]{0,15} [1-9]", bar, (long long)b->low);
        bar = " | ";
    }
    if (!b->high_open) SMT_PUT(s, out, "%s\"%lld\"", bar, (long long)b->high);
    SMT_PUT(s, out, ")");
    return SMT_OK;
}

static smt_status put_number(smt_schema *s, const bounds *b, smt_str *out) {
    bool negative = b->low<0, positive = b->high> 0 || (b->high == 0 && !b->high_open);
    if (negative) {
        bounds mirrored = {.low = b->high < 0 ? -b->high : 0,
                           .high = -b->low,
                           .low_open = b->high <= 0 && b->high_open,
                           .high_open = b->low_open};
        SMT_PUT(s, out, "\"-\" ");
        SMT_TRY(put_magnitude(s, &mirrored, out));
    }
    if (negative && positive) SMT_PUT(s, out, " | ");
    if (positive) {
        bounds upper = {
            .low = negative ? 0 : b->low, .high = b->high, .low_open = !negative && b->low_open, .high_open = b->high_open};
        SMT_TRY(put_magnitude(s, &upper, out));
    }
    return SMT_OK;
}

smt_status smt_schema_number(smt_schema *s, json_t *schema, bool integer, smt_str *out) {
    json_t *multiple = json_object_get(schema, "multipleOf");
    bounds b;
    bool any;
    if (multiple && !(integer && json_number_value(multiple) == 1)) return SMT_SCHEMA_UNSUPPORTED(s, "multipleOf");
    SMT_TRY(read_bounds(s, schema, integer, &b, &any));
    if (!any) return smt_schema_use(s, integer ? SMT_COMMON_INTEGER : SMT_COMMON_NUMBER, out);
    smt_str body = {0};
    smt_status status = integer ? put_integer(s, &b, &body) : put_number(s, &b, &body);
    if (status == SMT_OK) status = smt_schema_rule(s, &body, out);
    smt_str_free(&body);
    return status;
}
