"""Runs prompts through a text-to-image pipeline: one seed a picture, batches, no trace left."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError
from ..hooks.guidance import denoiser_of

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline


def generate(
    pipe: "DiffusionPipeline",
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    batch_size: int = 16,
    generation: Mapping[str, Any] | None = None,
    arguments: Callable[[Sequence[str]], Mapping[str, Any]] | None = None,
) -> Iterator[Any]:
    """Draw one picture per prompt, a batch at a time.

    Every picture has a generator of its own, so it does not depend on its batch: the same prompt and seed draw the same
    picture with and without steering.

    Args:
        pipe: A text-to-image pipeline.
        prompts: The prompts.
        seeds: One per prompt.
        batch_size: Prompts per call of the pipeline.
        generation: Further arguments of the call: `num_inference_steps`, `guidance_scale`, `output_type` …
        arguments: From a batch's prompts to what the call is given for them, such as `prompt_embeds`, over
            `generation`; by default they are its `prompt`.

    Yields:
        The `images` of each call: lists of PIL pictures, or tensors if `output_type` says so.

    Raises:
        InputError: If `generation` holds what is set here, or `batch_size` is not positive.
    """
    settings = _checked(generation, batch_size)
    call: Any = pipe
    with quiet(pipe):
        for start in range(0, len(prompts), batch_size):
            part = slice(start, start + batch_size)
            generators = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
            # Several pipelines refuse one negative prompt beside a list of prompts.
            own = {
                name: [value] * len(generators)
                for name, value in settings.items()
                if name.startswith("negative_prompt") and isinstance(value, str)
            }
            asked = {"prompt": list(prompts[part])} if arguments is None else arguments(prompts[part])
            drawn = call(generator=generators, **{**settings, **own, **asked})
            yield drawn.images if hasattr(drawn, "images") else drawn.frames


def _checked(generation: Mapping[str, Any] | None, batch_size: int) -> dict[str, Any]:
    """Give the settings of a call, if they are such and the batch has a size."""
    settings = dict(generation or {})
    taken = {"prompt", "generator", "num_images_per_prompt"} & settings.keys()
    if taken or batch_size < 1:
        what = (
            f"generation holds {sorted(taken)[0]!r}, which is set per prompt"
            if taken
            else f"batch_size is {batch_size}"
        )
        raise InputError(
            f"Can't generate: {what}. Give sampling settings such as num_inference_steps, and batch_size >= 1."
        )
    return settings


def encode(
    pipe: "DiffusionPipeline",
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    batch_size: int = 16,
    generation: Mapping[str, Any] | None = None,
) -> Iterator[Sequence[str]]:
    """Run prompts through a pipeline's text encoders as when it draws, and end before the first denoising step.

    Args:
        pipe: As for :func:`generate`.
        prompts: As for :func:`generate`.
        seeds: As for :func:`generate`.
        batch_size: As for :func:`generate`.
        generation: As for :func:`generate`.

    Yields:
        The prompts of each call.

    Raises:
        InputError: As for :func:`generate`.
    """

    def stop(module: Any, args: tuple[Any, ...]) -> None:
        raise _EncodedError

    _checked(generation, batch_size)
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        handle = denoiser_of(pipe).register_forward_pre_hook(stop)
        try:
            next(generate(pipe, prompts[part], seeds[part], batch_size=batch_size, generation=generation))
        except _EncodedError:
            yield prompts[part]
        finally:
            handle.remove()


class _EncodedError(Exception):
    """The prompts are encoded."""


@contextmanager
def quiet(pipe: "DiffusionPipeline") -> Generator[None]:
    """Hide a pipeline's own progress bar for as long as the context lasts."""
    before = dict(getattr(pipe, "_progress_bar_config", {}))
    pipe.set_progress_bar_config(**{**before, "disable": True})
    try:
        yield
    finally:
        pipe.set_progress_bar_config(**before)
