"""Catalogue of suites that can be added by name: the Pythia models on the hub.

Names, sizes and training steps are published: arXiv:2304.01373 (Pythia, `-deduped` and the earlier
`-v0` series) and arXiv:2503.09543 (seeds). N is always computed from a model's `config.json`; the
published values are here for comparison.
"""

from dataclasses import dataclass

from backend.errors import InvalidInputError

ORGANISATION = "EleutherAI"
TOKENS_A_STEP = 2_097_152  # 1,024 sequences of 2,048 tokens
LAST_STEP = 143_000
LINEAR_STEPS = tuple(range(1_000, LAST_STEP + 1, 1_000))
EARLY_STEPS = (0, *(2**k for k in range(10)))
ALL_STEPS = EARLY_STEPS + LINEAR_STEPS
N_SEEDS = 9

# Size to (total, non-embedding) parameters, arXiv:2304.01373, table 1; 14m and 31m are not in it.
PUBLISHED: dict[str, tuple[int, int] | None] = {
    "14m": None,
    "31m": None,
    "70m": (70_426_624, 18_915_328),
    "160m": (162_322_944, 85_056_000),
    "410m": (405_334_016, 302_311_424),
    "1b": (1_011_781_632, 805_736_448),
    "1.4b": (1_414_647_808, 1_208_602_624),
    "2.8b": (2_775_208_960, 2_517_652_480),
    "6.9b": (6_857_302_016, 6_444_163_072),
    "12b": (11_846_072_320, 11_327_027_200),
}
SEEDED_SIZES = ("14m", "31m", "70m", "160m", "410m")
# Names of the v0 series in arXiv:2303.13506 and the first release.
EARLY_NAMES = {
    "19m": "70m",
    "125m": "160m",
    "350m": "410m",
    "800m": "1b",
    "1.3b": "1.4b",
    "2.7b": "2.8b",
    "6.7b": "6.9b",
}


@dataclass(frozen=True)
class CatalogueModel:
    """One model of a catalogue suite, by its short name (`size`) and that of its repository.

    `total` and `nonembedding` are the published numbers of parameters, None if not published.
    """

    size: str
    name: str
    total: int | None
    nonembedding: int | None

    @property
    def repository(self) -> str:
        """Id of the repository on the hub."""
        return f"{ORGANISATION}/{self.name}"


@dataclass(frozen=True)
class Family:
    """A suite of the catalogue: models trained on the same data in the same order."""

    name: str
    description: str
    models: tuple[CatalogueModel, ...]
    steps: tuple[int, ...]

    def select_models(self, names: list[str] | None) -> tuple[CatalogueModel, ...]:
        """Return models by size ("70m"), early name ("19m") or full name; None for all.

        Raises:
            InvalidInputError: the family has no model of a name.
        """
        if not names:
            return self.models
        by_name = {name: m for m in self.models for name in (m.size, m.name)}
        if self.name.endswith("-v0"):
            by_name |= {early: by_name[size] for early, size in EARLY_NAMES.items()}
        for name in names:
            if name not in by_name:
                raise InvalidInputError(
                    f"suite {self.name} has no model {name!r}",
                    f"Choose from {', '.join(m.size for m in self.models)}",
                    "model",
                )
        selected = {by_name[name] for name in names}
        return tuple(model for model in self.models if model in selected)


def _family(
    suffix: str, sizes: tuple[str, ...], steps: tuple[int, ...], description: str
) -> Family:
    models = []
    for size in sizes:
        total, nonembedding = PUBLISHED[size] or (None, None)
        models.append(CatalogueModel(size, f"pythia-{size}{suffix}", total, nonembedding))
    return Family(f"pythia{suffix}", description, tuple(models), steps)


def _families() -> list[Family]:
    sizes = tuple(PUBLISHED)
    paper = tuple(size for size, counts in PUBLISHED.items() if counts)
    pile = "EleutherAI's Pythia: GPT-NeoX models trained on the Pile"
    deduped = f"{pile}, near-duplicates removed"
    early = "the first release, with steps of 1,000 only"
    return [
        _family("", sizes, ALL_STEPS, pile),
        _family("-deduped", sizes, ALL_STEPS, deduped),
        _family("-v0", paper, LINEAR_STEPS, f"{pile}; {early}"),
        _family("-deduped-v0", paper, LINEAR_STEPS, f"{deduped}; {early}"),
        *(
            _family(f"-seed{k}", SEEDED_SIZES, ALL_STEPS, f"{pile}, training seed {k}")
            for k in range(1, N_SEEDS + 1)
        ),
    ]


FAMILIES: dict[str, Family] = {family.name: family for family in _families()}
# Each seed has its own data order and is a separate suite; this name means all of them.
GROUPS: dict[str, tuple[str, ...]] = {
    "pythia-seeds": tuple(f"pythia-seed{k}" for k in range(1, N_SEEDS + 1))
}


def find_families(name: str) -> tuple[Family, ...]:
    """Return the suites of a name or group, empty if it is not in the catalogue."""
    if name in GROUPS:
        return tuple(FAMILIES[member] for member in GROUPS[name])
    return (FAMILIES[name],) if name in FAMILIES else ()


def describe_names() -> str:
    """Return the names of the catalogue as text for messages."""
    seeds = set(GROUPS["pythia-seeds"])
    listed = [name for name in FAMILIES if name not in seeds]
    return ", ".join([*listed, f"pythia-seed1 … pythia-seed{N_SEEDS}", *GROUPS])
