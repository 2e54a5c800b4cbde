"""An LSTM learns to write, character by character, without autograd.

After min-char-rnn by Karpathy, gist.github.com/karpathy/d4dee566867f8291f086.
"""

import sys

import torch

from scratchrnn.cells import lstm
from scratchrnn.layers.characters import read_text


def new_weights(V, H):
    """For V characters and H units: at random, or all units would stay alike."""
    sizes = {"W_ih": (4 * H, V), "b_ih": (4 * H,), "W_y": (V, H), "b_y": (V,)}
    sizes |= {"W_hh": (4 * H, H), "b_hh": (4 * H,)}
    return {n: torch.empty(s).uniform_(-1, 1) / H**0.5 for n, s in sizes.items()}


def step(w, x, h, c):
    """x [B, V], h and c [B, H]: the new state, and the tape for the adjoint."""
    pre = x @ w["W_ih"].T + w["b_ih"] + h @ w["W_hh"].T + w["b_hh"]  # [B, 4H]
    return lstm.update(*pre.chunk(4, dim=1), h, c)


def loss_and_gradients(w, ids, h, c):
    """ids [T + 1, B]: after each character the next one is to be foretold."""
    one_hot = torch.eye(len(w["b_y"]), dtype=h.dtype)[ids]
    x, y = one_hot[:-1], one_hot[1:]  # [T, B, V]
    hs, tapes = [h], []
    for x_t in x:
        (h, c), tape = step(w, x_t, h, c)
        hs.append(h)
        tapes.append(tape)
    out = torch.stack(hs[1:])  # [T, B, H]
    log_p = (out @ w["W_y"].T + w["b_y"]).log_softmax(-1)
    loss = -(y * log_p).sum() / y.sum()  # the mean, in nats a character

    d = {name: torch.zeros_like(weight) for name, weight in w.items()}
    d_logits = (log_p.exp() - y) / y.sum()  # of logarithm and softmax together
    d["W_y"] = torch.einsum("tbv,tbh->vh", d_logits, out)
    d["b_y"] = d_logits.sum((0, 1))
    d_out = d_logits @ w["W_y"]
    dh = dc = torch.zeros_like(h)  # from behind the last step nothing comes
    for t in reversed(range(len(x))):
        d_pre, (_, dc) = lstm.adjoint(tapes[t], d_out[t] + dh, dc)
        d_pre = torch.cat(d_pre, dim=1)
        d["W_ih"] += d_pre.T @ x[t]  # the same matrix at every step: a sum
        d["W_hh"] += d_pre.T @ hs[t]  # hs[t] is the state before step t
        d["b_ih"] += d_pre.sum(0)
        dh = d_pre @ w["W_hh"]  # the road through the matrix; dc has its own
    d["b_hh"] = d["b_ih"]
    return loss, d, h, c


def sample(w, alphabet, text, length):
    """Read the last character, draw the next one, and so on."""
    h = c = torch.zeros(1, w["W_hh"].shape[1])
    for _ in range(length):
        x = torch.eye(len(alphabet))[[alphabet.index(text[-1])]]
        (h, c), _ = step(w, x, h, c)
        p = (h @ w["W_y"].T + w["b_y"]).softmax(-1)
        text += alphabet[torch.multinomial(p, 1)]
    return text


def train(text, steps, H=128, B=32, T=25):
    """Read B stretches of the text side by side, T characters of each a step."""
    alphabet = "".join(sorted(set(text)))
    ids = torch.tensor([alphabet.index(character) for character in text])
    ids = ids[: len(ids) // B * B].view(B, -1).T  # [len(text) // B, B]
    w = new_weights(len(alphabet), H)
    squares = {name: torch.zeros_like(weight) for name, weight in w.items()}
    for k in range(steps):
        at = k * T % (len(ids) - T)
        if at < T:  # at the beginning of the text nothing was read
            h = c = torch.zeros(B, H)
        loss, d, h, c = loss_and_gradients(w, ids[at : at + T + 1], h, c)
        norm = torch.stack([g.norm() for g in d.values()]).norm()
        for name in w:
            g = d[name] / norm.clamp(min=1)  # clipped to norm 1, all together
            squares[name] += g * g  # Adagrad: what has moved much moves less
            w[name] -= 0.1 * g / (squares[name] + 1e-8).sqrt()
        if k % 200 == 0:
            print(f"step {k}, loss {loss:.2f}:", sample(w, alphabet, text[0], 200))
    return w, alphabet


if __name__ == "__main__":
    train(read_text(sys.argv[1] if sys.argv[1:] else None), steps=2000)
