"""Score a folder of predictions and plot the Dice of every structure: ten lines, no container, no harness."""

# %%
import matplotlib.pyplot as plt

from evaluator import frame_of, label_table, score_folder

scores = score_folder("example/labels", "example/method_a", labels=label_table("phantom"))
frame = frame_of(scores)
dice = frame[frame.metric == "dsc"].pivot(index="case", columns="organ", values="value")
dice.plot.box(rot=90, ylabel="DSC", ylim=(0, 1))
plt.tight_layout()
plt.savefig("example/dice.png")

# %%
print(dice.mean().round(3))
