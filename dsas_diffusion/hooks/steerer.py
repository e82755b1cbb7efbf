"""Steerer: what to do at which site; attached to a pipeline, saved, loaded, shared."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .. import __version__
from ..gates.base import GATES
from . import storage
from .attached_concept import AttachedConcept, checked_strength
from .attachment import Attachment
from .calls import Tokens
from .card import Card
from .diagnosis import Diagnosis, diagnosis
from .fingerprint import check_fingerprint, fingerprint
from .guidance import Half
from .hosts import Host, host_of
from .hub import download, upload
from .model_card import model_card
from .steered_site import SteeredSite

if TYPE_CHECKING:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline
    from transformers import PreTrainedModel


class Steerer:
    """A fitted switch for one concept: (gate, map, weight) per site, and where they came from.

    Made by `fit` or `from_pretrained`.

    Args:
        sites: What to do where.
        manifest: What the fit knew: `model` (fingerprint), `concept`, `method` and `gate` (name and settings),
            `strength`, `generation` (sampling settings of the fit), `prompts` (name and digest), `fit` (measurements);
            `calibration` where `calibrate` has set the strength; `fitted_on` where it was taken to other weights.
        card: What is added to its model card; to be set at any time.
    """

    def __init__(self, sites: Sequence[SteeredSite], manifest: dict[str, Any], card: Card | None = None) -> None:
        self.sites = {steered.site.path: steered for steered in sites}
        self.manifest: dict[str, Any] = {"library_version": __version__, **manifest}
        self.strength: float = checked_strength(manifest["strength"])[0]
        self.card = card or Card()

    @property
    def concept(self) -> str:
        """The concept's label, such as `"banana"`."""
        return self.manifest["concept"]["label"]

    def attach(
        self,
        pipe: "DiffusionPipeline | PreTrainedModel",
        strength: float | Sequence[float] | None = None,
        *,
        start: float = 0.0,
        end: float = 1.0,
        half: Half = "conditional",
        tokens: Tokens = "both",
        record_gates: bool = False,
    ) -> Attachment:
        """Steer a pipeline or a language model until `detach` is called on the result.

        Args:
            pipe: A pipeline whose denoiser, or text encoders, the steerer was fitted on; or such a language model.
                Attach before `enable_cache`; before or after compiling and offloading.
            strength: λ, for all pictures or one per prompt of the batch; `None` for the steerer's own.
            start: Share of the denoising steps after which steering begins, in [0, 1).
            end: Share of the denoising steps after which it ends, in (0, 1].
            half: Which half of the rows to steer where there is guidance: `"conditional"`, `"unconditional"` or
                `"both"`.
            tokens: Which tokens of a language model's texts to steer: the prompt's, its last one alone, those that
                continue it, or prompt and continuation.
            record_gates: Keep what the gates say, for `gate_maps` and `concept_map` of the result, and for its
                `token_gates` where texts are steered.

        Returns:
            The attachment, to be detached.

        Raises:
            InputError: If λ is not finite, the window is empty, the model is another one, or it is steered already.
        """
        settings: dict[str, Any] = {"start": start, "end": end, "half": half, "tokens": tokens}
        concept = self.prepared(pipe, strength, record_gates=record_gates, **settings)
        return Attachment(self.host(pipe), [concept])

    def host(self, pipe: "DiffusionPipeline | PreTrainedModel") -> Host:
        """Find the model in a pipeline that the steerer is for: its denoiser, or its text encoders.

        Args:
            pipe: The pipeline.

        Raises:
            InputError: If it has no such model.
        """
        return host_of(pipe, self.sites)

    def prepared(
        self,
        pipe: "DiffusionPipeline | PreTrainedModel",
        strength: float | Sequence[float] | None = None,
        name: str | None = None,
        **settings: Any,
    ) -> AttachedConcept:
        """Check that the steerer is this pipeline's, and give what an `Attachment` takes, which may hold several.

        Args:
            pipe: As for `attach`.
            strength: As for `attach`.
            name: How the concept is called; `None` for its label.
            **settings: As for `attach`.

        Raises:
            InputError: As for `attach`.
        """
        check_fingerprint(self.host(pipe).model, self.manifest["model"], self.concept)
        return AttachedConcept(
            name or self.concept,
            list(self.sites.values()),
            self.strength if strength is None else strength,
            fitted=self.manifest["generation"],
            learned=self.manifest.get("text", {}).get("tokens"),
            **settings,
        )

    @contextmanager
    def attached(
        self,
        pipe: "DiffusionPipeline | PreTrainedModel",
        strength: float | Sequence[float] | None = None,
        **settings: Any,
    ) -> Generator[Attachment]:
        """Steer a pipeline for as long as the context lasts; whatever happens inside, it comes out as it went in.

        Args:
            pipe: As for `attach`.
            strength: As for `attach`.
            **settings: As for `attach`: `start`, `end`, `half`, `tokens`, `record_gates`.

        Yields:
            The attachment, which keeps what it recorded.

        Raises:
            InputError: As for `attach`.
        """
        attachment = self.attach(pipe, strength, **settings)
        try:
            yield attachment
        finally:
            attachment.detach()

    def ungated(self) -> Self:
        """Make vanilla steering of this steerer: the same maps at the same sites, open everywhere with full weight."""
        gate = GATES["always"]
        sites = [replace(steered, gate=gate(), weight=1.0, reads={}) for steered in self.sites.values()]
        return type(self)(sites, {**self.manifest, "strength": self.strength, "gate": storage.part_of(gate())})

    def diagnose(self) -> Diagnosis:
        """Give what the fit measured at each steered site, and by name what looks wrong about it."""
        about = self.manifest["fit"]
        return diagnosis(list(self.sites.values()), about["suspects"], about["control_prompts"])

    def taken_to(self, pipe: "DiffusionPipeline | PreTrainedModel") -> Self:
        """Make the same steerer for other weights of the same architecture, such as a fine-tune of the base.

        Nothing is learned anew, so nothing is known of how well it works there; its card says so.

        Args:
            pipe: A pipeline with the other weights.

        Raises:
            InputError: If the architecture is another one.
        """
        before, model = self.manifest["model"], self.host(pipe).model
        check_fingerprint(model, {**before, "weights": {}}, self.concept)
        here = {**fingerprint(model, []), "sites": before["sites"]}
        origin = {key: before.get(key, "") for key in ("class", "id", "revision")}
        return type(self)(
            list(self.sites.values()),
            {"fitted_on": origin, **self.manifest, "strength": self.strength, "model": here},
        )

    def model_card(self, source: str = "folder-or-hub-id") -> str:
        """Write the model card that `save_pretrained` puts beside the steerer as README.md.

        Args:
            source: Where its reader can load the steerer from.
        """
        return model_card({**self.manifest, "strength": self.strength}, self.diagnose(), self.card, source)

    def save_pretrained(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write `steerer.json`, `steerer.safetensors` and the model card: `README.md`, and `picture.png` if it has one.

        All of them are written or none. The card tells what the fit knew and what `card` adds; set that before.

        Args:
            folder: Where to.
            overwrite: Replace a steerer that is there already.

        Returns:
            The folder.

        Raises:
            InputError: If the place can't be written or is taken.
        """
        return self._write(folder, self.model_card(), overwrite)

    def _write(self, folder: str | Path, readme: str, overwrite: bool = False) -> Path:
        manifest = {**self.manifest, "strength": self.strength}
        return storage.write(folder, manifest, list(self.sites.values()), readme, self.card, overwrite)

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None, token: str | None = None) -> Self:
        """Load a steerer from a folder or from the Hugging Face hub.

        Args:
            source: A folder, or a hub id (`"user/banana-off"`).
            revision: Branch, tag or commit on the hub.
            token: Access token for private repositories.

        Returns:
            The steerer.

        Raises:
            InputError: If it is not there, damaged, or of a newer format.
        """
        folder = Path(source)
        if not folder.is_dir():
            folder = download(str(source), revision, token)
        manifest, sites, card = storage.read(folder)
        return cls(sites, {key: value for key, value in manifest.items() if key not in ("format", "sites")}, card)

    def push_to_hub(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload the steerer to the Hugging Face hub, with its model card.

        An earlier steerer there is replaced, card and picture included; other files stay.

        Args:
            repo_id: `"user/name"`; made if it does not exist.
            private: Make a new repository private.
            token: Access token; by default the stored one.

        Returns:
            The address of the commit.

        Raises:
            InputError: If the hub can't be reached or refuses.
        """
        return upload(repo_id, lambda repo, folder: self._write(folder, self.model_card(repo)), private, token)
