"""The command that looks at this machine: doctor."""

from __future__ import annotations

import os
import platform
import textwrap
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch
from rich.console import Console

from gatewise.cli.app import app
from gatewise.engines.native.cache import cache_folder, entries
from gatewise.engines.native.compiler import find_compiler, refusals
from gatewise.engines.native.cpu import cpu_features
from gatewise.engines.native.prepare import damaged, why_off
from gatewise.errors import UserError


@app.command(name="doctor")
def doctor_command() -> None:
    """Show what this machine has, and what is switched off and why."""
    off = why_off()
    rows = [
        ("gatewise", version("gatewise")),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("PyTorch", f"{torch.__version__}, oneDNN {'yes' if torch.backends.mkldnn.is_available() else 'no'}"),
        ("CPU", " ".join(cpu_features()) or "the system does not tell its vector extensions"),
        ("bf16", _bf16()),
        ("threads", f"{torch.get_num_threads()} (OMP_NUM_THREADS sets it)"),
        ("GPU", torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none that PyTorch can use"),
        ("compiler", _compiler()),
        *((name, os.environ[name]) for name in ("GATEWISE_CXX", "GATEWISE_CXXFLAGS") if os.environ.get(name)),
        *_cache(),
        ("engine native", f"off: {off}" if off else "ready: every cell on a CPU"),
        ("engine torch", "ready: rnn, rnn-relu, gru, lstm"),
        ("engine scan", "ready: cells that are linear in their states, as min-gru and min-lstm"),
        ("engine eager", "ready: every cell"),
        ("extra bpe", _extra("tokenizers")),
        ("extra compiler", _extra("ziglang", '"gatewise[compiler]"') if off else "not needed: there is a compiler"),
        ("extra tensorboard", _extra("tensorboard")),
    ]
    _print(rows)


def _bf16() -> str:
    if {"amx_bf16", "amx_tile"} <= set(cpu_features()):
        return "products on tiles (AMX): --precision bf16 is several times faster than float32"
    return "no tiles (AMX): --precision bf16 works, and is no faster than float32"


def _print(rows: list[tuple[str, str]]) -> None:
    """A line a row; on a terminal, long ones go on below their beginning."""
    console, indent = Console(), max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        lines = [value]
        if console.is_terminal:
            room = max(console.width - indent, 20)
            lines = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False)
        print(f"{name:<{indent}}" + f"\n{'':<{indent}}".join(lines))


def _compiler() -> str:
    try:
        found = find_compiler()
    except UserError:  # the line of the engine says why
        found = None
    if found is None:
        return "none that works"
    threads = "OpenMP" if found.openmp else "no OpenMP that PyTorch shares: threads of its own"
    passed_over = f" (not taken: {'; '.join(refusals())})" if refusals() else ""
    return f"{' '.join(found.command)}, {found.version}, {threads}{passed_over}"


def _cache() -> list[tuple[str, str]]:
    try:
        folder = str(cache_folder())
    except UserError:
        folder = "none"
    kernels = [entry for entry in entries() if entry.sound]
    size = sum(entry.size for entry in kernels) / 1e6
    rows = [
        ("kernel cache", folder),
        ("kernels", f"{len(kernels)}, {size:.1f} MB; the folder may be deleted" if kernels else "none yet"),
    ]
    if names := damaged():
        rows.append(("broken kernels", f"{', '.join(names)}: compiled anew when next used"))
    return rows


def _extra(module: str, named: str = "") -> str:
    if find_spec(module) is None:
        return f"not installed: pip install {named or module}"
    try:
        return f"ready: {module} {version(module)}"
    except PackageNotFoundError:
        return "ready"
