"""The network: a small DeepSeek-V2 in PyTorch, float32, CPU.

Names and shapes follow the published architecture: latent attention (low-rank query, latent key-value, one decoupled rotary key), one dense
layer, then layers of routed experts under V2's group-limited choice (a group is as good as its best expert) plus shared experts. Rotary
pairs are neighbours (2i, 2i + 1), frequencies and score scale follow YaRN from the first step on.
"""
import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass
class Config:
    n_vocab: int = 3072
    n_embd: int = 256
    n_layers: int = 5
    n_dense: int = 1
    n_heads: int = 4
    q_rank: int = 192
    kv_rank: int = 128
    nope: int = 64
    rope: int = 32
    value: int = 64
    n_ff: int = 512  # dense layer
    n_experts: int = 32
    n_used: int = 6
    n_groups: int = 4
    n_groups_used: int = 2
    n_shared: int = 2
    n_ff_expert: int = 64
    weight_scale: float = 4.0
    eps: float = 1e-6
    theta: float = 10000.0
    n_ctx: int = 2048
    yarn_factor: float = 4.0
    yarn_original: int = 512
    yarn_log: float = 0.0707
    beta_fast: float = 32.0
    beta_slow: float = 1.0


def rope_frequencies(c):
    """Radians per position of each rotary pair, YaRN ramp applied: [rope / 2], float64."""
    def pair_of(rotations):
        return c.rope * math.log(c.yarn_original / (2 * math.pi * rotations)) / (2 * math.log(c.theta))
    low, high = max(math.floor(pair_of(c.beta_fast)), 0), min(math.ceil(pair_of(c.beta_slow)), c.rope - 1)
    i = torch.arange(c.rope // 2, dtype=torch.float64)
    slow = ((i - low) / max(high - low, 0.001)).clamp(0, 1)
    return c.theta ** (-2 * i / c.rope) * (1 - slow + slow / c.yarn_factor)


def attention_scale(c):
    return (1 + c.yarn_log * math.log(c.yarn_factor)) ** 2 / math.sqrt(c.nope + c.rope)


def rotate(x, cos, sin):
    """x [..., T, rope] by the angles of its positions: cos, sin [T, rope / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Norm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def matrix(rows, columns, gain=1.0):
    return nn.Parameter(torch.randn(rows, columns) * (gain / math.sqrt(columns)))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_a, self.q_a_norm = matrix(c.q_rank, c.n_embd), Norm(c.q_rank, c.eps)
        self.q_b = matrix(c.n_heads * (c.nope + c.rope), c.q_rank)
        self.kv_a, self.kv_a_norm = matrix(c.kv_rank + c.rope, c.n_embd), Norm(c.kv_rank, c.eps)
        self.k_b, self.v_b = matrix(c.n_heads * c.nope, c.kv_rank), matrix(c.n_heads * c.value, c.kv_rank)
        self.output = matrix(c.n_embd, c.n_heads * c.value, 0.0)
        angle = torch.outer(torch.arange(c.n_ctx, dtype=torch.float64), rope_frequencies(c))
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def heads(self, x, n):
        return x.unflatten(-1, (self.c.n_heads, n)).transpose(1, 2)  # [B, H, T, n]

    def forward(self, x):
        c, t = self.c, x.shape[1]
        cos, sin = self.cos[:t], self.sin[:t]
        q = self.heads(F.linear(self.q_a_norm(F.linear(x, self.q_a)), self.q_b), c.nope + c.rope)
        latent, k_rope = F.linear(x, self.kv_a).split((c.kv_rank, c.rope), -1)
        latent = self.kv_a_norm(latent)
        k_rope = rotate(k_rope, cos, sin).unsqueeze(1).expand(-1, c.n_heads, -1, -1)
        k = torch.cat((self.heads(F.linear(latent, self.k_b), c.nope), k_rope), -1)
        q = torch.cat((q[..., :c.nope], rotate(q[..., c.nope:], cos, sin)), -1) * attention_scale(c)
        mask = torch.full((t, t), -math.inf).triu(1)
        p = (q @ k.transpose(-1, -2) + mask).softmax(-1)
        out = p @ self.heads(F.linear(latent, self.v_b), c.value)
        return F.linear(out.transpose(1, 2).flatten(-2), self.output)


class FeedForward(nn.Module):
    """The dense layer's network, and the shared experts (one network as wide as they are together)."""

    def __init__(self, c, width):
        super().__init__()
        self.gate, self.up, self.down = matrix(width, c.n_embd), matrix(width, c.n_embd), matrix(c.n_embd, width, 0.0)

    def forward(self, x):
        return F.linear(F.silu(F.linear(x, self.gate)) * F.linear(x, self.up), self.down)


class GroupedExperts(torch.autograd.Function):
    """y[t] = sum over j of weight[t, j] * expert(choice[t, j])(x[t]): rows sorted by expert, one product per expert, no padding.

    x [N, D], weight and choice [N, K], gate_up [E, 2F, D], down [E, D, F]. Written out by hand since autograd would keep and add up a
    gradient of the whole weight tensor per expert."""

    @staticmethod
    def forward(ctx, x, weight, choice, gate_up, down):
        n, k = choice.shape
        order = choice.flatten().argsort(stable=True)
        ends = torch.bincount(choice.flatten(), minlength=gate_up.shape[0]).cumsum(0).tolist()
        rows = x[order // k]
        h = torch.empty(n * k, gate_up.shape[1])
        for e, (a, b) in enumerate(zip([0] + ends, ends)):
            torch.mm(rows[a:b], gate_up[e].t(), out=h[a:b])
        gate, up = h.chunk(2, -1)
        act = F.silu(gate) * up
        y = torch.empty(n * k, x.shape[1])
        for e, (a, b) in enumerate(zip([0] + ends, ends)):
            torch.mm(act[a:b], down[e].t(), out=y[a:b])
        back = torch.empty_like(order)
        back[order] = torch.arange(n * k)
        ctx.save_for_backward(weight, gate_up, down, rows, h, act, y, order, back)
        ctx.ends = ends
        return torch.bmm(weight.unsqueeze(1), y[back].view(n, k, -1)).squeeze(1)

    @staticmethod
    def backward(ctx, grad):
        weight, gate_up, down, rows, h, act, y, order, back = ctx.saved_tensors
        n, k = weight.shape
        spans = list(enumerate(zip([0] + ctx.ends, ctx.ends)))
        grad_rows = grad[order // k]
        d_weight = (grad_rows * y).sum(-1)[back].view(n, k)
        d_y = grad_rows * weight.flatten()[order].unsqueeze(-1)
        d_act, d_down, d_gate_up = torch.empty_like(act), torch.empty_like(down), torch.empty_like(gate_up)
        for e, (a, b) in spans:
            torch.mm(d_y[a:b], down[e], out=d_act[a:b])
            torch.mm(d_y[a:b].t(), act[a:b], out=d_down[e])
        gate, up = h.chunk(2, -1)
        s = torch.sigmoid(gate)
        d_h = torch.cat((d_act * up * (s * (1 + gate * (1 - s))), d_act * gate * s), -1)
        d_rows = torch.empty_like(rows)
        for e, (a, b) in spans:
            torch.mm(d_h[a:b], gate_up[e], out=d_rows[a:b])
            torch.mm(d_h[a:b].t(), rows[a:b], out=d_gate_up[e])
        return d_rows[back].view(n, k, -1).sum(1), d_weight, None, d_gate_up, d_down


class Experts(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.router = nn.Parameter(torch.randn(c.n_experts, c.n_embd) * 0.02)
        self.gate_up = nn.Parameter(torch.randn(c.n_experts, 2 * c.n_ff_expert, c.n_embd) / math.sqrt(c.n_embd))
        self.down = nn.Parameter(torch.zeros(c.n_experts, c.n_embd, c.n_ff_expert))
        self.shared = FeedForward(c, c.n_shared * c.n_ff_expert)

    def choose(self, x):
        """(scores [N, E], weights [N, K], ids [N, K]) of rows x [N, D]."""
        c = self.c
        scores = F.linear(x, self.router).softmax(-1)
        with torch.no_grad():
            best = scores.view(-1, c.n_groups, c.n_experts // c.n_groups).amax(-1)
            kept = torch.zeros_like(best).scatter_(1, best.topk(c.n_groups_used, -1)[1], 1.0)
            open_ = kept.repeat_interleave(c.n_experts // c.n_groups, 1)
            ids = scores.masked_fill(open_ == 0, -1).topk(c.n_used, -1)[1]
        return scores, scores.gather(1, ids) * c.weight_scale, ids

    def forward(self, x):
        c, rows = self.c, x.reshape(-1, x.shape[-1])
        scores, weights, ids = self.choose(rows)
        self.load = torch.bincount(ids.flatten(), minlength=c.n_experts)
        # V2's expert balance loss: share of the choices times mean score, 1 when even.
        self.balance = c.n_experts / (c.n_used * rows.shape[0]) * (self.load * scores.mean(0)).sum()
        y = GroupedExperts.apply(rows, weights, ids, self.gate_up, self.down)
        return y.view_as(x) + self.shared(x)


class Layer(nn.Module):
    def __init__(self, c, dense):
        super().__init__()
        self.attn_norm, self.attn = Norm(c.n_embd, c.eps), Attention(c)
        self.ffn_norm, self.ffn = Norm(c.n_embd, c.eps), FeedForward(c, c.n_ff) if dense else Experts(c)

    def forward(self, x):
        x = x + self.attn(self.attn_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.token_embd = nn.Parameter(torch.randn(c.n_vocab, c.n_embd) * 0.5)
        self.layers = nn.ModuleList(Layer(c, i < c.n_dense) for i in range(c.n_layers))
        self.output_norm = Norm(c.n_embd, c.eps)
        self.output = matrix(c.n_vocab, c.n_embd, 0.02)

    def experts(self):
        return [layer.ffn for layer in self.layers if isinstance(layer.ffn, Experts)]

    def forward(self, tokens):
        """tokens [B, T] int64 -> logits [B, T, n_vocab]."""
        x = F.embedding(tokens, self.token_embd)
        for layer in self.layers:
            x = layer(x)
        return F.linear(self.output_norm(x), self.output)
