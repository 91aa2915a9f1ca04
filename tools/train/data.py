"""Turns the corpus into token streams.

    python3 data.py WORK_DIR [SEED]    (after vocab.py) writes WORK_DIR/train.bin and WORK_DIR/held.bin, uint16 ids

A stream is a row of samples, each from <begin> to <end>. Four kinds of sample, with these shares of the training text:
  plain    whole documents, or runs of top-level definitions
  snippet  an indented block of a function, its indentation removed: so that a prompt may start in the middle of things
  fill     DeepSeek's order: <fim begin> prefix <fim hole> suffix <fim end> middle
  chat     <User> a request made from a function's name and docstring <Assistant> that function
The held-out stream holds plain samples only.
"""
import random
import re
import sys
from pathlib import Path

import numpy

import corpus
import vocab as vocabulary

SHARES = {"fill": 0.40, "chat": 0.06, "snippet": 0.06}  # of the pieces; the rest is plain
TOP_LEVEL = re.compile(r"^(?=(?:def|class|async def|@|if __name__)\b|@)", re.M)
BRACKET = re.compile(r"[(\[](?=[^\n])")  # one that does not end its line
FUNCTION = re.compile(r'^( *)def (\w+)\((.*?)\)(?: *-> *[^:\n]+)?:\n\1    r?"""(.+?)(?:"""|\n\n|\n *(?=:param|Args|Parameters))', re.M | re.S)


def pieces(text, rng):
    """A document in runs of whole top-level definitions of 300 to 5000 characters, now and then in one."""
    if len(text) < 6000 and rng.random() < 0.3:
        return [text]
    out, current, goal = [], "", rng.randint(300, 5000)
    for block in TOP_LEVEL.split(text):
        if current and len(current) + len(block) > goal:
            out.append(current)
            current, goal = "", rng.randint(300, 5000)
        current += block
    return out + [current]


def dedent(lines):
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines)


def snippet(text, rng):
    """Some lines of one indented block, moved to the margin; None where the draw hits nothing of the kind."""
    lines = text.split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("    ") and line.strip()]
    if not starts:
        return None
    start = rng.choice(starts)
    depth = len(lines[start]) - len(lines[start].lstrip())
    end = start + 1
    while end < len(lines) and (not lines[end].strip() or len(lines[end]) - len(lines[end].lstrip()) >= depth):
        end += 1
    return dedent(lines[start:min(end, start + 30)]).rstrip("\n") + "\n"


def hole(text, rng):
    """(prefix, middle, suffix) inside a short window: an argument list, the rest of a line, some lines, or any stretch; None now and then.

    Windows are mostly short: where a hole's end and the words around it are close, a small model finds out early what the marks mean."""
    width = rng.randint(80, 300) if rng.random() < 0.6 else rng.randint(200, 900)
    start = rng.randrange(max(1, len(text) - width))
    start = text.rfind("\n", 0, start) + 1
    window = text[start:start + width]
    if len(window) < 60:
        return None
    kind = rng.random()
    if kind < 0.4:  # from behind an opening bracket to the end of its line
        opened = [m.end() for m in BRACKET.finditer(window)]
        if not opened:
            return None
        a = rng.choice(opened)
        b = window.find("\n", a)
    elif kind < 0.65:  # from inside a line to its end
        a = rng.randrange(10, len(window) - 10)
        b = window.find("\n", a)
    elif kind < 0.85:  # whole lines
        a = window.find("\n", rng.randrange(len(window) // 2)) + 1
        b = a
        for _ in range(rng.randint(1, 3)):
            b = window.find("\n", b) + 1 or len(window)
    else:
        a = rng.randrange(10, len(window) - 10)
        b = min(len(window), a + rng.randint(1, 60))
    b = b if b > 0 else len(window)
    return (window[:a], window[a:b], window[b:]) if a < b else None


def request(text, rng):
    """(request, function) of a documented function, or None."""
    found = [m for m in FUNCTION.finditer(text) if not m[2].startswith("_")]
    if not found:
        return None
    match = rng.choice(found)
    indent, name, arguments, doc = match[1], match[2], re.sub(r"\s+", " ", match[3]).strip(), re.sub(r"\s+", " ", match[4]).strip()
    lines = text[match.start():].split("\n")
    end = next((i for i, line in enumerate(lines) if i and line.strip() and len(line) - len(line.lstrip()) <= len(indent)
                and not line.lstrip().startswith((")", "]"))), len(lines))
    body = dedent(lines[:end]).rstrip() + "\n"
    if len(body) > 1500 or len(doc) > 200:
        return None
    ask = rng.choice(["Write a Python function `{n}({a})`: {d}", "Write a function {n} that does this: {d}", "{d} Call it `{n}`.",
                      "def {n}({a}): {d}", "Please write `{n}({a})`. {d}"])
    return ask.format(n=name, a=arguments, d=doc), body


def samples(piece, words, rng):
    """Ids of the samples made from a piece of a document: one plain one, or several short ones that together are about as long."""
    s, draw, made = words.special, rng.random(), []
    if draw < SHARES["fill"]:
        for _ in range(1 + len(piece) // 400):
            if found := hole(piece, rng):
                prefix, middle, suffix = map(words.encode, found)
                made.append([s["<｜fim▁begin｜>"], *prefix, s["<｜fim▁hole｜>"], *suffix, s["<｜fim▁end｜>"], *middle])
    elif draw < SHARES["fill"] + SHARES["chat"]:
        for _ in range(1 + len(piece) // 1500):
            if found := request(piece, rng):
                ask, answer = map(words.encode, found)
                made.append([s["<｜User｜>"], *ask, s["<｜Assistant｜>"], *answer])
    elif draw < sum(SHARES.values()):
        for _ in range(1 + len(piece) // 800):
            if found := snippet(piece, rng):
                made.append(words.encode(found))
    return [[words.bos, *ids, words.eos] for ids in made or [words.encode(piece)]]


def main(work, seed=1):
    words, rng = vocabulary.load(work), random.Random(seed)
    texts = corpus.load(work, "train")
    rng.shuffle(texts)
    chunks = [numpy.array(ids, numpy.uint16) for _, text in texts for piece in pieces(text, rng) if piece.strip()
              for ids in samples(piece, words, rng)]
    rng.shuffle(chunks)
    stream = numpy.concatenate(chunks)
    stream.tofile(Path(work) / "train.bin")
    held, size = [], 0
    for _, text in corpus.load(work, "held"):
        held += [words.bos, *words.encode(text), words.eos]
        size += len(text)
    numpy.array(held, numpy.uint16).tofile(Path(work) / "held.bin")
    print(f"{len(stream)} training tokens in {len(chunks)} samples; {len(held)} held-out tokens of {size} bytes")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], *map(int, sys.argv[2:]))
