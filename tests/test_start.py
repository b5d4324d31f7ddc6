"""What `import gatewise` brings with it: whoever wants a layer does not wait for a library of statistics."""

import subprocess
import sys


def test_heavy_libraries_wait_until_they_are_wanted():
    code = "import sys, gatewise.cli.__main__; print({'sklearn', 'scipy', 'optuna', 'pymoo'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done
