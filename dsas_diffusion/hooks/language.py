"""Reads the calls of a language model: its prompt, its continuation token by token, and where padding stands."""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from ..errors import InputError
from .reader import Reader
from .tap import Listener
from .text_call import TextCall
from .text_encoders import mask_of


def stacks_of(model: PreTrainedModel) -> list[nn.Module]:
    """Give the parts of a model that are each called with tokens: its one stack, or its encoder and its decoder.

    Args:
        model: A model of Transformers, with a head or without.
    """
    if model.config.is_encoder_decoder:
        return [model.get_encoder(), model.get_decoder()]
    return [model.base_model]


def device_of_inputs(model: PreTrainedModel) -> torch.device:
    """Give the device that a model takes its tokens on; of one that is offloaded whole, the processor.

    Args:
        model: The model, in one place or spread over a device map.
    """
    return torch.device("cpu") if model.device.type == "meta" else model.device


class LanguageReader(Reader):
    """Reads every call of a language model before it runs.

    In `generate` the first call of each stack is the prompt's, and all later ones are the continuation's, with a cache
    of what came before or without; what fills up a text behind its end, while others of its batch go on, is padding.
    Any other call is a run of its own, and all of it is a prompt.

    Args:
        model: The model.
        on_call: Called with each call, before the model runs.
        on_end: Called after the model's first call in each run.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        on_call: Callable[[TextCall], None] = lambda call: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_call, self._on_end = on_call, on_end
        self._call: TextCall | None = None
        self._run: object = None
        self._generating = False
        self._model = model
        self._stops: list[int] = []
        self._beams = False
        self._stacks = stacks_of(model)
        #: Of each stack, how many tokens its prompt has and how many calls it had in this run.
        self._prompts: dict[int, int] = {}
        self._steps: dict[int, int] = {}
        #: The tokens that end a text, and (rows, 1) how many of them each row has had.
        self._ends: dict[int, Tensor] = {}
        self._ended: dict[int, Tensor] = {}
        self._handles = [
            handle
            for number, stack in enumerate(self._stacks)
            for handle in (
                stack.register_forward_pre_hook(self._reading(number, stack), with_kwargs=True),
                stack.register_forward_hook(self._end),
            )
        ]
        self._generate: Listener | None = None
        if hasattr(model, "generate"):
            self._generate = Listener(
                model, "generate", before=self._begin_text, asked=self._asked, ended=self._end_text
            )

    @property
    def call(self) -> TextCall:
        """The call that is running.

        Raises:
            InputError: If none has run yet.
        """
        if self._call is None:
            raise InputError("The language model has not run yet. Call it, or its `generate`, first.")
        return self._call

    @property
    def run(self) -> object:
        """Another object in each run; `None` before the first."""
        return self._run

    def remove(self) -> None:
        """Stop reading. Harmless when called again."""
        while self._handles:
            self._handles.pop().remove()
        if self._generate is not None:
            self._generate.remove()

    def _begin_text(self) -> None:
        self._begin_run()
        self._generating = True

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = kwargs.get("generation_config") or next(
            (arg for arg in args if isinstance(arg, GenerationConfig)), None
        )

        def setting(name: str) -> Any:
            found = (kwargs.get(name), getattr(given, name, None), getattr(self._model.generation_config, name, None))
            return next((value for value in found if value is not None), None)

        ends = setting("eos_token_id")
        self._stops = [] if ends is None else torch.as_tensor(ends).flatten().tolist()
        self._beams = (setting("num_beams") or 1) > 1

    def _end_text(self) -> None:
        self._generating, self._stops, self._beams = False, [], False

    def _begin_run(self) -> None:
        self._run = object()
        self._prompts.clear()
        self._steps.clear()
        self._ends.clear()
        self._ended.clear()

    def _reading(self, number: int, stack: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        names = list(signature(type(stack).forward).parameters)[1:]

        def read(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            if not self._generating and (number == 0 or len(self._stacks) == 1 or self._run is None):
                self._begin_run()
            self._call = self._described(number, given)
            self._on_call(self._call)

        return read

    def _described(self, number: int, given: Mapping[str, Any]) -> TextCall:
        text = next(given[name] for name in ("input_ids", "inputs_embeds") if given.get(name) is not None)
        rows, tokens = text.shape[:2]
        step = self._steps[number] = self._steps.get(number, -1) + 1
        prompt = self._prompts.setdefault(number, tokens)
        if step and tokens <= prompt:  # a cache has the rest
            prompt = 0
        mask, ids = mask_of(given, tokens), given.get("input_ids")
        if step and ids is not None and self._stops and not self._beams:  # beams that are kept have not ended
            filling = self._filling(number, ids, prompt)
            mask = ~filling if mask is None else mask & ~filling
        every = slice(0, rows)
        return TextCall(
            step=step,
            rows=rows,
            samples=rows,
            conditional=every,
            unconditional=slice(0, 0),
            device=text.device,
            tokens=tokens,
            mask=mask,
            prompt=min(prompt, tokens),
            ids=ids,
            searched=self._beams,
        )

    def _filling(self, number: int, ids: Tensor, prompt: int) -> Tensor:
        """Tell which tokens of a call stand behind the end of their text, (rows, tokens)."""
        if number not in self._ends:
            self._ends[number] = torch.tensor(self._stops, device=ids.device)
        ends = torch.isin(ids, self._ends[number])
        ends[:, :prompt] = False
        had = ends.cumsum(1)
        if not prompt and number in self._ended:
            had += self._ended[number]
        self._ended[number] = had[:, -1:]
        return had > ends

    def _end(self, stack: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not torch.compiler.is_compiling() and len(self._steps) == len(self._stacks):
            self._on_end()
