"""Linear-AcT: the affine map nearest to the optimal transport of each channel."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ..core.transport import affine_transport
from .affine import AffineMap


class LinearAcT(AffineMap):
    """T(t) = w t + β where lo ≤ t ≤ hi,  w = Σ ã b̃ / Σ ã²,  β = mean(b) − w mean(a),  a and b sorted by channel.

    λ = 1 is the full transport; more overshoots, and flips a channel where w < 1 − 1/λ.

    References:
        Controlling Language and Diffusion Models by Transporting Activations, arXiv 2410.23054, equation 5.
    """

    name: ClassVar[str] = "linear_act"
    unit_strength: ClassVar[str] = "the full transport; more overshoots and may flip a channel"
    cost: ClassVar[str] = "3 d"
    suits: ClassVar[str] = "Where λ should mean the same at every site: 1 is the whole way to the target."

    def learned(
        self, source: Float[Tensor, "n channels"], target: Float[Tensor, "m channels"]
    ) -> tuple[Float[Tensor, "channels"], Float[Tensor, "channels"]]:
        """Give the least-squares fit through the sorted coupling."""
        return affine_transport(source, target)
