"""The gate that sees: whether the concept is in the picture, times where."""

from typing import ClassVar, Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import threshold

from ..core.probe import checked_components, folded_classifier, surest
from ..errors import InputError
from .base import Samples
from .calibrated import lowered
from .logistic import PICTURE_COMPONENTS, LogisticGate

#: A position is inside from this share of the concept on, and outside below the other.
INSIDE, OUTSIDE = 0.5, 0.1


class PatchGate(LogisticGate):
    """h(t) = g(σ(w · t̄ + c) · σ(u · t + b)),  t̄ the mean over the picture's positions,  g(h) = h where h ≥ h₀, else 0.

    The first factor is the paper's gate on the picture's mean: *whether*. The second is learned on single positions
    (positives inside the concept's region, negatives outside it and everywhere in control pictures): *where*. Its bias
    b is lowered until the mean of h over control positions is at most `control_mean`. Ours; regions come from twins,
    so that nobody has to draw masks (`core.regions`). The two may be read at two sites: the text tells cross-attention
    outputs *whether*, and resnets and blocks see better *where*.

    Args:
        components: Principal components of the first factor.
        where_components: Principal components of the second.
        control_mean: The largest mean of h over control positions, in (0, 1).
        dead_zone: h₀ in [0, 1): below it nothing is touched at all.
        core: Share in (0, 1] of the region's positions that the second factor learns from, those that a first pass is
            surest of. 1 covers the concept and its rim, as a removal needs; 0.5 keeps to the concept itself, as a blur
            needs.

    Raises:
        InputError: If `control_mean`, `dead_zone` or `core` is out of range.
    """

    name: ClassVar[str] = "patch"
    cost: ClassVar[str] = "2 d"
    suits: ClassVar[str] = "The default for pictures: what lies beside the concept stays as it is."
    factors: ClassVar[tuple[str, ...]] = ("whether", "where")
    sees_places: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    where_weight: Tensor
    where_bias: Tensor

    def __init__(
        self,
        components: int = PICTURE_COMPONENTS,
        where_components: int = 16,
        control_mean: float = 0.02,
        dead_zone: float = 0.1,
        core: float = 1.0,
    ) -> None:
        if not 0 < control_mean < 1 or not 0 <= dead_zone < 1 or not 0 < core <= 1:
            raise InputError(
                "The patch gate needs 0 < control_mean < 1, 0 <= dead_zone < 1 and 0 < core <= 1, but got "
                f"control_mean={control_mean}, dead_zone={dead_zone} and core={core}. The defaults are 0.02, 0.1 and 1."
            )
        self.where_components, self.control_mean = checked_components(where_components), control_mean
        self.dead_zone, self.core = dead_zone, core
        super().__init__(components)

    def reset(self, channels: int, where_channels: int | None = None) -> Self:
        """Take the shape of the site where *whether* is read, and of the one where *where* is; the score becomes 0."""
        self.register_buffer("where_weight", torch.zeros(channels if where_channels is None else where_channels))
        self.register_buffer("where_bias", torch.tensor(-torch.inf))
        return super().reset(channels)

    def fit(self, source: Samples, control: Samples) -> Self:
        """Learn *whether* from pooled activations and *where* from single positions.

        Args:
            source: Samples that show the concept, with `inside`.
            control: Samples that don't.

        Raises:
            InputError: If it is not known where the concept is, or no recorded position lies inside it.
        """
        self._places = self._learned_places(source, control)
        return self._joined_on(source, control)

    def fit_beside(self, sibling: Self, source: Samples, control: Samples) -> Self:
        """Learn *whether*, and take *where* from a gate that has learned it on the same positions.

        Args:
            sibling: That gate.
            source: As for `fit`.
            control: As for `fit`.
        """
        self._places = sibling._places
        return self._joined_on(source, control)

    def _learned_places(self, source: Samples, control: Samples) -> tuple[Tensor, Tensor]:
        """Give u and b, b as yet not lowered."""
        if source.inside is None:
            raise InputError(
                "The patch gate needs to know where the concept is. Give the prompt set target prompts, the same "
                "scenes without the concept, or pass regions= to `fit`."
            )
        other = torch.cat([source.positions[source.inside < OUTSIDE], control.positions])
        chosen = surest(source.positions, source.inside >= INSIDE, other, self.core, self.where_components)
        shown = source.positions[chosen]
        if len(shown) < 2 or len(other) < 2:
            raise InputError(
                f"Of the recorded source positions {len(shown)} lie inside the concept's region and {len(other)} "
                "positions outside it; the patch gate needs some of both. Use more prompts, or another site."
            )
        return folded_classifier(shown, other, self.where_components, balanced=True)

    def _joined_on(self, source: Samples, control: Samples) -> Self:
        """Learn *whether*, and lower b until control positions are left alone."""
        super().fit(source, control)
        weight, bias = self._places
        logits = (control.positions.float() @ weight).double()
        whether = self._whether_of(control).double()
        lower = lowered(logits, float(bias), self.control_mean, self.dead_zone, whether)
        self.register_buffer("where_weight", weight)
        self.register_buffer("where_bias", torch.tensor(lower, dtype=torch.float32))
        return self

    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give the product of both factors, 0 inside the dead zone."""
        return self.joined(*(self.factor(name, activation) for name in self.factors))

    def factor(
        self, name: str, activation: Float[Tensor, "batch positions channels"]
    ) -> Float[Tensor, "batch positions"]:
        """Give *whether*, the same at every position, or *where*."""
        if name == "where":
            return self._where(activation)
        return self.logits(activation.float().mean(dim=1)).sigmoid()[:, None].expand(activation.shape[:2])

    def joined(self, *factors: Float[Tensor, "batch positions"]) -> Float[Tensor, "batch positions"]:
        """Multiply *whether* by *where*; 0 inside the dead zone."""
        whether, where = factors
        return threshold(whether * where, self.dead_zone, 0.0)

    def on_samples(self, samples: Samples) -> Float[Tensor, "m"]:
        """Give h at the recorded positions, each picture's mean being known."""
        return threshold(self._whether_of(samples) * self._where(samples.positions), self.dead_zone, 0.0)

    def _where(self, activation: Float[Tensor, "... channels"]) -> Float[Tensor, "..."]:
        return (activation.float() @ self.where_weight + self.where_bias).sigmoid()

    def _whether_of(self, samples: Samples) -> Float[Tensor, "m"]:
        scores = self.logits(samples.pooled).sigmoid()
        return scores.repeat_interleave(len(samples.positions) // len(samples.pooled))
