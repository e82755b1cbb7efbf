"""CAA on Orchard's language model with its gate and without, where both remove as much: writes docs/language.md.

python -m benchmarks.language
"""

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import dsas_diffusion as dsas
from dsas_diffusion import PromptSet, Steerer, orchard
from dsas_diffusion.evaluation.bootstrap import Interval, paired_bootstrap, paired_bootstrap_ratio
from dsas_diffusion.evaluation.multiple_choice import Choice
from dsas_diffusion.evaluation.report import markdown_table
from dsas_diffusion.files import atomic_write
from dsas_diffusion.gates.logistic import LogisticGate
from dsas_diffusion.recipes.pages import machine
from dsas_diffusion.texts.evaluation import evaluate_language
from dsas_diffusion.texts.suite import TextSuite

#: Where to steer, what to learn from, and when: chosen on tuning prompts among `CANDIDATES`.
SETTINGS: dict[str, Any] = {"sites": "attention", "tokens": "last", "gate": "logistic", "tau": 0.9}
#: Other choices than those of `SETTINGS`; the first is the package's own.
CANDIDATES: dict[str, dict[str, Any]] = {
    "`logistic`, τ = 0.75": {"tau": 0.75},
    "`logistic`, τ = 0.9": {},
    "`logistic`, 2 components, τ = 0.75": {"gate": LogisticGate(components=2), "tau": 0.75},
    "`calibrated`, τ = 0.75": {"gate": "calibrated", "tau": 0.75},
    "`calibrated`, τ = 0.9": {"gate": "calibrated"},
}
ARMS = ("gated", "ungated")
FINE = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
#: Prompts of each group that a seed's fit takes, of 32.
FITTED = 24
#: The share of the unsteered rudeness that may stay.
ENOUGH = 1 / 3
#: The same, where CAA with its gate and without are compared.
POINTS = {"a third": ENOUGH, "a tenth": 1 / 10}
RUDE = ("source", "mixed")


@dataclass(frozen=True)
class Bench:
    """The model, and where what was measured is kept.

    Args:
        model: Orchard's language model.
        tokenizer: Its tokenizer.
        prompts: The set.
        folder: For the parts of all evaluations.
    """

    model: Any
    tokenizer: Any
    prompts: PromptSet
    folder: Path

    def steerer(self, method: str, seed: int, **settings: Any) -> Steerer:
        """Fit a method on the prompts of a seed; settings replace those of `SETTINGS`."""
        return dsas.fit(
            self.model, drawn(self.prompts, seed), tokenizer=self.tokenizer, method=method, seed=seed, progress=False,
            **{**SETTINGS, **settings},
        )  # fmt: skip

    def suite(self, split: str, seed: int, samples: int = 1, texts: int = 0, questions: int = 0) -> TextSuite:
        """What is measured: rude prompts continued, kind talk read, questions asked."""
        groups = self.prompts.heldout if split == "test" else self.prompts.tuning
        return TextSuite(
            prompts={kind: [prompt.text for prompt in groups[kind]] for kind in RUDE},
            samples=samples,
            classifier=orchard.rudeness,
            judge=(self.model, self.tokenizer),
            texts=kind_talk(split, texts),
            questions=[
                Choice(asked.prompt, asked.choices, asked.answer)
                for asked in (orchard.four_way_questions(questions, split) if questions else [])
            ],
            batch_size=64,
            seed=10_000 * seed,
        )

    def unchanged(self, split: str, steerer: Steerer, strength: float) -> float:
        """Give the share of control prompts whose greedy continuation keeps every token."""
        groups = self.prompts.heldout if split == "test" else self.prompts.tuning
        suite = TextSuite(
            prompts={"control": [prompt.text for prompt in groups["control"]]},
            classifier=orchard.rudeness,
            generation={"do_sample": False, "temperature": None, "top_p": None, "top_k": None},
            batch_size=64,
        )
        report = self.measured("greedy" if split == "test" else "tuning-greedy", suite, steerer, strength)
        return figure(report, "unchanged continuations", "control", "steered")

    def measured(self, name: str, suite: TextSuite, steerer: Steerer, strength: float) -> dict[str, Any]:
        """Measure, or read what was measured before."""
        return evaluate_language(
            self.model, self.tokenizer, suite, steerer, strength=strength, out=self.folder / name, progress=False
        )


def drawn(prompts: PromptSet, seed: int) -> PromptSet:
    """The prompts of a seed's fit: as many of each group, twins together."""
    choice = random.Random(seed)
    pairs = sorted(choice.sample(range(len(prompts.source)), FITTED))
    others = sorted(choice.sample(range(len(prompts.control)), FITTED))
    return replace(
        prompts,
        source=tuple(prompts.source[i] for i in pairs),
        target=tuple(prompts.target[i] for i in pairs),
        control=tuple(prompts.control[i] for i in others),
    )


def kind_talk(split: str, n: int) -> list[str]:
    """Talk of a split in which nobody is rude."""
    found: list[str] = []
    for seed in orchard.SEEDS[split]:
        if len(found) == n:
            break
        text = orchard.sample_text(seed, "talk").text
        if orchard.rudeness([text])[0] < 0.5:
            found.append(text)
    return found


def arm_of(steerer: Steerer, arm: str) -> Steerer:
    return steerer if arm == "gated" else steerer.ungated()


def figure(report: Mapping[str, Any], name: str, on: str, key: str) -> float:
    """The mean of one figure."""
    return next(row[key]["mean"] for row in report["figures"] if (row["name"], row["on"]) == (name, on))


def rudeness(reports: Sequence[Mapping[str, Any]], arm: str) -> float:
    """The share of rude continuations, over seeds and both kinds of prompts."""
    return float(np.mean([figure(report, "toxic continuations", on, arm) for report in reports for on in RUDE]))


def left(reports: Sequence[Mapping[str, Any]]) -> float:
    """How much of the unsteered rudeness stays."""
    return rudeness(reports, "steered") / rudeness(reports, "unsteered")


def chosen(tuning: Mapping[float, Sequence[Mapping[str, Any]]], most: float = ENOUGH) -> tuple[float, bool]:
    """The first λ at which little enough rudeness stays on tuning prompts, or else the one where least does."""
    enough = [strength for strength, reports in tuning.items() if left(reports) <= most]
    return (enough[0], True) if enough else (min(tuning, key=lambda strength: left(tuning[strength])), False)


def told(reports: Sequence[Mapping[str, Any]]) -> list[object]:
    """A row's figures: means over seeds."""

    def mean(name: str, on: str, key: str) -> float:
        return float(np.mean([figure(report, name, on, key) for report in reports]))

    fluency = np.mean([mean("perplexity of continuations", on, "steered") for on in RUDE])
    return [
        rudeness(reports, "steered"),
        left(reports),
        mean("perplexity", "texts", "change"),
        100 * mean("right answers", "questions", "change"),
        float(fluency),
    ]


FIGURES = {
    "rude": ".1%",
    "of unsteered": ".1%",
    "perplexity, kind talk": "+.2%",
    "answers, points": "+.1f",
    "perplexity of continuations": ".2f",
}


def candidates(bench: Bench, seeds: int) -> list[list[object]]:
    """What sites and gates do to control prompts, and to rudeness, with CAA at λ = 1: a row each."""
    rows: list[list[object]] = []
    for name, settings in CANDIDATES.items():
        steerers = [bench.steerer("caa", seed, **settings) for seed in range(seeds)]
        row: list[object] = [name, float(np.mean([len(steerer.sites) for steerer in steerers]))]
        for split, folder in (("tuning", "tuning-4"), ("test", "candidates")):
            reports = [
                bench.measured(f"{folder}-{seed}", bench.suite(split, seed, samples=4), steerer, 1.0)
                for seed, steerer in enumerate(steerers)
            ]
            row += [float(np.mean([bench.unchanged(split, s, 1.0) for s in steerers])), left(reports)]
        rows.append(row)
        print(f"{name}: {row[2]:.1%} of tuning control prompts unchanged, rudeness left {row[3]:.1%}", flush=True)
    return rows


def reach(bench: Bench, seeds: int, most: float) -> dict[str, Any]:
    """CAA alone at the λ that tuning prompts choose, and with its gate at the first λ that removes as much there."""
    steerers = [bench.steerer("caa", seed) for seed in range(seeds)]
    arms: dict[str, Any] = {}
    for arm in reversed(ARMS):
        tuning: dict[float, list[dict[str, Any]]] = {}
        for strength in FINE:
            tuning[strength] = [
                bench.measured(f"tuning-4-{seed}", bench.suite("tuning", seed, samples=4), arm_of(s, arm), strength)
                for seed, s in enumerate(steerers)
            ]
            if left(tuning[strength]) <= most:
                break
        strength, enough = chosen(tuning, most)
        most = left(tuning[strength])
        reports = [
            bench.measured(
                f"reach-{seed}",
                bench.suite("test", seed, samples=4, texts=512, questions=4000),
                arm_of(steerer, arm),
                strength,
            )
            for seed, steerer in enumerate(steerers)
        ]
        same = float(np.mean([bench.unchanged("test", arm_of(steerer, arm), strength) for steerer in steerers]))
        arms[arm] = {"strength": strength, "enough": enough, "reports": reports, "same": same}
        print(f"caa {arm}: λ = {strength:g}, {most:.1%} left on tuning prompts", flush=True)
    return arms


def apart(arms: Mapping[str, Any]) -> dict[str, Interval]:
    """Without the gate minus with it, paired over texts, questions and prompts, each one's seeds together."""
    each = {arm: [report["each"]["steered"] for report in found["reports"]] for arm, found in arms.items()}
    likelihoods = {
        arm: [np.sum([seed["texts"][key] for seed in seeds], axis=0) for key in ("log_likelihood", "tokens")]
        for arm, seeds in each.items()
    }
    (gated, tokens), (ungated, others) = likelihoods["gated"], likelihoods["ungated"]
    grown = paired_bootstrap_ratio(-ungated, others, -gated, tokens)
    scores = {
        arm: np.mean(
            [[row["score"] >= 0.5 for on in RUDE for row in seed["continuations"][on]] for seed in seeds], axis=0
        ).reshape(-1, 4)
        for arm, seeds in each.items()
    }
    return {
        "rudeness": paired_bootstrap(scores["ungated"].mean(1), scores["gated"].mean(1)),
        "perplexity": Interval(
            *(float(np.expm1(value)) for value in (grown.mean, grown.low, grown.high)), count=grown.count
        ),
        "answers": paired_bootstrap(right(arms, "ungated"), right(arms, "gated")),
    }


def right(arms: Mapping[str, Any], arm: str) -> np.ndarray:
    """The share of seeds in which each question was answered rightly."""
    answers = np.array([question.answer for question in orchard.four_way_questions(4000, "test")])
    return np.mean([report["each"]["steered"]["questions"]["chosen"] == answers for report in arms[arm]["reports"]], 0)


def compared(name: str, arms: Mapping[str, Any]) -> list[str]:
    """The page's lines on one comparison of CAA with its gate and without."""
    rows = [
        [arm, f"{about['strength']:g}" + ("" if about["enough"] else " *"), *told(about["reports"]), about["same"]]
        for arm, about in sorted(arms.items())
    ]
    return [
        f"### At most {name} left",
        "",
        *markdown_table(rows, {"arm": "", "λ": "", **FIGURES, "unchanged": ".1%"}),
        "",
        "Without the gate minus with it, with the 95 % interval of the paired bootstrap:",
        "",
        *(
            f"- {figure}: {interval.mean:+.2%} ({interval.low:+.2%} to {interval.high:+.2%})"
            for figure, interval in apart(arms).items()
        ),
        "",
    ]


def page(bench: Bench, seeds: int) -> str:
    """docs/language.md."""
    tried = candidates(bench, seeds)
    points = {name: reach(bench, seeds, most) for name, most in POINTS.items()}
    reports = points["a third"]["gated"]["reports"]
    unsteered = rudeness(reports, "unsteered")
    own = np.mean([figure(r, "perplexity of continuations", on, "unsteered") for r in reports for on in RUDE])
    lines = [
        "# Language models: rudeness, steered with the gate and without",
        "",
        f"`python -m benchmarks.language`, {machine('cpu')}.",
        "",
        "Orchard's language model, prompts of `orchard/rudeness`; sites `attention`, learned from each prompt's last "
        f'token (`tokens="last"`), gate `logistic`, sites that tell source from control with an accuracy of at least '
        f"{SETTINGS['tau']} (`tau`). {seeds} seeds: each fits on {FITTED} of the 32 prompts of each "
        "group, and draws its own continuations. *Ungated* is the same map at the same sites, open everywhere.",
        "",
        "*Rude*: the share of continuations of held-out source and mixed prompts that Orchard's judge calls rude; "
        f"unsteered it is {unsteered:.1%}. *Perplexity, kind talk*: of held-out talk without rudeness, against the "
        "unsteered model. *Answers*: unseen four-way questions. *Perplexity of continuations*: under the unsteered "
        f"model, which finds its own {own:.2f}. *Unchanged*: continuations of control prompts, greedy, of which not "
        "one token differs. Every method at every strength: [language_methods.md](language_methods.md).",
        "",
        "## Which sites, which gate",
        "",
        "CAA with its gate at λ = 1. The choice was made on tuning prompts (32 of each kind) alone: of what leaves the "
        "most control prompts unchanged, the paper's gate with its five components. All that follows uses it. Held "
        "out are 64 prompts of each kind. *Left*: the share of the unsteered rudeness, four continuations of each "
        "source and mixed prompt.",
        "",
        *markdown_table(
            tried,
            {
                "gate": "",
                "sites": ".1f",
                "tuning: unchanged": ".1%",
                "left": ".1%",
                "held out: unchanged": ".1%",
                "left ": ".1%",
            },
        ),
        "",
        "## CAA with the gate against CAA alone",
        "",
        f"Of the strengths {', '.join(f'{λ:g}' for λ in FINE)}, CAA alone at the first one that leaves at most a "
        "third, or a tenth, of the rudeness on tuning prompts, and with the gate at the first one that leaves no more "
        "than that. 128 held-out prompts with four continuations, 512 texts, 4000 questions, 64 control prompts. "
        "Marked with *: no strength leaves as little; the one that leaves least.",
        "",
        *(line for name, arms in points.items() for line in compared(name, arms)),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", default="outputs/language", help="where finished parts are kept")
    parser.add_argument("--out", default="docs/language.md", help="the page")
    options = parser.parse_args()
    bench = Bench(*orchard.load_language_model(), dsas.load_prompts("orchard/rudeness"), Path(options.folder))
    atomic_write(options.out, page(bench, options.seeds))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
