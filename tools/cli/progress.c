/* progress.c: the bar on stderr.
 *
 * Drawn only on a terminal, ten times a second at most, and taken away before anything else is written there; elsewhere (a file,
 * a pipe, a test) progress is silent. The callback is also where loading and compiling notice an interrupt. */
#include "cli.h"

#include <inttypes.h>
#include <unistd.h>

#define BAR_WIDTH      32
#define REDRAW_SECONDS 0.1

static bool drawn;
static double drawn_at;

static bool wanted(void) {
    static int is_terminal = -1;
    if (is_terminal < 0) is_terminal = isatty(STDERR_FILENO);
    return is_terminal;
}

void cli_progress_clear(void) {
    if (drawn) fputs("\r\033[K", stderr);
    drawn = false;
}

bool cli_progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    static const char *const names[] = {[SMT_STAGE_COMPILE] = "compiling",
                                        [SMT_STAGE_LOAD] = "loading",
                                        [SMT_STAGE_EVAL] = "reading",
                                        [SMT_STAGE_WRITE] = "writing"};
    (void)user;
    double now = cli_seconds();
    if (done >= total) {
        cli_progress_clear();
    } else if (wanted() && now - drawn_at >= REDRAW_SECONDS) {
        char bar[BAR_WIDTH + 1];
        int filled = (int)((double)done / (double)total * BAR_WIDTH);
        for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < filled ? '#' : '.';
        bar[BAR_WIDTH] = 0;
        fprintf(stderr, "\r%-9s [%s] %3d %%\033[K", names[stage], bar, (int)((double)done / (double)total * 100));
        fflush(stderr);
        drawn = true;
        drawn_at = now;
    }
    return !cli_interrupted();
}
