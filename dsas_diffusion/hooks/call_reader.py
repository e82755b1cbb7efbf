"""CallReader: reads each call of a running pipeline's denoiser before the denoiser runs."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Final

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor, nn

from ..errors import InputError
from .denoiser_call import DenoiserCall
from .discovery import TEXT
from .guidance import denoiser_of
from .image_tokens import IMAGE_FIRST, image_grid, text_lengths, tokens_of
from .outside import Outside
from .reader import Reader
from .tap import Listener

#: Denoisers whose pipelines put the conditional half first where both halves are in one call; all others do as Stable
#: Diffusion does.
CONDITIONAL_FIRST: Final = frozenset({"ZImageTransformer2DModel", "LuminaNextDiT2DModel", "StableCascadeUNet"})


class CallReader(Reader):
    """Reads every call of a pipeline's denoiser before it runs.

    How many pictures a run draws is known from the latents that the pipeline prepares; the rows of a call beside it
    tell whether both halves of classifier-free guidance are in one call. Where they are in two, the text that comes
    first in a run is the prompt. Nothing is changed, and no value is read from the device but once a run, where a
    model keeps its sizes there.

    Args:
        pipe: The pipeline.
        on_call: Called with each call, before the denoiser runs.
        on_end: Called after each, where the denoiser is not compiled as a whole.

    Raises:
        InputError: If the pipeline has no denoiser or no scheduler.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        on_call: Callable[[DenoiserCall], object] = lambda call: None,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        self.pipe, self._on_call, self._on_end = pipe, on_call, on_end
        self._denoiser = denoiser_of(pipe)
        if getattr(pipe, "scheduler", None) is None:
            raise InputError(
                f"There is no scheduler in this {type(pipe).__name__}, so its steps can't be told. Give it one, as "
                "with `pipe.scheduler = DDIMScheduler()`."
            )
        self._names = list(signature(type(self._denoiser).forward).parameters)[1:]
        self._schedule: Tensor | None = None
        self._call: DenoiserCall | None = None
        self._step = -1
        self._doubled = False
        self._prompt: Any = None
        self._latents: Any = None
        self._grids: tuple[Any, tuple[int, int]] | None = None
        self._pictures: int | None = None
        self._prepared = False
        self._latents_prepared: Listener | None = None
        if callable(getattr(pipe, "prepare_latents", None)):
            self._latents_prepared = Listener(pipe, "prepare_latents", after=self._begin_run)
        self._outside = Outside(pipe, self._read)
        self._after = self._denoiser.register_forward_hook(self._end)

    @property
    def call(self) -> DenoiserCall:
        """The call that is running.

        Raises:
            InputError: If none has run yet.
        """
        if self._call is None:
            raise InputError("The denoiser has not run yet. Draw a picture first.")
        return self._call

    @property
    def run(self) -> Tensor | None:
        """The timesteps of the running run: another object in each."""
        return self._schedule

    def remove(self) -> None:
        """Stop reading. Harmless when called again."""
        self._outside.leave()
        self._after.remove()
        if self._latents_prepared is not None:
            self._latents_prepared.remove()

    def _begin_run(self, prepared: Any) -> None:
        """Count the latents, and stand where calls of the denoiser begin: it may have been compiled since."""
        self._pictures = len(prepared[0] if isinstance(prepared, list | tuple) else prepared)
        self._prepared = True
        self._outside.stand()

    def _read(self, called: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        denoiser = self._denoiser
        handed = {**dict(zip(self._names, args, strict=False)), **kwargs}
        given = {name: handed[name] for name in self._names if name in handed}  # the latents first
        timesteps = self.pipe.scheduler.timesteps
        if timesteps is not self._schedule:  # every run sets its timesteps anew
            self._schedule, self._step, self._doubled, self._prompt = timesteps, -1, False, None
            self._latents = self._grids = None
            self._check_pipeline()
        rows, device = _rows(given)
        parts = self._parts(rows)
        conditional, unconditional = self._halves(given, rows, parts)
        if conditional.stop > conditional.start:
            latents = next(iter(given.values()))
            # Skip-layer and perturbed guidance predict once more in the same step, a guider from the same latents.
            if given.get("skip_layers") is None and latents is not self._latents:
                self._step += 1
            self._latents = latents
        grid = self._grid(given)
        text = text_lengths(denoiser, given)
        self._call = DenoiserCall(
            step=max(self._step, 0),
            rows=rows,
            samples=rows // parts,
            conditional=conditional,
            unconditional=unconditional,
            grid=grid,
            tokens=tokens_of(denoiser, given, grid),
            image_first=type(denoiser).__name__ in IMAGE_FIRST,
            text=text,
            device=device,
        )
        self._on_call(self._call)

    def _end(self, denoiser: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not torch.compiler.is_compiling():
            self._on_end()

    def _check_pipeline(self) -> None:
        """Refuse a run that this pipeline has not prepared, since its rows can't be told."""
        if self._latents_prepared is None:
            return
        if not self._prepared:
            self._schedule = None  # the next call of the run is as wrong
            raise InputError(
                f"The denoiser runs for another pipeline than the {type(self.pipe).__name__} that was handed in, as it "
                "does where `from_pipe` made a second one of the same parts. Hand in the pipeline that draws."
            )
        self._prepared = False

    def _halves(self, given: Mapping[str, Any], rows: int, parts: int) -> tuple[slice, slice]:
        """Find the rows that follow the prompt, and those that don't."""
        if parts > 1:
            self._doubled = True
            each = rows // parts
            first = type(self._denoiser).__name__ in CONDITIONAL_FIRST
            perturbed = getattr(self.pipe, "do_perturbed_attention_guidance", False)
            if perturbed and not getattr(self.pipe, "do_classifier_free_guidance", True):
                return slice(0, rows), slice(0, 0)  # with the prompt, and once more with perturbed attention
            if parts == 3 and not perturbed:
                first = True  # InstructPix2Pix: prompt and image, image alone, neither
            return (slice(0, each), slice(each, rows)) if first else (slice(each, rows), slice(0, each))
        text = next((value for name, value in given.items() if name.startswith(TEXT) and value is not None), None)
        text = text[0] if isinstance(text, list | tuple) and text else text
        if self._prompt is None:
            self._prompt = text
        follows = self._doubled or text is self._prompt  # one half alone, where both came together: guidance has ended
        return (slice(0, rows), slice(0, 0)) if follows else (slice(0, 0), slice(0, rows))

    def _parts(self, rows: int) -> int:
        """How many predictions for each picture the call makes."""
        if self._pictures and rows % self._pictures == 0:
            return rows // self._pictures
        return 2 if getattr(self.pipe, "do_classifier_free_guidance", False) and rows % 2 == 0 else 1

    def _grid(self, given: Mapping[str, Any]) -> tuple[int, int]:
        """The image's grid, which is the same in a whole run."""
        sample = next(iter(given.values()))
        shape = sample[0].shape if isinstance(sample, list | tuple) else sample.shape[1:]
        if self._grids is None:
            self._grids = shape, image_grid(self._denoiser, given)
        elif self._grids[0] != shape:
            raise InputError(
                f"The latents changed their shape from {tuple(self._grids[0])} to {tuple(shape)} within one run, so "
                "what gates have read no longer fits. Draw each size in a run of its own."
            )
        return self._grids[1]


def _rows(given: Mapping[str, Any]) -> tuple[int, torch.device]:
    """Batch size and device of a call, from its first argument: a tensor, or a list of one for each row."""
    sample = next(iter(given.values()))
    return len(sample), (sample[0] if isinstance(sample, list | tuple) else sample).device
