/* progress.c: the bar on stderr.
 *
 * Drawn only on a terminal, ten times a second at most, and taken away before anything else is written there; elsewhere (a file,
 * a pipe, a test) progress is silent. The callback is also where loading and compiling notice an interrupt. */
#include "cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <unistd.h>

#define BAR_WIDTH      32
#define REDRAW_SECONDS 0.1

static bool drawn;
static const char *label = ""; /* behind the bar */
static double drawn_at;
static bool noting; /* the line is cli_progress_note's */

static bool wanted(void) {
    static int is_terminal = -1;
    if (is_terminal < 0) is_terminal = isatty(STDERR_FILENO);
    return is_terminal;
}

void cli_progress_label(const char *text) { label = text; }

void cli_progress_clear(void) {
    if (drawn) fputs("\r\033[K", stderr);
    drawn = noting = false;
}

/* Not more often than people can read, and only where somebody looks. */
static bool due(void) {
    double now = cli_seconds();
    if (!wanted() || now - drawn_at < REDRAW_SECONDS) return false;
    drawn_at = now;
    return drawn = true;
}

void cli_progress_note(const char *format, ...) {
    noting = true;
    if (!due()) return;
    va_list args;
    va_start(args, format);
    fputc('\r', stderr);
    vfprintf(stderr, format, args);
    fputs("\033[K", stderr);
    va_end(args);
    fflush(stderr);
}

bool cli_progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    static const char *const names[] = {[SMT_STAGE_COMPILE] = "compiling",
                                        [SMT_STAGE_LOAD] = "loading",
                                        [SMT_STAGE_EVAL] = "reading",
                                        [SMT_STAGE_WRITE] = "writing"};
    (void)user;
    if (noting && stage == SMT_STAGE_EVAL) return !cli_interrupted();
    if (done >= total) {
        cli_progress_clear();
    } else if (due()) {
        char bar[BAR_WIDTH + 1];
        int filled = (int)((double)done / (double)total * BAR_WIDTH);
        for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < filled ? '#' : '.';
        bar[BAR_WIDTH] = 0;
        fprintf(stderr, "\r%-9s [%s] %3d %%  %s\033[K", names[stage], bar, (int)((double)done / (double)total * 100), label);
        fflush(stderr);
    }
    return !cli_interrupted();
}
