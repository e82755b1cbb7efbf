"""LinEAS: affine maps trained together, end to end, by one-dimensional Wasserstein distances."""

from typing import ClassVar, Final, Literal

from jaxtyping import Float
from torch import Tensor

from ..core.descent import Descent, ProximalDescent
from ..core.trainable import Units
from ..core.transport import wasserstein
from ..errors import InputError
from .affine import AffineMap, Support

#: The descent of a site that is trained alone: it is cheap, and ends at the minimum.
ALONE: Final = Descent(iterations=600)


class LinEAS(AffineMap):
    """T(t) = w ⊙ t + b,  w and b minimising Σ over sites and channels of W_p^p(steered source, target) + sparsity.

    `dsas_diffusion.fit` trains the maps of all sites together through the model, where a site sees what those before it
    have changed (`training.train`); `fit` of the class itself trains one site alone, on the activations that it gets.
    Source is pooled in the steered model, target in the unsteered one, both in units of the site's spread. The penalty
    l₁ ‖x‖₁ + g √d ‖x‖₂ is on the change in these units (ours; the paper takes w − 1 and b as they are): channels whose
    x is 0 are left alone.

    Args:
        p: 1 or 2: the power of the distance.
        l1: l₁, 0 or more: a channel whose mean differs by less than l₁ / 2 spreads of the site is left alone (p = 2).
        group: g, 0 or more: likewise for a site's w or b as a whole.
        support: As for `AffineMap`; the paper has none.
        quantile: As for `AffineMap`.

    Raises:
        InputError: If a setting is out of range.

    References:
        LinEAS, arXiv 2503.10679, section 3 and algorithm 1. λ blends T(t) with t, as there.
    """

    name: ClassVar[str] = "lineas"
    needs_gradients: ClassVar[bool] = True
    unit_strength: ClassVar[str] = "the full trained change; more overshoots and may flip a channel"
    cost: ClassVar[str] = "2 d"
    suits: ClassVar[str] = "Where minutes of training are worth maps that know of one another; sparse if asked."

    def __init__(
        self,
        p: Literal[1, 2] = 2,
        l1: float = 0.0,
        group: float = 0.0,
        support: Support = "none",
        quantile: float = 0.005,
    ) -> None:
        if p not in (1, 2):
            raise InputError(f"p must be 1 or 2, but is {p!r}.")
        if not (l1 >= 0 and group >= 0):
            raise InputError(f"l1 and group must be 0 or more, but are {l1} and {group}.")
        super().__init__(support, quantile)
        self.p, self.l1, self.group = p, l1, group

    def learned(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> tuple[Float[Tensor, "channels"], Float[Tensor, "channels"]]:
        """Give w and b by a descent on this site alone."""
        units = Units.of(source)
        self.reset(source.shape[1])
        parameters = {name: value.requires_grad_() for name, value in self.parameters_in(units).items()}
        descent = ProximalDescent(ALONE, list(parameters.values()), list(parameters.values()), self.l1, self.group)
        for _ in range(ALONE.iterations):
            self.follow(parameters, units)
            (wasserstein(self.scale * source + self.shift, target, self.p) / units.spread**self.p).sum().backward()
            descent.step()
        self.follow({name: value.detach() for name, value in parameters.items()}, units)
        return self.scale, self.shift
