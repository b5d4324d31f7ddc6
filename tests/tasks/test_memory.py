"""Every diagnostic task against an oracle in plain Python, and what can be had without memory."""

import pytest
import torch

from gatewise.errors import UserError
from gatewise.tasks.memory import MEMORY_TASKS, memory_task

TASKS = list(MEMORY_TASKS.values())


def recall(tokens):
    return [tokens[0]]


def skip(tokens):
    bits = [token for token in tokens if token < 2]
    assert len(bits) == 3
    return [int("".join(map(str, bits)), 2)]


def after_the_break(tokens):
    after = tokens[tokens.index(11) + 1 :]
    return [sum(2**flag for flag in range(3) if flag in after)]


def copy(tokens):
    return tokens[:10]


def add(steps):
    marked = [value for value, mark in steps if mark == 1]
    assert len(marked) == 2
    return [marked[0] + marked[1]]


ORACLES = {"recall": recall, "skip": skip, "break": after_the_break, "copy": copy, "add": add}


def drawn(task, T=23, batch=400, seed=0):
    return task.draw(T, batch, torch.Generator().manual_seed(seed))


def sequences(examples):
    return examples.inputs.transpose(0, 1).tolist()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("longer", [0, 1, 2, 21])
def test_answers(task, longer):
    T = task.least + longer
    examples = drawn(task, T)
    answers = examples.answers.transpose(0, 1).tolist()
    for sequence, answer in zip(sequences(examples), answers, strict=True):
        assert len(sequence) == task.length(T)
        assert answer == pytest.approx(ORACLES[task.name](sequence), abs=1e-6)
    if task.is_regression:
        assert examples.inputs.shape[2:] == (task.input_size,)
    else:
        assert 0 <= examples.inputs.min() <= examples.inputs.max() < task.input_size
        assert 0 <= examples.answers.min() <= examples.answers.max() < task.classes


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_constant_answer_has_chance_accuracy(task):
    answers = drawn(task, batch=8000).answers
    if task.is_regression:
        assert (answers - 1).square().mean() == pytest.approx(1 / 6, rel=0.05) == task.chance
        return
    for step in answers:
        shares = torch.bincount(step, minlength=task.classes) / len(step)
        assert shares.tolist() == pytest.approx([task.chance] * task.classes, abs=0.02)


@pytest.mark.parametrize("name", ["recall", "skip", "copy"])
def test_no_single_late_token_tells_the_oldest_part_of_the_answer(name):
    examples = drawn(MEMORY_TASKS[name], 40, batch=4000)
    wanted = examples.answers[0] // 4 if name == "skip" else examples.answers[0]  # the first bit, the first symbol
    chance = 1 / len(wanted.unique())
    for tokens in examples.inputs[-20:]:
        right = sum(torch.bincount(wanted[tokens == token]).max().item() for token in tokens.unique())
        assert right / len(wanted) < chance + 0.06


def test_what_came_before_the_break_does_not_count():
    """The same after the break, another before it: the same answer; and all answers occur with any one before it."""
    examples = drawn(MEMORY_TASKS["break"], 12, batch=4000)
    answers: dict[frozenset, set] = {}
    for tokens, answer in zip(sequences(examples), examples.answers[0].tolist(), strict=True):
        before = frozenset(token for token in tokens[: tokens.index(11)] if token < 3)
        answers.setdefault(before, set()).add(answer)
    assert len(answers) == 8
    assert all(given == set(range(8)) for given in answers.values())


def test_places():
    """Breaks, gaps and marks are anywhere they may be."""
    T = 12
    breaks = {tokens.index(11) for tokens in sequences(drawn(MEMORY_TASKS["break"], T, 2000))}
    assert breaks == set(range(3, T - 2))
    middle = {[i for i, t in enumerate(s) if t < 2][1] for s in sequences(drawn(MEMORY_TASKS["skip"], T, 2000))}
    assert middle == set(range(1, T + 2))
    marks = [[i for i, (_, m) in enumerate(s) if m] for s in sequences(drawn(MEMORY_TASKS["add"], T, 2000))]
    assert {first for first, _ in marks} == set(range(6))
    assert {second for _, second in marks} == set(range(6, 12))


def test_copying_looks_as_in_the_paper():
    (tokens,) = sequences(drawn(MEMORY_TASKS["copy"], 5, 1))
    assert tokens[10:] == [8] * 4 + [9] + [8] * 10
    assert max(tokens[:10]) < 8


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_moments_and_seeds(task):
    examples = drawn(task)
    for where in examples.moments.values():
        assert where.shape == examples.inputs.shape[:2]
    assert torch.stack(list(examples.moments.values())).sum(0).max() == 1
    assert drawn(task).inputs.equal(examples.inputs)
    assert not drawn(task, seed=1).inputs.equal(examples.inputs)


def test_moments_are_where_they_say():
    inputs, moments = (examples := drawn(MEMORY_TASKS["break"])).inputs, examples.moments
    assert inputs[moments["break"]].unique().tolist() == [11]
    assert inputs[moments["question"]].unique().tolist() == [12]
    assert inputs[moments["flag before"]].unique().tolist() == inputs[moments["flag after"]].unique().tolist()
    x = drawn(MEMORY_TASKS["add"])
    assert x.inputs[x.moments["marked"]][:, 1].unique().tolist() == [1.0]


def test_an_unknown_task():
    with pytest.raises(UserError, match="did you mean 'break'"):
        memory_task("brek")
