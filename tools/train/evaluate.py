"""Measures a checkpoint and draws pictures.

    python3 evaluate.py WORK_DIR [TEXT_FILE ...]

Writes WORK_DIR/report.json with the figures, WORK_DIR/loss.png and WORK_DIR/experts.png. The held-out documents are scored in bits per byte
beside gzip, xz and two 3-gram models that have seen the same training text; each TEXT_FILE gets its perplexity, in windows as
`seamount perplexity` takes them.
"""
import csv
import gzip
import json
import lzma
import math
import sys
from pathlib import Path

import matplotlib
import numpy
import torch
import torch.nn.functional as F

import corpus
import model as network
import vocab as vocabulary

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

HELD_BYTES = 600_000  # enough for two digits
WINDOW = 1024


@torch.no_grad()
def token_losses(net, ids, window):
    """Nats of each token of a document after its first, in windows of `window` tokens that begin with the document's <begin>."""
    out, step = [], window - 1
    for at in range(1, len(ids), step):
        part = torch.tensor([[ids[0], *ids[at:at + step]]])
        out.append(F.cross_entropy(net(part[:, :-1])[0], part[0, 1:], reduction="none"))
    return torch.cat(out)


def held_texts(work):
    """Documents of the held-out split up to HELD_BYTES, taken evenly from all sources."""
    texts = [text for _, text in corpus.load(work, "held")]
    texts.sort(key=hash_of)
    out, size = [], 0
    for text in texts:
        if size + len(text) <= HELD_BYTES:
            out.append(text)
            size += len(text)
    return out


def hash_of(text):
    """A number that mixes the sources, the same on every machine."""
    return numpy.frombuffer(text[:64].encode().ljust(64), numpy.uint8).astype(numpy.int64).dot(numpy.arange(64) ** 2 + 1)


def trigram_bits(train, held, size, discount=0.75):
    """Bits that a 3-gram model with interpolated absolute discounting needs for the symbols `held` after counting those of `train`.

    p3 = max(c3 - D, 0) / c2 + D * kinds2 / c2 * p2, likewise p2 over p1, which falls back to 1 / size."""
    train, held = train.astype(numpy.int64), held.astype(numpy.int64)  # ids of three symbols in one number
    probability = numpy.full(len(held) - 2, 1.0 / size)
    for order in range(3):
        grams = sum(train[2 - order + i:len(train) - 2 + 2 - order + i] * size ** (order - i) for i in range(order + 1))
        wanted = sum(held[2 - order + i:len(held) - 2 + 2 - order + i] * size ** (order - i) for i in range(order + 1))
        keys, counts = count(grams, size ** (order + 1))
        contexts, first = numpy.unique(keys // size, return_index=True)
        totals, kinds = numpy.add.reduceat(counts, first), numpy.diff(numpy.append(first, len(keys)))
        c = look_up(keys, counts, wanted)
        total, kind = look_up(contexts, totals, wanted // size), look_up(contexts, kinds, wanted // size)
        seen = total > 0
        mixed = numpy.maximum(c - discount, 0) / numpy.maximum(total, 1) + discount * kind / numpy.maximum(total, 1) * probability
        probability = numpy.where(seen, mixed, probability)
    return -numpy.log2(probability).sum()


def count(grams, limit):
    """(distinct values in ascending order, how often each occurs) of values below `limit`."""
    if limit > 1 << 25:
        return numpy.unique(grams, return_counts=True)
    table = numpy.bincount(grams, minlength=limit)
    return table.nonzero()[0], table[table > 0]


def look_up(keys, values, wanted):
    at = numpy.minimum(numpy.searchsorted(keys, wanted), len(keys) - 1)
    return numpy.where(keys[at] == wanted, values[at], 0)


def compression(work, words, texts):
    """Bits per byte of the held-out texts for everything that is not the model."""
    joined = "".join(texts).encode()
    train_ids = numpy.fromfile(Path(work) / "train.bin", numpy.uint16)
    held_ids = numpy.array([i for text in texts for i in (words.bos, *words.encode(text), words.eos)])
    train_bytes = numpy.frombuffer("".join(text for _, text in corpus.load(work, "train")).encode(), numpy.uint8)
    size = len(joined)
    return {"gzip -9": 8 * len(gzip.compress(joined, 9)) / size, "xz -9e": 8 * len(lzma.compress(joined, preset=9 | lzma.PRESET_EXTREME)) / size,
            "3-gram of bytes": trigram_bits(train_bytes, numpy.frombuffer(joined, numpy.uint8), 256) / size,
            "3-gram of tokens": trigram_bits(train_ids, held_ids, len(words.texts)) / size}


def held_out(net, words, texts):
    """Bits per byte and perplexity per token of whole documents, and the perplexity by position in the window."""
    losses = [token_losses(net, [words.bos, *words.encode(text), words.eos], WINDOW) for text in texts]
    nats, tokens, size = sum(x.sum().item() for x in losses), sum(len(x) for x in losses), sum(map(len, texts))
    by_position = numpy.zeros((WINDOW - 1, 2))
    for x in losses:
        for at in range(0, len(x), WINDOW - 1):
            part = x[at:at + WINDOW - 1].numpy()
            by_position[:len(part)] += numpy.stack((part, numpy.ones(len(part))), 1)
    edges = [0, 16, 64, 256, 512, WINDOW - 1]
    spans = {f"{a}-{b - 1}": math.exp(by_position[a:b, 0].sum() / by_position[a:b, 1].sum()) for a, b in zip(edges, edges[1:])}
    return {"bits_per_byte": nats / math.log(2) / size, "perplexity": math.exp(nats / tokens), "tokens": tokens, "bytes": size,
            "perplexity_by_position": spans}


def expert_use(net, words, texts):
    """Choices of each expert: [MoE layers, n_experts]."""
    use = torch.zeros(len(net.experts()), net.c.n_experts)
    with torch.no_grad():
        for text in texts[:40]:
            net(torch.tensor([[words.bos, *words.encode(text)[:WINDOW - 1]]]))
            use += torch.stack([e.load for e in net.experts()])
    return use.numpy()


def draw_loss(work, path):
    rows = list(csv.reader(open(Path(work) / "log.csv")))
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot([int(r[0]) for r in rows], [float(r[1]) for r in rows], lw=0.7, color="#9bb", label="training")
    held = [(int(r[0]), float(r[3])) for r in rows if r[3]]
    axes.plot(*zip(*held), "o-", ms=3, color="#c40", label="held out")
    axes.set(xlabel="step", ylabel="nats per token", ylim=(min(y for _, y in held) - 0.3, 5))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def draw_experts(use, path):
    share = use / use.sum(1, keepdims=True) * use.shape[1]
    figure, axes = pyplot.subplots(len(use), 1, figsize=(7, 1.4 * len(use)), sharex=True, sharey=True)
    for i, ax in enumerate(axes):
        ax.bar(range(use.shape[1]), share[i], color="#479")
        ax.axhline(1, color="#999", lw=0.8)
        ax.set_ylabel(f"layer {i + 1}")
    axes[0].set_title("use of each expert on held-out code, 1 = even share", fontsize=10)
    axes[-1].set_xlabel("expert")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(work, files):
    work = Path(work)
    checkpoint = torch.load(work / "checkpoint.pt", map_location="cpu")
    net = network.Model(network.Config(**checkpoint["config"]))
    net.load_state_dict(checkpoint["model"])
    words, texts = vocabulary.load(work), held_texts(work)
    report = {"step": checkpoint["step"], "steps": checkpoint["steps"], "seed": checkpoint["seed"], "held_out": held_out(net, words, texts)}
    report["baselines_bits_per_byte"] = compression(work, words, texts)
    use = expert_use(net, words, texts)
    share = use / use.sum(1, keepdims=True) * use.shape[1]
    report["expert_use"] = {"least": share.min().item(), "most": share.max().item()}
    report["files"] = {}
    for name in files:
        ids = [words.bos, *words.encode(Path(name).read_text())]
        losses = token_losses(net, ids, 512)
        report["files"][Path(name).name] = {"perplexity": math.exp(losses.mean().item()), "tokens": len(losses)}
    (work / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    draw_loss(work, work / "loss.png")
    draw_experts(use, work / "experts.png")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
