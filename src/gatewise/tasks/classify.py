"""The classification task: sequences or windows to classes, and how good that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.data.lines import drawn_groups, groups_in_order
from gatewise.data.recordings.examples import Batch, Examples
from gatewise.layers.classifier import SequenceClassifier
from gatewise.layers.stepping import evaluating
from gatewise.tasks.autoencode import epoch_generator
from gatewise.tasks.lazy import Lazy

LOOK = 4096
"""Validation examples of a look while training, evenly spread."""

_AT_ONCE = 256


class ClassifyTask:
    """Learn the class of an example by its cross-entropy, −w_c log p_c / Σ w in nats.

    Args:
        train: examples to learn.
        validation: examples to choose the weights with; None where there are none.
        batch_size: examples of a batch.
        weights: w, one a class; None: all count alike.
        smoothing: ε of label smoothing (Szegedy et al. 2016): the target is 1 − ε and ε / C for every class.
        seed: fixes the order of every epoch.

    Example:
        >>> from gatewise.data.recordings.examples import SequencePreparation
        >>> from gatewise.data.recordings.sequences import Recording
        >>> some = [Recording(n, np.full((4, 1), float(n)), np.array([n] * 4)) for n in "0123"]
        >>> examples = Examples.over(some, SequencePreparation.fitted(some), "0123", window=0)
        >>> task = ClassifyTask(examples, examples, batch_size=2)
        >>> loss, _ = task.loss(SequenceClassifier(1, 4), task.batches(0)[0])
        >>> sorted(task.held_out(SequenceClassifier(1, 4)))
        ['accuracy', 'loss', 'macro_f1']
    """

    unit, loss_unit = "samples", "nats"

    def __init__(
        self, train: Examples, validation: Examples | None, batch_size: int, weights: Tensor | None = None,
        smoothing: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.train, self.validation = train, validation
        self.batch_size, self.weights, self.smoothing, self.seed = batch_size, weights, smoothing, seed

    def batches(self, epoch: int) -> Sequence[Batch]:
        """The epoch's batches; the same for the same seed and epoch, whatever came before."""
        groups = drawn_groups(self.train.lengths.tolist(), self.batch_size, epoch_generator(self.seed, epoch))
        return Lazy(len(groups), lambda place: self.train.batch(groups[place]))

    def size(self, batch: Batch) -> int:
        """Examples in a batch."""
        return len(batch.lengths)

    def loss(
        self, model: SequenceClassifier, batch: Batch, state: None = None, share: float = 1.0
    ) -> tuple[Tensor, None]:
        """The mean cross-entropy of the members, in nats."""
        each = model.each(batch.x, batch.lengths)
        losses = [F.cross_entropy(one, batch.classes, self.weights, label_smoothing=self.smoothing) for one in each]
        return torch.stack(losses).mean(), None

    def held_out(self, model: SequenceClassifier) -> dict[str, float]:
        """Loss, accuracy and macro-F1 on the validation part."""
        if self.validation is None or not len(self.validation):
            return {"loss": math.nan}
        spread = np.linspace(0, len(self.validation) - 1, min(LOOK, len(self.validation))).astype(np.int64)
        truth = torch.from_numpy(self.validation.classes[spread])
        chances = probabilities(model, self.validation, spread)
        loss = F.nll_loss(chances.clamp_min(1e-12).log(), truth, self.weights)
        found = scores(truth.numpy(), chances.argmax(1).numpy(), [str(n) for n in range(chances.shape[1])])
        return {"loss": loss.item(), "accuracy": found["accuracy"], "macro_f1": found["macro_f1"]}

    def figures(self, loss: float) -> Mapping[str, float]:
        return {}


@torch.inference_mode()
def probabilities(
    model: SequenceClassifier, examples: Examples, numbers: Sequence[int] | np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:  # fmt: skip
    """Of the classes, for the examples of these numbers (all if None) in their order: (n, C), rows add up to 1."""
    numbers = np.arange(len(examples)) if numbers is None else np.asarray(numbers)
    groups = groups_in_order(examples.lengths[numbers].tolist(), _AT_ONCE)
    found = torch.empty(0)
    with evaluating(model):
        for group in groups:
            batch = examples.batch(numbers[group])
            chances = model(batch.x, batch.lengths).softmax(-1)
            if not len(found):
                found = torch.empty(len(numbers), chances.shape[1])
            found[torch.as_tensor(group)] = chances
            if progress is not None:
                progress(len(group))
    return found


def balanced_weights(numbers: np.ndarray, classes: int) -> Tensor:
    """Weights with which every class counts alike: n / (C n_c), as scikit-learn has it.

    >>> balanced_weights(np.array([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = np.bincount(numbers, minlength=classes)
    return torch.from_numpy(len(numbers) / (classes * np.maximum(counts, 1))).float()


def scores(
    truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str], without: Sequence[str] = ()
) -> dict[str, Any]:
    """How good predicted classes are.

    Precision is the share of a class's predictions that are right, recall the share of its examples that are found,
    F1 = 2 P R / (P + R), 0 where nothing is found; macro-F1 is the mean F1 of the classes that have an example.

    Args:
        truth: (n,) numbers of classes.
        predicted: (n,) likewise.
        classes: their names, in the order of their numbers.
        without: names of classes whose examples are left out; the others' examples that are taken for one of them
            count as wrong.

    Returns:
        ``accuracy``, ``macro_f1``, ``per_class`` (name to ``precision``, ``recall``, ``f1``, ``count``) and
        ``confusion``, C lists of C counts: truth by prediction.

    >>> found = scores(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), ["off", "on"])
    >>> found["accuracy"], round(found["macro_f1"], 4), found["confusion"]
    (0.75, 0.7333, [[1, 1], [0, 2]])
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    left = np.array([place for place, name in enumerate(classes) if name not in without])
    kept = np.isin(truth, left)
    truth, predicted = truth[kept], predicted[kept]
    numbers = np.arange(len(classes))
    found = precision_recall_fscore_support(truth, predicted, labels=numbers, zero_division=0.0)  # type: ignore[arg-type]
    precision, recall, f1, count = (np.asarray(each) for each in found)
    present = count > 0
    return {
        "accuracy": float((truth == predicted).mean()) if len(truth) else math.nan,
        "macro_f1": float(f1[present].mean()) if present.any() else math.nan,
        "per_class": {
            name: {
                "precision": float(precision[n]), "recall": float(recall[n]), "f1": float(f1[n]),
                "count": int(count[n]),
            }
            for n, name in enumerate(classes)
            if name not in without
        },
        "confusion": confusion_matrix(truth, predicted, labels=numbers).tolist() if len(truth) else [],
    }  # fmt: skip
