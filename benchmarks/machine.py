"""What the figures were measured on, and whether it was busy with something else."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("gatewise", "torch", "onnxruntime", "jax", "torchrecurrent")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")


def machine(threads: int) -> dict[str, Any]:
    """CPU, threads, versions, commit."""
    return {
        "cpu": _cpuinfo().get("model name") or platform.processor() or platform.machine(),
        "cpu_features": cpu_features(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: found for package in PACKAGES if (found := _version(package))},
        "torch_cpu": torch.backends.cpu.get_cpu_capability(),
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_features() -> list[str]:
    """What the CPU has of ``FEATURES``."""
    described = _cpuinfo()
    flags = described.get("flags", described.get("Features", "")).split()
    return [feature for feature in FEATURES if feature in flags]


@cache
def _cpuinfo() -> dict[str, str]:
    """The first processor's lines, empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _commit() -> str | None:
    """The commit, with a "+" where the working tree differs from it; None outside a repository."""
    root = Path(__file__).parents[1]
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=root, capture_output=True, text=True
        )
    except OSError:
        return None
    return found.stdout.strip() or None


def load() -> float | None:
    """Processes that wanted a processor, on average over the last minute; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def is_busy(load_average: float | None, threads: int) -> bool:
    """Whether others want processors too.

    Our own threads count in the average. With one process too many an OpenMP barrier waits for a thread that is not
    running: a figure may then be fifty times too large.
    """
    return load_average is not None and load_average > threads + 1
