#!/usr/bin/env python3
"""Measures seamount and the peer (llama.cpp) on the same file, one after the other, and appends a CSV line for each test.

    tools/bench/run.py --seamount BUILD/seamount --peer FOLDER [--native LLAMA_BENCH] [--gpu vulkan|cpu] [--rounds N] [--out FILE]
                       MODEL.gguf -- [options of seamount bench: -p 128 -n 32 -d 0 -r 3]

The peer's folder holds peer.mjs, which runs llama.cpp through its public packages; --native names llama.cpp's own llama-bench, whose
figures for single tokens are the ones to quote. Runs alternate, peer after seamount, --rounds times; the medians over the rounds make
the line: date, machine, driver, commit, model, test, seamount's and the peer's tokens a second, and their ratio.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys

from record import ROOT, append, commit, machine

FIELDS = ["date", "machine", "driver", "commit", "model", "test", "peer_backend", "seamount_tok_s", "peer_tok_s", "ratio"]


def document(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("run.py: %s ended with status %d" % (" ".join(command), done.returncode))
    return json.loads(done.stdout)


def test_name(kind, length, depth):
    return "%s%d" % (kind, length) + (" @ d%d" % depth if depth else "")


def peer_speeds(args, tests):
    """Tokens a second of the peer, by the names of our tests."""
    def listed(key):
        return ",".join(map(str, sorted({t[key] for t in tests if t[key] or key == "n_depth"})))
    if "," in listed("n_gen"):
        sys.exit("run.py: the peer takes one number of generated tokens, not %s" % listed("n_gen"))
    command = ["node", os.path.join(args.peer, "peer.mjs"), "bench", args.model, "--gpu", args.gpu, "--json",
               "--depth", listed("n_depth"), "--reps", str(len(tests[0]["samples"]))]
    for key, option in (("n_prompt", "--prompt"), ("n_gen", "--gen")):
        if listed(key):
            command += [option, listed(key)]
    if args.native:
        command += ["--native", args.native]
    command += args.peer_options
    answer = document(command)
    speeds = {}
    for row in answer.get("prefill", []):
        speeds[test_name("pp", row["tokens"], row.get("depth", 0))] = row["tok_s"]
    for row in answer.get("decode", []):
        speeds[test_name("tg", row["tokens"], row["depth"])] = row["tok_s"]
    return speeds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seamount", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--native")
    parser.add_argument("--gpu", choices=("vulkan", "cpu"), default="vulkan")
    parser.add_argument("--peer-options", type=str.split, default=[], help="further words for peer.mjs, as one argument")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", default=os.path.join(ROOT, "tools", "bench", "results.csv"))
    own = sys.argv[1:]
    ours = own[own.index("--") + 1:] if "--" in own else []
    args = parser.parse_args(own[:own.index("--")] if "--" in own else own)
    fast, slow = {}, {}
    for _ in range(args.rounds):
        tests = document([args.seamount, "bench", "-m", args.model, "-o", "json", *ours])
        for t in tests:
            fast.setdefault(t["test"], []).append(t["tok_s"])
        for name, speed in peer_speeds(args, tests).items():
            slow.setdefault(name, []).append(speed)
    rows = []
    for t in tests:
        name = t["test"]
        mine = statistics.median(fast[name])
        row = dict(zip(FIELDS, [datetime.date.today().isoformat(), machine(), t["driver"], commit(),
                                os.path.basename(args.model), name, args.gpu, "%.3f" % mine, "", ""]))
        if name in slow:  # the peer measures prompts in an empty context only
            theirs = statistics.median(slow[name])
            row.update(peer_tok_s="%.3f" % theirs, ratio="%.3f" % (mine / theirs))
        rows.append(row)
        print(",".join(row.values()))
    append(args.out, FIELDS, rows)


main()
