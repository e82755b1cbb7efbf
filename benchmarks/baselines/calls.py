"""One call of a denoiser, read and written alike for U-Nets and Stable Diffusion 3's transformer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Call:
    """What a denoiser is asked.

    Args:
        sample: (rows, channels, height, width), noisy latents.
        timestep: () or (rows,).
        states: (rows, tokens, channels), the text's.
        pooled: (rows, channels), the text's, for Stable Diffusion 3.
    """

    sample: Tensor
    timestep: Tensor
    states: Tensor
    pooled: Tensor | None = None

    @classmethod
    def read(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> "Call":
        """Read the arguments of a call that a pipeline makes.

        Args:
            args: Sample and timestep of a U-Net; nothing of a transformer.
            kwargs: The rest.
        """
        if args:
            return cls(args[0], args[1], kwargs["encoder_hidden_states"])
        return cls(
            kwargs["hidden_states"], kwargs["timestep"], kwargs["encoder_hidden_states"], kwargs["pooled_projections"]
        )

    def written(self, kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Give the arguments of such a call again.

        Args:
            kwargs: Those of the call that was read, for whatever is not in here.
        """
        own = {**kwargs, "encoder_hidden_states": self.states}
        if self.pooled is None:
            return (self.sample, self.timestep), own
        return (), own | {
            "hidden_states": self.sample,
            "timestep": self.timestep,
            "pooled_projections": self.pooled,
        }

    def ask(self, denoiser: nn.Module) -> Tensor:
        """Ask a denoiser.

        Args:
            denoiser: The U-Net or transformer.

        Returns:
            (rows, channels, height, width), what it predicts.
        """
        args, kwargs = self.written({"return_dict": False})
        return denoiser(*args, **kwargs)[0]
