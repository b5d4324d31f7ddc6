"""From one long row of tokens to minibatches: the book's random and sequential partition, the held-out part.

Both partitions are the same thing, windows of ``num_steps`` tokens with their successors as targets; they
differ only in where the windows start.
"""

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from gatewise.errors import UserError


class Partition(Sequence[tuple[Tensor, Tensor]]):
    """Minibatches cut out of a text when they are asked for; a slice is again a partition.

    Item ``k`` is ``(inputs, targets)``, two LongTensors of shape ``(num_steps, batch_size)``: column ``b`` of
    the inputs is the window that begins at ``starts[k, b]``, the targets stand one token further on.

    >>> batches = Partition(torch.arange(9), starts=torch.tensor([[0, 4], [2, 6]]), num_steps=2)
    >>> inputs, targets = batches[1]
    >>> inputs.tolist(), targets.tolist()
    ([[2, 6], [3, 7]], [[3, 7], [4, 8]])
    >>> len(batches), len(batches[1:])
    (2, 1)
    """

    def __init__(self, ids: Tensor, starts: Tensor, num_steps: int) -> None:
        self.ids = ids
        self.starts = starts
        self.num_steps = num_steps

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...
    @overload
    def __getitem__(self, index: slice) -> "Partition": ...
    def __getitem__(self, index: int | slice) -> "tuple[Tensor, Tensor] | Partition":
        if isinstance(index, slice):
            return Partition(self.ids, self.starts[index], self.num_steps)
        positions = self.starts[index] + torch.arange(self.num_steps).unsqueeze(1)
        return self.ids[positions], self.ids[positions + 1]


def sequential_partition(ids: Tensor, batch_size: int, num_steps: int, offset: int) -> Partition:
    """The book's sequential partition: row ``b`` of a batch goes on where row ``b`` of the one before ended.

    After ``offset`` dropped tokens the text is folded into ``batch_size`` rows of equal length, and batches
    are cut from left to right: a recurrent state can be carried from each to the next. What fills no window
    is dropped.

    Args:
        ids: tokens, shape ``(N,)``.
        batch_size: rows, B.
        num_steps: tokens a window, T.
        offset: tokens dropped in front; the book draws it anew each epoch (`random_offset`).

    Returns:
        ``(inputs, targets)`` pairs, each of shape ``(T, B)``.

    Raises:
        UserError: a size below 1, a negative offset, or fewer than ``offset + B * T + 1`` tokens.

    >>> for inputs, targets in sequential_partition(torch.arange(14), batch_size=2, num_steps=3, offset=1):
    ...     print(inputs.T.tolist(), targets.T.tolist())
    [[1, 2, 3], [7, 8, 9]] [[2, 3, 4], [8, 9, 10]]
    [[4, 5, 6], [10, 11, 12]] [[5, 6, 7], [11, 12, 13]]
    """
    _check_sizes(batch_size, num_steps)
    if offset < 0:
        raise UserError(f"the offset of a partition is {offset}: give 0 or more")
    usable = len(ids) - offset - 1  # the last token is a target alone
    row_length = usable // batch_size
    num_batches = row_length // num_steps
    if num_batches < 1:
        raise _too_short(
            len(ids),
            offset + batch_size * num_steps + 1,
            batch_size,
            num_steps,
            most_rows=usable // num_steps,
            most_steps=row_length,
        )
    rows = offset + row_length * torch.arange(batch_size)
    return Partition(ids, rows + num_steps * torch.arange(num_batches).unsqueeze(1), num_steps)


def random_partition(ids: Tensor, batch_size: int, num_steps: int, generator: torch.Generator) -> Partition:
    """The book's random partition: the text cut into windows from a random offset, in shuffled order.

    Neighbouring batches have nothing to do with each other, so the recurrent state begins anew in each. An
    incomplete last batch is dropped.

    Args:
        ids: tokens, shape ``(N,)``.
        batch_size: windows a batch, B.
        num_steps: tokens a window, T.
        generator: source of the offset and the order, on the CPU.

    Returns:
        ``(inputs, targets)`` pairs, each of shape ``(T, B)``.

    Raises:
        UserError: a size below 1, or fewer than ``(B + 1) * T`` tokens: what a batch needs at the largest
            offset, so that no later epoch fails by an unlucky draw.

    >>> batches = random_partition(torch.arange(40), 4, 3, torch.Generator().manual_seed(0))
    >>> inputs, targets = batches[0]
    >>> inputs.shape, bool((targets == inputs + 1).all()), len(batches)
    (torch.Size([3, 4]), True, 3)
    """
    _check_sizes(batch_size, num_steps)
    needed = (batch_size + 1) * num_steps
    if len(ids) < needed:
        raise _too_short(
            len(ids),
            needed,
            batch_size,
            num_steps,
            most_rows=len(ids) // num_steps - 1,
            most_steps=len(ids) // (batch_size + 1),
        )
    offset = random_offset(num_steps, generator)
    num_windows = (len(ids) - offset - 1) // num_steps
    num_batches = num_windows // batch_size
    order = torch.randperm(num_windows, generator=generator)[: num_batches * batch_size]
    return Partition(ids, (offset + num_steps * order).view(num_batches, batch_size), num_steps)


def random_offset(num_steps: int, generator: torch.Generator) -> int:
    """How many tokens to drop in front of an epoch: uniform over ``0 .. num_steps - 1``.

    >>> 0 <= random_offset(35, torch.Generator().manual_seed(0)) < 35
    True
    """
    return int(torch.randint(num_steps, (1,), generator=generator))


def _check_sizes(batch_size: int, num_steps: int) -> None:
    for option, size in (("--batch", batch_size), ("--steps", num_steps)):
        if size < 1:
            raise UserError(f"{option} is {size}: give 1 or more")


def _too_short(
    have: int, needed: int, batch_size: int, num_steps: int, *, most_rows: int, most_steps: int
) -> UserError:
    remedies = [f"lower --batch to at most {most_rows}"] if most_rows >= 1 else []
    remedies += [f"lower --steps to at most {most_steps}"] if most_steps >= 1 else []
    remedy = " or ".join(remedies) or "lower --batch and --steps, or give a longer text"
    return UserError(
        f"the text is too short for a single batch: {have} tokens, and --batch {batch_size} with "
        f"--steps {num_steps} needs {needed}; {remedy}"
    )
