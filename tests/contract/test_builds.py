"""The native engine's contract once more, with kernels compiled in other ways: sanitizers, other CPUs, no OpenMP."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from gatewise.engines.native.compiler import Compiler, find_compiler
from gatewise.engines.native.cpu import cpu_features

HERE = Path(__file__).parent
FILES = ["test_engines", "test_sizes", "test_memory_layouts", "test_which_gradients", "test_tokens", "test_properties"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.usefixtures("native")]


@pytest.fixture
def compiler() -> Compiler:
    found = find_compiler()
    assert found is not None
    return found


def run_contract(flags: str, environment: dict[str, str] | None = None, files: list[str] = FILES) -> None:
    """The tests of the engine "native" in a process of their own, whose kernels are compiled with more flags."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-k",
            "native",
            *(f"{f}.py" for f in files),
        ],
        cwd=HERE,
        env={**os.environ, "GATEWISE_CXXFLAGS": flags, "PYTHONFAULTHANDLER": "1", **(environment or {})},
        capture_output=True,
        text=True,
    )
    said = f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    assert done.returncode == 0, said
    assert "ERROR: AddressSanitizer" not in said
    assert "runtime error" not in said


def sanitizers(compiler: Compiler, folder: Path) -> str:
    """The libraries to be loaded before all others; skips where there are none."""
    command = [compiler.command[0], "-print-file-name=libasan.so"]
    library = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip(f"{compiler.command[0]} has no libasan.so")
    # Beside it the C++ library, which Python itself does not load: else the sanitizer misses its exceptions.
    command[-1] = "-print-file-name=libstdc++.so.6"
    library += " " + subprocess.run(command, capture_output=True, text=True).stdout.strip()
    source = folder / "empty.cpp"
    source.write_text("int main() {}\n")
    command = [compiler.command[0], "-fsanitize=address,undefined", str(source), "-o", str(folder / "empty")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{compiler.command[0]} cannot link with sanitizers: {done.stderr.splitlines()[0]}")
    return library


def test_sanitizers_have_nothing_to_say(compiler, tmp_path):
    """Addresses within their memory, and nothing that C++ leaves undefined."""
    library = sanitizers(compiler, tmp_path)
    flags = "-O0 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all -DGATEWISE_POISON"
    environment = {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    run_contract(flags, environment)


def test_a_sanitizer_would_say_something(compiler, tmp_path):
    """The same set-up sees a read beyond a tensor's end."""
    library = sanitizers(compiler, tmp_path)
    source, target = tmp_path / "beyond.cpp", tmp_path / "beyond.so"
    source.write_text(
        'extern "C" __attribute__((visibility("default"))) float f(const float *p, int n) { return p[n]; }'
    )
    compiler.build(source, target, flags=["-fsanitize=address", "-g"])
    script = (
        "import ctypes, torch\n"
        f"f = ctypes.CDLL({str(target)!r}).f\n"
        "f.restype, f.argtypes = ctypes.c_float, [ctypes.c_void_p, ctypes.c_int]\n"
        "x = torch.zeros(100)\n"
        "f(x.data_ptr(), 99)\n"
        "print('within', flush=True)\n"
        "f(x.data_ptr(), 100)\n"
    )
    environment = {**os.environ, "LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout == "within\n"
    assert "heap-buffer-overflow" in done.stderr


x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="for x86 alone")


@x86
def test_avx2():
    if "avx2" not in cpu_features():
        pytest.skip("this CPU has no AVX2")
    run_contract("-march=x86-64-v3 -DGATEWISE_POISON")


@x86
def test_the_least_that_x86_has():
    """Vectors of 16 bytes, and the plain way of what has instructions elsewhere."""
    run_contract("-march=x86-64 -DGATEWISE_POISON")


@x86
def test_vectors_of_avx_without_fused_multiplication():
    if "avx" not in cpu_features():
        pytest.skip("this CPU has no AVX")
    run_contract("-march=x86-64 -mavx -DGATEWISE_POISON", files=["test_engines", "test_sizes"])


def test_a_pool_of_threads_in_place_of_openmp():
    run_contract("-DGATEWISE_POOL -pthread -DGATEWISE_POISON")
    reentrancy = HERE.parent / "engines" / "native" / "test_reentrancy"
    run_contract("-DGATEWISE_POOL -pthread -DGATEWISE_POISON", files=[str(reentrancy)])


def test_no_optimisation():
    run_contract("-O0 -DGATEWISE_POISON", files=["test_engines", "test_sizes"])
