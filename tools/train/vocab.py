"""The model's own byte-level BPE vocabulary: training and encoding.

    python3 vocab.py WORK_DIR          (after corpus.py) writes WORK_DIR/vocab.json

Text is cut by the "deepseek-coder" pre-tokenizer rules, so that every GGUF reader knows how to treat it: each line end alone, words and
punctuation with at most one space in front, each digit alone; what is left over (runs of spaces, operators) forms fragments of its own.
Merges never cross a cut. The corpus is ASCII; other text passes through as bytes.
"""
import collections
import heapq
import json
import re
import sys
from pathlib import Path

import corpus

SPECIALS = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>",
            "<｜User｜>", "<｜Assistant｜>"]
SIZE = 3072
SAMPLE_BYTES = 40_000_000  # merges settle long before

PUNCTUATION = r"""!"#%&'()*,\-./:;?@\[\\\]_{}"""
FRAGMENT = re.compile(rf"[\r\n]|[ \t\v\f]?[A-Za-z]+|[ \t\v\f]?[{PUNCTUATION}]+|[0-9]"
                      rf"|(?:[ \t\v\f](?![A-Za-z{PUNCTUATION}])|[^\r\nA-Za-z0-9{PUNCTUATION} \t\v\f])+")


def byte_alphabet():
    """The printable character that stands for each byte in token texts, by byte value."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 256
    for byte in range(256):
        if byte in plain:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(extra)
            extra += 1
    return table


ALPHABET = byte_alphabet()


def train(texts, n_merges):
    """The n_merges most useful merges, as pairs of token texts: repeatedly the most frequent adjacent pair of all fragments, the lesser in
    text order among equals."""
    counts = collections.Counter()
    for text in texts:
        counts.update(FRAGMENT.findall(text))
    words, weights = [], []
    for fragment, weight in counts.items():
        if weight > 1:
            words.append([ALPHABET[b] for b in fragment.encode()])
            weights.append(weight)
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for index, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += weights[index]
            where[pair].add(index)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    merges = []
    while len(merges) < n_merges:
        count, best = heapq.heappop(heap)
        if -count != pairs[best]:  # an older count: put the true one back
            if pairs[best] > 0:
                heapq.heappush(heap, (-pairs[best], best))
            continue
        merges.append(best)
        touched = set()
        for index in where.pop(best):
            word, weight = words[index], weights[index]
            for pair in zip(word, word[1:]):
                pairs[pair] -= weight
            merged = merge(word, best)
            words[index] = merged
            for pair in zip(merged, merged[1:]):
                pairs[pair] += weight
                where[pair].add(index)
                touched.add(pair)
        pairs[best] = 0
        for pair in touched:
            heapq.heappush(heap, (-pairs[pair], pair))
    return merges


def merge(word, pair):
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and word[i] == pair[0] and word[i + 1] == pair[1]:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


class Vocab:
    """Token ids: the 256 bytes in byte order of their alphabet, one per merge, then SPECIALS."""

    def __init__(self, merges):
        self.merges = [tuple(m) for m in merges]
        self.texts = [ALPHABET[b] for b in range(256)] + [a + b for a, b in self.merges] + SPECIALS
        self.ids = {text: i for i, text in enumerate(self.texts)}
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.special = {text: self.ids[text] for text in SPECIALS}
        self.bos, self.eos = self.ids[SPECIALS[0]], self.ids[SPECIALS[1]]
        self.cache = {}

    def fragment(self, text):
        word = [ALPHABET[b] for b in text.encode()]
        while len(word) > 1:
            best = min(zip(word, word[1:]), key=lambda pair: self.rank.get(pair, 1 << 30))
            if best not in self.rank:
                break
            word = merge(word, best)
        return [self.ids[symbol] for symbol in word]

    def encode(self, text):
        """Ids of plain text: no special token is recognised and none is added."""
        cache, ids = self.cache, []
        for fragment in FRAGMENT.findall(text):
            known = cache.get(fragment)
            if known is None:
                known = cache[fragment] = self.fragment(fragment)
            ids += known
        return ids


def load(work):
    return Vocab(json.loads((Path(work) / "vocab.json").read_text())["merges"])


def main(work):
    texts, size = [], 0
    for _, text in corpus.load(work, "train"):
        texts.append(text)
        size += len(text)
    step = max(1, size // SAMPLE_BYTES)
    merges = train(texts[::step], SIZE - 256 - len(SPECIALS))
    (Path(work) / "vocab.json").write_text(json.dumps({"merges": merges}))
    vocab = Vocab(merges)
    sample = "".join(texts[::50])
    print(f"{len(vocab.texts)} tokens; {len(sample) / len(vocab.encode(sample)):.2f} bytes per token on a sample of {len(sample)} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
