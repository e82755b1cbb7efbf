"""What the gates said in one run: maps by site and step, and the one map that they give together."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from ..core.features import on_grid
from ..errors import InputError


class GateRecord:
    """Gate scores of every picture that is drawn while a steerer is attached.

    Args:
        weights: Site weight s by path.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self._first = next(iter(self.weights), "")
        self._runs: list[dict[str, list[Tensor]]] = []

    def begin_run(self) -> None:
        """Start the next pipeline call; later maps belong to it."""
        self._runs.append({path: [] for path in self.weights})

    def add(self, path: str, scores: Float[Tensor, "batch h w"]) -> None:
        """Keep one site's scores of one step.

        Args:
            path: The steered site.
            scores: h of the pictures' rows.
        """
        self._runs[-1][path].append(scores.detach().float().cpu())

    def maps(self) -> dict[str, Float[Tensor, "steps batch h w"]]:
        """Give h in [0, 1] by site, over all pictures in the order in which they were drawn.

        Raises:
            InputError: If nothing was drawn yet, or pipeline calls had different numbers of steps.
        """
        runs = [run for run in self._runs if any(run.values())]
        if not runs:
            raise InputError("No gate map was recorded: draw a picture while the steerer is attached.")
        kinds = {(len(maps), *(maps[0].shape[1:])) for run in runs for path, maps in run.items() if path == self._first}
        if len(kinds) > 1:
            raise InputError(
                "Pipeline calls with different numbers of steps or sizes of pictures were recorded together. Attach "
                "the steerer anew for each."
            )
        return {path: torch.cat([torch.stack(run[path]) for run in runs], dim=1) for path in self.weights}

    def concept_map(self, height: int, width: int) -> Float[Tensor, "batch h w"]:
        """Average h over sites, weighted by s, and over steps: where, all in all, the gates are open.

        Args:
            height: Height of the result.
            width: Width of the result.

        Returns:
            (batch, height, width) in [0, 1]: the mean over steps and the mean over sites weighted by s.

        Raises:
            InputError: As for :meth:`maps`.
        """
        total = sum(self.weights.values())
        averaged = (
            on_grid(maps.mean(0), (height, width)) * (self.weights[path] / total) for path, maps in self.maps().items()
        )
        return torch.stack(list(averaged)).sum(0)
