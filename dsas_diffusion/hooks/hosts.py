"""What a steerer is attached to: a model inside a pipeline or by itself, and what tells of its calls."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import torch
from diffusers.utils.torch_utils import is_compiled_module
from torch import nn
from transformers import PreTrainedModel

from ..errors import InputError
from .call_reader import CallReader
from .calls import Call, Tokens, checked_tokens
from .guidance import denoiser_of, is_compiled, sampling_of, steps_of
from .language import LanguageReader, device_of_inputs, stacks_of
from .reader import Reader
from .text_encoders import PREFIX, TextEncoders, TextReader

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline


#: How many tokens a language model reads where any will do.
TRIED: Final = 8


class Host(ABC):
    """A model that is steered, and what runs it.

    Args:
        owner: The pipeline that it is part of, or the language model itself.

    Attributes:
        model: The model; sites' paths are those of its modules.
    """

    #: Whether its activations are pictures, which have places; else they are texts.
    draws: ClassVar[bool]
    #: Why a site may not have run, for messages.
    missing: ClassVar[str]
    model: nn.Module
    #: Which tokens of a text are learned from.
    tokens: Tokens = "both"

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    @property
    def name(self) -> str:
        """The model's class."""
        return type(self.model).__name__

    @abstractmethod
    def reader(
        self, on_call: Callable[[Any], None] = lambda call: None, on_end: Callable[[], None] = lambda: None
    ) -> Reader:
        """Begin to read the model's calls.

        Args:
            on_call: Called with each, before the model runs.
            on_end: Called when every site should have run in the running run; it may be called again.
        """

    def called_parts(self) -> list[nn.Module]:
        """Give the parts of the model that are each called by themselves."""
        return [self.model]

    @abstractmethod
    def sampling(self) -> Mapping[str, float]:
        """Give the settings of the running or the last run that activations depend on, as far as they are known."""

    @abstractmethod
    def progress(self, call: Call) -> float:
        """Give the share of the run's steps that are done before a call, in [0, 1)."""

    def run_once(self, generation: Mapping[str, Any]) -> None:
        """Run as little as reaches every site.

        Args:
            generation: Further arguments of a pipeline's call.

        Raises:
            InputError: If a pipeline can't draw without more arguments.
        """
        draw: Any = self.owner
        try:
            draw(prompt="a photo", output_type="latent", **{"num_inference_steps": 1, **generation})
        except TypeError as error:
            raise InputError(
                f"{type(self.owner).__name__} can't draw from a prompt alone: {error}. Inspect it with --static, which "
                "lists sites without their shapes."
            ) from error

    @abstractmethod
    def is_compiled(self) -> bool:
        """Whether the model or a part of it is compiled."""

    @property
    def is_unguided(self) -> bool:
        """Whether the running or the last run is known to have no unconditional rows."""
        return getattr(self.owner, "do_classifier_free_guidance", None) is False


class DenoiserHost(Host):
    """A pipeline's denoiser."""

    draws = True
    missing = (
        "something skips them or has taken the hooks out, as layer skipping does and the end of a sequential offload "
        "that was there before the steerer. Detach the steerer and attach it to the pipeline as it is now, or fit one "
        "without these sites."
    )

    def __init__(self, owner: "DiffusionPipeline") -> None:
        super().__init__(owner)
        self.model = denoiser_of(owner)

    def reader(
        self, on_call: Callable[[Any], None] = lambda call: None, on_end: Callable[[], None] = lambda: None
    ) -> CallReader:
        return CallReader(self.owner, on_call, on_end)

    def sampling(self) -> Mapping[str, float]:
        return sampling_of(self.owner)

    def progress(self, call: Call) -> float:
        return call.step / steps_of(self.owner)

    def is_compiled(self) -> bool:
        return is_compiled(self.owner)


class TextHost(Host):
    """Models of text: they draw nothing, and have no steps."""

    draws = False

    def sampling(self) -> Mapping[str, float]:
        return {}

    def progress(self, call: Call) -> float:
        return 0.0

    def is_compiled(self) -> bool:
        return any(is_compiled_module(m) or m._compiled_call_impl is not None for m in self.model.modules())


class TextEncodersHost(TextHost):
    """A pipeline's text encoders, which run once before the denoiser."""

    missing = (
        "no prompt was encoded there in this run, as when prompt_embeds are handed in. Hand in the prompt itself; or "
        "encode it while the steerer is attached, and detach the steerer before drawing."
    )

    def __init__(self, owner: "DiffusionPipeline") -> None:
        super().__init__(owner)
        self.model = self._encoders = TextEncoders.of(owner)

    @property
    def name(self) -> str:
        return self._encoders.classes

    def called_parts(self) -> list[nn.Module]:
        return list(self._encoders.values())

    def reader(
        self, on_call: Callable[[Any], None] = lambda call: None, on_end: Callable[[], None] = lambda: None
    ) -> TextReader:
        return TextReader(self.owner, on_call, on_end)


class LanguageHost(TextHost):
    """A language model, or another model of Transformers.

    Args:
        owner: The model.
        tokenizer: Its tokenizer, for what runs texts through it.
        tokens: Which tokens are learned from.
        chat: Whether texts are put into the tokenizer's chat template, each as a user's message.
    """

    missing = (
        "something skips them, as layer skipping and early exits do. Detach the steerer, switch that off and attach it "
        "again, or fit one without these sites."
    )

    def __init__(
        self, owner: PreTrainedModel, tokenizer: Any = None, tokens: Tokens = "prompt", chat: bool = False
    ) -> None:
        super().__init__(owner)
        self.model, self.tokenizer, self.tokens, self.chat = owner, tokenizer, checked_tokens(tokens), chat

    def reader(
        self, on_call: Callable[[Any], None] = lambda call: None, on_end: Callable[[], None] = lambda: None
    ) -> LanguageReader:
        return LanguageReader(self.owner, on_call, on_end)

    def called_parts(self) -> list[nn.Module]:
        return stacks_of(self.owner)

    def run_once(self, generation: Mapping[str, Any]) -> None:
        ids = torch.arange(TRIED, device=device_of_inputs(self.owner))[None]
        run: Any = self.owner
        with torch.no_grad():
            run(input_ids=ids, **({"decoder_input_ids": ids} if self.owner.config.is_encoder_decoder else {}))

    @property
    def is_unguided(self) -> bool:
        return True


def host_of(pipe: Any, sites: str | Iterable[str]) -> Host:
    """Find the model that sites are in.

    Args:
        pipe: The pipeline, or a language model.
        sites: Presets, patterns or paths, as for `find_sites`: all in the denoiser, or all in text encoders.

    Raises:
        InputError: If the pipeline has no such model, or sites are in both.
    """
    if isinstance(pipe, PreTrainedModel):
        return LanguageHost(pipe)
    names = [sites] if isinstance(sites, str) else list(sites)
    read = [name for name in names if name.startswith((PREFIX, "text-encoder"))]
    if not read:
        return DenoiserHost(pipe)
    if len(read) < len(names):
        other = next(name for name in names if name not in read)
        raise InputError(
            f"{read[0]!r} is in a text encoder and {other!r} in the denoiser, but one steerer is for one of the two. "
            "Fit a steerer for each and attach both: `dsas_diffusion.load_steering` takes several."
        )
    return TextEncodersHost(pipe)
