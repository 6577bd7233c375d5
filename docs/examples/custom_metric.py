"""A metric of one's own: its facts, what it needs of a label's pair of masks, and a function."""

# %%
from evaluator import label_table, score_folder
from evaluator.metrics import Metric, MetricFacts, register
from evaluator.needs import Counts


def false_discovery(counts: Counts) -> float:
    """Return the share of the predicted voxels that the reference does not hold."""
    return 1 - counts.overlap_voxels / counts.scored_prediction_voxels


register(
    Metric(
        facts=MetricFacts(
            key="fdr", title="False discovery rate", direction="lower", failed=1.0, percent=True
        ),
        needs=("counts",),
        compute=false_discovery,
    )
)

# %% From here on it is a metric like any other, on the command line's tables as in Python:
labels = label_table("phantom")
for score in score_folder("example/labels", "example/method_a", labels=labels, metrics=("dsc", "fdr")):
    print(score.case, f"{score.mean('dsc'):.3f}", f"{score.mean('fdr'):.3f}")
