"""Read a results folder into pandas: first as the harness stores it, then as the tables that it exports."""

# %%
import json
from pathlib import Path

import pandas as pd

from harness.cli.app import run

for method in ("method_a", "method_b"):
    run(["score", f"example/{method}", "--data", "example/data", "--results", "example/results"])

# %% Every line of scores.jsonl is one case; a row per label:
lines = [
    {"team": path.parts[-3]} | json.loads(line)
    for path in Path("example/results").glob("phantom/*/*/scores.jsonl")
    for line in path.read_text().splitlines()
]
scores = pd.json_normalize(lines, "scores", ["team", "case", "profile"])
print(scores.groupby(["organ", "team"])["dsc"].mean().unstack().round(3))

# %% The same, with what each value counts on the leaderboard, run times and outcomes:
run(["export", "tidy", "-o", "example/tidy", "--results", "example/results"])
cases = pd.read_csv("example/tidy/cases.csv", dtype={"team": str, "case": str}, keep_default_na=False)
print(cases[["team", "case", "outcome"]])
