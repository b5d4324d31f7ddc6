"""A training step, and what is carried to the next, against arithmetic written out by hand."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gatewise import LanguageModel, scratch
from gatewise.tasks import TextTask
from gatewise.training.learner import Diverged, TorchLearner, torch_learner
from gatewise.training.numpy_learner import NumpyLearner, language_model_of
from gatewise.training.text_settings import TextSettings

V, H, B, T = 5, 3, 2, 4
IDS = torch.randint(0, V, (150,), generator=torch.Generator().manual_seed(3))
NONE = torch.zeros(0, dtype=torch.long)


def task_of(partition="sequential", ids=IDS, batch_size=B, num_steps=T):
    return TextTask(ids, NONE, batch_size, num_steps, partition, seed=1)


def model_of(cell="gru", layers=1, dtype=torch.float64):
    torch.manual_seed(2)
    model = LanguageModel(V, cell, H, layers).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.8)
    return model


def sgd_learner(model, task, clip):
    return TorchLearner(model, task, torch.optim.SGD(model.parameters(), 123.0), clip)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def loss_by_hand(p, inputs, targets):
    """The GRU of torch.nn from a zero state, then softmax and cross-entropy, one number at a time."""
    h, total = np.zeros((B, H)), 0.0
    for x, y in zip(inputs, targets, strict=True):
        wx = np.eye(V)[x] @ p["recurrent.weight_ih_l0"].T + p["recurrent.bias_ih_l0"]
        uh = h @ p["recurrent.weight_hh_l0"].T + p["recurrent.bias_hh_l0"]
        r, z = sigmoid(wx[:, :H] + uh[:, :H]), sigmoid(wx[:, H : 2 * H] + uh[:, H : 2 * H])
        h = (1 - z) * np.tanh(wx[:, 2 * H :] + r * uh[:, 2 * H :]) + z * h
        logits = h @ p["head.weight"].T + p["head.bias"]
        total -= (logits[np.arange(B), y] - np.log(np.exp(logits).sum(1))).sum()
    return total / inputs.size


def gradient_by_differences(p, inputs, targets, epsilon=1e-5):
    gradients = {}
    for name, values in p.items():
        gradients[name] = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            kept, losses = values[place], []
            for sign in (1, -1):
                values[place] = kept + sign * epsilon
                losses.append(loss_by_hand(p, inputs, targets))
            values[place] = kept
            gradients[name][place] = (losses[0] - losses[1]) / (2 * epsilon)
    return gradients


@pytest.mark.parametrize("share", [0.5, 0.999, 1.001, 0], ids=["clipped", "just clipped", "just not", "never"])
def test_one_step_of_sgd_is_the_one_done_by_hand(share):
    """``share``: the clipping threshold over the gradient's norm."""
    model, task, lr = model_of(), task_of(), 0.7
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    batch = task.batches(0)[0]
    inputs, targets = (tokens.numpy() for tokens in batch)
    gradients = gradient_by_differences(before, inputs, targets)
    norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    loss = sgd_learner(model, task, share * norm).step(batch, lr)
    assert loss == pytest.approx(loss_by_hand(before, inputs, targets), abs=1e-12)
    factor = share if 0 < share < 1 else 1.0
    for name, tensor in model.state_dict().items():
        np.testing.assert_allclose(tensor.numpy(), before[name] - lr * factor * gradients[name], atol=2e-6)


@pytest.mark.parametrize("cell", ["gru", "lstm", "gru-before", ["lstm", "gru"]], ids=str)
def test_the_carried_state_is_that_of_the_whole_text_at_once(cell):
    """With a learning rate of zero the windows together are one long pass."""
    model, task = model_of(cell, layers=2), task_of()
    batches = task.batches(0)
    learner = sgd_learner(model, task, 0)
    losses = [learner.step(batch, lr=0.0) for batch in batches]
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        logits, state = model(inputs)
    whole = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(len(batches), -1).mean(1)
    assert len(losses) > 10
    assert losses == pytest.approx(whole.tolist(), abs=1e-12)
    carried = [tensor for name, tensor in learner.save().items() if name.startswith("carried.")]
    torch.testing.assert_close(carried, list(model.recurrent.layout.given(state)))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_no_gradient_goes_from_one_window_to_the_one_before(cell):
    """The second step is plain autograd on one window whose initial state is a constant."""
    model, task = model_of(cell), task_of()
    first, second = task.batches(0)[0], task.batches(0)[1]
    learner = sgd_learner(model, task, 0)
    learner.step(first, lr=0.0)
    with torch.no_grad():
        _, state = model(first[0])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    logits, _ = model(second[0], state)
    wanted = torch.autograd.grad(F.cross_entropy(logits.flatten(0, 1), second[1].flatten()), list(model.parameters()))
    learner.step(second, lr=1.0)
    for (name, p), g in zip(model.named_parameters(), wanted, strict=True):
        torch.testing.assert_close(p.detach(), before[name] - g, atol=1e-12, rtol=0)
    assert not any(part.requires_grad for name, part in learner.save().items() if name.startswith("carried"))


def test_random_windows_start_from_zero():
    model, task = model_of(), task_of("random")
    learner = sgd_learner(model, task, 0)
    for batch in task.batches(0):
        with torch.no_grad():
            alone, _ = model(batch[0])
        wanted = F.cross_entropy(alone.flatten(0, 1), batch[1].flatten()).item()
        assert learner.step(batch, lr=0.0) == pytest.approx(wanted, abs=1e-14)


def test_an_epoch_starts_from_zero():
    model, task = model_of(), task_of()
    learner = sgd_learner(model, task, 0)
    batch = task.batches(0)[0]
    fresh = learner.step(batch, lr=0.0)
    carried = learner.step(batch, lr=0.0)
    learner.start_epoch()
    assert learner.step(batch, lr=0.0) == fresh != carried


def test_an_epoch_starts_from_the_learned_state():
    task = task_of()
    torch.manual_seed(2)
    model = LanguageModel(V, "gru", H, learned_state=True).double()
    start = model.recurrent.get_parameter("initial_h_l0")
    learner = sgd_learner(model, task, 0)
    first, second = task.batches(0)[:2]
    learner.step(first, lr=0.5)
    learned = start.detach().clone()
    assert learned.any()
    learner.step(second, lr=0.5)
    assert torch.equal(start, learned)  # a window that goes on has no gradient by the start
    learner.start_epoch()
    with torch.no_grad():
        scores, _ = model(first[0], learned.expand(1, B, H))
    assert learner.step(first, lr=0.5) == pytest.approx(
        F.cross_entropy(scores.flatten(0, 1), first[1].flatten()).item()
    )


@pytest.mark.parametrize("partition", ["sequential", "random"])
@pytest.mark.parametrize("clip", [0.3, 0])
def test_numpy_and_torch_take_the_same_steps(partition, clip):
    gru = scratch.GRU(V, H, V, seed=4, dtype=np.float64)
    task = task_of(partition)
    model = language_model_of(gru)
    model.get_parameter("recurrent.bias_hh_l0").requires_grad_(False)  # the textbook has one bias a gate
    trained = [p for p in model.parameters() if p.requires_grad]
    by_hand = NumpyLearner(gru, task, clip)
    by_torch = TorchLearner(model.double(), task, torch.optim.SGD(trained, 1.0), clip)
    for epoch in range(2):
        by_hand.start_epoch()
        by_torch.start_epoch()
        for batch in itertools.islice(task.batches(epoch), 12):
            assert by_hand.step(batch, 1.5) == pytest.approx(by_torch.step(batch, 1.5), abs=1e-5)
    mine, theirs = by_hand.model().state_dict(), by_torch.model().state_dict()
    assert mine.keys() == theirs.keys()
    for name in mine:
        torch.testing.assert_close(mine[name].double(), theirs[name].double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["torch", "numpy"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_leaves_the_last_weights_whose_loss_was_one(kind, bad, monkeypatch):
    task = task_of()
    batches = task.batches(0)
    if kind == "numpy":
        learner = NumpyLearner(scratch.GRU(V, H, V, dtype=np.float64), task, 1.0)
    else:
        learner = sgd_learner(model_of(), task, 1.0)
    learner.step(batches[0], 0.5)
    good = {name: tensor.clone() for name, tensor in learner.model().state_dict().items()}
    learner.step(batches[1], 0.5)  # spoils the weights, as the next loss shows
    assert not all(torch.equal(good[name], tensor) for name, tensor in learner.model().state_dict().items())
    if kind == "numpy":
        train_step = scratch.train_step
        monkeypatch.setattr(
            scratch, "train_step", lambda gru, x, y, h, lr, clip: (bad, *train_step(gru, x, y, h, 0.0, clip)[1:])
        )
    else:
        loss = task.loss
        monkeypatch.setattr(task, "loss", lambda *a: (loss(*a)[0] * bad, None))
    with pytest.raises(Diverged):
        learner.step(batches[2], 0.5)
    for name, tensor in learner.model().state_dict().items():
        assert torch.equal(tensor, good[name])


def test_a_gradient_that_overflows_leaves_the_weights_alone():
    """A head of 1e25: the loss is finite, the squared norm of the gradient does not fit into float32."""
    model, task = model_of(dtype=torch.float32), task_of()
    with torch.no_grad():
        model.head.weight.normal_(0, 1e25)
    learner = sgd_learner(model, task, 0.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(Diverged):
        learner.step(task.batches(0)[0], 1.0)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("cell", ["gru", "lstm", ["lstm", "gru"]], ids=str)
def test_saved_and_restored_adam_goes_on_to_the_bit(cell):
    task = task_of()

    def fresh(seed):
        torch.manual_seed(seed)
        model = LanguageModel(V, cell, H, 2, dropout=0.4)
        return TorchLearner(model, task, torch.optim.AdamW(model.parameters(), 0.01, fused=True), 1.0)

    one, other = fresh(0), fresh(1)
    batches = task.batches(0)
    for batch in batches[:5]:
        one.step(batch, 0.02)
    saved = {name: tensor.clone() for name, tensor in one.save().items()}
    ahead = [one.step(batch, 0.02) for batch in batches[5:9]]
    other.restore(saved)
    assert [other.step(batch, 0.02) for batch in batches[5:9]] == ahead
    assert one.save().keys() == other.save().keys()
    for name, tensor in other.save().items():
        assert torch.equal(tensor, one.save()[name]), name


def test_neither_gains_nor_peepholes_decay():
    """They are vectors, though a layer keeps them as the rows of one tensor; a gain starts at 1 and stays there."""
    model = LanguageModel(V, "lstm-peephole", H, 2, embedding_size=3, layer_norm=True, learned_state=True)
    optimizer = torch_learner(model, task_of(), TextSettings(weight_decay=0.3))._optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    matrices = {f"recurrent.weight_{side}_l{k}" for side in ("ih", "hh") for k in (0, 1)}
    assert decayed == {"embedding.weight", "head.weight", *matrices}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)
