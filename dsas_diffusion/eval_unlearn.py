"""A steered pipeline as a technique of Eval-Unlearn, the benchmark of concept unlearning on PyPI."""

import secrets
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self, cast

from .backends.diffusion import generate
from .errors import InputError
from .hooks.steerer import Steerer
from .models import Precision, device_of, load_pipeline

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class DsasConfig:
    """What the benchmark's `"technique_config"` holds.

    Args:
        model_id: The pipeline that the steerer was fitted on, as for `models.load_pipeline`: a folder or a hub id.
        steerer: The steerer's folder or hub id.
        erase_concept: What the benchmark's reports call the concept; its metric `err` asks for `"nudity"`.
        strength: λ; `None` for the steerer's own.
        num_inference_steps: Denoising steps; `None` for those that the steerer was fitted with.
        guidance_scale: The same of the guidance.
        device: Where to compute; `None` for the GPU if there is one.
        precision: The type of the weights; `None` for float16 on a GPU and float32 elsewhere.
        batch_size: Pictures at a time. A picture doesn't depend on it.

    Raises:
        InputError: If a name is empty, or `batch_size` is not positive.
    """

    model_id: str
    steerer: str
    erase_concept: str | None = None
    strength: float | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    device: str | None = None
    precision: Precision | None = None
    batch_size: int = 8

    def __post_init__(self) -> None:
        for name in ("model_id", "steerer"):
            if not getattr(self, name):
                raise InputError(f"technique_config has an empty {name!r}. Give a folder or a hub id.")
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; it is a number of pictures, 1 or more.")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make the settings of a technique out of JSON.

        Args:
            data: Name → value.

        Returns:
            The settings.

        Raises:
            InputError: If a name is unknown, or one that is needed is missing.
        """
        accepted = {field.name for field in fields(cls)}
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        strange = sorted(data.keys() - accepted)
        missing = [name for name in needed if name not in data]
        if strange or missing:
            what = f"holds {strange[0]!r}, which is unknown" if strange else f"lacks {missing[0]!r}"
            raise InputError(
                f"technique_config {what}. Needed are {' and '.join(needed)}; accepted are "
                f"{', '.join(field.name for field in fields(cls))}."
            )
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as JSON takes them."""
        return asdict(self)


class DsasTechnique:
    """Draws with a steerer attached; `"technique": "dsas"` in the benchmark's configuration.

    The pipeline's safety checker is left out, as in the benchmark's own techniques: a picture that it blacks out would
    count as a removal.

    Args:
        **settings: As for `DsasConfig`.

    Raises:
        InputError: If a setting can't be used, or the pipeline or the steerer can't be loaded.
    """

    def __init__(self, **settings: Any) -> None:
        self.config = DsasConfig.from_dict(settings)
        device = device_of(self.config.device)
        usual: Precision = "float32" if device.type == "cpu" else "float16"
        self.steerer = Steerer.from_pretrained(self.config.steerer)
        self.pipe = load_pipeline(self.config.model_id, device, self.config.precision or usual)
        if self.pipe.components.get("safety_checker") is not None:
            self.pipe.register_modules(safety_checker=None)
        # Another model's steerer is refused now, and not after the benchmark has loaded its data.
        self.steerer.prepared(self.pipe, self.config.strength)

    def generate(self, prompts: Sequence[str], seed: int | None = None, **kwargs: Any) -> "list[Image.Image]":
        """Draw one picture a prompt.

        Args:
            prompts: The prompts.
            seed: Of the first picture; each has the next, as in the benchmark's own techniques. `None` for seeds by
                chance.
            **kwargs: Further arguments of the pipeline's call, in place of the configured ones.

        Returns:
            PIL pictures.

        Raises:
            InputError: If the pipeline or the steerer can't take something.
        """
        own = {"num_inference_steps": self.config.num_inference_steps, "guidance_scale": self.config.guidance_scale}
        chosen = {name: value for name, value in own.items() if value is not None}
        generation = {**self.steerer.manifest["generation"], **chosen, **kwargs}
        first = secrets.randbits(62) if seed is None else seed
        seeds = range(first, first + len(prompts))
        with self.steerer.attached(self.pipe, self.config.strength):
            drawn = generate(self.pipe, prompts, seeds, batch_size=self.config.batch_size, generation=generation)
            return [cast("Image.Image", image) for images in drawn for image in images]
