"""Tasks, scoring, results, tables, figures, and the suite that makes them all.

``evaluation.evaluate`` scores a predictions file and needs no torch; ``suite.run_benchmark``
trains, predicts and scores every baseline. The rest serves these two.
"""
