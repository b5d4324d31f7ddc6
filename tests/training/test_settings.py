"""Defaults, under a recipe, under what was chosen."""

import dataclasses
import itertools

import pytest
import torch

from gatewise.data import read_text
from gatewise.errors import UserError
from gatewise.training import RECIPES, TextSettings, text_settings
from gatewise.training.text_run import model_config
from gatewise.training.text_source import prepare


def test_defaults():
    assert text_settings() == TextSettings()


def test_the_book_s_recipe_is_the_book_s():
    wanted = {
        "train_tokens": 10_000, "batch": 32, "steps": 35, "hidden": 256, "embedding": 0, "layers": 1, "dropout": 0.0,
        "optimizer": "sgd", "lr": 1.0, "clip": 1.0, "epochs": 500, "minutes": 0.0, "partition": "sequential",
        "schedule": "constant", "warmup": 0.0, "clean": "d2l", "tokens": "char", "init": "default", "cell": "gru",
    }  # fmt: skip
    settings = dataclasses.asdict(text_settings("d2l"))
    assert {name: settings[name] for name in wanted} == wanted


def test_what_was_chosen_goes_before_the_recipe_and_the_recipe_before_the_default():
    settings = text_settings("d2l", lr=2.0, cell="lstm", layers=2, hidden=None, batch=None)
    assert (settings.lr, settings.cell, settings.layers) == (2.0, "lstm", 2)
    assert settings.hidden == 256
    assert settings.batch == RECIPES["d2l"]["batch"] != 0
    assert settings.clip == 1.0
    assert text_settings("d2l", init="d2l").init == "d2l"


@pytest.mark.parametrize(
    ("recipe", "chosen", "epochs", "minutes"),
    [
        (None, {}, 0, 3.0), (None, {"epochs": 5}, 5, 0), (None, {"minutes": 1.0}, 0, 1.0),
        (None, {"epochs": 5, "minutes": 1.0}, 5, 1.0), ("d2l", {}, 500, 0), ("d2l", {"epochs": 2}, 2, 0),
        ("d2l", {"minutes": 1.0}, 0, 1.0),
    ],
)  # fmt: skip
def test_one_budget_replaces_the_other(recipe, chosen, epochs, minutes):
    settings = text_settings(recipe, **chosen)
    assert (settings.epochs, settings.minutes) == (epochs, minutes)


def test_the_numpy_engine_has_defaults_of_its_own():
    settings = text_settings(engine="numpy")
    assert (settings.cell, settings.optimizer, settings.lr, settings.schedule) == ("gru-before", "sgd", 1.0, "constant")
    assert text_settings(engine="numpy", lr=0.5).lr == 0.5
    assert text_settings("d2l", engine="numpy").epochs == 500


BAD = [
    ({"cell": "gruu"}, "did you mean 'gru'"),
    ({"engine": "torchh"}, "did you mean 'torch'"),
    ({"tokens": "chars"}, "did you mean 'char'"),
    ({"partition": "squential"}, "did you mean 'sequential'"),
    ({"optimizer": "adam"}, "did you mean 'adamw'"),
    ({"schedule": "cos"}, "cosine"),
    ({"keep": "first"}, "best"),
    ({"init": "d2"}, "d2l"),
    ({"clean": "d2"}, "d2l"),
    ({"minutes": 0.0}, "--minutes 0"),
    ({"minutes": -1.0}, "--minutes"),
    ({"minutes": float("inf")}, "--minutes"),
    ({"lr": float("nan")}, "--lr"),
    ({"lr": 0.0}, "--lr"),
    ({"lr": 1e39}, "--lr"),
    ({"hidden": 0}, "--hidden"),
    ({"hidden": -3}, "--hidden"),
    ({"layers": 0}, "--layers"),
    ({"batch": 0}, "--batch"),
    ({"steps": 0}, "--steps"),
    ({"heldout": 1.0}, "--heldout"),
    ({"heldout": -0.1}, "--heldout"),
    ({"dropout": 1.0}, "--dropout"),
    ({"warmup": 1.0}, "--warmup"),
    ({"embedding": -2}, "--embedding"),
    ({"seed": -1}, "--seed"),
    ({"seed": 2**63}, "--seed"),
    ({"threads": -1}, "--threads"),
    ({"clip": -1.0}, "--clip"),
    ({"train_tokens": -1}, "--train-tokens"),
    ({"weight_decay": -1.0}, "--weight-decay"),
    ({"patience": 2, "heldout": 0.0}, "--patience"),
    ({"hidden": "many"}, "--hidden 'many': want a whole number"),
    ({"hidden": 1.5}, "--hidden"),
    ({"lr": "x"}, "--lr"),
    ({"seed": True}, "--seed"),
    ({"tokens": 5}, "--tokens"),
    ({"colour": "red"}, "colour"),
    ({"engine": "numpy", "cell": "lstm"}, "--cell gru-before"),
    ({"engine": "numpy", "layers": 2}, "--layers 1"),
    ({"engine": "numpy", "optimizer": "adamw"}, "--optimizer sgd"),
    ({"engine": "numpy", "dropout": 0.1}, "--dropout"),
    ({"engine": "numpy", "learned_state": True}, "--learned-state False"),
    ({"cell": "lstm,gruu"}, "did you mean 'gru'"),
    ({"cell": "lstm,gru", "layers": 3}, "--cell lstm,gru --hidden 256 --layers 3: want one cell and one size"),
    ({"cell": "lstm,gru", "hidden": "9,8,7"}, "--cell lstm,gru --hidden 9,8,7 --layers 3"),
    ({"hidden": "256,0"}, "--hidden 0: want a number above 0"),
    ({"hidden": "256,"}, "--hidden '256,': want a whole number"),
    ({"recurrent_dropout": 0.1, "recurrent_dropout_kind": "semenuta"}, "did you mean 'semeniuta'"),
]


@pytest.mark.parametrize(("chosen", "said"), BAD, ids=[str(chosen) for chosen, _ in BAD])
def test_a_bad_value_is_named(chosen, said):
    with pytest.raises(UserError) as caught:
        text_settings(**chosen)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_nearest_recipe_is_suggested():
    with pytest.raises(UserError, match="did you mean 'd2l'"):
        text_settings("d2")


NOVEL = "The Time Machine, by H. G. Wells [1898]\n\nI\n\n" + 900 * "The Time Traveller (for so it will be convenient)\n"


def the_book_s_pipeline_holds(text):
    prepared = prepare(text, text_settings("d2l"))
    task = prepared.task
    assert len(task.train) == 10_000
    assert prepared.train_text == prepared.tokenizer.decode(task.train)
    starts = set()
    for epoch in range(300):
        batches = task.batches(epoch)
        assert len(batches) == 8
        assert all(inputs.shape == targets.shape == (35, 32) for inputs, targets in itertools.islice(batches, 2))
        column = batches[0][0][:, 0]
        offsets = [o for o in range(36) if torch.equal(task.train[o : o + 35], column)]
        starts |= {offsets[0]} if len(offsets) == 1 else set(offsets)
    assert starts <= set(range(35))
    assert len(starts) > 30
    return prepared


def test_the_book_s_pipeline_on_a_made_up_novel():
    prepared = the_book_s_pipeline_holds(NOVEL)
    text = prepared.train_text
    assert text.startswith("the time machine by h g wellsithe time traveller for so it will be convenientthe time")
    assert not model_config(text_settings("d2l"), prepared.tokenizer.size)["embedding_size"]


@pytest.mark.slow
def test_the_book_s_pipeline_on_the_book(corpora):
    prepared = the_book_s_pipeline_holds(read_text(corpora / "timemachine.txt"))
    assert prepared.tokenizer.size == 28
    assert prepared.tokenizer.tokens[:4] == ("<unk>", " ", "e", "t")
    assert sorted(prepared.tokenizer.tokens[1:]) == [" ", *"abcdefghijklmnopqrstuvwxyz"]
    assert len(prepared.task.train) + len(prepared.task.heldout) == 170_580


@pytest.mark.parametrize(
    ("recipe", "chosen", "said"),
    [
        ("d2l", {"minutes": 0.0}, "--minutes 0"),
        (None, {"minutes": 0.0, "epochs": 3}, "--minutes 0"),
        (None, {"epochs": 0}, "--epochs 0"),
        (None, {"evaluations": 0}, "--evaluations 0"),
        (None, {"heldout": 0.2, "train_tokens": 100}, "--heldout"),
        ("d2l", {"heldout": 0.2}, "--heldout"),
        ("d2l", {"weight_decay": 0.1}, "--weight-decay"),
        (None, {"optimizer": "sgd", "weight_decay": 0.1}, "--weight-decay"),
        (None, {"recurrent_dropout_kind": "semeniuta"}, "--recurrent-dropout-kind"),
    ],
)
def test_what_would_have_no_effect_is_refused(recipe, chosen, said):
    with pytest.raises(UserError, match=said):
        text_settings(recipe, **chosen)


def test_lists_say_how_many_layers_there_are():
    stack = text_settings(cell="lstm,gru", hidden="256,128")
    assert (stack.layers, stack.cells, stack.sizes) == (2, ("lstm", "gru"), (256, 128))
    config = model_config(stack, 30)
    assert (config["cell"], config["hidden_size"], config["num_layers"]) == (["lstm", "gru"], [256, 128], 2)
    assert text_settings(hidden="64") == text_settings(hidden=64)
    plain = model_config(text_settings(layers=2), 30)
    assert (plain["cell"], plain["hidden_size"], plain["num_layers"]) == ("gru", 256, 2)
    assert not {"residual", "learned_state", "recurrent_dropout_kind"} & set(plain)


def test_the_embedding_suits_the_vocabulary():
    assert [text_settings().embedding_for(size) for size in (28, 256, 257, 50_000)] == [64, 64, 128, 128]
    assert text_settings(embedding=7).embedding_for(28) == 7
    assert text_settings("d2l").embedding_for(10_000) == 0
