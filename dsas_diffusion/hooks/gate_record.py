"""What the gates said: maps by site and step and the one that they give together; of texts, token by token."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..core.features import on_grid
from ..errors import InputError
from .calls import Call
from .text_call import TextCall


class GateRecord:
    """Gate scores of every picture or text that is made while a steerer is attached.

    Args:
        weights: Site weight s by path.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self._first = next(iter(self.weights), "")
        #: Run → path → step → of how many predictions, and their sum.
        self._runs: list[dict[str, dict[int, tuple[int, Tensor]]]] = []
        self._texts: dict[str, list[_Texts]] = {path: [] for path in self.weights}

    def begin_run(self) -> None:
        """Start the next run; what is added later belongs to it."""
        self._runs.append({path: {} for path in self.weights})

    def add(self, path: str, scores: Float[Tensor, "rows positions"], call: Call) -> None:
        """Keep one site's scores of one call.

        Args:
            path: The steered site.
            scores: h of the rows that follow the prompt.
            call: The call, reduced to these rows.

        Raises:
            InputError: If rows are beams, or tokens are tried and dropped again, so that no row is one text.
        """
        h = scores.detach().float().cpu()
        if not isinstance(call, TextCall):
            seen, steps = h.unflatten(1, call.grid_at(h.shape[1])), self._runs[-1][path]
            count, total = steps.get(call.step, (0, torch.zeros_like(seen)))
            steps[call.step] = count + 1, total + seen
            return
        if call.step == 0:
            steps = self._runs[-1][path]
            steps[len(steps)] = 1, h[:, None]
            self._texts[path].append(_Texts())
        self._texts[path][-1].add(h, call)

    def maps(self) -> dict[str, Float[Tensor, "steps batch h w"]]:
        """Give h in [0, 1] by site, over all pictures in the order in which they were drawn.

        Where a pipeline predicts several times in one step, as skip-layer guidance does, a step is their average.

        Texts that were read once, as by a text encoder, have one step and one row of tokens, padding included.

        Raises:
            InputError: If nothing was drawn yet, pipeline calls had different numbers of steps, or texts were
                continued.
        """
        runs = [run for run in self._runs if any(run.values())]
        if not runs:
            raise InputError("No gate map was recorded: draw a picture while the steerer is attached.")
        if any(len(texts.scores) > 1 for found in self._texts.values() for texts in found):
            raise InputError(
                "Texts that were continued token by token have no maps. Ask `token_gates()`, which gives one score a "
                "token."
            )
        found = [
            {path: torch.stack([total / count for count, total in run[path].values()]) for path in self.weights}
            for run in runs
        ]
        if len({(len(maps), *maps.shape[2:]) for maps in (run[self._first] for run in found)}) > 1:
            raise InputError(
                "Pipeline calls with different numbers of steps or sizes of pictures were recorded together. Attach "
                "the steerer anew for each."
            )
        return {path: torch.cat([run[path] for run in found], dim=1) for path in self.weights}

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

    def tokens(self) -> dict[str, list[Float[Tensor, "tokens"]]]:
        """Give h in [0, 1] of each token, by site: a text's prompt and then what continues it, padding left out.

        A token is scored when the model reads it. The last one that `generate` gives is read no more, and has no score.

        Returns:
            Site → one tensor a text, in the order in which they were run; several samples of a prompt follow one
            another.

        Raises:
            InputError: If no text was recorded.
        """
        self._check_texts()
        return {
            path: [text for texts in found for text in texts.kept(texts.scores)] for path, found in self._texts.items()
        }

    def token_ids(self) -> dict[str, list[Int[Tensor, "tokens"]]]:
        """Tell which tokens :meth:`tokens` is about, by site and in the same order.

        Raises:
            InputError: If no text was recorded, or embeddings were handed in.
        """
        self._check_texts()
        if any(len(texts.ids) < len(texts.scores) for found in self._texts.values() for texts in found):
            raise InputError(
                "The model was handed embeddings, so which tokens it read can't be told. Hand in input_ids."
            )
        return {
            path: [text for texts in found for text in texts.kept(texts.ids)] for path, found in self._texts.items()
        }

    def _check_texts(self) -> None:
        if not any(self._texts.values()):
            raise InputError("No text was recorded: run one through the model while the steerer is attached.")


@dataclass
class _Texts:
    """What one site's gate said of the texts of one run, call by call, each call's new tokens alone.

    Args:
        scores: (rows, new tokens) of each call.
        counts: The same shape: true where a token is no padding.
        ids: The same shape; missing where embeddings were handed in.
    """

    scores: list[Float[Tensor, "rows new"]] = field(default_factory=list)
    counts: list[Bool[Tensor, "rows new"]] = field(default_factory=list)
    ids: list[Int[Tensor, "rows new"]] = field(default_factory=list)

    def add(self, scores: Float[Tensor, "rows tokens"], call: TextCall) -> None:
        """Keep what a call scored for the first time; without a cache it reads the whole text once more."""
        known = sum(each.shape[1] for each in self.scores) if call.prompt else 0
        new = scores[:, known:]
        if call.searched or (self.scores and (new.shape[1] != 1 or len(new) != len(self.scores[0]))):
            raise InputError(
                "Gates can be recorded where each row is one text that grows token by token. In a beam search, in "
                "contrastive search and with an assistant model rows change places, or tokens are dropped again. "
                "Generate greedily or by sampling, or leave record_gates out."
            )
        self.scores.append(new)
        mask = torch.ones_like(scores, dtype=torch.bool) if call.mask is None else call.mask.cpu()
        self.counts.append(mask[:, known:])
        if call.ids is not None:
            self.ids.append(call.ids[:, known:].cpu())

    def kept(self, parts: list[Tensor]) -> list[Tensor]:
        """Join the calls and leave padding out: one tensor a text."""
        return [row[counts] for row, counts in zip(torch.cat(parts, 1), torch.cat(self.counts, 1), strict=True)]
