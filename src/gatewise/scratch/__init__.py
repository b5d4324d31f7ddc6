"""The gated recurrent unit from scratch: NumPy alone, every gradient derived by hand (see ``gru.py``).

It learns to count to three, on and on, in chunks of six tokens through which the state is carried:

>>> import numpy as np
>>> tokens = np.array([0, 1, 2, 0, 1, 2, 0]).reshape(-1, 1)  # (time, batch of one)
>>> model, state = GRU(input_size=3, hidden_size=8, output_size=3), None
>>> for _ in range(60):
...     loss, norm, state = train_step(model, tokens[:-1], tokens[1:], state, lr=1.0, clip=1.0)
>>> predict(model, prompt_tokens=[0, 1], length=7)
[2, 0, 1, 2, 0, 1, 2]
"""

from gatewise.scratch.gru import (
    GRU,
    Named,
    clip_global_norm,
    cross_entropy,
    greedy,
    log_softmax,
    one_hot,
    predict,
    sgd,
    sigmoid,
    train_step,
)

__all__ = [
    "GRU",
    "Named",
    "clip_global_norm",
    "cross_entropy",
    "greedy",
    "log_softmax",
    "one_hot",
    "predict",
    "sgd",
    "sigmoid",
    "train_step",
]
