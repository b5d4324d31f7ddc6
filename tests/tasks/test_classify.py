"""The classification task: loss and figures against scikit-learn and hand-written sums."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

from gatewise.data.recordings.examples import Examples, SequencePreparation
from gatewise.data.recordings.sequences import Recording
from gatewise.layers.classifier import SequenceClassifier
from gatewise.tasks.classify import ClassifyTask, balanced_weights, probabilities, scores

DRAW = np.random.default_rng(0)


def examples_of(count: int, classes: int = 3) -> Examples:
    some = [
        Recording(str(n), DRAW.normal(size=(DRAW.integers(1, 9), 2)), np.full(1, str(n % classes)))
        for n in range(count)
    ]
    some = [Recording(one.name, one.values, np.repeat(one.labels, len(one))) for one in some]
    return Examples.over(some, SequencePreparation.fitted(some), [str(n) for n in range(classes)], window=0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SequenceClassifier(2, 3, hidden_size=4, members=2, engine="eager")


def test_figures_are_scikit_learns():
    truth, predicted = DRAW.integers(0, 5, 400), DRAW.integers(0, 5, 400)
    predicted[predicted == 3] = 1  # a class that is never predicted
    names = ["a", "b", "c", "d", "e"]
    found = scores(truth, predicted, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = metrics.classification_report(truth, predicted, target_names=names, output_dict=True)
    assert isinstance(report, dict)
    assert found["accuracy"] == pytest.approx(report["accuracy"])
    assert found["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"])
    for name in names:
        one, wanted = found["per_class"][name], report[name]
        assert one["precision"] == pytest.approx(wanted["precision"])
        assert (one["recall"], one["f1"]) == pytest.approx((wanted["recall"], wanted["f1-score"]))
        assert one["count"] == wanted["support"]
    table = np.zeros((5, 5), dtype=int)
    for t, p in zip(truth, predicted, strict=True):
        table[t, p] += 1
    assert found["confusion"] == table.tolist()


def test_without_some_classes_their_examples_are_left_out_and_being_taken_for_them_is_wrong():
    truth, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 2, 1, 1, 0, 2])
    found = scores(truth, predicted, ["a", "b", "hard"], without=["hard"])
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)  # a: precision 1, recall 1/2
    assert list(found["per_class"]) == ["a", "b"]


def test_the_mean_of_f1_is_of_the_classes_that_have_an_example():
    found = scores(np.array([0, 0, 1]), np.array([0, 2, 1]), ["a", "b", "absent"])
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["per_class"]["absent"] == {"precision": 0, "recall": 0, "f1": 0, "count": 0}


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5])])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_weighted_cross_entropy(model, weights, smoothing):
    task = ClassifyTask(examples_of(7), None, 7, weights, smoothing)
    (batch,) = task.batches(0)
    loss, state = task.loss(model, batch)
    assert state is None
    logs = [one.detach().double().log_softmax(-1).numpy() for one in model.each(batch.x, batch.lengths)]
    w = np.ones(3) if weights is None else weights.double().numpy()
    target = (1 - smoothing) * np.eye(3)[batch.classes.numpy()] + smoothing / 3
    total = np.mean([-(target * w * one).sum() / w[batch.classes.numpy()].sum() for one in logs])
    assert loss.item() == pytest.approx(total, rel=1e-5)
    assert math.isnan(task.held_out(model)["loss"])


def test_every_epoch_has_all_examples_once_and_is_the_same_again():
    examples = examples_of(23)
    task = ClassifyTask(examples, None, 5, seed=3)
    firsts = []
    for epoch in (0, 1, 0):
        batches = task.batches(epoch)
        rows = torch.cat([batch.x[0] for batch in batches])
        assert len(batches) == 5
        assert sum(map(task.size, batches)) == 23
        assert len({tuple(row.tolist()) for row in rows}) == 23
        firsts.append(rows)
    assert torch.equal(firsts[0], firsts[2])
    assert not torch.equal(firsts[0], firsts[1])
    assert torch.equal(
        torch.cat([batch.x[0] for batch in task.batches(0)[2:]]), torch.cat([b.x[0] for b in [*task.batches(0)][2:]])
    )


def test_probabilities_stand_in_the_examples_order(model):
    examples, counted = examples_of(600), []
    model.train()
    chances = probabilities(model, examples, progress=counted.append)
    assert model.training
    assert sum(counted) == 600
    model.eval()
    for number in (0, 7, 599):
        batch = examples.batch([number])
        wanted = model(batch.x, batch.lengths).softmax(-1)[0]
        torch.testing.assert_close(chances[number], wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(probabilities(model, examples, [599, 0]), chances[[599, 0]], atol=1e-6, rtol=1e-5)


def test_a_look_is_at_the_validation_part(model):
    examples = examples_of(30)
    found = ClassifyTask(examples_of(4), examples, 4).held_out(model)
    chances = probabilities(model, examples).numpy()
    predicted = chances.argmax(1)
    assert found["loss"] == pytest.approx(metrics.log_loss(examples.classes, chances), rel=1e-4)
    assert found["accuracy"] == pytest.approx((predicted == examples.classes).mean())
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(examples.classes, predicted, average="macro"))


def test_balanced_weights_are_scikit_learns():
    numbers = DRAW.choice(4, 200, p=[0.7, 0.1, 0.15, 0.05])
    wanted = compute_class_weight("balanced", classes=np.arange(4), y=numbers)
    np.testing.assert_allclose(balanced_weights(numbers, 4), wanted, rtol=1e-6)
