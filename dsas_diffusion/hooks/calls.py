"""What one call of a denoiser is: which rows follow the prompt, which step it is, where the image's positions are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from types import TracebackType
from typing import Any, Final, Self

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import InputError
from .discovery import TEXT
from .guidance import DENOISERS, Half, denoiser_of
from .image_tokens import IMAGE_FIRST, image_grid, text_lengths, tokens_of

#: Denoisers whose pipelines put the conditional half first where both halves are in one call; all others do as Stable
#: Diffusion does.
CONDITIONAL_FIRST: Final = frozenset({"ZImageTransformer2DModel", "LuminaNextDiT2DModel", "StableCascadeUNet"})


@dataclass(frozen=True)
class DenoiserCall:
    """One call of a denoiser.

    Args:
        step: The denoising step, from 0 in each run; both calls of a step, where guidance takes two, have the same.
        rows: Batch size.
        pictures: How many pictures are drawn at once. The rows are these, as many times as there are predictions for
            each in one call.
        conditional: The rows that follow the prompt.
        unconditional: Those that don't, where there is guidance.
        grid: Height and width of the image's positions as they enter the denoiser; frames of a video stand one below
            another.
        tokens: How many positions the image stream has, reference images included; `None` where that differs from
            level to level, as in a U-Net.
        image_first: In a sequence that holds text and image, whether the image stands first.
        text: (rows,) where the image begins in such a sequence, if that differs from row to row; else `None`.
        device: Where it runs.
    """

    step: int
    rows: int
    pictures: int
    conditional: slice
    unconditional: slice
    grid: tuple[int, int]
    tokens: int | None
    image_first: bool
    text: Tensor | None
    device: torch.device

    def rows_of(self, half: Half) -> slice:
        """Give the rows of a half; none where the call has none.

        Args:
            half: `"conditional"`, `"unconditional"` or `"both"`.
        """
        return slice(0, self.rows) if half == "both" else getattr(self, half)

    def reduced_to(self, rows: slice) -> Self:
        """Give the same call with some of its rows.

        Args:
            rows: Which.
        """
        count = len(range(*rows.indices(self.rows)))
        kept = slice(0, count)
        text = None if self.text is None else self.text[rows]
        return replace(self, rows=count, pictures=count, conditional=kept, unconditional=slice(0, 0), text=text)

    def image_of(
        self, positions: Float[Tensor, "rows positions channels"]
    ) -> Float[Tensor, "rows image_positions channels"]:
        """Give the image's positions out of what a site holds.

        Args:
            positions: All of it; text and reference images may stand beside the image.
        """
        where = self._where(positions.shape[1])
        if isinstance(where, slice):
            return positions[:, where]
        return positions.gather(1, where[:, :, None].expand(-1, -1, positions.shape[2]))

    def with_image(
        self,
        positions: Float[Tensor, "rows positions channels"],
        image: Float[Tensor, "rows image_positions channels"],
    ) -> Float[Tensor, "rows positions channels"]:
        """Put the image's positions back among the others.

        Args:
            positions: As given to `image_of`; it stays as it is.
            image: The image's positions.
        """
        where = self._where(positions.shape[1])
        if where == slice(None):
            return image
        if isinstance(where, slice):
            return torch.cat([positions[:, : where.start], image, positions[:, where.stop :]], dim=1)
        return positions.scatter(1, where[:, :, None].expand(-1, -1, positions.shape[2]), image)

    def _where(self, total: int) -> slice | Tensor:
        """Where the image is among so many positions."""
        count = self.grid[0] * self.grid[1]
        if self.tokens is None or total <= count:
            return slice(None)
        if self.image_first or total <= self.tokens:
            return slice(0, count)
        if self.text is not None:
            return self.text[:, None] + torch.arange(count, device=self.text.device)
        start = total - self.tokens
        return slice(start, start + count)


class CallReader:
    """Reads every call of a pipeline's denoiser before it runs, as a context manager or until `remove`.

    How many pictures a run draws is known from the latents that the pipeline prepares; the rows of a call beside it
    tell whether both halves of classifier-free guidance are in one call. Where they are in two, the text that comes
    first in a run is the prompt. Nothing is changed, and no value is read from the device but once a run, where a
    model keeps its sizes there.

    Args:
        pipe: The pipeline.
        on_call: Called with each call, before the denoiser runs.

    Raises:
        InputError: If the pipeline has no denoiser or no scheduler.
    """

    def __init__(self, pipe: DiffusionPipeline, on_call: Callable[[DenoiserCall], None] | None = None) -> None:
        self.pipe, self._on_call = pipe, on_call
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
        self._pictures = _PictureCount.of(pipe, self)
        self._prepared = 0 if self._pictures is None else self._pictures.prepared
        self._outside = _Outside(pipe, self._read)

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
    def schedule(self) -> Tensor | None:
        """The timesteps of the running run: another object in each."""
        return self._schedule

    def remove(self) -> None:
        """Stop reading. Harmless when called again."""
        self._outside.leave()
        if self._pictures is not None:
            self._pictures.release(self)
            self._pictures = None

    def begin_run(self) -> None:
        """Stand where calls of the denoiser begin: it may have been compiled since the last run."""
        self._outside.stand()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

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
            max(self._step, 0),
            rows,
            rows // parts,
            conditional,
            unconditional,
            grid,
            tokens_of(denoiser, given, grid),
            image_first=type(denoiser).__name__ in IMAGE_FIRST,
            text=text,
            device=device,
        )
        if self._on_call is not None:
            self._on_call(self._call)

    def _check_pipeline(self) -> None:
        """Refuse a run that this pipeline has not prepared, since its rows can't be told."""
        if self._pictures is None:
            return
        if self._pictures.prepared == self._prepared:
            self._schedule = None  # the next call of the run is as wrong
            raise InputError(
                f"The denoiser runs for another pipeline than the {type(self.pipe).__name__} that was handed in, as it "
                "does where `from_pipe` made a second one of the same parts. Hand in the pipeline that draws."
            )
        self._prepared = self._pictures.prepared

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
        pictures = None if self._pictures is None else self._pictures.pictures
        if pictures and rows % pictures == 0:
            return rows // pictures
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


class _PictureCount:
    """Stands in for a pipeline's `prepare_latents` and notes how many pictures it prepares; one for all readers."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self._pipe, self._original = pipe, pipe.prepare_latents
        self._readers: list[CallReader] = []
        self._own = "prepare_latents" in vars(pipe)
        self.pictures: int | None = None
        self.prepared = 0
        pipe.prepare_latents = self

    @classmethod
    def of(cls, pipe: DiffusionPipeline, reader: CallReader) -> "_PictureCount | None":
        """The pipeline's own, for one more reader; `None` where the pipeline prepares no latents."""
        if not callable(getattr(pipe, "prepare_latents", None)):
            return None
        found = pipe.prepare_latents
        count = found if isinstance(found, cls) else cls(pipe)
        count._readers.append(reader)
        return count

    def release(self, reader: CallReader) -> None:
        """One reader less; the last one takes it out."""
        self._readers.remove(reader)
        if not self._readers and vars(self._pipe).get("prepare_latents") is self:
            del self._pipe.prepare_latents
            if self._own:
                self._pipe.prepare_latents = self._original

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        prepared = self._original(*args, **kwargs)
        first = prepared[0] if isinstance(prepared, list | tuple) else prepared
        self.pictures = len(first)
        self.prepared += 1
        for reader in self._readers:
            reader.begin_run()
        return prepared


class _Outside:
    """Runs a function before each call of a denoiser, outside of whatever part of it is compiled.

    What changes from call to call would break a graph or make a new one each time.

    Args:
        pipe: The pipeline.
        before: Called with the module, positional and keyword arguments.
    """

    def __init__(self, pipe: DiffusionPipeline, before: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]):
        self._pipe, self._before = pipe, before
        self._where: Any = None
        self._leave: Callable[[], None] = lambda: None
        self.stand()

    def stand(self) -> None:
        """Take the place where calls begin, if it is another than before."""
        denoiser = denoiser_of(self._pipe)
        called = next(m for name in DENOISERS if (m := getattr(self._pipe, name, None)) is not None)
        compiled = denoiser._compiled_call_impl if called is denoiser else None
        where = compiled if compiled is not None else called
        if where is self._where:
            return
        self.leave()
        if compiled is None:
            self._leave = called.register_forward_pre_hook(self._before, with_kwargs=True).remove
            self._where = called
        else:
            self._leave = self._around(denoiser, compiled)
            self._where = denoiser._compiled_call_impl

    def _around(self, denoiser: nn.Module, compiled: Callable[..., Any]) -> Callable[[], None]:
        """Stand in front of a model that was compiled in place, whose hooks are compiled with it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._before(denoiser, args, kwargs)
            return compiled(*args, **kwargs)

        def leave() -> None:
            if denoiser._compiled_call_impl is call:
                denoiser._compiled_call_impl = compiled

        denoiser._compiled_call_impl = call
        return leave

    def leave(self) -> None:
        """Stop. Harmless when called again."""
        self._leave()
        self._leave, self._where = (lambda: None), None
