#!/usr/bin/env python3
"""A second opinion on whole models: the forward pass in double precision, read straight off the published equations (numpy).

    golden.py write MODEL.gguf OUT        makes OUT.golden.json and OUT.golden.bin, in the format that tests/support/golden.h tells
    golden.py check MODEL.gguf SEAMOUNT   runs `SEAMOUNT eval` on the same sequences and compares logits and routing

It shares nothing with the library on purpose: its own reader of GGUF (F32 and F16 tensors), latent attention in the plain form
(keys and values expanded for every head), whole sequences at once. It knows the architectures deepseek2, deepseek and llama. The
sequences come from a fixed seed: `one` token, `s24`, `long` (300 tokens), and `far` (12 tokens from position 3000).

tests/data/t-*.f16.gguf are files of make_tiny_model (families v3, moe, llama3, type F16), t-*.golden.* what this program wrote.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

SEQUENCES = (("one", 1, 0), ("s24", 24, 0), ("long", 300, 0), ("far", 12, 3000))
LOGITS_OF_LONG = (0, 5, 77, 150, 255, 256, 257, 299)  # the cache's blocks hold 256 positions


# ---- files ----

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class Gguf:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.bytes = f.read()
        self.at = 0
        magic, _, n_tensors, n_keys = self.take("<I"), self.take("<I"), self.take("<Q"), self.take("<Q")
        assert magic == 0x46554747, "not a GGUF file"
        self.keys = {}
        for _ in range(n_keys):
            name = self.text()
            self.keys[name] = self.value(self.take("<I"))
        infos = [(self.text(), [self.take("<Q") for _ in range(self.take("<I"))], self.take("<I"), self.take("<Q"))
                 for _ in range(n_tensors)]
        start = -(-self.at // 32) * 32
        self.tensors = {name: self.tensor(ne, kind, start + offset) for name, ne, kind, offset in infos}

    def take(self, form):
        value, = struct.unpack_from(form, self.bytes, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        n = self.take("<Q")
        self.at += n
        return self.bytes[self.at - n:self.at].decode(errors="replace")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            element, n = self.take("<I"), self.take("<Q")
            return [self.value(element) for _ in range(n)]
        return self.take(SCALARS[kind])

    def tensor(self, ne, kind, offset):
        form = {0: "<f4", 1: "<f2"}[kind]
        n = int(np.prod(ne))
        return np.frombuffer(self.bytes, form, n, offset).reshape(ne[::-1]).astype(np.float64)


# ---- the model ----

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Model:
    def __init__(self, path):
        self.file = Gguf(path)
        self.arch = self.file.keys["general.architecture"]
        self.latent = self.arch == "deepseek2"
        self.n_heads = self.key("attention.head_count")
        self.eps = self.key("attention.layer_norm_rms_epsilon")
        self.n_layers = self.key("block_count") - self.key("nextn_predict_layers", 0)
        self.n_dense = self.key("leading_dense_block_count") if self.key("expert_count", 0) else self.n_layers
        self.vocab = len(self.file.tensors["token_embd.weight"])
        if self.latent:
            self.rope = self.key("rope.dimension_count", 64)
            self.head = self.key("attention.key_length_mla", None) or self.key("attention.key_length")
            self.value = self.key("attention.value_length_mla", None) or self.key("attention.value_length")
            self.nope, self.rank = self.head - self.rope, self.key("attention.kv_lora_rank")
        else:
            self.n_kv = self.key("attention.head_count_kv", self.n_heads)
            self.head = self.key("attention.key_length", self.key("embedding_length") // self.n_heads)
            self.rope = self.key("rope.dimension_count", self.head)
        self.omega, self.magnitude, self.scale = self.rotation()

    def key(self, name, *default):
        full = self.arch + "." + name
        return self.file.keys.get(full, *default) if default else self.file.keys[full]

    def weight(self, name, layer=None):
        return self.file.tensors.get(name if layer is None else "blk.%d.%s" % (layer, name))

    def rotation(self):
        """Radians per position of each pair, the factor of cosine and sine, and that of the scores."""
        d, base = self.rope, self.key("rope.freq_base", 10000.0)
        kind = self.key("rope.scaling.type", "linear")
        factor = self.key("rope.scaling.factor", self.key("rope.scale_linear", 0)) or 1.0
        i = np.arange(d // 2)
        omega = base ** (-2.0 * i / d)
        if not self.latent and self.weight("rope_freqs.weight") is not None:
            omega = omega / self.weight("rope_freqs.weight").ravel()
        if kind == "linear":
            omega = omega / factor
        magnitude, scale = 1.0, 1 / math.sqrt(self.head)
        if kind == "yarn":
            original = self.key("rope.scaling.original_context_length", self.key("context_length"))
            turns = lambda r: d * math.log(original / (2 * math.pi * r)) / (2 * math.log(base))
            lo = max(math.floor(turns(self.key("rope.scaling.yarn_beta_fast", 32.0))), 0)
            hi = min(math.ceil(turns(self.key("rope.scaling.yarn_beta_slow", 1.0))), d - 1)
            g = np.clip((i - lo) / ((hi - lo) or 0.001), 0, 1)
            omega = omega * ((1 - g) + g / factor)
            if self.latent:
                scale *= (1 + self.key("rope.scaling.yarn_log_multiplier", 0.0) * math.log(factor)) ** 2
            else:
                magnitude = 1 + 0.1 * math.log(factor)
        return omega, magnitude, scale

    def turn(self, x, positions):
        """Rotates the pairs (2i, 2i+1) of x [tokens, heads, rope]."""
        angle = positions[:, None, None] * self.omega
        c, s = np.cos(angle) * self.magnitude, np.sin(angle) * self.magnitude
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * c - x[..., 1::2] * s
        out[..., 1::2] = x[..., 0::2] * s + x[..., 1::2] * c
        return out

    def norm(self, x, name, layer=None):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.weight(name, layer)

    def product(self, x, name, layer):
        y = x @ self.weight(name + ".weight", layer).T
        bias = self.weight(name + ".bias", layer)
        return y if bias is None else y + bias

    def attend(self, q, k, v):
        """Causal by index: q, k [tokens, heads, head], v [tokens, heads, value]."""
        scores = self.scale * np.einsum("thd,shd->hts", q, k)
        n = len(q)
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        return np.einsum("hts,shd->thd", softmax(scores), v).reshape(n, -1)

    def latent_attention(self, a, layer, positions):
        n, h = len(a), self.n_heads
        if self.weight("attn_q.weight", layer) is not None:
            q = self.product(a, "attn_q", layer)
        else:
            q = self.product(self.norm(self.product(a, "attn_q_a", layer), "attn_q_a_norm.weight", layer), "attn_q_b", layer)
        q = q.reshape(n, h, self.head)
        z = self.product(a, "attn_kv_a_mqa", layer)
        c = self.norm(z[:, :self.rank], "attn_kv_a_norm.weight", layer)
        turned = self.turn(z[:, None, self.rank:], positions)
        both = self.weight("attn_kv_b.weight", layer)
        if both is not None:
            both = both.reshape(h, self.nope + self.value, self.rank)
            to_key, to_value = both[:, :self.nope], both[:, self.nope:]
        else:
            to_key = self.weight("attn_k_b.weight", layer).transpose(0, 2, 1)  # [head, nope, rank]
            to_value = self.weight("attn_v_b.weight", layer)
        k = np.concatenate([np.einsum("hjr,tr->thj", to_key, c), np.repeat(turned, h, 1)], -1)
        q = np.concatenate([q[..., :self.nope], self.turn(q[..., self.nope:], positions)], -1)
        return self.product(self.attend(q, k, np.einsum("hjr,tr->thj", to_value, c)), "attn_output", layer)

    def plain_attention(self, a, layer, positions):
        n, shared = len(a), self.n_heads // self.n_kv
        q = self.product(a, "attn_q", layer).reshape(n, self.n_heads, self.head)
        k = self.product(a, "attn_k", layer).reshape(n, self.n_kv, self.head)
        v = self.product(a, "attn_v", layer).reshape(n, self.n_kv, self.head)
        q, k = (np.concatenate([self.turn(x[..., :self.rope], positions), x[..., self.rope:]], -1) for x in (q, k))
        return self.product(self.attend(q, np.repeat(k, shared, 1), np.repeat(v, shared, 1)), "attn_output", layer)

    def route(self, u, layer):
        """Chosen experts of each token, greatest weight first, their weights, and how far the choice is from another."""
        n_experts, used = self.key("expert_count"), self.key("expert_used_count")
        v3 = self.key("expert_gating_func", 1) == 2
        logits = u @ self.weight("ffn_gate_inp.weight", layer).T
        scores = sigmoid(logits) if v3 else softmax(logits)
        bias = self.weight("exp_probs_b.bias", layer)
        choice = scores if bias is None else scores + bias
        published = {(160, False): (8, 3), (256, True): (8, 4)}.get((n_experts, v3), (1, 1))
        groups = self.key("expert_group_count", published[0]) or 1
        kept = self.key("expert_group_used_count", published[1]) or groups
        ids, weights, margins = [], [], []
        for s, t in zip(scores, choice):
            margin = math.inf
            if groups > 1:
                members = np.sort(t.reshape(groups, -1), -1)[:, ::-1]
                worth = members[:, :2].sum(-1) if v3 else members[:, 0]
                order = np.argsort(-worth, kind="stable")
                if kept < groups:
                    margin = worth[order[kept - 1]] - worth[order[kept]]
                t = np.where(np.isin(np.arange(n_experts) // (n_experts // groups), order[:kept]), t, -np.inf)
            order = np.argsort(-t, kind="stable")
            if used < n_experts:
                margin = min(margin, t[order[used - 1]] - t[order[used]])
            w = s[order[:used]]
            if self.key("expert_weights_norm", False):
                w = w / (w.sum() + 1e-20)
            w = w * (self.key("expert_weights_scale", 0) or 1)
            by_weight = np.argsort(-w, kind="stable")
            ids.append(order[:used][by_weight])
            weights.append(w[by_weight])
            margins.append(min(margin, 1e9))
        return np.array(ids), np.array(weights), np.array(margins)

    def swiglu(self, u, layer, suffix):
        gate, up = (self.product(u, "ffn_%s%s" % (part, suffix), layer) for part in ("gate", "up"))
        return self.product(gate * sigmoid(gate) * up, "ffn_down" + suffix, layer)

    def expert(self, u, layer, e):
        both = self.weight("ffn_gate_up_exps.weight", layer)
        if both is not None:
            gate, up = np.split(both[e], 2)
        else:
            gate, up = (self.weight("ffn_%s_exps.weight" % part, layer)[e] for part in ("gate", "up"))
        g = gate @ u
        return self.weight("ffn_down_exps.weight", layer)[e] @ (g * sigmoid(g) * (up @ u))

    def feed_forward(self, u, layer, routing):
        if layer < self.n_dense:
            return self.swiglu(u, layer, "")
        ids, weights, margins = self.route(u, layer)
        routing.append((ids, weights, margins))
        y = np.array([sum(w * self.expert(x, layer, e) for e, w in zip(chosen, factors))
                      for x, chosen, factors in zip(u, ids, weights)])
        return y + self.swiglu(u, layer, "_shexp") if self.key("expert_shared_count") else y

    def forward(self, tokens, positions):
        """Logits [tokens, vocabulary], hidden states [layers + 2, tokens, width], routing of each layer with experts."""
        attention = self.latent_attention if self.latent else self.plain_attention
        routing = []
        x = self.weight("token_embd.weight")[tokens]
        hidden = [x]
        for layer in range(self.n_layers):
            x = x + attention(self.norm(x, "attn_norm.weight", layer), layer, positions)
            x = x + self.feed_forward(self.norm(x, "ffn_norm.weight", layer), layer, routing)
            hidden.append(x)
        hidden.append(self.norm(x, "output_norm.weight"))
        head = self.weight("output.weight")
        return hidden[-1] @ (self.weight("token_embd.weight") if head is None else head).T, np.array(hidden), routing


def sequences(model):
    random = np.random.RandomState(20)
    for name, n, first in SEQUENCES:
        yield name, random.randint(0, model.vocab, n), first + np.arange(n)


# ---- commands ----

def write(model_path, out):
    model = Model(model_path)
    arrays, data = [], b""

    def add(name, values, kind):
        nonlocal data
        data += b"\0" * (-len(data) % 64)
        raw = np.ascontiguousarray(values, "<i4" if kind == "i32" else "<f4")
        arrays.append({"name": name, "dtype": kind, "shape": list(raw.shape), "offset": len(data), "nbytes": raw.nbytes})
        data += raw.tobytes()

    for name, tokens, positions in sequences(model):
        logits, hidden, routing = model.forward(tokens, positions)
        n = len(tokens)
        at = [i for i in LOGITS_OF_LONG if i < n] if name == "long" else list(range(n))
        few = sorted({0, n - 1})
        add(name + "/tokens", tokens, "i32")
        add(name + "/positions", positions, "i32")
        add(name + "/logits_at", at, "i32")
        add(name + "/logits", logits[at], "f32")
        add(name + "/hidden_at", few, "i32")
        add(name + "/hidden", hidden[:, few].transpose(1, 0, 2), "f32")
        if routing:
            add(name + "/route_at", at, "i32")
            for part, (word, kind) in enumerate((("ids", "i32"), ("weights", "f32"), ("margin", "f32"))):
                add(name + "/route_" + word, np.array([layer[part][at] for layer in routing]), kind)
    base = os.path.basename(out)
    index = {"format": "golden-1", "model": base, "golden": base + ".golden.bin", "byte_order": "little",
             "source": "tests/tools/golden.py, float64",
             "moe_layers": list(range(model.n_dense, model.n_layers)), "arrays": arrays}
    with open(out + ".golden.bin", "wb") as f:
        f.write(data)
    with open(out + ".golden.json", "w") as f:
        head = json.dumps({k: v for k, v in index.items() if k != "arrays"}, indent=1)[:-2]
        f.write(head + ',\n "arrays": [\n  ' + ",\n  ".join(map(json.dumps, arrays)) + "\n ]\n}\n")


def check(model_path, program):
    model = Model(model_path)
    failed = False
    for name, tokens, positions in sequences(model):
        logits, _, routing = model.forward(tokens, positions)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([program, "eval", "-m", model_path, "--tokens", ",".join(map(str, tokens)), "--positions",
                            str(positions[0]), "-c", str(positions[-1] + 64), "-ctk", "f32", "--logits", folder + "/logits",
                            "--routing", folder + "/routing"], check=True)
            got = np.fromfile(folder + "/logits", "<f4").reshape(len(tokens), -1)
            with open(folder + "/routing") as f:
                rows = json.load(f)
        worst, other, least = float(np.abs(got - logits).max()), 0, math.inf
        assert len(rows) == len(routing), "another number of layers with experts"
        for row, (ids, weights, margins) in zip(rows, routing):
            for t, chosen in enumerate(ids):
                want, have = dict(zip(chosen, weights[t])), dict(zip(row["experts"][t], row["weights"][t]))
                if set(want) != set(have) or any(abs(have[e] - w) > 1e-4 * w for e, w in want.items()):
                    other += 1
            least = min(least, margins.min())
        print("%-5s max |difference of logits| %.2e (deviation %.2f), %d other choices, least margin %.1e"
              % (name, worst, logits.std(), other, least))
        failed |= not worst < 5e-4 or other > 0
    return 1 if failed else 0


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    sys.exit({"write": write, "check": check}[sys.argv[1]](*sys.argv[2:]))


if __name__ == "__main__":
    main()
