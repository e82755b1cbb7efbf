"""What steering did to texts, token by token and layer by layer: gates and changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..backends.language import read
from ..errors import InputError
from ..hooks.calls import Tokens
from ..hooks.hosts import LanguageHost
from ..hooks.steerer import Steerer
from .steered_twins import changes, steered_twins

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class TokenHeat:
    """What steering did to one text.

    Args:
        tokens: The tokens as text, special ones included.
        gates: Steered site → h in [0, 1] of each token.
        weights: Steered site → s in [0, 1].
        changes: Site → |t' − t| / |t| of each token, 0 or more, all earlier sites being steered, too.
        strength: λ.
    """

    tokens: tuple[str, ...]
    gates: dict[str, Float[Tensor, "tokens"]]
    weights: dict[str, float]
    changes: dict[str, Float[Tensor, "tokens"]]
    strength: float

    def mean_gate(self) -> Float[Tensor, "tokens"]:
        """Average h over the steered sites, weighted by s: where, all in all, the gates are open."""
        total = sum(self.weights.values())
        return torch.stack([scores * (self.weights[path] / total) for path, scores in self.gates.items()]).sum(0)


def token_heat(
    model: "PreTrainedModel",
    tokenizer: Any,
    steerer: Steerer,
    texts: Sequence[str],
    *,
    strength: float | None = None,
    tokens: Tokens = "both",
    chat: bool = False,
    sites: str | Sequence[str] | None = None,
    batch_size: int = 16,
) -> list[TokenHeat]:
    """Read texts with steering and without, and tell for each token what gates said and how far it was moved.

    Nothing is continued: hand in a continuation as part of the text.

    Args:
        model: The model that the steerer was fitted on, not steered; it comes out as it went in.
        tokenizer: Its tokenizer.
        steerer: The steerer.
        texts: The texts.
        strength: λ; `None` for the steerer's own.
        tokens: Which tokens to steer, as for `attach`; all of a text that is only read are its prompt's.
        chat: Put each text into the tokenizer's chat template.
        sites: Where to measure changes, as for `fit`; `None` for the steered sites, and for the blocks where attention
            heads are steered.
        batch_size: Texts at a time.

    Returns:
        One a text.

    Raises:
        InputError: If the steerer is not a language model's, there is no text, or as for `steered_twins`.
    """
    if not isinstance(steerer.host(model), LanguageHost):
        raise InputError(
            "A heat map of tokens needs a language model, or another model of Transformers. For pictures attach with "
            "record_gates=True and ask gate_maps()."
        )
    if sites is None:
        steered = [s.site for s in steerer.sites.values()]
        sites = "blocks" if any(site.is_head for site in steered) else [site.path for site in steered]
    settings: dict[str, Any] = {"strength": strength, "tokens": tokens}
    twins = steered_twins(
        model, steerer, texts, tokenizer=tokenizer, chat=chat, sites=sites, batch_size=batch_size, **settings
    )
    moved = [{path: changes(pair) for path, pair in each.items()} for each in twins]
    with steerer.attached(model, record_gates=True, **settings) as run:
        for _ in read(model, tokenizer, texts, batch_size=batch_size, chat=chat):
            pass
    scores, ids = run.token_gates(), next(iter(run.token_ids().values()))
    return [
        TokenHeat(
            tuple(tokenizer.decode([token]) for token in ids[number].tolist()),
            {path: each[number] for path, each in scores.items()},
            {path: steered.weight for path, steered in steerer.sites.items()},
            each_moved,
            run.strength[0],
        )
        for number, each_moved in enumerate(moved)
    ]
