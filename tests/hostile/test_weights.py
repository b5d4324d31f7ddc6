"""Attacks on a run's files: each ends in one line that names the file, and opens nothing it should not."""

import io
import json
import pickle
import resource
import struct
import time
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gatewise.errors import UserError
from gatewise.training import load_text_run
from gatewise.training.checkpoint import read_about, read_tensors, write_tensors


def split(data):
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header, body):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def with_header(change):
    def attack(data):
        header, body = split(data)
        changed = change(header)
        return joined(header if changed is None else changed, body)

    return attack


def with_about(change):
    """Change what the metadata says of the model."""

    def attack(header):
        about = json.loads(header["__metadata__"]["gatewise"])
        changed = change(about)
        header["__metadata__"]["gatewise"] = json.dumps(about if changed is None else changed)

    return with_header(attack)


def with_tensors(change):
    def attack(data):
        tensors = safetensors.torch.load(data)
        change(tensors)
        return safetensors.torch.save(tensors, split(data)[0]["__metadata__"])

    return attack


def model_says(**values):
    return with_about(lambda about: about["model"].update(values))


def put(place, value):
    return lambda tensors: tensors["head.weight"].view(-1).__setitem__(place, value)


def offsets(name, begin, end):
    return with_header(lambda header: header[name].update(data_offsets=[begin, end]))


def shape(name, *sizes):
    return with_header(lambda header: header[name].update(shape=list(sizes)))


def dtype(kind):
    return with_tensors(lambda tensors: tensors.update({"head.weight": tensors["head.weight"].to(kind)}))


def zipped(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weights", data)
    return buffer.getvalue()


def saved_by_torch(data):
    buffer = io.BytesIO()
    torch.save(safetensors.torch.load(data), buffer)
    return buffer.getvalue()


def bare(data):
    return safetensors.torch.save(safetensors.torch.load(data))


ATTACKS = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "length alone": lambda data: data[:8],
    "cut in the header": lambda data: data[:100],
    "header alone": lambda data: data[: 8 + struct.unpack("<Q", data[:8])[0]],
    "cut in the tensors": lambda data: data[:-100],
    "last byte gone": lambda data: data[:-1],
    "padded": lambda data: data + b"\0",
    "padded much": lambda data: data + bytes(10_000),
    "first byte gone": lambda data: data[1:],
    "all zeros": lambda data: bytes(len(data)),
    "text": lambda data: b"These are not the weights you are looking for." * 9,
    "header length beyond all": lambda data: b"\xff" * 8 + data[8:],
    "header length of a terabyte": lambda data: struct.pack("<Q", 1 << 40) + data[8:],
    "header length one too many": lambda data: struct.pack("<Q", len(data) - 7) + data[8:],
    "header length of zero": lambda data: bytes(8) + data[8:],
    "header not JSON": lambda data: joined(b"{'a': 1}", b""),
    "header not UTF-8": lambda data: joined(b'{"\xff": 1}', b""),
    "header nested too deep": lambda data: joined(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b""),
    "header of lists nested too deep": lambda data: joined(b"[" * 500_000, b""),
    "header a list": lambda data: joined(b"[]", b""),
    "header a number": lambda data: joined(b"7", b""),
    "header null": lambda data: joined(b"null", b""),
    "header empty": lambda data: joined(b"{}", b""),
    "number of 10,000 digits": lambda data: joined(b'{"a":{"data_offsets":[0,' + b"9" * 10_000 + b"]}}", b""),
    "offset of infinity": offsets("head.bias", 0, float("inf")),
    "offset of NaN": offsets("head.bias", 0, float("nan")),
    "offset a word": offsets("head.bias", 0, "far"),
    "offset a fraction": offsets("head.bias", 0.5, 96.5),
    "offsets negative": offsets("head.bias", -96, 0),
    "offsets reversed": offsets("head.bias", 96, 0),
    "offsets overlap": offsets("head.weight", 0, 1000),
    "offsets equal another's": with_header(lambda h: h["recurrent.bias_ih_l0"].update(h["recurrent.bias_hh_l0"])),
    "no offsets": with_header(lambda header: header["head.bias"].pop("data_offsets") and None),
    "one offset": with_header(lambda header: header["head.bias"].update(data_offsets=[0])),
    "no shape": with_header(lambda header: header["head.bias"].pop("shape") and None),
    "no kind of number": with_header(lambda header: header["head.bias"].pop("dtype") and None),
    "unknown kind of number": with_header(lambda header: header["head.bias"].update(dtype="F3")),
    "a tensor that is a number": with_header(lambda header: header.update({"head.bias": 3})),
    "shape of infinity": shape("head.bias", float("inf")),
    "shape of 10**30": shape("head.bias", 10**30),
    "shape whose product overflows": shape("head.bias", 1 << 32, 1 << 32),
    "shape negative": shape("head.bias", -5),
    "shape transposed": with_header(lambda h: h["head.weight"].update(shape=h["head.weight"]["shape"][::-1])),
    "shape flattened": with_header(lambda h: h["head.weight"].update(shape=[12 * h["head.bias"]["shape"][0]])),
    "metadata missing": with_header(lambda header: header.pop("__metadata__") and None),
    "metadata a list": with_header(lambda header: header.update(__metadata__=[1])),
    "metadata of another program": bare,
    "metadata not JSON": with_header(lambda header: header["__metadata__"].update(gatewise="{")),
    "metadata a number": with_header(lambda header: header["__metadata__"].update(gatewise="7")),
    "metadata nested too deep": with_header(lambda header: header["__metadata__"].update(gatewise="[" * 200_000)),
    "format missing": with_about(lambda about: about.pop("format") and None),
    "format newer": with_about(lambda about: about.update(format=2)),
    "format a word": with_about(lambda about: about.update(format="one")),
    "model missing": with_about(lambda about: about.pop("model") and None),
    "model a list": with_about(lambda about: about.update(model=[1, 2])),
    "tokenizer missing": with_about(lambda about: about.pop("tokenizer") and None),
    "tokenizer of another kind": with_about(lambda about: about.update(tokenizer={"kind": "byte"})),
    "tokenizer unknown": with_about(lambda about: about.update(tokenizer={"kind": "runes"})),
    "tokenizer with a token less": with_about(lambda about: about["tokenizer"]["tokens"].pop() and None),
    "tokenizer with a token twice": with_about(lambda about: about["tokenizer"]["tokens"].__setitem__(1, "e")),
    "a thousand times too large": model_says(hidden_size=12_000),
    "10**12 units": model_says(hidden_size=10**12),
    "10**30 units": model_says(hidden_size=10**30),
    "10**12 tokens": model_says(vocabulary_size=10**12),
    "10**12 features": model_says(embedding_size=10**12),
    "10**12 layers": model_says(num_layers=10**12),
    "two layers": model_says(num_layers=2),
    "no units": model_says(hidden_size=0),
    "-3 units": model_says(hidden_size=-3),
    "1.5 units": model_says(hidden_size=1.5),
    "a word of units": model_says(hidden_size="many"),
    "no units said": model_says(hidden_size=None),
    "a word of layers": model_says(num_layers="two"),
    "dropout of 7": model_says(dropout=7),
    "dropout a word": model_says(dropout="some"),
    "another cell": model_says(cell="lstm"),
    "unknown cell": model_says(cell="os.system"),
    "cell a list of lists": model_says(cell=[["gru"]]),
    "cell a list with a number": model_says(cell=["gru", 5]),
    "cells too many": model_says(cell=["gru", "gru"]),
    "hidden size a list of words": model_says(hidden_size=["many"]),
    "unknown setting": model_says(device="cuda:99"),
    "unknown engine": model_says(engine="warp"),
    "NaN first": with_tensors(put(0, float("nan"))),
    "NaN last": with_tensors(put(-1, float("nan"))),
    "infinity": with_tensors(put(5, float("-inf"))),
    "tensor missing": with_tensors(lambda tensors: tensors.__delitem__("head.bias")),
    "tensor too many": with_tensors(lambda tensors: tensors.update(extra=torch.zeros(1))),
    "tensor renamed": with_tensors(lambda tensors: tensors.update({"head.Bias": tensors.pop("head.bias")})),
    "tensor longer": with_tensors(lambda t: t.update({"head.bias": torch.zeros(1 + len(t["head.bias"]))})),
    "whole numbers": dtype(torch.int64),
    "complex numbers": dtype(torch.complex64),
    "truth values": dtype(torch.bool),
    "float64": dtype(torch.float64),
    "float8": dtype(torch.float8_e4m3fn),
    "zip": zipped,
    "torch.save": saved_by_torch,
}  # fmt: skip


REMEDIES = (
    "use another copy",
    "use the weights of a run",
    "pip install",
    "--cell-file",
    "train again",
    "safetensors only",
)


@pytest.fixture(params=ATTACKS)
def attacked(request, run_copy) -> Path:
    weights = run_copy / "weights.safetensors"
    weights.write_bytes(ATTACKS[request.param](weights.read_bytes()))
    return run_copy


def test_attacks(attacked, refused):
    data = (attacked / "weights.safetensors").read_bytes()
    started = time.perf_counter()
    line = refused("generate", attacked, "--length", 5)
    assert time.perf_counter() - started < 3
    assert str(attacked / "weights.safetensors") in line
    assert any(remedy in line for remedy in REMEDIES)
    assert (attacked / "weights.safetensors").read_bytes() == data
    with pytest.raises(UserError):
        load_text_run(attacked)


def test_the_remedies_of_the_commonest(run_copy, refused):
    weights = run_copy / "weights.safetensors"
    sound = weights.read_bytes()
    for attack, said in {
        "cut in the tensors": f"{len(sound) - 100} bytes where the header says {len(sound)}",
        "padded": f"{len(sound) + 1} bytes where the header says {len(sound)}",
        "NaN last": "tensor head.weight has values that are not finite",
        "tensor missing": "no tensor head.bias",
        "tensor too many": "a tensor extra",
        "format newer": "made by a newer gatewise (format 2, this one reads up to 1); run: pip install --upgrade",
        "torch.save": "a pickle",
        "zip": "a pickle",
        "metadata of another program": "not written by gatewise",
        "a thousand times too large": "its configuration says",
        "unknown cell": "--cell-file",
    }.items():
        weights.write_bytes(ATTACKS[attack](sound))
        assert said in refused("evaluate", run_copy), attack


def test_cut_anywhere(run_copy):
    """Every length but the whole."""
    weights = run_copy / "weights.safetensors"
    sound = weights.read_bytes()
    for size in [*range(64), *range(64, len(sound), 97), len(sound) - 1]:
        weights.write_bytes(sound[:size])
        with pytest.raises(UserError, match=r"weights\.safetensors"):
            load_text_run(run_copy)


def test_a_flipped_byte_in_the_header_is_refused_or_harmless(run_copy):
    weights = run_copy / "weights.safetensors"
    sound = weights.read_bytes()
    draw = torch.Generator().manual_seed(0)
    length = 8 + struct.unpack("<Q", sound[:8])[0]
    for _ in range(150):
        data = bytearray(sound)
        data[int(torch.randint(length, (1,), generator=draw))] ^= 1 << int(torch.randint(8, (1,), generator=draw))
        weights.write_bytes(data)
        try:
            load_text_run(run_copy)
        except UserError as error:
            assert "weights.safetensors" in str(error)  # noqa: PT017  (either outcome is right)


def test_nothing_is_allocated_for_a_model_that_is_not_there(run_copy):
    """10**12 units would be 10**25 bytes, 30,000 are ten gigabytes: the header tells that they are not in the file."""
    weights = run_copy / "weights.safetensors"
    sound = weights.read_bytes()
    load_text_run(run_copy)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    for units in (30_000, 10**12):
        weights.write_bytes(model_says(hidden_size=units)(sound))
        with pytest.raises(UserError, match=r"weights\.safetensors"):
            load_text_run(run_copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes
    assert time.perf_counter() - started < 2


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["weights.safetensors", "checkpoint/last.safetensors"])
def test_a_pickle_is_never_opened(protocol, name, run_copy, tmp_path, refused):
    marker, file = tmp_path / "owned", run_copy / name
    file.write_bytes(pickle.dumps(Bomb(marker), protocol))
    (run_copy / "summary.json").unlink()
    line = refused("resume" if "last" in name else "generate", run_copy)
    assert str(file) in line
    assert protocol < 2 or "a pickle" in line
    assert not marker.exists()
    pickle.loads(file.read_bytes()).close()  # noqa: S301  (the bomb is live)
    assert marker.exists()


def test_torch_save_is_never_opened(run_copy, tmp_path, refused):
    for legacy in (True, False):
        torch.save(
            {"w": Bomb(tmp_path / "owned")}, run_copy / "weights.safetensors", _use_new_zipfile_serialization=not legacy
        )
        assert "a pickle" in refused("generate", run_copy)
    assert not (tmp_path / "owned").exists()


def test_a_sound_file_is_read_whatever_the_length_of_its_header(tmp_path):
    """A header of 640 bytes begins with 0x80 like a pickle, one of 19,280 with PK like a zip: once refused."""
    file, lengths = tmp_path / "x.safetensors", set()
    for size in [*range(0, 2100, 8), *range(19_040, 19_240, 8)]:  # a header is padded to 8 bytes
        write_tensors(file, {"w": torch.ones(2)}, {"note": "x" * size})
        lengths.add(file.read_bytes()[:2])
        about, shapes = read_about(file)
        assert about["note"] == "x" * size
        assert torch.equal(read_tensors(file, shapes)["w"], torch.ones(2))
    assert b"PK" in lengths
    assert any(start[0] == 0x80 for start in lengths)


def test_missing(run_copy, refused):
    (run_copy / "weights.safetensors").unlink()
    assert "weights.safetensors: no such file" in refused("generate", run_copy)


def test_a_folder_in_its_place(run_copy, refused):
    (run_copy / "weights.safetensors").unlink()
    (run_copy / "weights.safetensors").mkdir()
    assert "weights.safetensors: could not be read: Is a directory" in refused("generate", run_copy)


# --- config.toml

CONFIGS = {
    "newer": (lambda text: text.replace("format = 1", "format = 2"), "newer gatewise"),
    "no format": (lambda text: text.replace("format = 1\n", ""), "no format"),
    "format a word": (lambda text: text.replace("format = 1", 'format = "1"'), "no format"),
    "not TOML": (lambda text: text + "\n= = =", "cannot be read"),
    "not UTF-8": (lambda text: (text + "# \udcff").encode("utf-8", "surrogateescape"), "cannot be read"),
    "empty": (lambda text: "", "no format and task"),
    "no task": (lambda text: text.replace('task = "text"\n', ""), "no format and task"),
    "another task": (lambda text: text.replace('task = "text"', 'task = "translate"'), "task 'translate'"),
    "no settings": (lambda text: text.split("[settings]")[0], "settings"),
    "no data": (lambda text: text.replace("[data]", "[date]"), "data"),
    "settings a word": (lambda text: 'settings = "none"\n' + text.split("[settings]")[0], "settings"),
    "unknown setting": (lambda text: text + 'colour = "red"\n', "colour"),
    "size a word": (lambda text: text.replace("hidden = 12", 'hidden = "twelve"'), "--hidden 'twelve'"),
    "size negative": (lambda text: text.replace("hidden = 12", "hidden = -12"), "--hidden -12"),
    "unknown cell": (lambda text: text.replace('cell = "gru"', 'cell = "gruu"'), "no cell is called 'gruu'"),
    "path a number": (lambda text: text.replace('path = "', 'path = 3 # "'), "config.toml"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("command", ["resume", "evaluate"])
def test_configurations(name, command, run_copy, refused):
    change, said = CONFIGS[name]
    config = run_copy / "config.toml"
    text = change(config.read_text())
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    line = refused(command, run_copy)
    assert str(config) in line
    assert said in line
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before
