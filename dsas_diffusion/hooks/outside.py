"""A place in front of a denoiser, outside of whatever part of it is compiled."""

from collections.abc import Callable
from typing import Any

from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import nn

from .guidance import DENOISERS, denoiser_of


class Outside:
    """Runs a function before each call of a denoiser, outside of whatever part of it is compiled.

    What changes from call to call would break a graph or make a new one each time.

    Args:
        pipe: The pipeline.
        before: Called with the module, positional and keyword arguments.
    """

    def __init__(self, pipe: DiffusionPipeline, before: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]):
        self._pipe, self._before = pipe, before
        self._where: Any = None
        self._leave: Callable[[], None] = lambda: None
        self.stand()

    def stand(self) -> None:
        """Take the place where calls begin, if it is another than before."""
        denoiser = denoiser_of(self._pipe)
        called = next(m for name in DENOISERS if (m := getattr(self._pipe, name, None)) is not None)
        compiled = denoiser._compiled_call_impl if called is denoiser else None
        where = compiled if compiled is not None else called
        if where is self._where:
            return
        self.leave()
        if compiled is None:
            self._leave = called.register_forward_pre_hook(self._before, with_kwargs=True).remove
            self._where = called
        else:
            self._leave = self._around(denoiser, compiled)
            self._where = denoiser._compiled_call_impl

    def _around(self, denoiser: nn.Module, compiled: Callable[..., Any]) -> Callable[[], None]:
        """Stand in front of a model that was compiled in place, whose hooks are compiled with it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._before(denoiser, args, kwargs)
            return compiled(*args, **kwargs)

        def leave() -> None:
            if denoiser._compiled_call_impl is call:
                denoiser._compiled_call_impl = compiled

        denoiser._compiled_call_impl = call
        return leave

    def leave(self) -> None:
        """Stop. Harmless when called again."""
        self._leave()
        self._leave, self._where = (lambda: None), None
