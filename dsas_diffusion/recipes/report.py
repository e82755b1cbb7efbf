"""The page of recipes: what was measured here beside what papers say, blank where there is nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from ..evaluation.bootstrap import Interval, bootstrap_interval, paired_bootstrap
from ..evaluation.report import markdown_table
from .protocol import MEASURES, Protocol
from .recipe import Published, Recipe

#: Measures that are shares, told in percent.
_SHARES: Final = ("rtp", "tet", "mmlu")
_PUBLISHED: Final = {
    "rtp": "paper: RTP %",
    "tet": "paper: TET %",
    "toxicity": "paper: toxic %, prompts not told",
    "perplexity": "paper: perplexity",
    "mmlu": "paper: MMLU %",
}


@dataclass(frozen=True)
class Measured:
    """What is there of one model.

    Args:
        cells: Row → its finished cells, one a seed.
        machine: On what it was measured; `None` if nothing was.
    """

    cells: Mapping[str, Sequence[Mapping[str, Any]]]
    machine: str | None = None


def values_of(cells: Sequence[Mapping[str, Any]], measure: str) -> np.ndarray | None:
    """Average each prompt's, text's or question's figures over seeds.

    Args:
        cells: A row's.
        measure: One of `MEASURES`.

    Returns:
        (n,), shares in percent; `None` where nothing was measured.
    """
    found = [cell["each"][measure] for cell in cells if "each" in cell]
    if not found:
        return None
    return np.mean(found, axis=0) * (100 if measure in _SHARES else 1)


def figures(recipes: Mapping[str, Recipe], measured: Measured) -> list[dict[str, Any]]:
    """Put every figure of one model together, as JSON gets it.

    Args:
        recipes: Name → recipe.
        measured: What is there.

    Returns:
        One entry a recipe: `row`, `seeds`, `strengths`, `within_budget`, `refused`, each measure's `mean`, `low`,
        `high`, `count` and `over_seeds` (standard deviation of the seeds' means), and `against`: the same of the
        paired difference to the recipe that this one names.
    """
    rows = []
    for name, recipe in recipes.items():
        cells = measured.cells.get(name, ())
        row: dict[str, Any] = {
            "row": name,
            "seeds": [cell["seed"] for cell in cells],
            "strengths": [cell["strength"] for cell in cells if "strength" in cell],
            "within_budget": [cell["within_budget"] for cell in cells if "within_budget" in cell],
            "refused": [cell["refused"] for cell in cells if "refused" in cell],
            "measures": {},
            "against": {},
        }
        for measure in MEASURES:
            values = values_of(cells, measure)
            if values is None:
                continue
            scale = 100 if measure in _SHARES else 1
            means = [scale * float(np.mean(cell["each"][measure])) for cell in cells if "each" in cell]
            spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
            row["measures"][measure] = {**asdict(bootstrap_interval(values)), "over_seeds": spread}
            other = paired(cells, measured.cells.get(recipe.against or "", ()), measure)
            if other is not None:
                row["against"][measure] = asdict(other)
        rows.append(row)
    return rows


def paired(cells: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], measure: str) -> Interval | None:
    """Compare two rows on the same prompts and the seeds that both have.

    Args:
        cells: One row's.
        others: The other's, which is subtracted.
        measure: One of `MEASURES`.

    Returns:
        The difference; `None` if they have no seed in common.
    """
    both = {cell["seed"] for cell in cells if "each" in cell} & {cell["seed"] for cell in others if "each" in cell}
    one, two = (values_of([cell for cell in side if cell["seed"] in both], measure) for side in (cells, others))
    return None if one is None or two is None else paired_bootstrap(one, two)


def page(protocol: Protocol, recipes: Mapping[str, Recipe], measured: Mapping[str, Measured], command: str) -> str:
    """Lay the page out in Markdown.

    Args:
        protocol: What all rows share.
        recipes: Name → recipe.
        measured: Model → what is there.
        command: The line that wrote the page.
    """
    lines = [
        "# The paper's protocol",
        "",
        f"Written by `{command}`. One row a recipe of `examples/paper/`, {protocol.prompts_a_set} prompts a set, seeds "
        f"{', '.join(map(str, protocol.seeds))}. A cell without a figure was not measured. Figures are means over "
        "seeds, with the bootstrap's 95 % interval over prompts (each one's mean over seeds); λ is the mean of the "
        f"seeds', each chosen on tuning prompts: the fewest toxic continuations at most {protocol.budget:.0%} more "
        "perplexity (\\*: no λ kept to that for some seed, and the one of the least perplexity was taken). What the "
        "papers say stands in columns of its own, with its source.",
    ]
    for name, about in protocol.models.items():
        lines += ["", f"## {about.title}", "", *_section(protocol, name, recipes, measured[name])]
    lines += ["", "## What is open, and what was chosen", ""]
    lines += [f"- **{recipe.title}**: {recipe.open}" for recipe in recipes.values()]
    return "\n".join([*lines, ""])


def _section(protocol: Protocol, name: str, recipes: Mapping[str, Recipe], measured: Measured) -> Iterator[str]:
    data = protocol.data[protocol.models[name].data]
    rows = figures(recipes, measured)
    published = {row: recipe.paper.get(name, ()) for row, recipe in recipes.items()}
    yield f"Measured here: {measured.machine}." if measured.machine else "Nothing was measured here."
    if data.kind == "orchard":
        yield ""
        yield (
            "Orchard's own world stands in for the paper's: rude lines that are to be answered for RTP, kind lines "
            "that a rude one answers for TET, its judge of rudeness for the classifier, its descriptions for Wikipedia "
            "and its four-way questions for MMLU. No figure of a paper is comparable with these."
        )
    yield ""
    columns = {"row": "", "λ": "", **dict.fromkeys((data.columns[measure] for measure in MEASURES), "")}
    shown = [key for key in _PUBLISHED if any(getattr(p, key) is not None for each in published.values() for p in each)]
    if any(published.values()):
        columns |= {_PUBLISHED[key]: "" for key in shown} | {"source": ""}
    table: list[list[object]] = []
    for row in rows:
        said: Sequence[Published | None] = published[row["row"]] or (None,)
        for number, entry in enumerate(said):
            cells: list[object] = [recipes[row["row"]].title, _strength(row)] if number == 0 else ["", ""]
            cells += [_interval(row["measures"].get(measure)) if number == 0 else "" for measure in MEASURES]
            if any(published.values()):
                told = [None if entry is None else getattr(entry, key) for key in shown]
                cells += ["" if value is None else f"{value:.2f}" for value in told] + [_source(entry)]
            table.append(cells)
    yield from markdown_table(table, columns)
    pairs = [row for row in rows if row["against"]]
    if pairs:
        yield from ["", "Differences to the row that each is compared with, on the same prompts and seeds:", ""]
        compared = {"row": "", "less": "", **dict.fromkeys((data.columns[measure] for measure in MEASURES), "")}
        yield from markdown_table(
            [
                [
                    recipes[row["row"]].title,
                    recipes[row["row"]].against or "",
                    *(_interval(row["against"].get(measure), "+") for measure in MEASURES),
                ]
                for row in pairs
            ],
            compared,
        )
    refused = [(recipes[row["row"]].title, reason) for row in rows for reason in row["refused"]]
    if refused:
        yield from ["", "Seeds at which nothing could be fitted, and why:", ""]
        yield from (f"- {title}: {reason}" for title, reason in refused)


def _strength(row: Mapping[str, Any]) -> str:
    if not row["strengths"]:
        return ""
    beyond = "" if all(row["within_budget"]) else " \\*"
    return f"{np.mean(row['strengths']):.3g}{beyond}"


def _interval(found: Mapping[str, Any] | None, sign: str = "") -> str:
    if found is None:
        return ""
    mean, low, high = (format(found[key], f"{sign}.2f") for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _source(entry: Published | None) -> str:
    if entry is None:
        return ""
    return f"{entry.source} ({entry.note})" if entry.note else entry.source
