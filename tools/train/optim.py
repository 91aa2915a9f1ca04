"""The optimisers: Muon for matrices, Adam for the rest, and the learning-rate schedule.

Muon (K. Jordan et al., 2024) replaces the update of a matrix by the nearest (semi-)orthogonal one, found by a few Newton-Schulz steps on the
momentum. On models of this size it needs about half of Adam's tokens, for a tenth more arithmetic.
"""
import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that pushes singular values towards 1


def orthogonalise(g):
    """g [B, rows, columns] -> the same shape with singular values near 1."""
    a, b, c = COEFFICIENTS
    wide = g.shape[1] <= g.shape[2]
    x = g if wide else g.transpose(1, 2).contiguous()
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        s = torch.bmm(x, x.transpose(1, 2))
        x = a * x + torch.bmm(torch.baddbmm(s, s, s, beta=b, alpha=c), x)
    return x if wide else x.transpose(1, 2)


class Muon:
    def __init__(self, params, momentum=0.95, decay=0.02):
        self.params, self.momentum, self.decay = list(params), momentum, decay
        self.state = [torch.zeros_like(p).share_memory_() for p in self.params]

    @torch.no_grad()
    def step(self, lr, owned):
        """Updates the parameters among `owned`, a set: workers share the list between them."""
        groups = {}
        for p, m in zip(self.params, self.state):
            if p not in owned:
                continue
            m.lerp_(p.grad, 1 - self.momentum)
            update = p.grad.lerp(m, self.momentum)  # Nesterov
            # gate and up halves of expert tensors are matrices of their own
            parts = update.view(-1, update.shape[-2] // 2, update.shape[-1]) if getattr(p, "joined", False) else update.view(
                -1, *update.shape[-2:])
            groups.setdefault(parts.shape[1:], []).append((p, parts))
        for (rows, columns), members in groups.items():
            ortho = orthogonalise(torch.cat([parts for _, parts in members]))
            scale = lr * max(1.0, rows / columns) ** 0.5
            for (p, parts), o in zip(members, ortho.split([parts.shape[0] for _, parts in members])):
                p.mul_(1 - lr * self.decay).add_(o.reshape(p.shape), alpha=-scale)


class Adam:
    """params: (parameter, learning rate relative to the schedule)."""

    def __init__(self, params, betas=(0.9, 0.95), eps=1e-10):
        self.params, self.betas, self.eps = list(params), betas, eps
        self.state = [(torch.zeros_like(p).share_memory_(), torch.zeros_like(p).share_memory_()) for p, _ in self.params]

    @torch.no_grad()
    def step(self, lr, steps, owned):
        """`steps`: updates so far, this one included."""
        one, two = (1 - beta ** steps for beta in self.betas)
        for (p, rate), (m, v) in zip(self.params, self.state):
            if p not in owned:
                continue
            m.lerp_(p.grad, 1 - self.betas[0])
            v.mul_(self.betas[1]).addcmul_(p.grad, p.grad, value=1 - self.betas[1])
            p.addcdiv_(m, (v / two).sqrt_().add_(self.eps), value=-lr * rate / one)


def schedule(step, steps, warm_up=40, cool_down=0.32):
    """Relative learning rate: a short rise, a plateau, a straight line to zero over the last `cool_down` of all steps."""
    return min((step + 1) / warm_up, 1.0, (steps - step) / (cool_down * steps))


def optimisers(model):
    """(Muon, Adam) over all parameters."""
    matrices, others = [], []
    for name, p in model.named_parameters():
        if name == "token_embd":
            others.append((p, 0.02))
        elif name == "output":
            others.append((p, 0.006))
        elif name.endswith("router"):
            others.append((p, 0.003))
        elif p.ndim == 1:
            others.append((p, 0.01))
        else:
            p.joined = name.endswith("gate_up")
            matrices.append(p)
    return Muon(matrices), Adam(others)
