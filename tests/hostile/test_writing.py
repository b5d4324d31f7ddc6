"""A write that fails, or a process that dies in it, leaves the old file whole."""

import errno
import os
import shutil
import subprocess

import pytest
import torch

from gatewise.errors import UserError
from gatewise.show.curve import draw_curve
from gatewise.training.checkpoint import read_tensors, replacing, write_tensors, write_text


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failing(number):
    def fail(*arguments, **more):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left"), (errno.EDQUOT, "no space left"), (errno.EROFS, "does not allow writing"),
        (errno.EACCES, "does not allow writing"), (errno.EIO, "could not be written"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["os.open", "os.fsync", "pathlib.Path.replace", "pathlib.Path.write_bytes"])
@pytest.mark.parametrize("old", [True, False], ids=["over a file", "new"])
def test_the_old_file_stays_and_nothing_else(number, said, where, old, tmp_path, monkeypatch):
    file = tmp_path / "weights.safetensors"
    if old:
        write_tensors(file, {"w": torch.ones(3)}, {})
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(where, failing(number))
        with pytest.raises(UserError) as caught:
            write_tensors(file, {"w": torch.zeros(3)}, {})
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert said in message
    assert ("the file that was there is unchanged" in message) == old
    assert contents(tmp_path) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_crash_inside_leaves_the_old_file(error, tmp_path):
    file = tmp_path / "text.txt"
    write_text(file, "old")

    def crash():
        with replacing(file) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        crash()
    assert contents(tmp_path) == {"text.txt": b"old"}


def test_a_reader_sees_the_old_file_or_the_new_and_never_a_part(tmp_path):
    file = tmp_path / "text.txt"
    write_text(file, "old")
    with replacing(file) as temporary:
        temporary.write_text("new")
        assert temporary.parent == file.parent  # the same file system, so that renaming is atomic
        assert file.read_text() == "old"
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte, where this machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full(small_disk):
    file = small_disk / "weights.safetensors"
    write_tensors(file, {"w": torch.ones(1000)}, {})
    with pytest.raises(UserError, match=r"no space left on the disk; the file that was there is unchanged"):
        write_tensors(file, {"w": torch.zeros(1 << 20)}, {})
    assert torch.equal(read_tensors(file)["w"], torch.ones(1000))
    assert [path.name for path in small_disk.iterdir()] == ["weights.safetensors"]


def test_training_on_a_disk_that_fills_up(small_disk, text_file, gatewise_):
    run = small_disk / "run"
    answer = gatewise_(
        "train", "text", text_file, "--hidden", 170, "--batch", 8, "--threads", 1, "--epochs", 1, "--out", run
    )
    assert answer.refusal.startswith(f"gatewise: {run}")
    assert "no space left on the disk" in answer.refusal
    assert not list(run.rglob("*.part"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_training_that_cannot_write_says_so_in_one_line(number, tmp_path, text_file, monkeypatch, gatewise_, small):
    monkeypatch.setattr(os, "fsync", failing(number))
    answer = gatewise_("train", "text", text_file, *small, "--epochs", 1, "--out", tmp_path / "run")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert answer.err.startswith(f"gatewise: {tmp_path / 'run'}")


def test_a_folder_that_may_not_be_made(tmp_path, text_file, monkeypatch, refused, small):
    monkeypatch.setattr("pathlib.Path.mkdir", failing(errno.EACCES))
    for out in (("--out", tmp_path / "run"), ()):
        assert "--out" in refused("train", "text", text_file, *small, "--epochs", 1, *out)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(run_copy, refused):
    before = contents(run_copy / "checkpoint")
    run_copy.chmod(0o555)
    try:
        assert "does not allow writing" in refused("resume", run_copy)
        assert contents(run_copy / "checkpoint") == before
    finally:
        run_copy.chmod(0o755)


def test_a_picture_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "curve.svg").write_text("old")
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(UserError, match=r"curve\.svg: no space left"):
        draw_curve([], tmp_path, "title")
    assert contents(tmp_path) == {"curve.svg": b"old"}
