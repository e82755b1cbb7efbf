"""What a steerer does at one site: gate, map and weight."""

from dataclasses import dataclass, field

from ..gates.base import Gate
from ..methods.base import SteeringMethod
from .sites import Site


@dataclass
class SteeredSite:
    """What a steerer does at one site.

    Args:
        site: Where.
        gate: When and where to steer.
        method: How to steer.
        weight: The site weight s in [0, 1].
        measured: What the fit measured, each in [0, 1]: `accuracy` and `auroc` of the gate's classifier on prompts that
            it has not seen, `auroc_to_target` where target pictures were drawn, `gate_on_source` and `gate_on_control`
            (mean h over recorded positions).
        reads: Where the gate's factors are read, of those that are read elsewhere.
    """

    site: Site
    gate: Gate
    method: SteeringMethod
    weight: float
    measured: dict[str, float]
    reads: dict[str, Site] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.gate.eval()
        self.method.eval()
