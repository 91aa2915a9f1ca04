"""Trains the model.

    python3 train.py WORK_DIR [--steps N] [--seed S] [--workers W]      (after data.py)

Resumable: WORK_DIR/checkpoint.pt is written every few minutes and at the end, and a second call goes on from it. A finished training goes on
as a second run when N grows: the rate rises again and falls over the end of the new steps. Deterministic for a given
seed and number of workers: what a step sees follows from its number alone. WORK_DIR/log.csv gets a line every ten steps.

Workers are processes of one thread each (on matrices this small, two processes do 1.7 times the work of two threads). Parameters, gradients
and optimiser states lie in memory that all of them map:

    each worker: gradient of its part of the batch -> | barrier | -> adds up the gradients of its share of the parameters, updates those -> | barrier |
"""
import argparse
import csv
import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F

import model as network
import optim

TOKENS_PER_STEP = 4096
MUON_RATE, BALANCE = 0.02, 0.01
# (until this share of all steps, window length): short windows first, the whole context at the end
PHASES = [(0.75, 256), (0.93, 512), (1.0, 2048)]
SAVE_SECONDS = 180


def window_length(step, steps):
    """Tokens of a window at step `step` of a run of `steps`."""
    return next(length for until, length in PHASES if step < until * steps)


def batch(stream, step, length, seed):
    """Windows of step `step`, [B, length + 1]: no window comes twice within an epoch of its phase."""
    count, rows = (len(stream) - 1) // length, TOKENS_PER_STEP // length
    first = step * rows
    picks = []
    for i in range(first, first + rows):
        order = epoch_order(count, seed + 1000 * (i // count) + length)
        picks.append(order[i % count] * length)
    return torch.from_numpy(numpy.stack([stream[p:p + length + 1] for p in picks]).astype(numpy.int64))


def epoch_order(count, seed, cache={}):
    if (count, seed) not in cache:
        cache.clear()
        cache[count, seed] = numpy.random.RandomState(seed).permutation(count)
    return cache[count, seed]


@torch.no_grad()
def held_out_loss(net, held, length=512, tokens=65536):
    """Nats per token over the start of the held-out stream, in windows of `length`."""
    total = 0.0
    windows = held[:tokens + 1].astype(numpy.int64)
    for at in range(0, tokens, 4 * length):
        x = torch.from_numpy(numpy.stack([windows[at + i * length:at + (i + 1) * length + 1] for i in range(4)]))
        total += F.cross_entropy(net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten(), reduction="sum").item()
    return total / tokens


def save(path, net, muon, adam, step, args):
    state = {"config": vars(net.c), "model": net.state_dict(), "step": step, "began": args.began, "steps": args.steps, "seed": args.seed,
             "muon": muon.state, "adam": adam.state}
    torch.save(state, str(path) + ".new")
    os.replace(str(path) + ".new", path)


def restore(path, net, muon, adam):
    """Copies a checkpoint into the shared tensors; (steps done, the step its run began with, the last one of its run)."""
    saved = torch.load(path)
    net.load_state_dict(saved["model"])
    for old, new in zip(muon.state, saved["muon"]):
        old.copy_(new)
    for pair, news in zip(adam.state, saved["adam"]):
        for old, new in zip(pair, news):
            old.copy_(new)
    return saved["step"], saved.get("began", 0), saved["steps"]


class Team:
    """What the workers share. `gradients[w][i]` is worker w's gradient of parameter i."""

    def __init__(self, net, workers):
        self.barrier, self.workers = multiprocessing.Barrier(workers), workers
        self.params = list(net.parameters())
        self.losses = torch.zeros(workers, 2).share_memory_()
        self.gradients = []
        for _ in range(workers):
            flat = torch.zeros(sum(p.numel() for p in self.params)).share_memory_()
            self.gradients.append([g.view_as(p) for g, p in zip(flat.split([p.numel() for p in self.params]), self.params)])

    def owned(self, worker):
        """The parameters that a worker updates: every W-th, so that layers of equal shapes are spread evenly."""
        return set(self.params[worker::self.workers])

    def reduce(self, worker):
        for i in range(worker, len(self.params), self.workers):
            total = self.gradients[worker][i]
            for other in range(self.workers):
                if other != worker:
                    total.add_(self.gradients[other][i])
            total.div_(self.workers)


def gradients(net, part):
    """Adds the gradient of a part of the batch to the parameters; (nats per token, balance loss)."""
    logits = net(part[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten())
    balance = sum(e.balance for e in net.experts()) / len(net.experts())
    (loss + BALANCE * balance).backward()
    return loss.item(), balance.item()


def work(worker, team, net, muon, adam, start, args):
    """One worker's life. Worker 0 also reports and saves."""
    torch.set_num_threads(1)
    stream = numpy.memmap(args.work / "train.bin", numpy.uint16, "r")
    owned = team.owned(worker)
    reporter = Reporter(args, start) if worker == 0 else None
    for p, g in zip(team.params, team.gradients[worker]):
        p.grad = g
    for step in range(start, args.steps):
        for g in team.gradients[worker]:
            g.zero_()
        rows = batch(stream, step, window_length(step - args.began, args.steps - args.began), args.seed).chunk(team.workers)[worker]
        team.losses[worker] = torch.tensor(gradients(net, rows))
        team.barrier.wait()
        team.reduce(worker)
        rate = optim.schedule(step - args.began, args.steps - args.began)
        muon.step(MUON_RATE * rate, owned)
        adam.step(rate, step + 1, owned)
        losses = team.losses.mean(0).tolist()
        team.barrier.wait()
        if worker == 0:
            reporter.step(step, net, *losses)
            if reporter.time_to_save() or step + 1 == args.steps:
                save(args.work / "checkpoint.pt", net, muon, adam, step + 1, args)
        team.barrier.wait()


class Reporter:
    """Progress bar on stderr, lines in log.csv."""

    def __init__(self, args, start):
        self.args, self.start = args, start
        self.held = numpy.fromfile(args.work / "held.bin", numpy.uint16)
        self.file = open(args.work / "log.csv", "a", newline="")
        self.log = csv.writer(self.file)
        self.began = self.saved = time.time()
        self.mean = None

    def step(self, step, net, loss, balance):
        self.mean = loss if self.mean is None else 0.95 * self.mean + 0.05 * loss
        self.show(step)
        if (step + 1) % 10 == 0:
            held = f"{held_out_loss(net, self.held):.4f}" if (step + 1) % 200 == 0 else ""
            self.log.writerow([step + 1, f"{loss:.4f}", f"{balance:.4f}", held, f"{time.time() - self.began:.0f}"])
            self.file.flush()

    def show(self, step):
        done = (step + 1) / self.args.steps
        left = (time.time() - self.began) / max(1, step + 1 - self.start) * (self.args.steps - step - 1)
        bar = "#" * int(30 * done) + "." * (30 - int(30 * done))
        print(f"\r[{bar}] {step + 1}/{self.args.steps} loss {self.mean:.3f} {left / 60:.0f} min left ", end="", file=sys.stderr, flush=True)

    def time_to_save(self):
        if time.time() - self.saved < SAVE_SECONDS:
            return False
        self.saved = time.time()
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=2700)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    net = network.Model(network.Config())
    net.share_memory()
    muon, adam = optim.optimisers(net)
    start = args.began = 0
    if (args.work / "checkpoint.pt").exists():
        start, args.began, end = restore(args.work / "checkpoint.pt", net, muon, adam)
        args.began = start if start == end else args.began  # a finished run: the next one begins here
    print(f"{sum(p.numel() for p in net.parameters())} parameters, from step {start}", file=sys.stderr)
    team = Team(net, args.workers)
    others = [multiprocessing.get_context("fork").Process(target=work, args=(w, team, net, muon, adam, start, args), daemon=True)
              for w in range(1, args.workers)]
    for process in others:
        process.start()
    work(0, team, net, muon, adam, start, args)
    for process in others:
        process.join()
    print(file=sys.stderr)


if __name__ == "__main__":
    # One thread a worker: set before the BLAS library is loaded, which starts its own otherwise.
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main()
