"""What the system says of its CPU, as read from the texts of several systems."""

import platform
import sys

import pytest

from gatewise.engines.native import cpu

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Some Processor @ 2.00GHz
cpu MHz\t\t: 2000.{}
flags\t\t: fpu sse4_2 avx fma f16c avx2 avx512f avx512bw avx512_bf16 amx_bf16 amx_tile

"""
ARM = """processor\t: 0
BogoMIPS\t: 48.00
Features\t: fp asimd asimdhp bf16 sve
CPU implementer\t: 0x41
CPU part\t: 0xd40

processor\t: 1
Features\t: fp asimd asimdhp
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""


def test_an_intel_server():
    flags = cpu._read_cpuinfo(INTEL.format(1) + INTEL.format(2))
    names = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_bf16", "amx_tile", "amx_bf16")
    assert cpu._name_features(flags) == names
    assert "model=143" in flags


def test_what_changes_from_moment_to_moment_is_left_out():
    assert cpu._read_cpuinfo(INTEL.format(1)) == cpu._read_cpuinfo(INTEL.format(2))


def test_cores_that_differ_count_with_what_they_share():
    flags = cpu._read_cpuinfo(ARM)
    assert cpu._name_features(flags) == ("neon", "fp16")
    assert "cpu part=0xd40" in flags


def test_a_mac():
    text = (
        "machdep.cpu.brand_string: Apple M4\nhw.optional.arm.FEAT_BF16: 1\nhw.optional.AdvSIMD: 1\n"
        "hw.optional.neon: 1\nhw.optional.arm.FEAT_SME: 0\n"
    )
    assert cpu._name_features(cpu._read_sysctl(text)) == ("neon", "bf16")
    text = "machdep.cpu.features: FPU SSE4.2 FMA AVX1.0\nmachdep.cpu.leaf7_features: AVX2 BMI1\n"
    assert cpu._name_features(cpu._read_sysctl(text)) == ("sse4_2", "avx", "avx2", "fma")


@pytest.mark.parametrize("text", ["", "nonsense", "\n\n\n", "flags\n", ":\n:"])
def test_a_text_that_tells_nothing(text):
    assert cpu._name_features(cpu._read_cpuinfo(text)) == ()
    assert cpu._name_features(cpu._read_sysctl(text)) == ()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/cpuinfo")
def test_this_machine():
    assert cpu.cpu_mark().startswith(platform.machine())
    assert cpu.cpu_mark() == " ".join(cpu.cpu_mark().split())
    if platform.machine() in ("x86_64", "aarch64"):
        assert {"sse4_2", "neon"} & set(cpu.cpu_features())
