"""Speed beside the peers: one registry, every comparison in one process, alternating.

``case.py`` says what a case is and ``registry.py`` lists them all; ``ours.py`` and ``peers/`` do the work of a case;
``proof.py`` refuses what is not proven right; ``measure.py`` takes the times, ``run.py`` makes an outcome of them and
``report.py`` prints it. ``NOTES.md`` holds what was measured, and why.
"""
