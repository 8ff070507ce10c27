"""The leaderboard: entries that anyone can submit, scores that everyone can check.

An entry is two small files. ``leaderboard/entries/<task>/<name>.toml`` is what people read: who,
what, how trained, the numbers and the hashes that bind them. ``<name>.details.json`` beside it has
everything that pages show (results files, parity plots, worst molecules). Both are written by
``nabladft submit``, and ``nabladft leaderboard verify`` computes them again.
"""
