/* output.c: stdout with a memory for failure, JSON helpers, whole files. */
#include "cli.h"
#include "system.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int write_error; /* errno of the first write to stdout that failed */

static bool note(bool written) {
    if (!written && !write_error) write_error = errno ? errno : EIO;
    return !write_error;
}

bool cli_write(const void *bytes, size_t count) {
    if (write_error) return false;
    return note(fwrite(bytes, 1, count, stdout) == count);
}

bool cli_print(const char *format, ...) {
    if (write_error) return false;
    va_list args;
    va_start(args, format);
    int count = vprintf(format, args);
    va_end(args);
    return note(count >= 0);
}

bool cli_flush(void) { return note(fflush(stdout) == 0); }

bool cli_write_json(json_t *document, bool compact) {
    size_t flags = JSON_ENCODE_ANY | (compact ? JSON_COMPACT : JSON_INDENT(2));
    char *text = document ? json_dumps(document, flags) : NULL;
    json_decref(document);
    if (!text) {
        cli_fail(CLI_FAILED, "out of memory writing JSON");
        return false;
    }
    bool written = cli_write(text, strlen(text)) && cli_write("\n", 1);
    free(text);
    return written;
}

int cli_finish(int status) {
    cli_flush();
    if (!write_error) return status;
    return cli_fail(CLI_FAILED, "stdout: %s", strerror(write_error));
}

json_t *cli_json_text(const char *text) {
    json_t *string = json_string(text);
    if (string) return string;
    size_t length = strlen(text), used = 0; /* not UTF-8 (or no memory, which shows again below) */
    char *clean = malloc(length * 3 + 1);
    if (!clean) return NULL;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 128) {
            clean[used++] = text[i];
        } else {
            memcpy(clean + used, "\xEF\xBF\xBD", 3);
            used += 3;
        }
    }
    string = json_stringn(clean, used);
    free(clean);
    return string;
}

json_t *cli_json_count(uint64_t value) { return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value); }

void cli_print_safe(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        bool control = (unsigned char)text[i] < 32 || text[i] == 127;
        cli_write(control ? "?" : text + i, 1);
    }
}

/* ---- files ---- */

static bool read_stream(FILE *file, const char *label, char **out, size_t *out_bytes) {
    size_t capacity = 1 << 16, used = 0;
    char *text = malloc(capacity);
    while (text) {
        used += fread(text + used, 1, capacity - 1 - used, file);
        if (used < capacity - 1) break;
        char *grown = capacity < SIZE_MAX / 2 ? realloc(text, capacity * 2) : NULL;
        if (!grown) free(text);
        text = grown;
        capacity *= 2;
    }
    if (!text) {
        cli_fail(CLI_FAILED, "%s: out of memory after %zu bytes", label, used);
        return false;
    }
    if (ferror(file)) {
        cli_fail(CLI_FAILED, "%s: %s", label, strerror(errno));
        free(text);
        return false;
    }
    text[used] = 0;
    *out = text;
    *out_bytes = used;
    return true;
}

bool cli_read_line(char **line, size_t *capacity, size_t *out_bytes) {
    size_t used = 0;
    *out_bytes = 0;
    for (int c = 0; c != '\n' && (c = getc(stdin)) != EOF;) {
        if (!cli_reserve((void **)line, capacity, used + 1, 1)) return false;
        (*line)[used++] = (char)c;
    }
    *out_bytes = used;
    if (used == 0 && !feof(stdin) && !cli_interrupted()) cli_fail(CLI_FAILED, "standard input: %s", strerror(errno));
    return used > 0;
}

bool cli_read_file(const char *path, char **out, size_t *out_bytes) {
    *out = NULL;
    *out_bytes = 0;
    if (!strcmp(path, "-")) return read_stream(stdin, "standard input", out, out_bytes);
    FILE *file = system_open(path, "rb");
    if (!file) {
        cli_fail(CLI_FAILED, "%s: %s", path, strerror(errno));
        return false;
    }
    bool read = read_stream(file, path, out, out_bytes);
    fclose(file);
    return read;
}

bool cli_replace_file(const char *path, const void *bytes, size_t count) {
    bool written = system_replace_file(path, bytes, count);
    if (!written) cli_fail(CLI_FAILED, "%s: %s (%zu bytes)", path, strerror(errno), count);
    return written;
}

bool cli_write_file(const char *path, const void *bytes, size_t count) {
    FILE *file = system_open(path, "wb");
    bool written = file && fwrite(bytes, 1, count, file) == count;
    int cause = errno;
    if (file && fclose(file) && written) {
        written = false;
        cause = errno;
    }
    if (!written) cli_fail(CLI_FAILED, "%s: %s (%zu bytes)", path, strerror(cause), count);
    return written;
}
