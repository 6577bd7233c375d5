"""A challenge of one's own is a TOML file: labels, limits, what is ranked. All else follows from it."""

# %%
from pathlib import Path

from harness.cli.app import run

Path("example/kidneys.toml").write_text(
    """
name = "kidneys"
title = "Both kidneys"

[[labels]]
value = 2
name = "right kidney"
tolerance_mm = 3.0
group = "kidneys"

[[labels]]
value = 13
name = "left kidney"
tolerance_mm = 3.0
group = "kidneys"

[limits]
memory = "4 GiB"
time = "5 min"

[scoring]
metrics = ["dsc", "nsd", "hd95"]

[ranking]
order = "rank-then-average"

[[ranking.metrics]]
metric = "dsc"
labels = "kidneys"
""",
    encoding="utf-8",
)

# %% Two folders of predictions, scored and ranked by it:
rules = ["--challenge", "example/kidneys.toml", "--results", "example/results"]
for method in ("method_a", "method_b"):
    run(["score", f"example/{method}", "--data", "example/data", *rules])
run(["leaderboard", *rules])

# %% And the same challenge as a Codabench bundle (the image is one that your workers pull):
run(
    [
        "platform",
        "codabench",
        "--data",
        "example/data",
        "-o",
        "example",
        "--docker-image",
        "me/evaluator",
        *rules[:2],
    ]
)
