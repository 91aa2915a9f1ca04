/* main.c: the program `seamount`: the list of commands, and the way from the command line to one of them.
 *
 *   args.c      command line and environment -> cli_args       output.c    stdout, JSON, files
 *   cmd_*.c     one command each                               support.c   the library as commands use it
 *   progress.c  the bar                                        generate.c  the loop that run and chat share
 *   sampling.c  the sampler that the options describe          bench_report.c  what bench has measured, as text
 *   machine.c   the devices that a plan is made for            placement.c  what the options say about where weights go
 *   chat_*.c    what chat alone needs                          experts.c   how often experts were chosen
 *   prompt.c    -p and -f                                      recorder.c, trace_report.c    routing traces
 *   manual.c    man pages out of the tables
 *
 * The program uses the library through seamount.h alone, as any other host does. */
#include "cli.h"
#include "system.h"
#include "vector_width.h"

#include <string.h>

const cli_command_row cli_commands[CMD_COUNT] = {
    [CMD_RUN] = {"run", "run -m FILE (-p TEXT | -f FILE) [options]", "continue a text", 0, cmd_run},
    [CMD_CHAT] = {"chat", "chat -m FILE [--system TEXT] [options]", "talk with a model", 0, cmd_chat},
    [CMD_EVAL] = {"eval", "eval -m FILE (--tokens LIST | --tokens-file FILE) [options]",
                  "forward pass over given token ids: logits, routing, hidden states", 0, cmd_eval},
    [CMD_PERPLEXITY] = {"perplexity", "perplexity -m FILE -f FILE [options]", "how well a model predicts a text", 0,
                        cmd_perplexity},
    [CMD_BENCH] = {"bench", "bench -m FILE [-p LIST] [-n LIST] [-d LIST] [options]", "how fast a model runs here, and why", 0,
                   cmd_bench},
    [CMD_TOKENIZE] = {"tokenize", "tokenize -m FILE [--bos] [--special]   (stdin: one JSON string per line)", "text to token ids",
                      0, cmd_tokenize},
    [CMD_DETOKENIZE] = {"detokenize", "detokenize -m FILE   (stdin: one JSON array of ids per line)", "token ids to text", 0,
                        cmd_detokenize},
    [CMD_TEMPLATE] = {"template", "template -m FILE --messages FILE [options]", "the prompt that a conversation becomes", 0,
                      cmd_template},
    [CMD_DEVICES] = {"devices", "devices [options]", "the Vulkan devices of this machine, and how fast they read", 0,
                     cmd_devices},
    [CMD_PLAN] = {"plan", "plan -m FILE [-c N] [--machine FILE] [options]",
                  "where a model would lie in memory, and how fast that would be", 0, cmd_plan},
    [CMD_INSPECT] = {"inspect", "inspect FILE [options]", "what a GGUF file holds", 1, cmd_inspect},
    [CMD_KERNELS] = {"kernels", "kernels (-m FILE | --all) [options]", "compile the kernels of a model and report on each", 0,
                     cmd_kernels},
    [CMD_QUANTIZE] = {"quantize", "quantize IN.gguf OUT.gguf TYPE [options]   (TYPE: Q4_K_M, Q8_0, F16, ...)",
                      "write a GGUF file with other tensor types", 3, cmd_quantize},
    [CMD_CONVERT] = {"convert", "convert FOLDER OUT.gguf [options]   (FOLDER: config.json, tokenizer.json, safetensors)",
                     "write a GGUF file from a published checkpoint", 2, cmd_convert},
    [CMD_SERVE] = {"serve", "serve -m FILE [--port N] [-np N] [options]",
                   "a model behind HTTP, for clients of OpenAI's interface and llama.cpp's", 0, cmd_serve},
    [CMD_TRACE] = {"trace", "trace record -m FILE (-p TEXT | -f FILE) -o OUT [options]   |   trace report FILE [--json]",
                   "record which experts the tokens of a text go to; say what a record shows", 2, cmd_trace},
};

int main(int argc, char **argv) {
    if (!system_start(&argc, &argv)) return cli_no_memory();
    vector_width_ask();
    if (argc == 3 && !strcmp(argv[1], "--man-pages")) return cli_write_manual(argv[2]); /* for the build */
    cli_args args;
    int exit_status;
    if (cli_args_parse(argc, argv, &args, &exit_status)) exit_status = cli_commands[args.command].run(&args);
    cli_args_free(&args);
    return cli_finish(exit_status);
}
