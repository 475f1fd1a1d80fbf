"""Named modular adders: reduced ones, and those of arXiv:2301.05217 and arXiv:2210.01117."""

from backend.experiments.kind import Preset

_P53 = {"p": 53, "train_fraction": 0.5}
_DECAYS = {"weight_decay": [1.0, 0.0]}
PRESETS = (
    Preset(
        "p53",
        "p = 53, with and without weight decay",
        "reduced",
        "With weight decay test accuracy follows train accuracy after more than ten times its "
        "steps, and the embedding ends in a few frequencies; without, the network only memorises",
        {**_P53, **_DECAYS, "steps": 3_000},
    ),
    Preset(
        "half",
        "p = 53, half the width",
        "reduced",
        "The same in less time: the delay is longer, the clock has fewer frequencies",
        {**_P53, **_DECAYS, "steps": 5_000, "d_model": 64, "d_mlp": 256},
    ),
    Preset(
        "sphere",
        "p = 53 on the sphere",
        "reduced",
        "Without weight decay, but held at 0.8 of the usual initial norm, test accuracy follows "
        "train accuracy at once; held at 1 it lags",
        {**_P53, "weight_decay": [0.0], "alpha": [0.8, 1.0], "on_sphere": True, "steps": 3_000},
    ),
    Preset(
        "p113",
        "p = 113 as published",
        "full",
        "Memorisation to step 1,400, circuit formation to 9,400, clean-up to 14,000",
        {"p": 113, "train_fraction": 0.3, "weight_decay": [1.0, 0.0], "steps": 40_000},
    ),
    Preset(
        "seeds",
        "p = 113, five seeds",
        "full",
        "Every seed finds a clock, each with frequencies of its own",
        {"p": 113, "train_fraction": 0.3, "seed": [0, 1, 2, 3, 4], "steps": 40_000},
    ),
    Preset(
        "p59",
        "p = 59, 80 % of pairs",
        "full",
        "With so many pairs generalisation comes at once",
        {"p": 59, "train_fraction": 0.8, "weight_decay": [1.0], "steps": 40_000},
    ),
)
