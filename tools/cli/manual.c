/* manual.c: man pages out of the tables of commands and options, so that they say what --help says: one for the program and one for
 * each command. The build calls `seamount --man-pages FOLDER` and installs what it finds there; nobody else needs it, so --help
 * does not speak of it. */
#include "cli.h"
#include "system.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Text for roff: hyphens that are typed as such, and no line that begins like a request. */
static void put(FILE *out, const char *text) {
    if (*text == '.' || *text == '\'') fputs("\\&", out);
    for (; *text; text++) {
        if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else
            fputc(*text, out);
    }
}

static void put_in(FILE *out, char font, const char *before, const char *text) {
    fprintf(out, "\\f%c", font);
    put(out, before);
    put(out, text);
    fputs("\\fR", out);
}

static void put_head(FILE *out, const char *command, const char *summary) {
    uint32_t version = smt_version();
    fprintf(out, ".TH SEAMOUNT%s%s 1 \"\" \"seamount %u.%u.%u\" \"User Commands\"\n", *command ? "\\-" : "", command,
            version / 10000, version / 100 % 100, version % 100);
    fprintf(out, ".SH NAME\nseamount%s%s \\- ", *command ? "\\-" : "", command);
    put(out, summary);
    fputs("\n", out);
}

static void put_foot(FILE *out) {
    fputs(".SH EXIT STATUS\n.TP\n0\ndone\n.TP\n1\nthe work failed\n.TP\n2\nthe command line was wrong\n"
          ".P\nA failure is one line on standard error.\n",
          out);
}

static void put_option(FILE *out, const cli_option_text *o) {
    fputs(".TP\n", out);
    if (o->short_name) {
        put_in(out, 'B', "", o->short_name);
        fputs(", ", out);
    }
    put_in(out, 'B', "--", o->name);
    if (o->value) put_in(out, 'I', " ", o->value);
    fputs("\n", out);
    put(out, o->help);
    if (*o->standard) fprintf(out, " (default %s)", o->standard);
    fputs("\n", out);
}

static void put_command(FILE *out, cli_command command) {
    const cli_command_row *row = &cli_commands[command];
    cli_option_text o;
    put_head(out, row->name, row->summary);
    fputs(".SH SYNOPSIS\n\\fBseamount\\fR ", out);
    put(out, row->usage);
    fputs("\n.SH OPTIONS\n", out);
    for (int i = 0; i < OPT_COUNT; i++)
        if (cli_option_describe(command, (cli_option)i, &o)) put_option(out, &o);
    fputs(".SH ENVIRONMENT\nEach option may also be set by a variable: \\fBSEAMOUNT_\\fR and its long name in capitals, with _ "
          "for each "
          "hyphen; flags as 1 or 0. The command line goes before it.\n",
          out);
    put_foot(out);
    fputs(".SH SEE ALSO\n.BR seamount (1)\n", out);
}

static void put_program(FILE *out) {
    put_head(out, "", "runs models of the DeepSeek-V2 and Llama families on any Vulkan device");
    fputs(".SH SYNOPSIS\n\\fBseamount\\fR \\fICOMMAND\\fR [options]\n.SH COMMANDS\n", out);
    for (int i = 0; i < CMD_COUNT; i++) {
        fprintf(out, ".TP\n.BR seamount\\-%s (1)\n", cli_commands[i].name);
        put(out, cli_commands[i].summary);
        fputs("\n", out);
    }
    fputs(".SH OPTIONS\n.TP\n\\fB\\-\\-help\\fR\nthe commands; after a command, its options\n"
          ".TP\n\\fB\\-\\-version\\fR\nthe version\n",
          out);
    put_foot(out);
}

/* The page of a command, or with CMD_COUNT that of the program. */
static int write_page(const char *folder, int command) {
    bool program = command == CMD_COUNT;
    char path[4096];
    int length =
        snprintf(path, sizeof path, "%s/seamount%s%s.1", folder, program ? "" : "-", program ? "" : cli_commands[command].name);
    FILE *out = length < (int)sizeof path ? system_open(path, "wb") : NULL;
    if (!out) return cli_fail(CLI_FAILED, "%s: %s", path, strerror(errno));
    if (program)
        put_program(out);
    else
        put_command(out, (cli_command)command);
    bool bad = ferror(out);
    bad |= fclose(out) != 0;
    return bad ? cli_fail(CLI_FAILED, "%s: %s", path, strerror(errno)) : CLI_DONE;
}

int cli_write_manual(const char *folder) {
    int status = CLI_DONE;
    for (int i = 0; i <= CMD_COUNT && status == CLI_DONE; i++) status = write_page(folder, i);
    return status;
}
