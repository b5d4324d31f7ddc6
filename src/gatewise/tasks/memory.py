"""Diagnostic tasks: what a cell remembers, skips and forgets. Every example is made up; none is of the real world.

Each task has a length T, which says how long something is to be held, and draws fresh examples of it without end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.errors import UserError, nearest

SYMBOLS = 8
"""Symbols that carry meaning in ``recall`` and ``copy``; in ``recall`` as many more are noise."""

BITS = 3
"""Meaningful bits of ``skip``, flags of ``break``: 2^BITS answers."""

COPIED = 10
"""Symbols of a sequence to be copied."""


@dataclass(frozen=True)
class Examples:
    """A batch of sequences.

    Attributes:
        inputs: tokens (L, B), or numbers (L, B, I).
        answers: (A, B), wanted at the last A steps: a class (whole number), or a number where the task is one of
            regression.
        moments: the decisive steps by name, each (L, B), true where they are.
    """

    inputs: Tensor
    answers: Tensor
    moments: Mapping[str, Tensor]


@dataclass(frozen=True)
class MemoryTask:
    """A task with a length.

    Attributes:
        name: as on the command line.
        about: what is asked, in a line.
        paper: where it comes from.
        input_size: how many tokens there are, or features of a step.
        classes: how many answers there are; 0 where the answer is a number.
        chance: accuracy of the best answer that does not look at the input; the mean squared error of it where the
            answer is a number.
        draw: ``draw(T, batch, generator)`` gives examples.
        length: steps L of a sequence, by T.
        least: the smallest T.
    """

    name: str
    about: str
    paper: str
    input_size: int
    classes: int
    chance: float
    draw: Callable[[int, int, torch.Generator], Examples]
    length: Callable[[int], int]
    least: int = 1

    @property
    def is_regression(self) -> bool:
        return self.classes == 0


def draw_recall(T: int, batch: int, generator: torch.Generator) -> Examples:
    """The first token is to be told after T tokens of noise.

    Steps: first token s, T noise tokens, a question; L = T + 2. s is uniform of 0..7, a noise token of 8..15, the
    question is 16. The answer, at the question, is s: 8 classes. After the latching problem of Hochreiter and
    Schmidhuber 1997 (doi:10.1162/neco.1997.9.8.1735, experiment 2) and Bengio et al. 1994 (doi:10.1109/72.279181).

    >>> examples = draw_recall(3, 1, torch.Generator().manual_seed(0))
    >>> examples.inputs.flatten().tolist(), examples.answers.tolist()
    ([4, 15, 13, 8, 16], [[4]])
    """
    first = _uniform(SYMBOLS, (1, batch), generator)
    noise = SYMBOLS + _uniform(SYMBOLS, (T, batch), generator)
    question = torch.full((1, batch), 2 * SYMBOLS)
    places = torch.arange(T + 2).unsqueeze(1).expand(-1, batch)
    moments = {"first": places == 0, "noise": (places > 0) & (places <= T), "question": places == T + 1}
    return Examples(torch.cat([first, noise, question]), first, moments)


def draw_skip(T: int, batch: int, generator: torch.Generator) -> Examples:
    """Three meaningful bits with T tokens of noise between them; the answer is the three bits in their order.

    Steps: bit b_1, noise, bit b_2, noise, bit b_3, a question; L = T + 4. The first gap has a noise tokens, the second
    T − a, a uniform of 0..T. A bit is 0 or 1, a noise token uniform of 2..9, the question 10. The answer, at the
    question, is 4 b_1 + 2 b_2 + b_3: 8 classes. After the temporal order problem of Hochreiter and Schmidhuber 1997
    (doi:10.1162/neco.1997.9.8.1735, experiment 6).

    >>> examples = draw_skip(3, 1, torch.Generator().manual_seed(1))
    >>> examples.inputs.flatten().tolist(), examples.answers.tolist()
    ([1, 1, 6, 2, 9, 1, 10], [[7]])
    """
    noise = 2 + _uniform(SYMBOLS, (T + BITS, batch), generator)
    bits = _uniform(2, (BITS, batch), generator)
    gap = _uniform(T + 1, (1, batch), generator)
    where = torch.cat([torch.zeros_like(gap), gap + 1, torch.full_like(gap, T + BITS - 1)])
    inputs = torch.cat([noise.scatter(0, where, bits), torch.full((1, batch), 2 + SYMBOLS)])
    places = torch.arange(T + BITS + 1).unsqueeze(1).expand(-1, batch)
    moments = {"bits": inputs < 2, "noise": (inputs >= 2) & (inputs < 2 + SYMBOLS), "question": places == T + BITS}
    answer = (bits * torch.tensor([[4], [2], [1]])).sum(0, keepdim=True)
    return Examples(inputs, answer, moments)


def draw_break(T: int, batch: int, generator: torch.Generator) -> Examples:
    """A break at a random place, after which what came before must not count.

    Steps: T tokens with a break among them, a question; L = T + 2. Before the break each of the flags 0, 1, 2 occurs,
    with a probability of 1/2, once, at a place of its own; after the break likewise, drawn anew. All else is noise,
    uniform of 3..10; the break is 11, the question 12. The break has at least 3 tokens on either side, its place is
    otherwise uniform. The answer, at the question, is Σ 2^k over the flags k that occurred after the break: 8 classes,
    independent of everything before it.

    >>> examples = draw_break(7, 1, torch.Generator().manual_seed(0))
    >>> examples.inputs.flatten().tolist(), examples.answers.tolist()
    ([7, 10, 2, 3, 11, 6, 2, 0, 12], [[5]])
    """
    noise = BITS + _uniform(SYMBOLS, (T + 1, batch), generator)
    place = BITS + _uniform(T + 1 - 2 * BITS, (1, batch), generator)
    places = torch.arange(T + 1).unsqueeze(1).expand(-1, batch)
    flags = torch.arange(BITS).unsqueeze(1).expand(-1, batch)
    inputs, answer = noise, torch.zeros(1, batch, dtype=torch.int64)
    for side in (places < place, places > place):
        # A random order of the places of this side; the first three are the flags'.
        order = torch.rand(T + 1, batch, generator=generator).masked_fill(~side, 2.0).argsort(0)[:BITS]
        present = _uniform(2, (BITS, batch), generator)
        inputs = inputs.scatter(0, order, torch.where(present == 1, flags, inputs.gather(0, order)))
        answer = (present << flags).sum(0, keepdim=True)
    inputs = inputs.scatter(0, place, BITS + SYMBOLS)
    inputs = torch.cat([inputs, torch.full((1, batch), BITS + SYMBOLS + 1)])
    places, flag = torch.arange(T + 2).unsqueeze(1).expand(-1, batch), inputs < BITS
    moments = {
        "flag before": flag & (places < place),
        "break": places == place,
        "flag after": flag & (places > place),
        "noise": (inputs >= BITS) & (inputs < BITS + SYMBOLS),
        "question": places == T + 1,
    }
    return Examples(inputs, answer, moments)


def draw_copy(T: int, batch: int, generator: torch.Generator) -> Examples:
    """Ten symbols are to be repeated after T blanks (Hochreiter and Schmidhuber 1997; Arjovsky et al. 2016).

    Steps: ten symbols uniform of 0..7, T − 1 blanks (8), a delimiter (9), ten blanks; L = T + 20. The answers, at the
    last ten steps, are the ten symbols in their order: 8 classes. Arjovsky et al. (arXiv:1511.06464, section 4.1) also
    score the blanks wanted before; here the ten steps alone count, which changes no solution.

    >>> examples = draw_copy(2, 1, torch.Generator().manual_seed(0))
    >>> examples.inputs[:10].equal(examples.answers), examples.inputs[10:].flatten().tolist()
    (True, [8, 9, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8])
    """
    symbols = _uniform(SYMBOLS, (COPIED, batch), generator)
    inputs = torch.full((T + 2 * COPIED, batch), SYMBOLS)
    inputs[:COPIED] = symbols
    inputs[COPIED + T - 1] = SYMBOLS + 1
    places = torch.arange(T + 2 * COPIED).unsqueeze(1).expand(-1, batch)
    moments = {
        "symbols": places < COPIED,
        "blanks": (places >= COPIED) & (places < COPIED + T - 1),
        "delimiter": places == COPIED + T - 1,
        "repeating": places >= COPIED + T,
    }
    return Examples(inputs, symbols, moments)


def draw_add(T: int, batch: int, generator: torch.Generator) -> Examples:
    """The adding problem (Hochreiter and Schmidhuber 1997, experiment 4; as in Arjovsky et al. 2016).

    L = T steps of two numbers: a value uniform of [0, 1) and a mark. Two steps are marked 1, one uniform of the first
    half of the sequence (⌊T/2⌋ steps), one of the second; all others 0. The answer, at the last step, is the sum of the
    two marked values. To answer 1 always has a mean squared error of 2/12 = 1/6.

    >>> x = draw_add(4, 1, torch.Generator().manual_seed(0))
    >>> x.inputs[:, 0, 1].tolist(), (x.inputs[..., 0] * x.inputs[..., 1]).sum().item() == x.answers.item()
    ([0.0, 1.0, 0.0, 1.0], True)
    """
    values = torch.rand(T, batch, generator=generator)
    half = T // 2
    first = _uniform(half, (1, batch), generator)
    second = half + _uniform(T - half, (1, batch), generator)
    where = torch.cat([first, second])
    marks = torch.zeros(T, batch).scatter(0, where, 1.0)
    moments = {"marked": marks > 0, "unmarked": marks == 0}
    return Examples(torch.stack([values, marks], -1), values.gather(0, where).sum(0, keepdim=True), moments)


def _uniform(below: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(below, shape, generator=generator)


HOCHREITER = "Hochreiter, Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735"

MEMORY_TASKS: dict[str, MemoryTask] = {
    task.name: task
    for task in (
        MemoryTask(
            "recall", "tell the first token after T tokens of noise", f"after {HOCHREITER}",
            2 * SYMBOLS + 1, SYMBOLS, 1 / SYMBOLS, draw_recall, lambda T: T + 2,
        ),
        MemoryTask(
            "skip", "tell three bits in their order, with T tokens of noise between them", f"after {HOCHREITER}",
            2 + SYMBOLS + 1, 2**BITS, 1 / 2**BITS, draw_skip, lambda T: T + BITS + 1,
        ),
        MemoryTask(
            "break", "among T tokens, tell which flags came after the break, whatever came before it", "made up here",
            BITS + SYMBOLS + 2, 2**BITS, 1 / 2**BITS, draw_break, lambda T: T + 2, 2 * BITS,
        ),
        MemoryTask(
            "copy", f"repeat {COPIED} symbols after T blanks", f"{HOCHREITER}; Arjovsky et al. 2016, arXiv:1511.06464",
            SYMBOLS + 2, SYMBOLS, 1 / SYMBOLS, draw_copy, lambda T: T + 2 * COPIED,
        ),
        MemoryTask(
            "add", "tell the sum of the two marked ones of T numbers", f"{HOCHREITER}; Arjovsky et al. 2016",
            2, 0, 1 / 6, draw_add, lambda T: T, 2,
        ),
    )
}  # fmt: skip
"""Name -> task."""


def memory_task(name: str) -> MemoryTask:
    """The task called ``name``.

    Raises:
        UserError: there is none.

    >>> memory_task("recal")
    Traceback (most recent call last):
    gatewise.errors.UserError: no diagnostic task is called 'recal': did you mean 'recall'?
    """
    if name not in MEMORY_TASKS:
        raise UserError(f"no diagnostic task is called '{name}': {nearest(name, MEMORY_TASKS)}")
    return MEMORY_TASKS[name]
