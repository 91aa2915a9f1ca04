/* serve_pace.c: how many tokens of prompts a round evaluates. A round ends for all that take part at once, so whoever writes an answer
 * waits for the prompts beside it; and nobody is let in or out before it ends.
 *
 *   beside answers   as many as take CROWD_S, or as long as the answers themselves where those take longer: an answer then runs at half
 *                    its speed or so, however slow the device
 *   alone            as many as take ALONE_S: a newcomer with a short prompt is let in after that
 *
 * What a token takes is learnt from the rounds before, as the mean over all of a round's tokens: a prompt's token costs less than an
 * answer's, but the difference of two rounds is mostly noise. It falls quickly and rises slowly, because a round that compiles kernels
 * says nothing of the next. A few tokens cost hardly less than one, on processors as on GPUs, so there are least numbers too. */
#include "serve_internal.h"

#include <math.h>

#define CROWD_S     0.1
#define ALONE_S     1.0
#define LEAST_CROWD 16
#define LEAST_ALONE 64
#define UNKNOWN     8 /* the part of a batch beside answers while nothing is known */

static double follow(double old, double now) {
    if (old <= 0) return now;
    return now < old ? (old + now) / 2 : old + (now - old) / 4;
}

void serve_pace_learn(serve_pace *pace, uint32_t n_answers, uint32_t n_prompt, double seconds) {
    if (n_prompt == 0) {
        pace->answers_s = follow(pace->answers_s, seconds);
        return;
    }
    pace->token_s = follow(pace->token_s, seconds / (n_answers + n_prompt));
}

uint32_t serve_pace_share(const serve_pace *pace, uint32_t n_answers, uint32_t n_batch) {
    uint32_t least = n_answers ? LEAST_CROWD : LEAST_ALONE, most = n_answers < n_batch ? n_batch - n_answers : 1;
    double seconds = n_answers ? fmax(CROWD_S, pace->answers_s) : ALONE_S, share = n_answers ? n_batch / UNKNOWN : n_batch;
    if (pace->token_s > 0) share = seconds / pace->token_s;
    return (uint32_t)fmin(fmax(share, least), most);
}
