/* vector_width.c: LP_NATIVE_VECTOR_WIDTH, which Mesa reads when a Vulkan instance is made.
 *
 * At 512 bits an instruction of lavapipe serves 16 invocations and has 32 registers instead of 16; by itself Mesa stays at 256 even where
 * the processor has AVX-512. A width that the user has set stays. The library reads and writes no environment: this is the
 * programs' own business.
 *
 * Mesa keeps machine code on disk, and forgets the width when it looks for it: its function that fetches texels, made for 8 lanes, would be
 * called with 16. What it does look at are its options, so 512 bits come with one (seen in Mesa 22.3 and 25.0): no_quad_lod, which is
 * about mipmaps and changes nothing here. */
#include "vector_width.h"
#include "system.h"

#include <stdbool.h>
#include <stdio.h>

/* Asks the processor, and with it whether the operating system keeps the registers. */
static bool has_avx512(void) {
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

/* The second variable first: without memory for the first the driver stays as it was. */
void vector_width_ask(void) {
    const char *said = system_environment("GALLIVM_PERF");
    char options[256];
    int n = snprintf(options, sizeof options, "%s%sno_quad_lod", said ? said : "", said && *said ? "," : "");
    if (!has_avx512() || system_environment("LP_NATIVE_VECTOR_WIDTH") || n < 0 || (size_t)n >= sizeof options) return;
    if (system_set_environment("GALLIVM_PERF", options)) system_set_environment("LP_NATIVE_VECTOR_WIDTH", "512");
}
