"""The contract of a gate, and GATES: every gate by name."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Self

from jaxtyping import Float
from torch import Tensor, nn

from ..core.registry import Named, Registry


class Samples(NamedTuple):
    """What one site recorded of one set of prompts.

    Args:
        pooled: (n, channels), one vector per sample, averaged over its positions; all of it on the processor (CPU).
        prompts: (n,) integer index of the prompt that each sample came from.
        positions: (n · k, channels), k positions of each sample, drawn at random; the samples' order.
        inside: (n · k,) share of each of those positions that the concept covers, in [0, 1]; `None` where nobody knows.
    """

    pooled: Float[Tensor, "n channels"]
    prompts: Tensor
    positions: Float[Tensor, "m channels"]
    inside: Float[Tensor, "m"] | None = None


class Gate(Named, nn.Module, ABC):
    """A score h(t) in [0, 1] per position, learned from source against control activations.

    `__init__` stores settings, `reset` gives shapes, `fit` learns and returns self, `forward` is pure. Everything
    learned is a buffer, so that `state_dict` is the whole gate. Before a fit the score is 0: an unfitted gate steers
    nothing.
    """

    #: What h is decided on: a `"position"`, a `"sample"` (the picture in one step) or a `"prompt"` (once, in the first
    #: step of a run); `"none"` for a gate that decides nothing.
    unit: ClassVar[str] = "position"
    #: Operations for each position of d channels, for tables.
    cost: ClassVar[str]
    #: When to take it, for tables.
    suits: ClassVar[str]
    #: Whether the site weight s (accuracy or threshold) applies; vanilla steering has none.
    weighted: ClassVar[bool] = True
    #: What h is joined from; each factor may be read at a site of its own. Of two, the first is learned from what is
    #: pooled, the second from single positions.
    factors: ClassVar[tuple[str, ...]] = ("score",)
    #: Whether the gate learns *where* on single positions, so that `fit` needs `Samples.inside` of the source.
    sees_places: ClassVar[bool] = False

    @abstractmethod
    def reset(self, channels: int) -> Self:
        """Forget what was learned and take the shape of a site.

        Args:
            channels: Channels of the site; a gate of several factors takes a number for each.
        """

    @abstractmethod
    def fit(self, source: Samples, control: Samples) -> Self:
        """Learn to tell source from control.

        Args:
            source: Recorded on prompts that show the concept.
            control: Recorded on prompts that must come out untouched.

        Returns:
            The gate itself.
        """

    def fit_beside(self, sibling: Self, source: Samples, control: Samples) -> Self:
        """Learn as `fit` does, with the same outcome; overridden by gates that can spare some of the work.

        Args:
            sibling: A fitted gate of the same settings. Its samples had the same positions, and others pooled.
            source: As for `fit`.
            control: As for `fit`.

        Returns:
            The gate itself.
        """
        return self.fit(source, control)

    @abstractmethod
    def forward(self, activation: Float[Tensor, "batch positions channels"]) -> Float[Tensor, "batch positions"]:
        """Give h(t) for every position.

        Args:
            activation: t, before any steering at this site.

        Returns:
            Scores in [0, 1], float32.
        """

    def factor(
        self, name: str, activation: Float[Tensor, "batch positions channels"]
    ) -> Float[Tensor, "batch positions"]:
        """Give one factor of h.

        Args:
            name: One of `factors`.
            activation: t where the factor is read.
        """
        return self(activation)

    def joined(self, *factors: Float[Tensor, "batch positions"]) -> Float[Tensor, "batch positions"]:
        """Give h at the steered site.

        Args:
            factors: Every factor, brought to the steered site's grid, in the order of `factors`.
        """
        return factors[0]

    def on_samples(self, samples: Samples) -> Float[Tensor, "m"]:
        """Give h at the recorded positions: one that decides for a whole picture or prompt as often as it has some.

        Args:
            samples: What a site recorded.
        """
        if self.unit in ("sample", "prompt"):
            return self(samples.pooled[:, None])[:, 0].repeat_interleave(len(samples.positions) // len(samples.pooled))
        return self(samples.positions[:, None])[:, 0]


REGISTERED = Gate
#: Name → class, of every gate in this package.
GATES: Registry[Gate] = Registry("dsas_diffusion.gates", "gate")
