#!/usr/bin/env python3
"""Measures what looking on costs: the same greedy answer by `seamount run`, and by seamount-view without a screen and in a window.

    tools/bench/watch.py --seamount BUILD/seamount --view BUILD/seamount-view [--rounds N] [--out FILE]
                         [-- options of both: -m MODEL.gguf -p TEXT -n 200 -dev vk0]

    run       answers alone
    record    `seamount trace record`: routing is copied in each step, and written to a file between them
    headless  seamount-view --screenshot: a frame is drawn for every token, on another thread
    window    seamount-view in a window of 1280x800 on Xvfb (needs Xvfb and xdotool)

Each round takes all of them one after the other, beginning with another one than the round before. A round's slow-down is against the
`run` of the same round; the medians over the rounds make a CSV line for each. All have to give as many tokens, or the script ends.
"""
import argparse
import datetime
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from record import ROOT, append, commit, machine

FIELDS = ["date", "machine", "driver", "commit", "options", "how", "rounds", "tokens", "load_average", "tok_s", "slow_down"]
GREEDY = ["--temp", "0", "-v"]
PATIENCE = 600  # seconds for an answer


def fail(words):
    sys.exit("watch.py: " + words)


def read_speed(name, words):
    """Tokens and tokens a second out of what a program said at its end."""
    found = re.search(r"answer: (\d+) tokens, ([\d.]+) tokens/s", words)
    if not found or float(found.group(2)) <= 0:
        fail("%s gave no speed:\n%s" % (name, words))
    return int(found.group(1)), float(found.group(2))


def call(name, command, env=None):
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env, timeout=PATIENCE, check=False)
    words = done.stderr.decode(errors="replace")
    if done.returncode:
        fail("%s ended with status %d:\n%s" % (name, done.returncode, words))
    return read_speed(name, words), words


class Screen:
    """An X server without a screen, on a number of its own choice."""

    def __init__(self):
        out, into = os.pipe()
        self.server = subprocess.Popen(["Xvfb", "-displayfd", str(into), "-screen", "0", "1400x900x24", "-nolisten", "tcp"],
                                       pass_fds=[into], stderr=subprocess.DEVNULL)
        os.close(into)
        with os.fdopen(out) as f:
            self.env = dict(os.environ, DISPLAY=":" + f.readline().strip(), SDL_VIDEODRIVER="x11", SDL_RENDER_DRIVER="software")

    def tool(self, *words):
        done = subprocess.run(["xdotool", *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        return done.stdout.decode().split()

    def watch(self, command):
        """Until the window's title says that the model waits; then it is closed."""
        viewer = subprocess.Popen(command, env=self.env, stderr=subprocess.PIPE)
        end = time.monotonic() + PATIENCE
        try:
            while not self.tool("search", "--name", "^seamount-view: waiting"):
                if viewer.poll() is not None or time.monotonic() > end:
                    fail("the window ended or never waited:\n" + viewer.stderr.read().decode(errors="replace"))
                time.sleep(0.5)
            viewer.terminate()
            return read_speed("window", viewer.communicate(timeout=60)[1].decode(errors="replace"))
        finally:
            viewer.kill()

    def close(self):
        self.server.terminate()
        self.server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seamount", required=True)
    parser.add_argument("--view", required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", default=os.path.join(ROOT, "tools", "bench", "watch.csv"))
    own = sys.argv[1:]
    both = own[own.index("--") + 1:] if "--" in own else ["-p", "def __init__(self", "-n", "200"]
    args = parser.parse_args(own[:own.index("--")] if "--" in own else own)
    folder = tempfile.TemporaryDirectory()
    picture = os.path.join(folder.name, "last.png")
    screen = Screen() if shutil.which("Xvfb") and shutil.which("xdotool") else None
    run, look = [args.seamount, "run", *both, *GREEDY], [args.view, *both, *GREEDY]
    record = [args.seamount, "trace", "record", *both, *GREEDY, "-o", os.path.join(folder.name, "some.trace")]
    ways = {"run": lambda: call("run", run)[0], "record": lambda: call("record", record)[0],
            "headless": lambda: call("headless", [*look, "--screenshot", picture])[0]}
    if screen:
        ways["window"] = lambda: screen.watch(look)
    try:
        driver = re.search(r"^.*device: (.*)$", call("run", run)[1], re.M).group(1)  # compiles what there is to compile, too
        speeds, counts = {name: [] for name in ways}, set()
        for i in range(args.rounds):
            names = list(ways)
            for name in names[i % len(names):] + names[:i % len(names)]:
                count, speed = ways[name]()
                counts.add(count)
                speeds[name].append(speed)
                if len(counts) > 1:
                    fail("%s gave %d tokens, others %s" % (name, count, counts - {count}))
    finally:
        if screen:
            screen.close()
        folder.cleanup()
    rows = []
    for name, all_of_it in speeds.items():
        slow_down = statistics.median(1 - mine / alone for mine, alone in zip(all_of_it, speeds["run"]))
        rows.append(dict(zip(FIELDS, [datetime.date.today().isoformat(), machine(), driver, commit(), " ".join(both), name, args.rounds,
                                      count, "%.2f" % os.getloadavg()[0], "%.2f" % statistics.median(all_of_it), "%.4f" % slow_down])))
        print(",".join(map(str, rows[-1].values())))
    append(args.out, FIELDS, rows)


main()
