"""Compare two methods case by case: the mean difference with its interval, and a paired test."""

# %%
import numpy as np
from scipy.stats import wilcoxon

from evaluator import label_table, score_folder
from harness.leaderboard.statistics import sample_counts
from harness.leaderboard.uncertainty import Samples, difference

labels = label_table("phantom")


def mean_dice(folder: str) -> np.ndarray:
    """Return each case's mean Dice over its structures, (cases,)."""
    return np.array([score.mean("dsc") for score in score_folder("example/labels", folder, labels=labels)])


first, second = mean_dice("example/method_a"), mean_dice("example/method_b")

# %%
samples = Samples(sample_counts(len(first), 2000, seed=1), confidence=0.95)
gap = difference(first, second, samples)
test = wilcoxon(first, second)
print(
    f"method_a is better by {gap.mean:.3f} (BCa interval {gap.bca[0]:.3f} to {gap.bca[1]:.3f}, n = {gap.n})"
)
print(f"Wilcoxon's signed-rank test, two-sided: p = {test.pvalue:.3f}")
