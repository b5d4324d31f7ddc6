"""Reading videos: arrays and pictures, their order and scale, what is refused and which file is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gatewise.data import Clip, read_frames, split_clips
from gatewise.errors import UserError


def save_pictures(folder: Path, values: np.ndarray, form: str = "{}.png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame in enumerate(values):
        Image.fromarray(frame).save(folder / form.format(t))


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 6, 8), dtype=np.uint8)


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (12, 6, 8, 3), dtype=np.uint8)


def test_arrays_are_scaled_by_their_type(tmp_path, grey):
    expected = torch.from_numpy(grey).float().unsqueeze(1) / 255
    kinds = {
        "uint8": grey, "uint16": grey.astype(np.uint16) * 257, "int32": (grey / 255 * (2**31 - 1)).astype(np.int32),
        "float64": grey / 255, "float16": (grey / 255).astype(np.float16),
    }  # fmt: skip
    for name, values in kinds.items():
        np.save(tmp_path / f"{name}.npy", values)
        (clip,) = read_frames(tmp_path / f"{name}.npy")
        assert (clip.name, clip.frames.dtype) == (name, torch.float32)
        torch.testing.assert_close(clip.frames, expected, rtol=0, atol=1e-3 if name == "float16" else 1e-6)
    np.save(tmp_path / "bits.npy", grey > 99)
    assert torch.equal(read_frames(tmp_path / "bits.npy")[0].frames[:, 0], torch.from_numpy(grey > 99).float())


def test_channels_come_first(tmp_path, colour):
    np.save(tmp_path / "a.npy", colour)
    (clip,) = read_frames(tmp_path / "a.npy")
    torch.testing.assert_close(clip.frames, torch.from_numpy(colour).movedim(-1, 1) / 255)


def test_a_folder_of_arrays_is_a_video_each_in_the_order_of_their_numbers(tmp_path, grey):
    for n in (10, 9, 1):
        np.save(tmp_path / f"clip{n}.npy", grey[:n])
    (tmp_path / "notes.txt").write_text("not a video")
    (tmp_path / ".hidden.npy").write_text("nor this")
    assert [(c.name, len(c.frames)) for c in read_frames(tmp_path)] == [("clip1", 1), ("clip9", 9), ("clip10", 10)]


def test_pictures_are_frames_in_the_order_of_their_numbers(tmp_path, grey, colour):
    save_pictures(tmp_path / "grey", grey)
    (clip,) = read_frames(tmp_path / "grey")
    torch.testing.assert_close(clip.frames, torch.from_numpy(grey).unsqueeze(1) / 255)
    save_pictures(tmp_path / "colour", colour, "frame_{}.bmp")
    (clip,) = read_frames(tmp_path / "colour")
    torch.testing.assert_close(clip.frames, torch.from_numpy(colour).movedim(-1, 1) / 255)
    deep = grey.astype(np.uint16) * 257
    save_pictures(tmp_path / "deep", deep)
    torch.testing.assert_close(read_frames(tmp_path / "deep")[0].frames, torch.from_numpy(grey).unsqueeze(1) / 255)


def test_folders_of_pictures_are_a_video_each(tmp_path, grey):
    save_pictures(tmp_path / "10", grey)
    save_pictures(tmp_path / "2", grey[:5])
    (tmp_path / "empty").mkdir()
    assert [(c.name, len(c.frames)) for c in read_frames(tmp_path)] == [("2", 5), ("10", 12)]


def test_a_size_reduces_and_never_enlarges(tmp_path):
    values = np.zeros((2, 16, 24))
    values[:, :, 12:] = 1
    np.save(tmp_path / "a.npy", values)
    small = read_frames(tmp_path / "a.npy", size=4)[0].frames
    assert small.shape == (2, 1, 4, 6)
    torch.testing.assert_close(small[0, 0, 0, [0, 5]], torch.tensor([0.0, 1.0]), rtol=0, atol=0.02)
    assert abs(small.mean().item() - 0.5) < 1e-6
    assert read_frames(tmp_path / "a.npy", size=99)[0].frames.shape == (2, 1, 16, 24)


def _nothing(folder):
    folder.mkdir()
    (folder / "notes.txt").write_text("no pictures here")


def _mixed(folder):
    save_pictures(folder, np.zeros((3, 6, 8), np.uint8))
    np.save(folder / "a.npy", np.zeros((2, 6, 8)))


def _other_size(folder):
    save_pictures(folder, np.zeros((11, 6, 8), np.uint8))
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(folder / "7.png")


def _other_colours(folder):
    save_pictures(folder, np.zeros((3, 6, 8), np.uint8))
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(folder / "1.png")


def _damaged(folder):
    save_pictures(folder, np.zeros((3, 6, 8), np.uint8))
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])


def _no_picture(folder):
    save_pictures(folder, np.zeros((3, 6, 8), np.uint8))
    (folder / "2.png").write_text("hello")


def _film(folder):
    folder.mkdir()
    frames = [Image.fromarray(np.full((6, 8), 60 * t, np.uint8)) for t in range(3)]
    frames[0].save(folder / "film.tif", save_all=True, append_images=frames[1:])


def _saved(values):
    def save(folder):
        folder.mkdir()
        np.save(folder / "a.npy", values)

    return save


def _not_a_number():
    values = np.zeros((5, 6, 8))
    values[3, 2, 1] = np.nan
    return values


def _two_sizes(folder):
    folder.mkdir()
    np.save(folder / "a.npy", np.zeros((5, 6, 8)))
    np.save(folder / "b.npy", np.zeros((5, 8, 6)))


def _pickle(folder):
    folder.mkdir()
    np.save(folder / "a.npy", np.array([None, "x"], dtype=object), allow_pickle=True)


def _wide_picture(value):
    def save(folder):
        folder.mkdir()
        Image.fromarray(np.full((6, 8), value, np.int32)).save(folder / "a.tif")

    return save


BAD = {
    "int64": (
        _saved(np.full((5, 6, 8), 255)),
        "{}/a.npy: values up to 255 in an int64 array, whose white is 9223372036854775807: save it as uint8",
    ),
    "int16": (
        _saved(np.full((5, 6, 8), 255, np.int16)),
        "{}/a.npy: values up to 255 in an int16 array, whose white is 32767: save it as uint8",
    ),
    "uint32": (
        _saved(np.full((5, 6, 8), 65535, np.uint32)),
        "{}/a.npy: values up to 65535 in an uint32 array, whose white is 4294967295: save it as uint16",
    ),
    "24 bits": (
        _saved(np.full((5, 6, 8), 1 << 24)),
        "{}/a.npy: values up to 16777216 in an int64 array, whose white is 9223372036854775807: divide it and save",
    ),
    "wide picture": (_wide_picture(65536), "{}/a.tif: values from 65536 to 65536; want 0 (black) to 65535 (white)"),
    "dark picture": (_wide_picture(-1), "{}/a.tif: values from -1 to -1; want 0 (black) to 65535 (white)"),
    "missing": (lambda folder: None, "{}: does not exist"),
    "no frames": (_nothing, "{}: no frames in it; want .npy files, pictures (.png,"),
    "both kinds": (_mixed, "{}: has both .npy files and pictures (a.npy, 0.png); give one kind"),
    "sizes": (_other_size, "{}/7.png: has frames of 9 x 6 pixels, but 0.png has frames of 8 x 6 pixels; all frames"),
    "colours": (_other_colours, "{}/1.png: has frames of 8 x 6 pixels and 3 channels, but 0.png has frames of 8 x 6"),
    "damaged": (_damaged, "{}/1.png: cannot be read as a picture ("),
    "no picture": (_no_picture, "{}/2.png: cannot be read as a picture ("),
    "film": (_film, "{}/film.tif: 3 pictures in one file; give one file a frame"),
    "NaN": (_saved(_not_a_number()), "{}/a.npy: frame 4 has a value that is not finite (NaN or infinity); mend or"),
    "range": (_saved(np.full((5, 6, 8), 9.5)), "{}/a.npy: floating-point values from 9.5 to 9.5; want 0 (black) to 1"),
    "negative": (_saved(np.full((5, 6, 8), -3)), "{}/a.npy: a value of -3; whole numbers start at 0, which is black"),
    "axes": (
        _saved(np.zeros((6, 8))),
        "{}/a.npy: has the shape (6, 8); want (frames, height, width) or (frames, height",
    ),
    "channels": (
        _saved(np.zeros((5, 6, 8, 7))),
        "{}/a.npy: 7 channels on the last axis; want (frames, height, width, 1",
    ),
    "empty": (_saved(np.zeros((0, 6, 8))), "{}/a.npy: has the shape (0, 6, 8); want (frames, height, width)"),
    "complex": (
        _saved(np.zeros((5, 6, 8), complex)),
        "{}/a.npy: values of the type complex128; want whole or floating",
    ),
    "two sizes": (_two_sizes, "{0}/b.npy: has frames of 6 x 8 pixels, but {0}/a.npy has frames of 8 x 6 pixels; give"),
    "pickle": (_pickle, "{}/a.npy: cannot be read as a .npy file ("),
}


@pytest.mark.parametrize("case", BAD)
def test_the_first_bad_file_is_named(tmp_path, case):
    make, message = BAD[case]
    folder = tmp_path / "videos"
    make(folder)
    with pytest.raises(UserError) as caught:
        read_frames(folder)
    assert str(caught.value).startswith(message.format(folder))


def test_a_picture_of_32_bits_is_taken_as_of_16(tmp_path):
    Image.fromarray(np.full((6, 8), 65535, np.int32)).save(tmp_path / "0.tif")
    assert read_frames(tmp_path)[0].frames.eq(1).all()


def test_black_is_black_in_any_type(tmp_path):
    for kind in (np.int64, np.int16, np.uint8):
        np.save(tmp_path / "a.npy", np.zeros((3, 6, 8), kind))
        assert read_frames(tmp_path / "a.npy")[0].frames.eq(0).all()


def fuzzed(whole: bytes, count: int, reach: int, seed: int) -> list[bytes]:
    """The file with one to eight bytes of its first ``reach`` changed, or cut off."""
    draw = np.random.default_rng(seed)
    found = []
    for n in range(count):
        bytes_ = np.frombuffer(whole, np.uint8).copy()
        places = draw.integers(0, min(reach, len(whole)), draw.integers(1, 9))
        bytes_[places] = draw.integers(0, 256, len(places))
        found.append(bytes_[: draw.integers(0, len(whole)) if n % 5 == 0 else None].tobytes())
    return found


def answered(path: Path) -> str:
    """What is said of a file; empty where it can still be read."""
    try:
        read_frames(path)
    except UserError as error:
        return str(error)
    return ""


def test_a_damaged_array_is_answered_in_one_line(tmp_path, grey):
    np.save(tmp_path / "whole.npy", grey)
    whole = (tmp_path / "whole.npy").read_bytes()
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 6, 8), }"
    huge = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    unclosed = b"\x93NUMPY\x01\x00\x05\x00{(((\n" + whole[128:]
    path = tmp_path / "a.npy"
    for content in (huge, unclosed, *fuzzed(whole, 300, 128, seed=0)):
        path.write_bytes(content)
        said = answered(path)
        assert not said or (said.startswith(f"{path}: ") and "\n" not in said), content
    for content in (b"PK\x03\x04 a zip that is none", b"", b"\x93NUMP", b"hello"):
        path.write_bytes(content)
        assert answered(path) == f"{path}: not a .npy file; write it with numpy.save"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["tif", "png"])
def test_a_damaged_picture_is_answered_in_one_line(tmp_path, grey, kind):
    save_pictures(tmp_path / "film", grey[:1], "0." + kind)
    path = tmp_path / "film" / f"0.{kind}"
    whole = path.read_bytes()
    for content in fuzzed(whole, 60, len(whole), seed=1):
        path.write_bytes(content)
        said = answered(path.parent)
        assert not said or (said.startswith(f"{path}: ") and "\n" not in said), content


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"film.mp4: want a .npy file, or a folder of .npy files or pictures"):
        read_frames(tmp_path / "film.mp4")


def clip(name: str, count: int) -> Clip:
    return Clip(name, torch.arange(count).reshape(-1, 1, 1, 1).float())


def test_of_several_videos_the_last_are_held_out():
    clips = [clip(str(n), 20) for n in range(10)]
    train, heldout = split_clips(clips, 0.2, 20)
    assert ([c.name for c in train], [c.name for c in heldout]) == (list("01234567"), ["8", "9"])
    train, heldout = split_clips(clips[:2], 0.01, 20)
    assert ([c.name for c in train], [c.name for c in heldout]) == (["0"], ["1"])


def test_of_a_single_video_the_end_is_held_out():
    (train,), (heldout,) = split_clips([clip("a", 100)], 0.2, 20)
    assert train.frames.flatten().tolist() == list(range(80))
    assert heldout.frames.flatten().tolist() == list(range(80, 100))
    (train,), (heldout,) = split_clips([clip("a", 50)], 0.1, 20)  # as many as are needed
    assert (len(train.frames), len(heldout.frames)) == (30, 20)


def test_videos_that_are_too_short_are_named():
    with pytest.raises(
        UserError, match=r"^the video 'b' has 19 frames, but 20 are needed \(those given and those to predict\)"
    ):
        split_clips([clip("a", 20), clip("b", 19)], 0.2, 20)
    with pytest.raises(
        UserError, match=r"^the video 'a' has 39 frames, but 40 are needed, 20 to learn from and 20 to measure on"
    ):
        split_clips([clip("a", 39)], 0.2, 20)
