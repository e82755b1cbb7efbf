"""calibrate(): the strength that removes enough, or that changes little enough, found on tuning prompts."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from .backends.diffusion import generate
from .backends.language import check_tokenizer, check_vocabulary
from .continuing import TOKENS, Writer
from .errors import InputError
from .evaluation.change import change
from .evaluation.images import as_tensor
from .evaluation.unchanged import unchanged
from .hooks.steerer import Steerer
from .prompts import PromptSet, load_prompts

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

#: How close to the exact strength the search ends.
RESOLUTION: Final = 1 / 8

#: Which of some pictures show the concept: (n,) bool.
Shows = Callable[[list[Image.Image]], Tensor]
#: Which of some continuations do.
Tells = Callable[[list[str]], Tensor]


class _Trial(NamedTuple):
    """What is made at a strength, and how it is compared.

    Args:
        make: Strength → the pictures or texts.
        moved: These and their unsteered twins → how much changed, in [0, 1].
        made: What one of them is called.
    """

    make: Callable[[float], list[Any]]
    moved: Callable[[list[Any], list[Any]], float]
    made: str


def calibrate(
    pipe: "DiffusionPipeline | PreTrainedModel",
    steerer: Steerer,
    prompts: PromptSet | str,
    *,
    tokenizer: Any = None,
    removal: float | None = None,
    shows: Shows | Tells | None = None,
    budget: float | None = None,
    highest: float = 8.0,
    seed: int = 1_000_000,
    batch_size: int = 16,
    generation: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> float:
    """Find a steerer's strength by bisection on what tuning prompts give, and keep it in the steerer.

    Either the smallest λ that removes enough, or the largest that stays within a budget of change; both are taken to
    grow with λ. It becomes the steerer's `strength`, and `manifest["calibration"]` holds it with the curve that was
    seen.

    Args:
        pipe: The pipeline or language model that the steerer was fitted on; it comes out as it went in.
        steerer: The steerer.
        prompts: A set with tuning prompts, or what `load_prompts` takes: source and mixed ones for `removal`, control
            ones for `budget`.
        tokenizer: Of a language model.
        removal: Share in (0, 1] of the pictures or continuations that show the concept unsteered and shall not when
            steered.
        shows: For `removal`: tells which pictures show the concept, such as a detector or a CLIP's zero-shot choice; or
            which continuations do, such as a classifier.
        budget: How much control prompts may change at most, in (0, 1): the mean absolute difference of pictures from
            their unsteered twins, or the share of continuations that are not their twins' word for word.
        highest: The largest λ to try.
        seed: First seed of the pictures, or of the first batch of texts.
        batch_size: Prompts at a time.
        generation: Sampling settings; by default those of the fit. A language model's are as for `dsas generate`: its
            own, from 1 to 50 tokens, where the fit has none.
        progress: Show a bar with the time left.

    Returns:
        λ, to an eighth.

    Raises:
        InputError: If not just one of `removal` and `budget` is asked for, the set has no tuning prompts, nothing shows
            the concept unsteered, no strength up to `highest` removes enough, or a language model's tokenizer is
            missing or another than that of the fit.
    """
    concept = load_prompts(prompts) if isinstance(prompts, str) else prompts
    kinds, wanted = _checked(removal, budget, shows, highest)
    texts = [prompt.text for kind in kinds for prompt in concept.tuning.get(kind, ())]
    if not texts:
        raise InputError(
            f"The prompt set {concept.name!r} has no tuning prompts to calibrate on. Add tuning_"
            f"{' or tuning_'.join(kinds)} prompts; held-out ones are for figures alone."
        )
    trying = {"texts": texts, "seed": seed, "batch_size": batch_size, "generation": generation or {}}
    if isinstance(pipe, PreTrainedModel):
        trial = _continuations(pipe, tokenizer, steerer, **trying)
    elif tokenizer is not None:
        raise InputError(f"tokenizer is for language models, but this is a {type(pipe).__name__}. Leave it out.")
    else:
        trial = _pictures(pipe, steerer, **trying)
    twins = trial.make(0.0)
    value = _change_from(twins, trial) if shows is None else _removal_from(twins, shows, trial)
    curve: dict[float, float] = {}
    low, high = 0.0, highest
    rounds = 1 + max(0, int(torch.tensor(highest / RESOLUTION).log2().ceil()))
    with tqdm(total=rounds, desc=f"calibrate {steerer.concept}", unit="strength", disable=not progress) as bar:

        def reached(strength: float) -> bool:
            curve[strength] = value(trial.make(strength))
            bar.update()
            return curve[strength] >= wanted if removal is not None else curve[strength] > wanted

        if reached(highest):
            while high - low > RESOLUTION:
                middle = (low + high) / 2
                low, high = (low, middle) if reached(middle) else (middle, high)
        elif removal is not None:
            raise InputError(
                f"No strength up to {highest:g} removes {removal:.0%}: at {highest:g} it is {curve[highest]:.0%}. Try "
                "a higher `highest`, other sites or another gate; or look at steerer.diagnose()."
            )
        else:
            low = highest
    steerer.strength = high if removal is not None else low
    steerer.manifest["calibration"] = {
        "wanted": {"removal": removal} if removal is not None else {"budget": budget},
        "strength": steerer.strength,
        "prompts": {"name": concept.name, "digest": concept.digest},
        "seed": seed,
        "curve": [[strength, curve[strength]] for strength in sorted(curve)],
    }
    return steerer.strength


def _checked(removal: float | None, budget: float | None, shows: Any, highest: float) -> tuple[Sequence[str], float]:
    """Which kinds of tuning prompts are drawn, and what is wanted of them."""
    if not 0 < highest < float("inf"):
        raise InputError(f"highest must be a finite strength above 0, but is {highest}. The default is 8.")
    if removal is not None and budget is None:
        if not 0 < removal <= 1 or shows is None:
            raise InputError(
                f"removal={removal} must be a share in (0, 1], and shows= a function that tells which pictures or "
                "texts show the concept."
            )
        return ("source", "mixed"), removal
    if budget is not None and removal is None:
        if not 0 < budget < 1 or shows is not None:
            raise InputError(f"budget={budget} must be a change in (0, 1), and takes no shows=.")
        return ("control",), budget
    raise InputError("Ask for one of removal=0.9 (what shall be gone) and budget=0.01 (what control may change).")


def _pictures(
    pipe: "DiffusionPipeline",
    steerer: Steerer,
    texts: Sequence[str],
    seed: int,
    batch_size: int,
    generation: Mapping[str, Any],
) -> _Trial:
    settings = {**steerer.manifest["generation"], **generation}
    seeds = range(seed, seed + len(texts))

    def draw(strength: float) -> list[Image.Image]:
        with steerer.attached(pipe, strength):
            batches = generate(pipe, texts, seeds, batch_size=batch_size, generation=settings)
            return [image for images in batches for image in images]

    def moved(images: list[Image.Image], twins: list[Image.Image]) -> float:
        before = as_tensor(twins)
        everywhere = torch.ones(len(before), *before.shape[-2:], dtype=torch.bool)
        return float(change(as_tensor(images), before, everywhere).mean())

    return _Trial(draw, moved, "picture")


def _continuations(
    model: PreTrainedModel,
    tokenizer: Any,
    steerer: Steerer,
    texts: Sequence[str],
    seed: int,
    batch_size: int,
    generation: Mapping[str, Any],
) -> _Trial:
    chat = steerer.manifest.get("text", {}).get("chat", False)
    check_tokenizer(model, tokenizer, chat)
    check_vocabulary(tokenizer, steerer.manifest)
    settings = {"min_new_tokens": 1, "max_new_tokens": TOKENS, **steerer.manifest["generation"], **generation}
    writer = Writer(model, tokenizer, settings, seed, batch_size, chat)

    def write(strength: float) -> list[str]:
        with steerer.attached(model, strength):
            return writer.write(texts, f"λ = {strength:g}")

    return _Trial(write, lambda made, twins: float((~unchanged(made, twins)).mean()), "continuation")


def _change_from(twins: list[Any], trial: _Trial) -> Callable[[list[Any]], float]:
    return lambda made: trial.moved(made, twins)


def _removal_from(
    twins: list[Any], shows: Callable[[list[Any]], Tensor], trial: _Trial
) -> Callable[[list[Any]], float]:
    shown = shows(twins).bool()
    if not shown.any():
        raise InputError(
            f"No unsteered {trial.made} of the tuning prompts shows the concept, so nothing can be removed. Look at "
            "what the model makes of them, and at what shows= answers."
        )
    return lambda made: float((~shows(made).bool())[shown].float().mean())
