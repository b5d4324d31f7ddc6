"""Where the cache is, folders that cannot be written to, and what a person reads meanwhile."""

import io
import sys
import time
from pathlib import Path

import pytest
from small_kernel import NEEDS_CXX, damage_about, make

from gatewise.engines.native import cache, folder, notice
from gatewise.errors import UserError

pytestmark = [NEEDS_CXX, pytest.mark.usefixtures("cache_root")]


class TestFolder:
    @pytest.mark.parametrize(
        ("system", "environment", "place"),
        [
            ("linux", {"GATEWISE_CACHE": "/there"}, "/there"),
            ("linux", {"GATEWISE_CACHE": "~/there"}, "{home}/there"),
            ("linux", {"GATEWISE_CACHE": "there"}, "{here}/there"),
            ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/gatewise"),
            ("linux", {"XDG_CACHE_HOME": "relative"}, "{home}/.cache/gatewise"),
            ("linux", {"GATEWISE_CACHE": ""}, "{home}/.cache/gatewise"),
            ("darwin", {}, "{home}/Library/Caches/gatewise"),
            ("win32", {"LOCALAPPDATA": "/local"}, "/local/gatewise"),
            ("win32", {}, "{home}/AppData/Local/gatewise"),
        ],
    )
    def test_where(self, system, environment, place, tmp_path, monkeypatch):
        for name in ("GATEWISE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"HOME": str(tmp_path), **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(folder.sys, "platform", system)
        assert str(cache.cache_folder()) == place.format(home=tmp_path, here=tmp_path)

    def test_no_home(self, monkeypatch):
        monkeypatch.delenv("GATEWISE_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(folder.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
        with pytest.raises(UserError, match=r"no home folder.*GATEWISE_CACHE"):
            cache.cache_folder()
        assert "no home folder" in (cache.why_off() or "")
        assert cache.entries() == []

    @pytest.mark.parametrize("place", ["file", "file/below", "/dev/null/x", "/proc/no/such"])
    def test_not_writable(self, place, script, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("mine")
        path = tmp_path / place
        monkeypatch.setenv("GATEWISE_CACHE", str(path))
        with pytest.raises(UserError) as caught:
            make()
        assert str(caught.value).startswith(f"{path}: the cache folder for compiled kernels cannot be written to (")
        assert "GATEWISE_CACHE" in str(caught.value)
        assert cache.why_off() == str(caught.value)
        assert (tmp_path / "file").read_text() == "mine"
        assert cache.entries() == []
        assert cache.clear() == 0

    def test_a_full_disk(self, script, cache_root, monkeypatch):
        def full(folder: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(folder, "sync", full)
        with pytest.raises(UserError, match=r"no space left for compiled kernels; free some, or set GATEWISE_CACHE"):
            make()
        assert list(cache_root.iterdir()) == []

    def test_what_is_there_is_used_where_nothing_can_be_written(self, script, builds, monkeypatch):
        path = make()
        monkeypatch.setattr(folder, "temporary_folder", None)
        monkeypatch.setattr(folder, "make", None)
        assert make() == path
        assert builds() == 1

    def test_others_cannot_put_a_library_there(self, script, cache_root):
        make()
        assert cache_root.stat().st_mode & 0o777 == 0o700


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestNotice:
    def test_a_first_build_is_announced(self, script, capsys):
        make(announce=True)
        first, second = capsys.readouterr().err.splitlines()
        assert first == "gatewise: compiling the native kernel of 'gru' (once; about 10 s) ..."
        assert second.startswith("gatewise: the native kernel of 'gru' is ready (0.")
        make(announce=True)
        assert capsys.readouterr() == ("", "")

    def test_the_guess_is_what_others_took(self, script, capsys):
        damage_about(make("lstm"), seconds=33.3)
        make(announce=True)
        assert "(once; about 33 s)" in capsys.readouterr().err

    def test_silence(self, script, capsys):
        make()
        assert capsys.readouterr() == ("", "")

    def test_a_failure_is_not_called_ready(self, capsys):
        with pytest.raises(ZeroDivisionError), notice.working("dividing", "divided", 2):
            raise ZeroDivisionError
        assert capsys.readouterr().err == "gatewise: dividing (once; about 2 s) ...\n"

    def test_on_a_terminal_a_moving_sign_gives_way_to_the_last_line(self, monkeypatch):
        terminal = Terminal()
        monkeypatch.setattr(sys, "__stderr__", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with notice.working("compiling 'a [bold]'", "ready", 2):
            time.sleep(0.15)
        assert "compiling 'a [bold]'" in terminal.getvalue()
        assert terminal.getvalue().count("\r") > 1
        assert terminal.getvalue().splitlines()[-1].endswith("gatewise: ready (0.2 s)")

    def test_under_a_progress_bar_lines_are_lines(self, monkeypatch):
        monkeypatch.setattr(sys, "__stderr__", Terminal())
        monkeypatch.setattr(sys, "stderr", bar := Terminal())  # as rich puts itself in its place
        with notice.working("compiling", "ready", 2):
            pass
        assert bar.getvalue() == "gatewise: compiling (once; about 2 s) ...\ngatewise: ready (0.0 s)\n"

    def test_no_standard_error(self, script, monkeypatch):
        monkeypatch.setattr(sys, "stderr", None)
        assert make(announce=True).exists()
