"""The cache: what makes a new library, what is never given out, what is listed and cleared."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from small_kernel import HEADERS, NEEDS_CXX, SOURCE, answer, damage_about, damage_bit, damage_cut, leftovers, make

from gatewise.engines.native import cache
from gatewise.engines.native.compiler import forget_compiler

pytestmark = [NEEDS_CXX, pytest.mark.usefixtures("cache_root")]


class TestLibrary:
    def test_it_is_built_once_by_the_machines_compiler(self, cache_root, tmp_path, monkeypatch):
        monkeypatch.delenv("GATEWISE_CXX", raising=False)
        forget_compiler()
        path = make()
        assert answer(path) == 42
        assert path.is_absolute()
        written = path.stat().st_mtime_ns
        assert make() == path
        assert path.stat().st_mtime_ns == written
        assert leftovers(cache_root) == []
        assert cache.why_off() is None
        forget_compiler()

    def test_the_second_time_nothing_is_compiled(self, script, builds):
        assert cache.built("gru", SOURCE, headers=HEADERS) is None
        path = make()
        assert cache.built("gru", SOURCE, headers=HEADERS) == path
        assert make() == path
        assert builds() == 1

    def test_sources_lie_beside_it(self, script):
        path = make()
        assert (path.parent / "gru.cpp").read_text() == SOURCE
        assert (path.parent / "value.h").read_text() == HEADERS["value.h"]
        about = json.loads((path.parent / "kernel.json").read_text())
        assert (about["name"], about["size"], about["format"]) == ("gru", path.stat().st_size, cache.FORMAT)

    @pytest.mark.parametrize("change", ["source", "header", "header name", "defines", "define", "flags"])
    def test_another_source_is_another_library(self, change, script, monkeypatch):
        first = make()
        source, headers, defines = SOURCE, dict(HEADERS), {}
        if change == "source":
            source += "// more\n"
        elif change == "header":
            headers["value.h"] = "#define VALUE 41\n"
        elif change == "header name":
            headers["unused.h"] = ""
        elif change == "defines":
            defines = {"UNUSED": ""}
        elif change == "define":
            cache.library("gru", source, headers=headers, defines={"UNUSED": "1"}, announce=False)
            defines = {"UNUSED": "2"}
        else:
            monkeypatch.setenv("GATEWISE_CXXFLAGS", "-DUNUSED")
        assert cache.built("gru", source, headers=headers, defines=defines) is None
        assert cache.library("gru", source, headers=headers, defines=defines, announce=False) != first

    @pytest.mark.parametrize("change", ["version", "path", "cpu", "format", "system"])
    def test_another_machine_is_another_library(self, change, script, tmp_path, monkeypatch):
        make()
        compiler = cache.find_compiler()
        assert compiler is not None
        if change == "version":
            changed = dataclasses.replace(compiler, version="a later one")
            monkeypatch.setattr(cache, "find_compiler", lambda: changed)
        elif change == "path":
            shutil.copy(tmp_path / "cxx", tmp_path / "cxx2")
            changed = dataclasses.replace(compiler, command=(str(tmp_path / "cxx2"),))
            monkeypatch.setattr(cache, "find_compiler", lambda: changed)
        elif change == "cpu":
            monkeypatch.setattr(cache, "cpu_mark", lambda: "x86_64 abacus")
        elif change == "format":
            monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
        else:
            monkeypatch.setattr(cache, "_system", lambda: "linux glibc 1.0")
        assert cache.built("gru", SOURCE, headers=HEADERS) is None

    @pytest.mark.parametrize("name", ["../../x", "/etc/x", "层", "", "...", "-x", "a b'\"$(x)", "x" * 300])
    def test_any_name(self, name, script, cache_root):
        path = make(name)
        assert path.parent.parent == cache_root
        assert answer(path) == 42
        (entry,) = cache.entries()
        assert entry.name == name


DAMAGE = {
    "cut": damage_cut,
    "bit": damage_bit,
    "emptied": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "library gone": Path.unlink,
    "header gone": lambda path: (path.parent / "value.h").unlink(),
    "description gone": lambda path: (path.parent / "kernel.json").unlink(),
    "description cut": lambda path: damage_cut(path.parent / "kernel.json"),
    "description a list": lambda path: (path.parent / "kernel.json").write_text("[1]"),
    "description binary": lambda path: (path.parent / "kernel.json").write_bytes(b"\xff\xfe\x00"),
    "description odd": lambda path: damage_about(path, library=None, size="many"),
    "another's": lambda path: damage_about(path, key="0" * 64),
    "folder emptied": lambda path: (shutil.rmtree(path.parent), path.parent.mkdir()),
    "a file in its place": lambda path: (shutil.rmtree(path.parent), path.parent.write_text("")),
    "a link to nowhere": lambda path: (shutil.rmtree(path.parent), path.parent.symlink_to("/no/such")),
}


class TestDamage:
    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_damaged_entry_is_never_given_out(self, damage, script, builds, cache_root):
        path = make()
        DAMAGE[damage](path)
        assert cache.built("gru", SOURCE, headers=HEADERS) is None
        assert make() == path
        assert builds() == 2
        assert answer(path) == 42
        assert leftovers(cache_root) == []
        assert [entry.sound for entry in cache.entries()] == [True]

    def test_doctor_can_tell(self, script):
        damage_bit(make())
        assert [entry.sound for entry in cache.entries()] == [False]

    def test_an_entry_mended_meanwhile_by_another_process_stays(self, script):
        path = make()
        key = cache.entries()[0].key
        cache._put_away(path.parent, key)
        assert path.is_file()
        damage_cut(path)
        cache._put_away(path.parent, key)
        assert not path.parent.exists()


class TestHousekeeping:
    def test_entries(self, script):
        make("lstm")
        path = make("gru")
        gru, lstm = cache.entries()
        assert (gru.name, lstm.name) == ("gru", "lstm")
        assert gru.library == path
        assert gru.size == path.stat().st_size
        assert gru.compiler.startswith("a stand-in [")
        assert 0 < gru.seconds < 10
        assert gru.when.endswith("+00:00")

    def test_clear_leaves_what_is_not_ours(self, script, cache_root):
        make("lstm")
        damage_about(make("gru"), name=None)
        (cache_root / "compiler-0123456789abcdef.json").write_text("{}")
        (cache_root / "ziglang-cache").mkdir()
        (cache_root / "photos").mkdir()
        (cache_root / "notes.txt").write_text("mine")
        (cache_root / ".gru-0123456789abcdef.12.part").mkdir()  # another process's build
        assert cache.clear() == 2
        left = sorted(path.name for path in cache_root.iterdir())
        assert left == [".gru-0123456789abcdef.12.part", "notes.txt", "photos"]
        assert cache.clear() == 0

    def test_without_a_folder(self):
        assert cache.entries() == []
        assert cache.clear() == 0
