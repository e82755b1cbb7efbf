"""A pipeline's text encoders: what can be steered in them, and which of their calls follow the prompt."""

from collections import Counter
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Final, Self

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor, nn

from ..errors import InputError
from .call_reader import CallReader
from .denoiser_call import DenoiserCall
from .reader import Reader
from .tap import Listener
from .text_call import TextCall

#: How the components are called, and the paths of their sites begin.
PREFIX: Final = "text_encoder"


class TextEncoders(nn.ModuleDict):
    """The text encoders of one pipeline by component name; they stay the pipeline's own."""

    @property
    def classes(self) -> str:
        """Their classes, for messages and files."""
        return " + ".join(type(encoder).__name__ for encoder in self.values())

    @staticmethod
    def found_in(pipe: DiffusionPipeline) -> dict[str, nn.Module]:
        """List a pipeline's text encoders by component name; empty where it has none.

        Args:
            pipe: The pipeline.
        """
        parts = getattr(pipe, "components", {})
        return {name: part for name, part in parts.items() if name.startswith(PREFIX) and isinstance(part, nn.Module)}

    @classmethod
    def of(cls, pipe: DiffusionPipeline) -> Self:
        """Give them as one module.

        Args:
            pipe: The pipeline.

        Raises:
            InputError: If it has none.
        """
        found = cls.found_in(pipe)
        if not found:
            parts = ", ".join(getattr(pipe, "components", {}))
            raise InputError(
                f"This {type(pipe).__name__} has no text encoder to steer; its components are {parts}. "
                "Load one that has, or choose sites in the denoiser, such as sites='auto'."
            )
        return cls(found)


class TextReader(Reader):
    """Reads every call of a pipeline's text encoders before it runs.

    In a run each encoder reads the prompt first, and the negative prompt after it, if there is guidance. A run begins
    where the pipeline checks its inputs; its texts end with the denoiser's first call. Where `encode_prompt` takes both
    texts, the prompt comes first in each of its calls; where it takes one, that is the prompt if it is called by hand.

    Args:
        pipe: The pipeline.
        on_call: Called with each call, before the encoder runs.
        on_end: Called when a run's texts are encoded, before its first denoising step; it may look whether any were.

    Raises:
        InputError: If the pipeline has no text encoder, no denoiser or no scheduler.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        on_call: Callable[[TextCall], None] = lambda call: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_call, self._on_end = on_call, on_end
        self._call: TextCall | None = None
        self._calls: Counter[str] = Counter()
        self._run: object = None
        self._ended = True
        self._schedule: object = None
        self._steps = CallReader(pipe, self._denoise)
        self._handles = [
            encoder.register_forward_pre_hook(self._reading(name, encoder), with_kwargs=True)
            for name, encoder in TextEncoders.of(pipe).items()
        ]
        self._drawing = False
        self._listeners: list[Listener] = []
        if hasattr(pipe, "check_inputs"):
            self._listeners.append(Listener(pipe, "check_inputs", before=self._begin_run))
        self._together = hasattr(pipe, "encode_prompt") and _takes_both(pipe.encode_prompt)
        if self._together:
            self._listeners.append(Listener(pipe, "encode_prompt", before=self._calls.clear))

    @property
    def call(self) -> TextCall:
        """The call that is running.

        Raises:
            InputError: If none has run yet.
        """
        if self._call is None:
            raise InputError("No text encoder has run yet. Draw a picture from a prompt first.")
        return self._call

    @property
    def run(self) -> object:
        """Another object in each run; `None` where no text has been encoded for it."""
        return self._run

    def remove(self) -> None:
        """Stop reading. Harmless when called again."""
        self._steps.remove()
        while self._handles:
            self._handles.pop().remove()
        for listener in self._listeners:
            listener.remove()

    def _begin_run(self) -> None:
        self._calls.clear()
        self._drawing = True

    def _reading(self, name: str, encoder: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        names = list(signature(type(encoder).forward).parameters)[1:]

        def read(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            if self._ended:
                self._run, self._ended = object(), False
            self._calls[name] += 1
            by_hand = not self._drawing and not self._together
            self._call = text_call(given, follows=self._calls[name] == 1 or by_hand)
            self._on_call(self._call)

        return read

    def _denoise(self, call: DenoiserCall) -> None:
        if self._steps.run is self._schedule:
            return
        self._schedule = self._steps.run
        if self._ended:
            self._run = None
        self._ended, self._drawing = True, False
        self._calls.clear()
        self._on_end()


def _takes_both(encode_prompt: Callable[..., Any]) -> bool:
    return "negative_prompt" in signature(encode_prompt).parameters


def text_call(given: Mapping[str, Any], follows: bool) -> TextCall:
    """Describe a call of an encoder.

    Args:
        given: Its arguments by name.
        follows: Whether it reads the prompt, and not the negative one.
    """
    text = next(given[name] for name in ("input_ids", "inputs_embeds") if given.get(name) is not None)
    rows = slice(0, len(text))
    return TextCall(
        step=0,
        rows=len(text),
        samples=len(text),
        conditional=rows if follows else slice(0, 0),
        unconditional=slice(0, 0) if follows else rows,
        device=text.device,
        tokens=text.shape[1],
        mask=mask_of(given, text.shape[1]),
        ids=given.get("input_ids"),
    )


def mask_of(given: Mapping[str, Any], tokens: int) -> Tensor | None:
    """Tell which tokens of a call the model attends to.

    Args:
        given: The call's arguments by name.
        tokens: How many it has; a mask may also cover what a cache holds.

    Returns:
        (rows, tokens), true where it does; `None` where nothing is masked.
    """
    mask = given.get("attention_mask")
    return mask[:, -tokens:].bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None
