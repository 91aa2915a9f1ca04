/* progress.c: how far long work is: a bar on a terminal, elsewhere a line now and then.
 *
 * The bar goes to stderr, is drawn ten times a second at most, and is taken away before anything else is written there. Where stderr is a
 * file or a pipe, work that is done within seconds says nothing, as most work is. The callback is also where loading and compiling notice an
 * interrupt. */
#include "cli.h"
#include "system.h"

#include <inttypes.h>
#include <stdarg.h>

#define BAR_WIDTH          32
#define REDRAW_SECONDS     0.1
#define FIRST_LINE_SECONDS 5
#define NEXT_LINE_SECONDS  30
#define RATE_SECONDS       0.5 /* a shorter time says nothing of the speed */

static bool drawn;
static const char *label = ""; /* behind the bar */
static double drawn_at;
static bool noting; /* the line is cli_progress_note's */

/* The work under way: it is another when the stage changes or the count falls back. */
static struct {
    bool active;
    smt_stage stage;
    uint64_t from, last;
    double begun, next_line;
} work;

static bool wanted(void) {
    static int is_terminal = -1;
    if (is_terminal < 0) is_terminal = system_is_terminal(stderr);
    return is_terminal;
}

void cli_progress_label(const char *text) { label = text; }

void cli_progress_clear(void) {
    if (drawn) fputs("\r\033[K", stderr);
    drawn = noting = false;
}

/* Not more often than people can read, and only where somebody looks. */
static bool due(double now) {
    if (!wanted() || now - drawn_at < REDRAW_SECONDS) return false;
    drawn_at = now;
    return drawn = true;
}

void cli_progress_note(const char *format, ...) {
    noting = true;
    if (!due(cli_seconds())) return;
    va_list args;
    va_start(args, format);
    fputc('\r', stderr);
    vfprintf(stderr, format, args);
    fputs("\033[K", stderr);
    va_end(args);
    fflush(stderr);
}

/* "3.07 of 9.65 GB, 412 MB/s": how far, and how fast where that can be said. */
static void describe(uint64_t done, uint64_t total, double now, char *text, size_t capacity) {
    bool bytes = work.stage == SMT_STAGE_LOAD || work.stage == SMT_STAGE_WRITE;
    double seconds = now - work.begun, rate = seconds >= RATE_SECONDS ? (double)(done - work.from) / seconds : 0;
    double unit = total >= 1000000000 ? 1e9 : 1e6;
    int used;
    if (bytes)
        used = snprintf(text, capacity, "%.2f of %.2f %s", (double)done / unit, (double)total / unit, unit > 1e6 ? "GB" : "MB");
    else
        used = snprintf(text, capacity, "%" PRIu64 " of %" PRIu64 " %s", done, total,
                        work.stage == SMT_STAGE_COMPILE ? "kernels" : "tokens");
    if (rate > 0 && work.stage != SMT_STAGE_COMPILE)
        snprintf(text + used, capacity - (size_t)used, bytes ? ", %.0f MB/s" : ", %.1f tokens/s", bytes ? rate / 1e6 : rate);
}

static void draw(const char *name, uint64_t done, uint64_t total, const char *words) {
    double share = (double)done / (double)total;
    char bar[BAR_WIDTH + 1];
    int filled = (int)(share * BAR_WIDTH);
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = 0;
    fprintf(stderr, "\r%-9s [%s] %3d %%  %s%s%s\033[K", name, bar, (int)(share * 100), words, *label ? "  " : "", label);
    fflush(stderr);
}

bool cli_progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    static const char *const names[] = {[SMT_STAGE_COMPILE] = "compiling",
                                        [SMT_STAGE_LOAD] = "loading",
                                        [SMT_STAGE_EVAL] = "reading",
                                        [SMT_STAGE_WRITE] = "writing"};
    char words[96];
    (void)user;
    if (noting && stage == SMT_STAGE_EVAL) return !cli_interrupted();
    double now = cli_seconds();
    if (!work.active || stage != work.stage || done < work.last) {
        work.stage = stage;
        work.from = done;
        work.begun = now;
        work.next_line = now + FIRST_LINE_SECONDS;
    }
    work.active = done < total;
    work.last = done;
    if (done >= total) {
        cli_progress_clear();
    } else if (due(now)) {
        describe(done, total, now, words, sizeof words);
        draw(names[stage], done, total, words);
    } else if (!wanted() && now >= work.next_line) {
        describe(done, total, now, words, sizeof words);
        fprintf(stderr, "notice: %s: %d %%, %s\n", names[stage], (int)((double)done / (double)total * 100), words);
        work.next_line = now + NEXT_LINE_SECONDS;
    }
    return !cli_interrupted();
}
