"""How many pictures a pipeline's run draws, told by the latents that it prepares."""

from typing import Any, Protocol, Self

from diffusers.pipelines.pipeline_utils import DiffusionPipeline


class Runs(Protocol):
    """Who wants to know of a run's beginning."""

    def begin_run(self) -> None:
        """A run begins."""


class PictureCount:
    """Stands in for a pipeline's `prepare_latents` and notes how many pictures it prepares; one for all readers."""

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self._pipe, self._original = pipe, pipe.prepare_latents
        self._readers: list[Runs] = []
        self._own = "prepare_latents" in vars(pipe)
        self.pictures: int | None = None
        self.prepared = 0
        pipe.prepare_latents = self

    @classmethod
    def of(cls, pipe: DiffusionPipeline, reader: Runs) -> Self | None:
        """The pipeline's own, for one more reader; `None` where the pipeline prepares no latents."""
        if not callable(getattr(pipe, "prepare_latents", None)):
            return None
        found = pipe.prepare_latents
        count = found if isinstance(found, cls) else cls(pipe)
        count._readers.append(reader)
        return count

    def release(self, reader: Runs) -> None:
        """One reader less; the last one takes it out."""
        self._readers.remove(reader)
        if not self._readers and vars(self._pipe).get("prepare_latents") is self:
            del self._pipe.prepare_latents
            if self._own:
                self._pipe.prepare_latents = self._original

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        prepared = self._original(*args, **kwargs)
        first = prepared[0] if isinstance(prepared, list | tuple) else prepared
        self.pictures = len(first)
        self.prepared += 1
        for reader in self._readers:
            reader.begin_run()
        return prepared
