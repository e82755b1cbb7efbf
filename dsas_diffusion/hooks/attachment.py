"""One steerer inside one running pipeline: the hooks, and the state that they share."""

import math
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers.hooks import HookRegistry, ModelHook
from jaxtyping import Float
from torch import Tensor, nn

from ..core.features import grid_of, on_grid
from ..errors import InputError
from .gate_record import GateRecord
from .guidance import Half, checked_half, denoiser_of, is_compiled, progress_of, rows_of, sampling_of
from .site_hook import HeadsHook, OutputHook, Place
from .steered_site import SteeredSite

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

HOOK_NAME: Final = "dsas_steering"


class Attachment:
    """A steerer attached to a pipeline, until `detach`.

    Args:
        pipe: The pipeline. Attach before `torch.compile`, `enable_cache` or CPU offload.
        sites: What to do where.
        strength: λ, one number or one per prompt of the batch.
        start: Share of the denoising steps after which steering begins, in [0, 1).
        end: Share of the denoising steps after which it ends, in (0, 1].
        half: Which half of the rows to steer where there is guidance.
        record_gates: Keep what the gates say, for `gate_maps` and `concept_map`.
        fitted: Sampling settings of the fit; drawing with others warns once.

    Raises:
        InputError: If λ is not finite, the window is empty, `half` is unknown, this denoiser is steered already, or
            gates are to be recorded from a compiled model.
    """

    def __init__(
        self,
        pipe: "StableDiffusionPipeline",
        sites: Sequence[SteeredSite],
        strength: float | Sequence[float],
        *,
        start: float = 0.0,
        end: float = 1.0,
        half: Half = "conditional",
        record_gates: bool = False,
        fitted: Mapping[str, Any] | None = None,
    ) -> None:
        self.pipe = pipe
        self.strength = checked_strength(strength)
        self.half = checked_half(half)
        self.start, self.end = _checked_window(start, end)
        self._denoiser = denoiser_of(pipe)
        self._fitted = dict(fitted or {})
        self._weights = torch.zeros(0)
        self._latent = (0, 0)
        self._schedule: Tensor | None = None
        self._read: dict[tuple[str, str], Tensor] = {}
        self._decided: dict[str, Tensor] = {}
        self._record = GateRecord({s.site.path: s.weight for s in sites}) if record_gates else None
        self._hooked: list[nn.Module] = []
        self._projections: list[tuple[str, nn.Module]] = []
        if any(HOOK_NAME in _hooks_of(module) for module in self._denoiser.modules()):
            raise InputError(
                f"This {type(self._denoiser).__name__} is steered already (pipelines made with `from_pipe` share one). "
                "Detach the first steerer before attaching another."
            )
        if record_gates and is_compiled(pipe):
            raise InputError("Gates can't be recorded from a compiled model. Leave record_gates out, or don't compile.")
        sites = _copied(sites)
        self._root = self._denoiser.register_forward_pre_hook(self._begin_call, with_kwargs=True)
        try:
            self._register(sites)
        except BaseException:
            self.detach()
            raise

    def _register(self, sites: Sequence[SteeredSite]) -> None:
        steered = {s.site.path: s for s in sites}
        modules: dict[str, list[Place]] = {}
        for site in dict.fromkeys(site for s in sites for site in (s.site, *s.reads.values())):
            readers = [(s, factor) for s in sites for factor, read in s.reads.items() if read == site]
            modules.setdefault(site.module, []).append(Place(site, steered.get(site.path), readers))
        for path, places in modules.items():
            module = self._denoiser.get_submodule(path)
            heads = any(place.site.is_head for place in places)
            hook = (HeadsHook if heads else OutputHook)(places, self)
            HookRegistry.check_if_exists_or_initialize(module).register_hook(hook, HOOK_NAME)
            self._hooked.append(module)
            if heads:
                self._projections.append((path, module))

    def gate_maps(self) -> dict[str, Float[Tensor, "steps batch h w"]]:
        """Give what the gates said, by site: h in [0, 1] of each step and picture, on the site's own grid.

        Raises:
            InputError: If nothing was recorded.
        """
        return self._recorded().maps()

    def concept_map(self, height: int, width: int) -> Float[Tensor, "batch h w"]:
        """Average h over sites and steps, brought to a size: where the gates are open, whatever λ and the window.

        Args:
            height: Height of the result.
            width: Width of the result.

        Raises:
            InputError: If nothing was recorded.
        """
        return self._recorded().concept_map(height, width)

    def _recorded(self) -> GateRecord:
        if self._record is None:
            raise InputError("Gates were not recorded. Attach with record_gates=True.")
        return self._record

    def _begin_call(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for path, module in self._projections:
            if denoiser.get_submodule(path) is not module:
                raise InputError(
                    f"{path} is another module than when the steerer was attached, as happens when a LoRA is loaded or "
                    "unloaded, so its attention heads would be steered in part or not at all. Detach the steerer, load "
                    "or unload the LoRA, and attach the steerer again."
                )
        sample: Tensor = args[0] if args else kwargs["sample"]
        timestep = args[1] if len(args) > 1 else kwargs["timestep"]
        if self._schedule is not self.pipe.scheduler.timesteps:  # every run sets its timesteps anew
            self._schedule = self.pipe.scheduler.timesteps
            self._begin_run()
        self._latent = (sample.shape[-2], sample.shape[-1])
        chosen = rows_of(self.pipe, len(sample), self.half)
        count = chosen.stop - chosen.start
        if not count:
            raise InputError(
                "half='unconditional', but this call of the denoiser has no unconditional rows, since guidance is off. "
                "Draw with a guidance_scale above 1, or attach with half='conditional'."
            )
        pictures = count if self.half != "both" or not self.pipe.do_classifier_free_guidance else count // 2
        if pictures % len(self.strength):
            raise InputError(
                f"strength has {len(self.strength)} numbers, but the pipeline runs {pictures} pictures at once, which "
                "is no multiple of that. Give one number for all, or one for each prompt of the batch."
            )
        strength = torch.tensor(self.strength, dtype=torch.float32).repeat_interleave(pictures // len(self.strength))
        if self._weights.shape[0] != len(sample) or self._weights.device != sample.device:
            self._weights = torch.zeros(len(sample), device=sample.device)
        self._weights.zero_()
        progress = progress_of(self.pipe, timestep)
        within = (progress >= self.start) & (progress < self.end)
        self._weights[chosen] = strength.repeat(count // pictures).to(sample.device) * within.to(sample.device)

    def _begin_run(self) -> None:
        self._read.clear()
        self._decided.clear()
        if self._record is not None:
            self._record.begin_run()
        found = sampling_of(self.pipe)
        other = [key for key, value in found.items() if key in self._fitted and self._fitted[key] != value]
        if other:
            asked = ", ".join(f"{key}={self._fitted.pop(key)}" for key in other)
            warnings.warn(
                f"The steerer was fitted with {asked}, but this picture is drawn with "
                f"{', '.join(f'{key}={found[key]}' for key in other)}; gates may answer differently. Fit with the "
                "settings that you draw with.",
                stacklevel=2,
            )

    def weights_of_rows(self) -> Float[Tensor, "rows"]:
        """λ of each row of the running denoiser call: 0 on rows that are not steered and outside the window."""
        return self._weights

    def grid(self, positions: int) -> tuple[int, int]:
        """Height and width behind a site's positions, for the running latents."""
        return grid_of(positions, self._latent)

    def keep_reading(self, path: str, factor: str, scores: Float[Tensor, "rows positions"]) -> None:
        """Keep what a gate read elsewhere, until its site asks.

        Args:
            path: The steered site.
            factor: What was read.
            scores: It, at the positions of the site that was read.
        """
        self._read[path, factor] = scores.unflatten(1, self.grid(scores.shape[1]))

    def reading(
        self, path: str, factor: str, like: Float[Tensor, "rows positions channels"]
    ) -> Float[Tensor, "rows positions"]:
        """Give what a gate read elsewhere, on the grid of its site.

        A site that runs before the one that its gate reads gets the scores of the step before, and 0 in the first.

        Args:
            path: The steered site.
            factor: What was read.
            like: The site's activation.
        """
        if (path, factor) not in self._read:
            return torch.zeros(like.shape[:2], device=like.device)
        kept = self._read[path, factor][-len(like) :]  # guidance may have been switched off since: the last rows stay
        return on_grid(kept, self.grid(like.shape[1])).flatten(1)

    def decided(self, path: str, scores: Float[Tensor, "rows positions"]) -> Float[Tensor, "rows positions"]:
        """Keep what a gate that decides once a prompt said in the run's first call, and give that from then on.

        Args:
            path: The steered site.
            scores: What it says now.
        """
        return self._decided.setdefault(path, scores)[-len(scores) :]

    def record(self, path: str, scores: Float[Tensor, "rows positions"]) -> None:
        """Keep a site's scores, if they are wanted: those of the half that follows the prompt."""
        if self._record is not None:
            rows = rows_of(self.pipe, len(scores), "conditional")
            self._record.add(path, scores[rows].unflatten(1, self.grid(scores.shape[1])))

    def detach(self) -> None:
        """Take every hook out; the model is then bit for bit the one it was. Harmless when called again."""
        self._root.remove()
        for module in self._hooked:  # the modules themselves: another may stand in their place by now
            HookRegistry.check_if_exists_or_initialize(module).remove_hook(HOOK_NAME, recurse=False)
        self._hooked.clear()


def _hooks_of(module: nn.Module) -> dict[str, ModelHook]:
    registry = getattr(module, "_diffusers_hook", None)
    return registry.hooks if registry is not None else {}


def _copied(sites: Sequence[SteeredSite]) -> list[SteeredSite]:
    """Gates and methods of this attachment's own, since they move to its device; what was shared stays shared."""
    memo: dict[int, Any] = {}
    return [replace(s, gate=deepcopy(s.gate, memo), method=deepcopy(s.method, memo)) for s in sites]


def _checked_window(start: float, end: float) -> tuple[float, float]:
    if not (0 <= start < end <= 1):
        raise InputError(
            f"start={start} and end={end} leave no part of the schedule. Give fractions with 0 <= start < end <= 1; "
            "0 and 1 steer every step."
        )
    return start, end


def checked_strength(strength: float | Sequence[float]) -> list[float]:
    """Give λ as a list of finite numbers.

    Raises:
        InputError: If a value is not a finite number, or there is none.
    """
    if isinstance(strength, Tensor):
        strength = strength.flatten().tolist()
    values = list(strength) if isinstance(strength, Sequence) and not isinstance(strength, str) else [strength]
    numbers = [value for value in values if isinstance(value, int | float | Tensor) and math.isfinite(value)]
    if not values or len(numbers) != len(values):
        raise InputError(
            f"strength must be a finite number, or one for each prompt of the batch, but is {strength!r}. 0 leaves "
            "pictures as they are, 1 applies the method's full change; see the method for larger values."
        )
    return [float(value) for value in numbers]
