"""One steerer inside one running model: the hooks, and the state that they share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from ..core.features import from_positions, to_positions
from ..core.steer import steer
from ..errors import InputError
from ..gates.base import Gate
from ..methods.base import SteeringMethod
from .guidance import conditional_rows, denoiser_of
from .sites import Site

if TYPE_CHECKING:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

HOOK_NAME: Final = "dsas_steering"


@dataclass
class SteeredSite:
    """What a steerer does at one site.

    Args:
        site: Where.
        gate: When and where to steer.
        method: How to steer.
        weight: The site weight s in [0, 1].
        accuracy: Cross-validated accuracy of the gate's classifier, in [0, 1].
    """

    site: Site
    gate: Gate
    method: SteeringMethod
    weight: float
    accuracy: float

    def __post_init__(self) -> None:
        self.gate.eval()
        self.method.eval()


class Attachment:
    """A steerer attached to a pipeline, until `detach`.

    Args:
        pipe: The pipeline. Attach before `torch.compile`, `enable_cache` or CPU offload.
        sites: What to do where.
        strength: λ, one number or one per prompt of the batch.

    Raises:
        InputError: If λ is not finite, or this denoiser is steered already.
    """

    def __init__(
        self, pipe: "StableDiffusionPipeline", sites: Sequence[SteeredSite], strength: float | Sequence[float]
    ) -> None:
        self.pipe = pipe
        self.strength = checked_strength(strength)
        self._denoiser = denoiser_of(pipe)
        self._rows = torch.zeros(0)
        self._paths: list[str] = []
        if any(HOOK_NAME in _hooks_of(module) for module in self._denoiser.modules()):
            raise InputError(
                f"This {type(self._denoiser).__name__} is steered already (pipelines made with `from_pipe` share one). "
                "Detach the first steerer before attaching another."
            )
        self._root = self._denoiser.register_forward_pre_hook(self._begin_call, with_kwargs=True)
        try:
            for steered in sites:
                module = self._denoiser.get_submodule(steered.site.path)
                HookRegistry.check_if_exists_or_initialize(module).register_hook(_SiteHook(steered, self), HOOK_NAME)
                self._paths.append(steered.site.path)
        except BaseException:
            self.detach()
            raise

    @property
    def rows(self) -> Tensor:
        """λ of each row of the running denoiser call: 0 on unconditional rows."""
        return self._rows

    def _begin_call(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sample: Tensor = args[0] if args else kwargs["sample"]
        conditional = conditional_rows(self.pipe, len(sample))
        count = conditional.stop - conditional.start
        if count % len(self.strength):
            raise InputError(
                f"strength has {len(self.strength)} numbers, but the pipeline runs {count} pictures at once, which "
                "is no multiple of that. Give one number for all, or one for each prompt of the batch."
            )
        strength = torch.tensor(self.strength, dtype=torch.float32).repeat_interleave(count // len(self.strength))
        if self._rows.shape[0] != len(sample) or self._rows.device != sample.device:
            self._rows = torch.zeros(len(sample), device=sample.device)
        self._rows.zero_()
        self._rows[conditional] = strength.to(sample.device)

    def detach(self) -> None:
        """Take every hook out; the model is then bit for bit the one it was. Harmless when called again."""
        self._root.remove()
        for path in self._paths:
            module = self._denoiser.get_submodule(path)
            HookRegistry.check_if_exists_or_initialize(module).remove_hook(HOOK_NAME, recurse=False)
        self._paths.clear()


def _hooks_of(module: nn.Module) -> dict[str, ModelHook]:
    registry = getattr(module, "_diffusers_hook", None)
    return registry.hooks if registry is not None else {}


class _SiteHook(ModelHook):
    """Replaces a site's output by its steered version. Its tensors stay outside the model's tree."""

    def __init__(self, steered: SteeredSite, attachment: Attachment) -> None:
        super().__init__()
        self.steered, self.attachment = steered, attachment
        self._device: torch.device | None = None

    def post_forward(self, module: nn.Module, output: Tensor) -> Tensor:
        steered, layout = self.steered, self.steered.site.layout
        if self._device != output.device:
            steered.gate.to(output.device)
            steered.method.to(output.device)
            self._device = output.device
        activation = to_positions(output, layout)
        weight = self.attachment.rows[:, None] * (steered.gate(activation) * steered.weight)
        return from_positions(steer(activation, steered.method(activation), weight), output, layout)


def checked_strength(strength: float | Sequence[float]) -> list[float]:
    """Give λ as a list of finite numbers.

    Raises:
        InputError: If a value is not a finite number, or there is none.
    """
    values = list(strength) if isinstance(strength, Sequence | Tensor) and not isinstance(strength, str) else [strength]
    numbers = [value for value in values if isinstance(value, int | float | Tensor) and math.isfinite(value)]
    if not values or len(numbers) != len(values):
        raise InputError(
            f"strength must be a finite number, or one for each prompt of the batch, but is {strength!r}. 0 leaves "
            "pictures as they are, 1 applies the method's full change; see the method for larger values."
        )
    return [float(value) for value in numbers]
