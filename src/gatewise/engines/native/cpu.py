"""What the CPU can do: the vector extensions a person asks about, and the mark that a compiled kernel is tied to."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

_KNOWN: dict[str, tuple[str, ...]] = {
    # our name: what Linux and macOS call it (in small letters)
    "sse4_2": ("sse4_2",),
    "avx": ("avx", "avx1_0"),
    "avx2": ("avx2",),
    "fma": ("fma",),
    "f16c": ("f16c",),
    "avx_vnni": ("avx_vnni",),
    "avx512f": ("avx512f",),
    "avx512bw": ("avx512bw",),
    "avx512dq": ("avx512dq",),
    "avx512vl": ("avx512vl",),
    "avx512_vnni": ("avx512_vnni",),
    "avx512_bf16": ("avx512_bf16",),
    "avx512_fp16": ("avx512_fp16",),
    "amx_tile": ("amx_tile",),
    "amx_int8": ("amx_int8",),
    "amx_bf16": ("amx_bf16",),
    "amx_fp16": ("amx_fp16",),
    "neon": ("asimd", "neon", "feat_advsimd"),
    "fp16": ("asimdhp", "feat_fp16"),
    "bf16": ("bf16", "feat_bf16"),
    "i8mm": ("i8mm", "feat_i8mm"),
    "sve": ("sve",),
    "sve2": ("sve2",),
    "sme": ("sme", "feat_sme"),
}

_LINUX_FLAGS = ("flags", "features", "isa")
_LINUX_MODEL = ("vendor_id", "cpu family", "model", "cpu implementer", "cpu part", "cpu")
_WINDOWS_FEATURES = {19: "neon", 38: "sse4_2", 39: "avx", 40: "avx2", 41: "avx512f"}  # IsProcessorFeaturePresent


def cpu_features() -> tuple[str, ...]:
    """The vector extensions of this CPU that matter to a kernel, as ``("avx2", "fma", "avx512f", "amx_bf16")``.

    Empty where the system does not tell.
    """
    return _name_features(_flags())


@functools.cache
def cpu_mark() -> str:
    """One line that two CPUs share only if code compiled for one (``-march=native``) runs on the other."""
    return " ".join([platform.machine(), *sorted(_flags())])


def _name_features(flags: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name, spellings in _KNOWN.items() if not flags.isdisjoint(spellings))


@functools.cache
def _flags() -> frozenset[str]:
    if sys.platform == "darwin":
        return _read_sysctl(_sysctl("machdep.cpu.brand_string", "machdep.cpu", "hw.optional"))
    if sys.platform == "win32":
        here = ctypes.windll.kernel32.IsProcessorFeaturePresent
        found = [name for number, name in _WINDOWS_FEATURES.items() if here(number)]
        return frozenset([os.environ.get("PROCESSOR_IDENTIFIER", ""), *found])
    try:
        return _read_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return frozenset([platform.processor()])


def _read_cpuinfo(text: str) -> frozenset[str]:
    """The flags and the model that all processors share: a process may be moved from one to another.

    >>> sorted(_read_cpuinfo("model : 143\\nflags : fpu avx2\\n\\nmodel : 143\\nflags : avx2\\n"))
    ['avx2', 'model=143']
    """
    processors: list[set[str]] = []
    for block in re.split(r"\n\s*\n", text):
        found: set[str] = set()
        for line in block.splitlines():
            key, _, value = (part.strip().lower() for part in line.partition(":"))
            if key in _LINUX_FLAGS:
                found.update(value.split())
            elif key in _LINUX_MODEL:
                found.add(f"{key}={value}")
        if found:
            processors.append(found)
    return frozenset(set.intersection(*processors)) if processors else frozenset()


def _sysctl(*names: str) -> str:
    try:
        return subprocess.run(["sysctl", *names], capture_output=True, text=True, check=False, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _read_sysctl(text: str) -> frozenset[str]:
    """The flags in ``sysctl machdep.cpu hw.optional``: words of the feature lines, names of switches that are 1.

    >>> sorted(_read_sysctl("machdep.cpu.leaf7_features: AVX2 SMEP\\nhw.optional.arm.FEAT_BF16: 1\\nhw.optional.x: 0"))
    ['avx2', 'feat_bf16', 'smep']
    """
    found: set[str] = set()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.endswith("features"):
            found.update(value.lower().replace(".", "_").split())
        elif name.endswith("brand_string"):
            found.add(value.strip())
        elif name.startswith("hw.optional.") and value.strip() == "1":
            found.add(name.rpartition(".")[2].lower())
    return frozenset(found)
