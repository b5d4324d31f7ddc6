"""A gated recurrent unit in plain NumPy, every gradient derived by hand.

Read it beside *Dive into Deep Learning*, chapter 10.2 (d2l.ai). The cell: Cho et al. 2014, arXiv:1406.1078.
Rows are examples and time comes first: ``X`` is ``(T, B, I)``, states are ``(B, H)``, logits ``(T, B, V)``::

    R_t  = σ(X_t W_xr + H_{t-1} W_hr + b_r)              reset:     how much of the past the candidate sees
    Z_t  = σ(X_t W_xz + H_{t-1} W_hz + b_z)              update:    how much of the past is kept as it is
    H̃_t  = tanh(X_t W_xh + (R_t ⊙ H_{t-1}) W_hh + b_h)   candidate: the reset comes BEFORE the product
    H_t  = Z_t ⊙ H_{t-1} + (1 − Z_t) ⊙ H̃_t               new state: a blend of the old one and the candidate
    O_t  = H_t W_hq + b_q                                output:    logits

Gradients. Write dY for ∂L/∂Y and δY for a small change of Y, so that δL = Σ dY ⊙ δY. Four rules are enough,
for a value that is used in several places collects the sum of what comes back from each::

    Y = A W + b    δY = δA W + A δW + δb     dA = dY Wᵀ,  dW = Aᵀ dY,  db = Σ over rows of dY
    Y = A ⊙ C      δY = δA ⊙ C + A ⊙ δC      dA = dY ⊙ C,  dC = dY ⊙ A
    Y = σ(A)       δY = Y ⊙ (1 − Y) ⊙ δA     dA = dY ⊙ Y ⊙ (1 − Y)
    Y = tanh(A)    δY = (1 − Y²) ⊙ δA        dA = dY ⊙ (1 − Y²)
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

Array = np.ndarray
Named = dict[str, np.ndarray]


class GRU:
    """One GRU layer and its output layer, ``(T, B, input_size) -> (T, B, output_size)``; equations above.

    Weights are N(0, scale²), biases zero (the book: 0.01); without ``scale`` all are uniform ±1/√hidden_size.

    >>> model = GRU(input_size=3, hidden_size=4, output_size=2, scale=0.01)
    >>> logits, H_T, cache = model.forward(np.ones((5, 7, 3)))
    >>> gradients = model.backward(cache, dlogits=np.ones((5, 7, 2)))
    >>> logits.shape, H_T.shape, gradients["W_xr"].shape, gradients["b_q"]
    ((5, 7, 2), (7, 4), (3, 4), array([35., 35.]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int,
        scale: float | None = None, seed: int = 0, dtype: DTypeLike = np.float64,
    ) -> None:  # fmt: skip
        i, h, v = self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        shapes: dict[str, tuple[int, ...]] = {}
        for gate in "rzh":
            shapes |= {f"W_x{gate}": (i, h), f"W_h{gate}": (h, h), f"b_{gate}": (h,)}
        shapes |= {"W_hq": (h, v), "b_q": (v,)}
        self.dtype, self.parameters, rng = np.dtype(dtype), Named(), np.random.default_rng(seed)
        for name, shape in shapes.items():
            if scale is None:
                value = rng.uniform(-(h**-0.5), h**-0.5, shape)
            else:
                value = rng.normal(0, scale, shape) if name.startswith("W") else np.zeros(shape)
            self.parameters[name] = value.astype(self.dtype)

    def forward(self, X: ArrayLike, H0: ArrayLike | None = None) -> tuple[Array, Array, tuple[Array, ...]]:
        """``X (T, B, I)``, ``H0 (B, H)`` or None for zeros -> logits ``(T, B, V)``, ``H_T (B, H)``, cache."""
        p, X = self.parameters, np.asarray(X, self.dtype)
        if X.ndim != 3 or X.shape[2] != self.input_size or X.size == 0:
            raise ValueError(f"X must have shape (T, B, {self.input_size}) with T, B >= 1, got {X.shape}")
        H = np.zeros((len(X) + 1, X.shape[1], self.hidden_size), self.dtype)  # step t: H[t] → H[t + 1]
        if H0 is not None and np.shape(H0) != H[0].shape:
            raise ValueError(f"H0 must have shape (B, H) = {H[0].shape}, got {np.shape(H0)}")
        H[0] = 0 if H0 is None else H0
        R, Z, H_tilde = (np.empty_like(H[1:]) for _ in range(3))
        for t in range(len(X)):
            R[t] = sigmoid(X[t] @ p["W_xr"] + H[t] @ p["W_hr"] + p["b_r"])
            Z[t] = sigmoid(X[t] @ p["W_xz"] + H[t] @ p["W_hz"] + p["b_z"])
            H_tilde[t] = np.tanh(X[t] @ p["W_xh"] + (R[t] * H[t]) @ p["W_hh"] + p["b_h"])
            H[t + 1] = Z[t] * H[t] + (1 - Z[t]) * H_tilde[t]
        return H[1:] @ p["W_hq"] + p["b_q"], H[-1].copy(), (X, H, R, Z, H_tilde)

    def backward(self, cache: tuple[Array, ...], dlogits: Array, dH_T: Array | None = None) -> Named:
        """Backpropagation through time. ``dlogits (T, B, V)``, ``dH_T (B, H)``, None: zeros -> gradients.

        Truncated: H0, the end of the chunk before, is a constant in training, its gradient goes no further.
        """
        p, (X, H, R, Z, H_tilde) = self.parameters, cache
        dA_r, dA_z, dA_h = (np.empty_like(R) for _ in range(3))  # A is what stands inside σ and tanh
        dH_out = dlogits @ p["W_hq"].T  #                    O = H' W_hq + b_q    ⇒  dH' = dO W_hqᵀ
        dH = np.zeros_like(H[0]) if dH_T is None else dH_T  # what comes back from the future
        for t in reversed(range(len(X))):
            dH = dH + dH_out[t]  #                           H' goes to the next step and to the output
            # H' = Z ⊙ H + (1 − Z) ⊙ H̃
            dZ = dH * (H[t] - H_tilde[t])  #                 δH' = δZ ⊙ (H − H̃)   ⇒  dZ = dH' ⊙ (H − H̃)
            dH_tilde = dH * (1 - Z[t])  #                    δH' = (1 − Z) ⊙ δH̃   ⇒  dH̃ = dH' ⊙ (1 − Z)
            # H̃ = tanh(A_h),  A_h = X W_xh + (R ⊙ H) W_hh + b_h
            dA_h[t] = dH_tilde * (1 - H_tilde[t] ** 2)  #    tanh' = 1 − tanh²    ⇒  dA_h = dH̃ ⊙ (1 − H̃²)
            dRH = dA_h[t] @ p["W_hh"].T  #                   δA_h = δ(R ⊙ H) W_hh ⇒  d(R ⊙ H) = dA_h W_hhᵀ
            dR = dRH * H[t]  #                               δ(R ⊙ H) = δR ⊙ H    ⇒  dR = d(R ⊙ H) ⊙ H
            # R = σ(A_r),  Z = σ(A_z),  A_r = X W_xr + H W_hr + b_r,  A_z likewise
            dA_r[t] = dR * R[t] * (1 - R[t])  #              σ' = σ (1 − σ)       ⇒  dA_r = dR ⊙ R ⊙ (1 − R)
            dA_z[t] = dZ * Z[t] * (1 - Z[t])  #              σ' = σ (1 − σ)       ⇒  dA_z = dZ ⊙ Z ⊙ (1 − Z)
            # H serves blend, reset and both gates: dH = dH' ⊙ Z + d(R ⊙ H) ⊙ R + dA_r W_hrᵀ + dA_z W_hzᵀ
            dH = dH * Z[t] + dRH * R[t] + dA_r[t] @ p["W_hr"].T + dA_z[t] @ p["W_hz"].T
        gradients, tb = Named(), ((0, 1), (0, 1))  # weights serve every step: one product over time and batch
        for gate, past, dA in (("r", H[:-1], dA_r), ("z", H[:-1], dA_z), ("h", R * H[:-1], dA_h)):
            gradients[f"W_x{gate}"] = np.tensordot(X, dA, tb)  #     dW_x  = Σ_t X_tᵀ dA_t
            gradients[f"W_h{gate}"] = np.tensordot(past, dA, tb)  #  dW_h  = Σ_t H_{t-1}ᵀ dA_t; W_hh: R ⊙ H
            gradients[f"b_{gate}"] = dA.sum((0, 1))  #               db    = Σ_t Σ_rows dA_t
        gradients["W_hq"] = np.tensordot(H[1:], dlogits, tb)  #      dW_hq = Σ_t H_tᵀ dO_t
        gradients["b_q"] = dlogits.sum((0, 1))  #                    db_q  = Σ_t Σ_rows dO_t
        gradients["X"] = dA_r @ p["W_xr"].T + dA_z @ p["W_xz"].T + dA_h @ p["W_xh"].T  # used three times
        return gradients | {"H0": dH}


def sigmoid(x: ArrayLike) -> Array:
    """σ(x) = 1 / (1 + e⁻ˣ) = eˣ / (1 + eˣ): take the form whose exponent is ≤ 0; nothing overflows.

    >>> sigmoid([-1000.0, 0.0, 1000.0])
    array([0. , 0.5, 1. ])
    """
    e = np.exp(-np.abs(x))
    return np.where(np.asarray(x) >= 0, 1, e) / (1 + e)


def log_softmax(x: ArrayLike) -> Array:
    """x_i − log Σ_j e^{x_j} over the last axis; subtracting the maximum first changes only the overflow.

    >>> log_softmax([1000.0, 1000.0]).round(4)
    array([-0.6931, -0.6931])
    """
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def one_hot(tokens: ArrayLike, size: int, dtype: DTypeLike = np.float64) -> Array:
    """Integers ``(...)`` in 0..size-1 -> ``(..., size)``, a one at each token: 1 of 3 is [0, 1, 0]."""
    hot = np.expand_dims(tokens, -1) == np.arange(size)
    if not hot.any(-1).all():
        raise ValueError(f"tokens must be integers in 0..{size - 1}")
    return hot.astype(dtype)


def cross_entropy(logits: Array, targets: ArrayLike) -> tuple[float, Array]:
    """L = −(1/n) Σ log p_y: mean loss in nats per token (e^L is the perplexity), and dL/dlogits.
    As log p_y = o_y − log Σ_j e^{o_j}, its derivative by o_i is 1[i = y] − p_i.

    >>> cross_entropy(np.zeros((1, 2)), [1])
    (0.6931471805599453, array([[ 0.5, -0.5]]))
    """
    if np.shape(targets) != logits.shape[:-1]:
        raise ValueError(f"targets must have shape {logits.shape[:-1]}, got {np.shape(targets)}")
    log_p, y = log_softmax(logits), one_hot(targets, logits.shape[-1], logits.dtype)
    return -float(log_p[y == 1].mean()), (np.exp(log_p) - y) / np.size(targets)


def clip_global_norm(gradients: Named, max_norm: float) -> float:
    """g ← min(1, θ/‖g‖) g in place, all gradients as one vector g; returns ‖g‖ before clipping.

    >>> g = {"a": np.array([3.0]), "b": np.array([4.0])}
    >>> clip_global_norm(g, max_norm=1.0), g
    (5.0, {'a': array([0.6]), 'b': array([0.8])})
    """
    norm = float(np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients.values())))
    if norm > max_norm:
        for g in gradients.values():
            g *= max_norm / norm
    return norm


def sgd(parameters: Named, gradients: Named, lr: float) -> None:
    """θ ← θ − lr · dθ, in place."""
    for name, parameter in parameters.items():
        parameter -= lr * gradients[name]


def train_step(
    model: GRU, X_tokens: Array, Y_tokens: Array, H0: Array | None, lr: float, clip: float
) -> tuple[float, float, Array]:
    """Tokens ``(T, B)`` -> loss, gradient norm, the next chunk's H0. Loss or norm not finite: no update."""
    logits, H_T, cache = model.forward(one_hot(X_tokens, model.input_size, model.dtype), H0)
    loss, dlogits = cross_entropy(logits, Y_tokens)
    gradients = model.backward(cache, dlogits)
    del gradients["X"], gradients["H0"]  # not trained, so no part of the norm
    norm = clip_global_norm(gradients, clip)
    if np.isfinite(loss) and np.isfinite(norm):
        sgd(model.parameters, gradients, lr)
    return loss, norm, H_T


def greedy(probabilities: Array) -> int:
    """The most probable token."""
    return int(np.argmax(probabilities))


def predict(model: GRU, prompt_tokens: ArrayLike, length: int, choose: Callable[[Array], int] = greedy) -> list[int]:
    """``length`` new tokens after the prompt. The state carries the past, so each costs the same."""
    tokens, feed, H = [], prompt_tokens, None
    for _ in range(length):
        logits, H, _ = model.forward(one_hot(np.reshape(feed, (-1, 1)), model.input_size, model.dtype), H)
        feed = [choose(np.exp(log_softmax(logits[-1, 0])))]
        tokens += feed
    return tokens
