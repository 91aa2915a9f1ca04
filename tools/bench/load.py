#!/usr/bin/env python3
"""Many clients at once against `seamount serve`, all with streams: every answer is compared with the one that its request got alone,
and what a client sees of time and the server's memory is measured.

    tools/bench/load.py SEAMOUNT [--clients 32] [--seconds 300] [--out FILE] [-- options of seamount serve: -m -np -c -b]

Requests are a mix of routes, short and long prompts, short and long answers, all greedy. Each client asks one after another, in an
order of its own. The first quarter of the time is warm-up: its answers are compared and counted, and what began in it is in no other
figure. Printed, and with --out appended as a line of CSV: first_ms
from a request to its first piece of text (the wait for a slot included), gap_ms between two pieces, as p50 / p99; the slowest gap;
generated tokens a second of all together; cpu_ms, processor time of the server for each of them (prompts included), which other
programs on the machine disturb less; resident memory after the warm-up and at the end. Exit status 1: an answer differs, a
request failed, or the memory grew by more than a twentieth and 8 MiB.
"""
import argparse
import asyncio
import datetime
import json
import os
import random
import re
import subprocess
import sys
import time

from record import append, commit, machine

FIELDS = ["date", "machine", "driver", "commit", "clients", "options", "seconds", "load_average", "answers", "wrong", "failed", "tok_s", "cpu_ms",
          "first_p50_ms", "first_p99_ms", "gap_p50_ms", "gap_p99_ms", "gap_max_ms", "warm_kib", "end_kib"]
STEMS = ["def read_%d(path):\n", "for value_%d in range(", "class Point%d:\n    def __init__(self", "import os\nx%d = ", "    return item_%d",
         "# A list of %d names\nnames = ["]


def long_text(n):
    return "".join("value_%d = compute(%d)\n" % (i, i * n) for i in range(n))


def requests():
    """(path, body) of each."""
    jobs = []
    for i, stem in enumerate(STEMS * 3):
        n = (4, 12, 24, 48)[i % 4]
        jobs.append(("/v1/completions", {"prompt": stem % i, "max_tokens": n}))
        jobs.append(("/v1/chat/completions", {"messages": [{"role": "user", "content": stem % (i + 50)}], "max_tokens": n}))
    for i in range(6):
        jobs.append(("/v1/completions", {"prompt": long_text(10 + i), "max_tokens": 6}))
        jobs.append(("/completion", {"prompt": "# %d\n" % i + long_text(16), "n_predict": 16, "cache_prompt": i % 2 == 0}))
        jobs.append(("/infill", {"input_prefix": STEMS[i] % i, "input_suffix": "\n" + long_text(2), "n_predict": 12}))
    return [(path, dict(body, temperature=0, stream=True)) for path, body in jobs]


class Server:
    def __init__(self, program, options):
        self.process = subprocess.Popen([program, "serve", "--port", "0", *options], stdout=subprocess.PIPE)
        address = self.process.stdout.readline().decode()
        match = re.match(r"http://(.+):(\d+)$", address)
        if not match:
            sys.exit("load.py: %s serve did not start" % program)
        self.host, self.port = match.group(1), int(match.group(2))

    def resident(self):
        """KiB."""
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def processor(self):
        """Seconds of processor time."""
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as f:
            user, system = f.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.terminate()
        return self.process.wait(60)


async def open_request(server, path, body):
    """Sends it on a connection of its own: (status, reader, writer)."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    data = json.dumps(body).encode()
    head = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (path, len(data))
    writer.write((head if body else "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path).encode() + data * bool(body))
    status = int((await reader.readline()).split()[1])
    while (await reader.readline()).strip():
        pass  # headers
    return status, reader, writer


async def events(reader):
    """The documents of a stream in chunks."""
    rest = b""
    while True:
        size = int(await reader.readline(), 16)
        rest += (await reader.readexactly(size + 2))[:size]
        *blocks, rest = rest.split(b"\n\n")
        for block in blocks:
            if block.startswith(b"data: {"):
                yield json.loads(block[6:])
        if size == 0:
            return


def text_of(event):
    if "choices" not in event:
        return event["content"]
    choice = event["choices"][0]
    return choice["text"] if "text" in choice else choice["delta"].get("content", "")


async def ask(server, job):
    """When it began, the text, and the times at which it came, from the request on."""
    begun, text, times = time.monotonic(), "", []
    status, reader, writer = await open_request(server, *job)
    try:
        if status != 200:
            raise OSError("status %d" % status)
        async for event in events(reader):
            if "error" in event:
                raise OSError(event["error"]["message"])
            piece = text_of(event)
            if piece:
                text += piece
                times.append(time.monotonic() - begun)
    finally:
        writer.close()
    return begun, text, times


class Load:
    """What all clients saw."""

    def __init__(self, server, jobs, seconds):
        self.server, self.jobs = server, jobs
        self.begun = time.monotonic()
        self.warm, self.ends = self.begun + seconds / 4, self.begun + seconds
        self.first, self.gaps, self.problems = [], [], []
        self.answers = self.wrong = self.failed = 0

    def note(self, job, begun, text, times, alone):
        self.answers += 1
        if text != alone:
            self.wrong += 1
            self.problems.append("%s %.80r: %.120r is not %.120r" % (job[0], job[1], text, alone))
        if begun > self.warm and times:
            self.first.append(times[0])
            self.gaps += [b - a for a, b in zip(times, times[1:])]

    async def client(self, number, alone):
        choice = random.Random(number)
        while time.monotonic() < self.ends:
            i = choice.randrange(len(self.jobs))
            try:
                self.note(self.jobs[i], *await ask(self.server, self.jobs[i]), alone[i])
            except (OSError, ValueError, asyncio.IncompleteReadError, IndexError) as problem:
                self.failed += 1
                self.problems.append("%s: %r" % (self.jobs[i][0], problem))

    async def at(self, when, what):
        await asyncio.sleep(max(0, when - time.monotonic()))
        return await what()


async def predicted(server):
    """Tokens generated since the server began."""
    _, reader, writer = await open_request(server, "/metrics", None)
    text = (await reader.read()).decode()
    writer.close()
    return float(re.search(r"^seamount:tokens_predicted_total (\S+)", text, re.M).group(1))


async def until_ready(server):
    while True:
        status, _, writer = await open_request(server, "/health", None)
        writer.close()
        if status == 200:
            return
        await asyncio.sleep(0.1)


def quantile(values, q):
    return sorted(values)[int(q * (len(values) - 1))] * 1000 if values else float("nan")


async def measure(server, clients, seconds):
    await until_ready(server)
    jobs = requests()
    alone = [(await ask(server, job))[1] for job in jobs]
    load = Load(server, jobs, seconds)

    async def state():
        return server.resident(), await predicted(server), server.processor(), time.monotonic()
    *_, warm, end = await asyncio.gather(*(load.client(i, alone) for i in range(clients)), load.at(load.warm, state),
                                         load.at(load.ends, state))
    return load, warm, end


def driver(program, options):
    """As `seamount bench` calls it, for the same model."""
    model = options[options.index("-m"):][:2] if "-m" in options else []
    tests = subprocess.run([program, "bench", *model, "-p", "0", "-n", "1", "-r", "1", "-o", "json"], stdout=subprocess.PIPE, check=True)
    return json.loads(tests.stdout)[0]["driver"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seamount")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--out", help="a file of CSV, of this folder: load.csv")
    own = sys.argv[1:]
    options = own[own.index("--") + 1:] if "--" in own else []
    args = parser.parse_args(own[:own.index("--")] if "--" in own else own)
    server = Server(args.seamount, options)
    try:
        load, warm, end = asyncio.run(measure(server, args.clients, args.seconds))
    finally:
        status = server.end()
    grown, tokens, processor, seconds = (b - a for a, b in zip(warm, end))
    row = dict(zip(FIELDS, [datetime.date.today().isoformat(), machine(), driver(args.seamount, options), commit(), args.clients, " ".join(options),
                            args.seconds, "%.2f" % os.getloadavg()[0], load.answers, load.wrong, load.failed,
                            "%.1f" % (tokens / seconds), "%.2f" % (1000 * processor / max(tokens, 1))]
                   + ["%.1f" % quantile(values, q) for values in (load.first, load.gaps) for q in (0.5, 0.99)]
                   + ["%.1f" % quantile(load.gaps, 1), warm[0], end[0]]))
    print("\n".join("%-13s %s" % item for item in row.items()))
    print("\n".join(load.problems[:10]), end="")
    if args.out:
        append(args.out, FIELDS, [row])
    return load.wrong > 0 or load.failed > 0 or load.answers == 0 or status != 0 or grown > max(8192, warm[0] / 20)


sys.exit(main())
