"""What a fit measured at each site, and the failures that can be read off it by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .steered_site import SteeredSite

#: Gates whose mean lies between these on source and on control alike are half open everywhere.
HALF_OPEN: Final = (0.3, 0.7)
#: Below this AUROC source and target pictures can't be told apart.
SAME: Final = 0.7
#: Share of the control prompts from which on a mistaken few are an overlap.
OVERLAP: Final = 0.05


@dataclass(frozen=True)
class Diagnosis:
    """What a steerer's fit measured.

    Args:
        sites: A row for each steered site, most trusted first: `path`, `kind`, `reads` (where each factor of the gate
            is read), `weight`, `accuracy` and `auroc` of the gate's classifier on prompts that it has not seen,
            `auroc_to_target` (the same for source against target), `gate_on_source` and `gate_on_control` (mean h over
            positions).
        failures: Name → what it means and what to do: `"half_open"`, `"source_without_concept"`, `"control_overlaps"`;
            empty where nothing looks wrong.
    """

    sites: list[dict[str, Any]]
    failures: dict[str, str]


def diagnosis(sites: Sequence[SteeredSite], suspects: Sequence[str], control_prompts: int) -> Diagnosis:
    """Read what a fit measured.

    Args:
        sites: The steered sites.
        suspects: Control prompts whose pictures most sites take for the concept.
        control_prompts: How many control prompts there were.
    """
    rows = [
        {
            "path": s.site.path,
            "kind": s.site.kind,
            "reads": {factor: s.reads.get(factor, s.site).path for factor in s.gate.factors},
            "weight": s.weight,
            **s.measured,
        }
        for s in sites
    ]
    found = {}
    low, high = HALF_OPEN
    if all(s.gate.weighted and low <= s.measured[key] <= high for s in sites for key in _MEANS):
        found["half_open"] = (
            "Every gate is half open everywhere: its mean lies between "
            f"{low} and {high} on source and on control prompts alike, so that everything is half steered. Use a gate "
            "with a dead zone (patch, calibrated), sites with a higher accuracy, or more prompts."
        )
    told = [s.measured["auroc_to_target"] for s in sites if "auroc_to_target" in s.measured]
    if told and max(told) < SAME:
        found["source_without_concept"] = (
            f"Source prompts can hardly be told from target prompts (AUROC {max(told):.2f} at the best site), so the "
            "map has little to learn from. Look at what the model makes of the source prompts: it may not show the "
            "concept, or that of the target prompts may show it too."
        )
    if len(suspects) > OVERLAP * control_prompts:
        named = "; ".join(repr(text) for text in suspects[:5]) + ("; …" if len(suspects) > 5 else "")
        found["control_overlaps"] = (
            f"{len(suspects)} of {control_prompts} control prompts look like source prompts to most sites: {named}. If "
            "what is made of them shows the concept, move them to the source prompts or drop them; if they must stay "
            "untouched, add more of their kind."
        )
    return Diagnosis(sorted(rows, key=lambda row: -row["accuracy"]), found)


_MEANS: Final = ("gate_on_source", "gate_on_control")
