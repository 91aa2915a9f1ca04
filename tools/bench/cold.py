#!/usr/bin/env python3
"""Measures a cold start as a user sees it: `seamount run`, a prompt of 128 tokens or so, 8 tokens of answer, every cache empty; and the
same again, when all is cached.

    tools/bench/cold.py NAME=SEAMOUNT [NAME=SEAMOUNT ...] [--widths 256,512] [--rounds 3] [--prompt TEXT] [--out FILE] [-- options: -m MODEL]

Several programs take turns, so that what else the machine does hits all of them; a NAME is best the commit. Widths are those of lavapipe's vectors
(LP_NATIVE_VECTOR_WIDTH). The model should be in the system's cache: it is read once before. Each round gives two lines of CSV for each
program and width, `cold` and `again`:

    load_s     reading the file, uploading it and compiling kernels, side by side
    first_s    from there to the first token: the prompt
    rest_s     the other tokens of the answer
    total_s    all of it, with the start and the end of the process
    cpu_s      processor time of the process: of all threads
"""
import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from record import ROOT, append, machine

FIELDS = ["date", "machine", "driver", "program", "model", "width", "start", "prompt_tokens", "tokens", "load_average", "load_s",
          "first_s", "rest_s", "total_s", "cpu_s"]
N_TOKENS = 8
PATIENCE = 600  # seconds


def call(program, width, folder, prompt, options):
    """The document of --json, seconds on the clock and of the processor."""
    env = dict(os.environ, MESA_SHADER_CACHE_DIR=os.path.join(folder, "mesa"))
    if width != "own":
        env["LP_NATIVE_VECTOR_WIDTH"] = width
    command = [program, "run", "--json", "--temp", "0", "-n", str(N_TOKENS), "--cache-dir", os.path.join(folder, "kernels"), *prompt, *options]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, timeout=PATIENCE, check=False)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit("cold.py: %s ended with status %d:\n%s" % (program, done.returncode, done.stderr.decode(errors="replace")))
    return json.loads(done.stdout), seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read_model(options):
    named = [path for option, path in zip(options, options[1:]) if option in ("-m", "--model")]
    if not named:
        return "built in"
    path = named[-1]
    with open(path, "rb") as f:
        while f.read(1 << 24):
            pass
    return os.path.basename(path)


def row(name, model, width, start, measured):
    document, seconds, cpu = measured
    times, n = document["timings"], len(document["tokens"])
    rest = (n - 1) / times["decode_tok_s"] if n > 1 and times["decode_tok_s"] > 0 else 0
    figures = ["%.2f" % s for s in (os.getloadavg()[0], times["load_s"], times["first_token_s"], rest, seconds, cpu)]
    return dict(zip(FIELDS, [datetime.date.today().isoformat(), machine(), " ".join(document["device"]), name, model, width, start,
                             document["prompt_tokens"], n, *figures]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+", metavar="NAME=SEAMOUNT")
    parser.add_argument("--widths", default="own,256", help="bits of Mesa's vectors; own: as the program chooses")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", default="the " * 42 + "a")
    parser.add_argument("--out", default=os.path.join(ROOT, "tools", "bench", "cold.csv"))
    own = sys.argv[1:]
    options = own[own.index("--") + 1:] if "--" in own else []
    args = parser.parse_args(own[:own.index("--")] if "--" in own else own)
    programs = [text.split("=", 1) for text in args.programs]
    model = read_model(options)
    for i in range(args.rounds):
        turn = i % len(programs)
        for width in args.widths.split(","):
            for name, program in programs[turn:] + programs[:turn]:
                with tempfile.TemporaryDirectory() as folder:
                    for start in ("cold", "again"):
                        line = row(name, model, width, start, call(program, width, folder, ["-p", args.prompt], options))
                        append(args.out, FIELDS, [line])
                        print(",".join(map(str, line.values())), flush=True)


main()
