"""One concept inside one running pipeline: its λ, its window, what its gates have read, and what they said."""

import math
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..gates.base import Gate
from .attached_site import AttachedSite
from .calls import Call, Tokens, checked_tokens
from .gate_record import GateRecord
from .guidance import Half, checked_half
from .steered_site import SteeredSite


class AttachedConcept:
    """What is done about one concept, and the state of the running pipeline call.

    Args:
        name: The concept's label, for messages.
        sites: What to do where; copied, since gates and maps move to the denoiser's device.
        strength: λ, one number or one per prompt of the batch.
        start: Share of the denoising steps after which steering begins, in [0, 1).
        end: Share of the denoising steps after which it ends, in (0, 1].
        half: Which half of the rows to steer where there is guidance.
        tokens: Which tokens of a text to steer.
        record_gates: Keep what the gates say.
        fitted: Sampling settings of the fit; drawing with others warns once.
        learned: Which tokens of texts the gates have learned from.

    Raises:
        InputError: If λ is not finite, the window is empty, or `half` or `tokens` is unknown.
    """

    def __init__(
        self,
        name: str,
        sites: Sequence[SteeredSite],
        strength: float | Sequence[float],
        *,
        start: float = 0.0,
        end: float = 1.0,
        half: Half = "conditional",
        tokens: Tokens = "both",
        record_gates: bool = False,
        fitted: Mapping[str, Any] | None = None,
        learned: Tokens | None = None,
    ) -> None:
        self.name, self.strength, self.half = name, checked_strength(strength), checked_half(half)
        self.tokens = checked_tokens(tokens)
        self.start, self.end = _checked_window(start, end)
        self.sites = [AttachedSite(self, steered) for steered in _copied(sites)]
        self.gates = GateRecord({s.site.path: s.weight for s in sites}) if record_gates else None
        self._fitted, self._learned = dict(fitted or {}), learned
        #: λ in the running call, by row, or by row and position; 0 where nothing is steered.
        self.row_strengths = torch.zeros(0, 1)
        self._kinds: dict[Any, Tensor] = {}
        self._call: Call | None = None

    def begin_run(self, sampling: Mapping[str, Any]) -> None:
        """Forget what the run before has read, and warn once of other sampling settings than the fit's.

        Args:
            sampling: Settings of the new run.
        """
        self._kinds.clear()
        for site in self.sites:
            site.begin_run()
        if self.gates is not None:
            self.gates.begin_run()
        other = [key for key, value in sampling.items() if key in self._fitted and self._fitted[key] != value]
        if other:
            asked = ", ".join(f"{key}={self._fitted.pop(key)}" for key in other)
            warnings.warn(
                f"The steerer was fitted with {asked}, but this picture is drawn with "
                f"{', '.join(f'{key}={sampling[key]}' for key in other)}; gates may answer differently. Fit with the "
                "settings that you draw with.",
                stacklevel=2,
            )

    def begin_call(self, call: Call, progress: float) -> None:
        """Set each row's λ for the call that is about to run.

        Args:
            call: The call.
            progress: Share of the run's steps that are done, in [0, 1).

        Raises:
            InputError: If λ has a number of values that doesn't fit the batch.
        """
        self._call = call
        chosen = call.rows_of(self.half)
        first, last = (chosen.start, chosen.stop) if self.start <= progress < self.end else (0, 0)
        kind = (call.rows, call.device, first, last, tuple(self.strength))
        if kind not in self._kinds:  # once a run: what is copied to the device may wait for it
            strengths = torch.zeros(call.rows)
            if last > first:
                strengths[first:last] = self._strengths(call, last - first)
            self._kinds[kind] = strengths.to(call.device)[:, None]
        self.row_strengths = self._kinds[kind]
        own = call.included(self.tokens)
        if own is not None:
            self.row_strengths = self.row_strengths * own

    def _strengths(self, call: Call, rows: int) -> Float[Tensor, "rows"]:
        """λ of each row that is steered."""
        if call.samples % len(self.strength):
            raise InputError(
                f"strength has {len(self.strength)} numbers, but {call.samples} {call.made} are made at once, which is "
                "no multiple of that. Give one number for all, or one for each prompt of the batch."
            )
        each = call.samples // len(self.strength)
        strength = torch.tensor(self.strength, dtype=torch.float32).repeat_interleave(each)
        return strength.repeat(rows // call.samples)

    def record(self, path: str, scores: Float[Tensor, "rows positions"]) -> None:
        """Keep a site's scores: those of the rows that follow the prompt.

        Args:
            path: The steered site.
            scores: What its gate says.
        """
        if self.gates is not None and self._call is not None:
            rows = self._call.conditional
            if rows.stop > rows.start:
                self.gates.add(path, scores[rows], self._call.reduced_to(rows))

    def seen_by(self, gate: Gate, activation: Tensor) -> Tensor:
        """Give the positions that a gate reads: for one that averages over them, those alone that it was learned from.

        Args:
            gate: The gate.
            activation: t, all positions.
        """
        if self._call is None or gate.unit not in ("sample", "prompt"):
            return activation
        call = self._call.only("last") if self._learned == "last" else self._call
        return call.filled(activation)

    def decides_once(self, gate: Gate) -> bool:
        """Whether a gate's scores of a run's first call hold for the whole run.

        So they do for gates that decide by the prompt, and in texts, which come token by token, for those that decide
        by the whole.

        Args:
            gate: The gate.
        """
        return gate.unit == "prompt" or (gate.unit == "sample" and self.in_parts)

    @property
    def in_parts(self) -> bool:
        """Whether a run's later calls bring further positions of the same sample."""
        return self._call is not None and self._call.in_parts

    def grid(self, positions: int) -> tuple[int, int]:
        """Give height and width behind a site's positions, in the running call.

        Args:
            positions: How many.
        """
        return (1, positions) if self._call is None else self._call.grid_at(positions)


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

    Args:
        strength: One number, or one for each prompt of a batch.

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
