"""AttentionMaps: how much each image position looks at each text token, head by head, and what each head gives."""

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from .attention_processor import Attended, Listening
from .call_reader import CallReader
from .denoiser_call import DenoiserCall
from .discovery import text_first_in
from .guidance import denoiser_of, is_compiled
from .image_tokens import TEXT_FIRST
from .sites import Site, find_sites

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline


class AttentionMaps:
    """Looks at a pipeline's attention while it draws, as a context manager; pictures stay bit for bit the same.

        with AttentionMaps(pipe, "mid_block.*.attn2") as seen:
            pipe("a photo of a banana")
        seen.maps()["mid_block.attentions.0.transformer_blocks.0.attn2"]  # (1, heads, height, width, tokens)

    Of a batch the rows that follow the prompt are kept, of several runs the last. Heads are seen before anything steers
    them at this module; whatever steers earlier modules shows. Memory grows with what is kept, in float32 on the
    processor (CPU): for maps, 4 bytes × batch × heads × image positions × tokens a site; so choose few sites in large
    models.

    Args:
        pipe: The pipeline; not compiled.
        sites: Attention modules that see the text: a preset, a path, a pattern (`"up_blocks.*.attn2"`), or several.
        steps: Which denoising steps to look at, from 0; `None` for all.
        each_step: Keep every step by itself and not their average.
        heads: Keep what each head gives, too.

    Raises:
        InputError: On entry, if a site is no attention to the text, its processor can't be seen through, or the model
            is compiled; in a call, if another processor stands there that can't be, or which positions are text can't
            be told.

    References:
        DAAM, arXiv 2210.04885, which reads cross-attention of Stable Diffusion so; joint attention and single heads are
        ours.
    """

    def __init__(
        self,
        pipe: "DiffusionPipeline",
        sites: str | Sequence[str] = "auto",
        *,
        steps: Collection[int] | None = None,
        each_step: bool = False,
        heads: bool = False,
    ) -> None:
        self.pipe, self.sites = pipe, find_sites(denoiser_of(pipe), sites)
        self.steps = None if steps is None else frozenset(steps)
        self.each_step, self._keep_heads = each_step, heads
        self._maps, self._heads = _Averages(), _Averages()
        self._listening: list[Listening] = []
        self._calls: CallReader | None = None
        self._run: Tensor | None = None
        for site in self.sites:
            if site.kind not in ("cross-attention", "joint-attention"):
                raise InputError(
                    f"{site.path} is a site of kind {site.kind!r}, which attends to no text. Choose attention to the "
                    'text: sites="cross-attention" or "joint-attention", or a pattern over these.'
                )

    def __enter__(self) -> Self:
        if is_compiled(self.pipe):
            raise InputError("Attention can't be looked at in a compiled model. Look before `torch.compile`.")
        denoiser = denoiser_of(self.pipe)
        self._calls = CallReader(self.pipe, self._begin_call)
        try:
            for site in self.sites:
                module = denoiser.get_submodule(site.path)
                self._listening.append(Listening(module, site.path, lambda given, site=site: self._look(site, given)))
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        while self._listening:
            self._listening.pop().remove()
        if self._calls is not None:
            self._calls.remove()

    def maps(self) -> dict[str, Float[Tensor, "*steps batch heads height width tokens"]]:
        """Give the share of its attention that each image position gives to each text token, by site as they run.

        The grid is the site's own. Where text and image attend together the shares of all tokens add to less than 1,
        since the rest goes to the image; else they add to 1. Tokens are those of the text as the denoiser gets it:
        padding, begin and end are among them.

        Returns:
            (batch, heads, height, width, tokens) in [0, 1], averaged over steps; with `each_step` the steps come first.

        Raises:
            InputError: If nothing was seen.
        """
        return self._given(self._maps)

    def heads(self) -> dict[str, Float[Tensor, "*steps batch heads positions head_dim"]]:
        """Give what each head gives at each image position, before the output projection, by site as they run.

        Returns:
            (batch, heads, positions, head_dim), averaged over steps; with `each_step` the steps come first. Positions
            run along the rows of the grid that `maps` has.

        Raises:
            InputError: If nothing was seen, or `heads` was not asked for.
        """
        if not self._keep_heads:
            raise InputError("What heads give was not kept. Make AttentionMaps with heads=True.")
        return self._given(self._heads)

    def _given(self, kept: "_Averages") -> dict[str, Tensor]:
        if missed := [site.path for site in self.sites if site.path not in kept.found]:
            raise InputError(
                f"Nothing was seen at {', '.join(missed[:3])}: of the sites, {len(missed)} did not run. Draw a picture "
                "inside the context, and give steps from 0 to num_inference_steps − 1."
            )
        return {path: kept.of(path, self.each_step) for path in kept.found}

    def _begin_call(self, call: DenoiserCall) -> None:
        for listening in self._listening:
            listening.check()
        if self._calls is not None and self._run is not self._calls.run:
            self._run = self._calls.run
            self._maps, self._heads = _Averages(), _Averages()

    def _look(self, site: Site, given: Attended) -> None:
        if self._calls is None:
            return
        call = self._calls.call
        rows = call.conditional
        if rows.stop <= rows.start or (self.steps is not None and call.step not in self.steps):
            return
        image, text = self._places(site, given, call)
        step = call.step if self.each_step else 0
        with torch.no_grad():
            maps = given.probabilities(rows, image, text)
            self._maps.add(site.path, step, maps.unflatten(2, call.grid_at(maps.shape[2])))
            if self._keep_heads:
                self._heads.add(site.path, step, given.heads[rows][:, :, image])

    def _places(self, site: Site, given: Attended, call: DenoiserCall) -> tuple[slice, slice]:
        """Find the image among the queries, and the text among the keys."""
        queries, keys, beside = given.query.shape[2], given.key.shape[2], given.beside
        denoiser = denoiser_of(self.pipe)
        found: tuple[int, int, slice] | None = None  # how many positions the image stream has, from which on; the text
        if beside == keys:  # cross-attention
            found = queries, 0, slice(0, keys)
        elif beside is not None and queries == keys:  # two streams
            first = text_first_in(type(denoiser.get_submodule(site.path).processor.wrapped))
            if first is not None:
                text = slice(0, beside) if first else slice(queries - beside, queries)
                found = queries - beside, beside if first else 0, text
        elif call.tokens is not None and queries == keys > call.tokens and type(denoiser).__name__ in TEXT_FIRST:
            found = queries, 0, slice(0, keys - call.tokens)  # one sequence
        where = call.image_at(found[0]) if found else None
        if found is None or not isinstance(where, slice):  # rows may differ in where their image begins
            raise InputError(
                f"Which of the {keys} positions that {site.path} attends to are text can't be told in a "
                f"{type(denoiser).__name__}. Choose other sites; `dsas inspect` lists them."
            )
        total, start, text = found
        first, last, _ = where.indices(total)
        return slice(start + first, start + last), text


class _Averages:
    """Averages by site and step, summed up as they come."""

    def __init__(self) -> None:
        self.found: dict[str, dict[int, tuple[int, Tensor]]] = {}

    def add(self, path: str, step: int, seen: Tensor) -> None:
        steps = self.found.setdefault(path, {})
        count, total = steps.get(step, (0, None))
        seen = seen.detach().float().cpu()
        steps[step] = count + 1, seen if total is None else total + seen

    def of(self, path: str, each_step: bool) -> Tensor:
        averages = [total / count for _, (count, total) in sorted(self.found[path].items())]
        return torch.stack(averages) if each_step else averages[0]
