/* vk_include.c: one shader with its includes spliced in: a single text for the compiler, the cache key and nobody's callbacks.
 *
 * Rules
 *   1. `#include "x"` is looked up beside the including file, then at the root of the shader folder. `#include <x>` is left
 *      alone: headers shared with C have such lines under conditions that are false here.
 *   2. Every file has once semantics: its text stands between generated guards, so a file counts as included only where the
 *      preprocessor really came by (an include under a false condition does not count). A file being included is skipped
 *      within itself, which its guard would do anyway.
 *   3. Every file begins with `#line 1 n`, n its place in the file table, and each include and each conditional after one is
 *      followed by a #line too, for a #line in a skipped group is skipped with it. Numbers, because file names in #line are
 *      an extension of their own; smt_vk_source_map_log turns them back.
 *   4. shader_dir overrides single files; what it lacks comes from the embedded ones. */
#include "vk_internal.h"

#include <stdio.h>
#include <string.h>

#define MAX_DEPTH 16
#define MAX_TEXT  ((size_t)4 << 20) /* far beyond any kernel; includes that multiply stop here */
#define MAX_NAME  256

typedef struct flattener {
    const char *shader_dir;
    smt_vk_source *source;
    size_t stack[MAX_DEPTH]; /* files being spliced */
    size_t depth;
    smt_error *err;
} flattener;

typedef struct cursor { /* a position in one file */
    const char *text;
    size_t bytes, at, line;
    size_t file;
    bool in_comment; /* the line begins inside a block comment */
    bool spliced;    /* an include happened earlier in this file */
} cursor;

/* ---- finding files ---- */

static const struct smt_vk_embedded *find_embedded(const char *name) {
    const struct smt_vk_embedded *entry = smt_vk_embedded_shaders;
    while (entry->name && strcmp(entry->name, name) != 0) entry++;
    return entry->name ? entry : NULL;
}

/* *out_text: into *out_owned (smt_free), or into the embedded table. SMT_NOT_FOUND leaves the message to the caller. */
static smt_status read_shader(const char *shader_dir, const char *name, char **out_owned, const char **out_text,
                              size_t *out_bytes, smt_error *err) {
    *out_owned = NULL;
    if (shader_dir) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", shader_dir, name);
        smt_status status = smt_os_read_file(path, out_owned, out_bytes, err);
        *out_text = *out_owned;
        if (status == SMT_OK || status == SMT_MEMORY) return status;
    }
    const struct smt_vk_embedded *entry = find_embedded(name);
    if (!entry) return SMT_NOT_FOUND;
    *out_text = entry->text;
    *out_bytes = entry->bytes;
    return SMT_OK;
}

/* `folder` + `name` with "." and ".." resolved; false when it leaves the root or is too long. */
static bool normalise(const char *folder, size_t folder_bytes, const char *name, size_t name_bytes, char out[MAX_NAME]) {
    char joined[2 * MAX_NAME];
    if (folder_bytes + name_bytes >= sizeof joined || name_bytes == 0 || name[0] == '/') return false;
    memcpy(joined, folder, folder_bytes);
    memcpy(joined + folder_bytes, name, name_bytes);
    joined[folder_bytes + name_bytes] = 0;
    size_t used = 0;
    for (const char *part = joined; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 2 && part[0] == '.' && part[1] == '.') {
            if (used == 0) return false;
            while (used > 0 && out[used - 1] != '/') used--;
            if (used > 0) used--;
        } else if (length > 0 && !(length == 1 && part[0] == '.')) {
            if (used + length + 2 > MAX_NAME) return false;
            if (used > 0) out[used++] = '/';
            memcpy(out + used, part, length);
            used += length;
        }
        part += length + (part[length] == '/');
    }
    out[used] = 0;
    return used > 0;
}

/* ---- directives ---- */

static const char *skip_blanks(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t')) at++;
    return at;
}

/* The directive word of a line ("include", "endif"), or zero length. *out_rest: behind it. */
static size_t directive(const char *line, const char *end, const char **out_word, const char **out_rest) {
    const char *at = skip_blanks(line, end);
    if (at == end || *at != '#') return 0;
    *out_word = at = skip_blanks(at + 1, end);
    while (at < end && *at >= 'a' && *at <= 'z') at++;
    *out_rest = skip_blanks(at, end);
    return (size_t)(at - *out_word);
}

static bool is_word(const char *word, size_t length, const char *text) {
    return strlen(text) == length && memcmp(word, text, length) == 0;
}

/* Whether a block comment is open behind this line. */
static bool comment_after(const char *line, const char *end, bool in_comment) {
    for (const char *at = line; at + 1 < end; at++) {
        if (in_comment && at[0] == '*' && at[1] == '/')
            in_comment = false, at++;
        else if (!in_comment && at[0] == '/' && at[1] == '*')
            in_comment = true, at++;
        else if (!in_comment && at[0] == '/' && at[1] == '/')
            break;
    }
    return in_comment;
}

/* ---- splicing ---- */

static smt_status splice(flattener *f, const char *name);

static smt_status file_index(flattener *f, const char *name, size_t *out) {
    smt_vk_source *source = f->source;
    for (size_t i = 0; i < source->n_files; i++)
        if (strcmp(source->files[i], name) == 0) return *out = i, SMT_OK;
    SMT_TRY(smt_grow((void **)&source->files, &source->files_capacity, source->n_files + 1, sizeof *source->files, f->err));
    char *copy = smt_strdup(name);
    if (!copy) return SMT_FAIL(f->err, SMT_MEMORY, "out of memory for shader %s", name);
    *out = source->n_files;
    source->files[source->n_files++] = copy;
    return SMT_OK;
}

static smt_status put_line_directive(flattener *f, size_t line, size_t file) {
    return smt_str_printf(&f->source->text, f->err, "#line %zu %zu\n", line, file);
}

/* Splices the file called `name` (without its quotes), as seen from `c`. */
static smt_status include(flattener *f, const cursor *c, const char *name, size_t name_bytes) {
    const char *from = f->source->files[c->file], *slash = strrchr(from, '/');
    size_t folder_bytes = slash ? (size_t)(slash - from) + 1 : 0;
    char found[MAX_NAME];
    for (int from_root = 0; from_root < 2; from_root++) {
        if (!normalise(from, from_root ? 0 : folder_bytes, name, name_bytes, found)) continue;
        smt_status status = splice(f, found);
        if (status != SMT_NOT_FOUND) return status;
    }
    return SMT_FAIL(f->err, SMT_COMPILE, "%s:%zu: included file \"%.*s\" not found", from, c->line,
                    (int)smt_min_u64(name_bytes, MAX_NAME), name);
}

/* `from` to `end` as a line of the output. */
static smt_status put_text(flattener *f, const char *from, const char *end) {
    SMT_TRY(smt_str_append(&f->source->text, from, (size_t)(end - from), f->err));
    return smt_str_append(&f->source->text, "\n", 1, f->err);
}

static smt_status copy_line(flattener *f, cursor *c) {
    const char *line = c->text + c->at, *end = memchr(line, '\n', c->bytes - c->at), *word = NULL, *rest = NULL;
    if (!end) end = c->text + c->bytes;
    c->at = (size_t)(end - c->text) + 1; /* may point one beyond the end: the loop stops there */
    size_t length = c->in_comment ? 0 : directive(line, end, &word, &rest);
    c->in_comment = comment_after(line, end, c->in_comment);
    if (is_word(word, length, "include") && rest < end && *rest == '"') {
        const char *quote = memchr(rest + 1, '"', (size_t)(end - rest - 1));
        if (!quote)
            return SMT_FAIL(f->err, SMT_COMPILE, "%s:%zu: #include without a closing quote", f->source->files[c->file], c->line);
        SMT_TRY(include(f, c, rest + 1, (size_t)(quote - rest - 1)));
        SMT_TRY(put_line_directive(f, c->line++, c->file));
        c->spliced = true;
        return put_text(f, quote + 1, end); /* what follows the name may open a comment */
    }
    SMT_TRY(put_text(f, line, end));
    c->line++;
    bool turns = is_word(word, length, "endif") || is_word(word, length, "else") || is_word(word, length, "elif");
    return c->spliced && turns ? put_line_directive(f, c->line, c->file) : SMT_OK;
}

static smt_status copy_file(flattener *f, cursor *c) {
    SMT_TRY(smt_str_printf(&f->source->text, f->err, "#ifndef SMT_ONCE_%zu\n#define SMT_ONCE_%zu\n", c->file, c->file));
    SMT_TRY(put_line_directive(f, c->line, c->file));
    while (c->at < c->bytes) {
        SMT_TRY(copy_line(f, c));
        if (f->source->text.bytes > MAX_TEXT)
            return SMT_FAIL(f->err, SMT_COMPILE, "%s: more than %zu bytes of source with its includes", f->source->files[1],
                            MAX_TEXT);
    }
    return smt_str_printf(&f->source->text, f->err, "#endif\n");
}

static smt_status splice(flattener *f, const char *name) {
    char *owned;
    cursor c = {.line = 1};
    SMT_TRY(read_shader(f->shader_dir, name, &owned, &c.text, &c.bytes, f->err));
    smt_status status = file_index(f, name, &c.file);
    bool active = false;
    for (size_t i = 0; status == SMT_OK && i < f->depth; i++) active |= f->stack[i] == c.file;
    if (status == SMT_OK && !active && f->depth == MAX_DEPTH)
        status = SMT_FAIL(f->err, SMT_COMPILE, "%s: includes nested more than %d deep", name, MAX_DEPTH);
    if (status == SMT_OK && !active) {
        f->stack[f->depth++] = c.file;
        status = copy_file(f, &c);
        f->depth--;
    }
    smt_free(owned);
    return status;
}

smt_status smt_vk_source_flatten(const char *shader_dir, const char *name, const smt_vk_define *defines, uint32_t n_defines,
                                 smt_vk_source *out, smt_error *err) {
    *out = (smt_vk_source){0};
    flattener f = {.shader_dir = shader_dir, .source = out, .err = err};
    size_t unused;
    smt_status status = file_index(&f, "(defines)", &unused);
    if (status == SMT_OK) status = smt_str_printf(&out->text, err, "#version 460\n");
    for (uint32_t i = 0; status == SMT_OK && i < n_defines; i++)
        status = smt_str_printf(&out->text, err, "#define %s %s\n", defines[i].name, defines[i].value ? defines[i].value : "");
    if (status == SMT_OK) status = splice(&f, name);
    if (status == SMT_NOT_FOUND)
        status = SMT_FAIL(err, SMT_NOT_FOUND, "no shader is called %s%s%s", name, shader_dir ? ", nor is it in " : "",
                          shader_dir ? shader_dir : "");
    if (status != SMT_OK) smt_vk_source_free(out);
    return status;
}

void smt_vk_source_free(smt_vk_source *source) {
    for (size_t i = 0; i < source->n_files; i++) smt_free(source->files[i]);
    smt_free(source->files);
    smt_str_free(&source->text);
    *source = (smt_vk_source){0};
}

/* ---- the compiler's words ---- */

/* "2:" at *at -> the number; *at moves behind the colon. */
static bool take_number(const char **at, size_t *out) {
    const char *c = *at;
    size_t value = 0;
    while (*c >= '0' && *c <= '9' && value < SIZE_MAX / 16) value = value * 10 + (size_t)(*c++ - '0');
    if (c == *at || *c != ':') return false;
    *at = c + 1;
    *out = value;
    return true;
}

smt_status smt_vk_source_map_log(const smt_vk_source *source, const char *log, smt_str *out, smt_error *err) {
    for (const char *line = log, *next; *line; line = next) {
        size_t length = strcspn(line, "\n"), file, number;
        next = line + length + (line[length] == '\n');
        const char *at = strncmp(line, "ERROR: ", 7) == 0 ? line + 7 : line;
        bool mapped = take_number(&at, &file) && file < source->n_files && take_number(&at, &number);
        if (!mapped && strncmp(line, "ERROR: ", 7) == 0) continue; /* "1 compilation errors.", nothing that helps */
        if (length == 0) continue;
        if (mapped && strncmp(at, " error:", 7) == 0) at += 7; /* shaderc says it here, glslang in front */
        if (out->bytes) SMT_TRY(smt_str_append(out, "\n", 1, err));
        if (mapped)
            SMT_TRY(smt_str_printf(out, err, "%s:%zu:", source->files[file], number));
        else
            at = line;
        SMT_TRY(smt_str_append(out, at, (size_t)(line + length - at), err));
    }
    return SMT_OK;
}
