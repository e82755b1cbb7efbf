"""Steering inside one running pipeline: the hooks, what they share, and how they come out again."""

from collections.abc import Sequence
from typing import Final

from jaxtyping import Float, Int
from torch import Tensor

from ..errors import InputError
from .attached_concept import AttachedConcept, checked_strength
from .calls import Call
from .gate_record import GateRecord
from .hosts import Host
from .registration import Registration, hooks_of, is_cached, reset_caches
from .site_hook import HeadsHook, InsideHook, OutputHook, Place
from .sites import Site

HOOK_NAME: Final = "dsas_steering"
#: Of the hook that steers inside a module, beside that at its output.
INSIDE_NAME: Final = "dsas_steering_inside"


def refuse_cached(host: Host) -> None:
    """Refuse a model on which a cache is enabled.

    Raises:
        InputError: If one is.
    """
    if is_cached(host.model):
        raise InputError(
            f"A cache is enabled on this {host.name}, and a steerer attached on top of it "
            "would steer once more what it keeps. Call `disable_cache()` on the denoiser, attach, and enable it "
            "again."
        )


class Attachment:
    """One or several concepts attached to a model of a pipeline, until `detach`.

    At a site of several concepts each gate and map sees the activation as it was before any of them; their changes add.

    Args:
        host: The model, with the pipeline that runs it. Attach before `enable_cache`; before or
            after compiling and offloading.
        concepts: What is done about each.
        max_change: The longest change at a position, as a share of the activation's own length there; `None` for no
            limit.

    Raises:
        InputError: If the model is steered already or has a cache enabled, two concepts have one name,
            `max_change` is not positive, a part of the schedule is asked for where there is none, or gates are to be
            recorded from a compiled model.
    """

    def __init__(self, host: Host, concepts: Sequence[AttachedConcept], max_change: float | None = None) -> None:
        self.host, self.concepts, self.max_change = host, {c.name: c for c in concepts}, max_change
        self._run: object = None
        self._checked: object = None
        self._halves_seen: set[str] = set()
        self._registered: list[Registration] = []
        if len(self.concepts) < len(concepts):
            raise InputError(f"Two of the concepts {', '.join(c.name for c in concepts)} have the same name.")
        checked_max_change(max_change)
        if any({HOOK_NAME, INSIDE_NAME} & hooks_of(module).keys() for module in host.model.modules()):
            raise InputError(
                f"This {host.name} is steered already (pipelines made with `from_pipe` share one). "
                "Detach the first steerer before attaching another; or load both with `dsas_diffusion.load_steering`."
            )
        refuse_cached(host)
        if any(c.gates is not None for c in concepts) and host.is_compiled():
            raise InputError("Gates can't be recorded from a compiled model. Leave record_gates out, or don't compile.")
        if not host.draws and any((c.start, c.end) != (0, 1) for c in concepts):
            raise InputError(
                "start and end choose denoising steps, but text encoders run once, before the first, and language "
                "models have none. Leave both out, or attach a steerer that was fitted on a denoiser."
            )
        self._calls = host.reader(self._begin_call, self._end_call)
        try:
            self._register()
        except BaseException:
            self.detach()
            raise

    def _register(self) -> None:
        places: dict[Site, Place] = {}
        for concept in self.concepts.values():
            for attached in concept.sites:
                here = attached.steered.site
                places.setdefault(here, Place(here)).steered.append(attached)
                for factor, site in attached.steered.reads.items():
                    places.setdefault(site, Place(site)).readers.append((attached, factor))
        hooked: dict[str, list[Place]] = {}
        for place in places.values():
            hooked.setdefault(place.site.place, []).append(place)
        for here in hooked.values():
            site = here[0].site
            module = self.host.model.get_submodule(site.module)
            kind = InsideHook if site.is_inside else HeadsHook if site.is_head else OutputHook
            name = INSIDE_NAME if site.is_inside else HOOK_NAME
            self._registered.append(Registration(module, kind(here, self, module), name))

    def _follow(self) -> None:
        """Go after output projections and processors whose place others have taken, as a LoRA and an IP-Adapter do.

        Raises:
            InputError: If such a processor can't be seen through.
        """
        for number, registered in enumerate(self._registered):
            hook = registered.hook
            if isinstance(hook, HeadsHook):
                module = self.host.model.get_submodule(hook.places[0].site.module)
                if module is not registered.module:
                    registered.remove()
                    self._registered[number] = Registration(module, hook, HOOK_NAME)
            elif isinstance(hook, InsideHook):
                hook.listening.check()

    @property
    def call(self) -> Call:
        """The model's call that is running."""
        return self._calls.call

    @property
    def strength(self) -> list[float]:
        """λ of the concept, where only one is attached.

        Raises:
            InputError: If several are.
        """
        return self._one(None).strength

    def set_strength(self, strength: float | Sequence[float], concept: str | None = None) -> None:
        """Change λ, from the next denoising step on.

        Args:
            strength: One number, or one per prompt of the batch.
            concept: Which, where several are attached.

        Raises:
            InputError: If λ is not finite, or there is no such concept.
        """
        self._one(concept).strength = checked_strength(strength)

    def gate_maps(self, concept: str | None = None) -> dict[str, Float[Tensor, "steps batch h w"]]:
        """Give what the gates said, by site: h in [0, 1] of each step and picture, on the site's own grid.

        Args:
            concept: Which, where several are attached.

        Raises:
            InputError: If nothing was recorded, or there is no such concept.
        """
        return self._recorded(concept).maps()

    def concept_map(self, height: int, width: int, concept: str | None = None) -> Float[Tensor, "batch h w"]:
        """Average h over steps and, weighted by s, over sites: where the gates are open, whatever λ and the window.

        Args:
            height: Height of the result.
            width: Width of the result.
            concept: Which, where several are attached.

        Raises:
            InputError: If nothing was recorded, or there is no such concept.
        """
        return self._recorded(concept).concept_map(height, width)

    def token_gates(self, concept: str | None = None) -> dict[str, list[Float[Tensor, "tokens"]]]:
        """Give what the gates said of texts, by site: h in [0, 1] of each text's tokens, as `GateRecord.tokens` does.

        Args:
            concept: Which, where several are attached.

        Raises:
            InputError: If no text was recorded, or there is no such concept.
        """
        return self._recorded(concept).tokens()

    def token_ids(self, concept: str | None = None) -> dict[str, list[Int[Tensor, "tokens"]]]:
        """Tell which tokens `token_gates` is about, in the same order.

        Args:
            concept: Which, where several are attached.

        Raises:
            InputError: If no text was recorded, embeddings were handed in, or there is no such concept.
        """
        return self._recorded(concept).token_ids()

    def _recorded(self, name: str | None) -> GateRecord:
        gates = self._one(name).gates
        if gates is None:
            raise InputError("Gates were not recorded. Attach with record_gates=True.")
        return gates

    def _one(self, name: str | None) -> AttachedConcept:
        if name is None and len(self.concepts) == 1:
            name = next(iter(self.concepts))
        if name not in self.concepts:
            raise InputError(f"concept={name!r} is none of those attached: {', '.join(self.concepts)}. Name one.")
        return self.concepts[name]

    def _begin_call(self, call: Call) -> None:
        self._follow()
        if self._run is not self._calls.run:
            self._run = self._calls.run
            self._halves_seen = set()
            for registered in self._registered:
                registered.hook.reached = False
            for concept in self.concepts.values():
                concept.begin_run(self.host.sampling())
        self._halves_seen |= {
            half for half in ("conditional", "unconditional") if len(range(call.rows)[call.rows_of(half)])
        }
        unguided = self.host.is_unguided or call.step > 0
        for concept in self.concepts.values():
            if concept.half == "unconditional" and unguided and concept.half not in self._halves_seen:
                raise InputError(
                    f"half='unconditional', but this run of the {self.host.name} has no unconditional rows, since "
                    "guidance is off. Draw with a guidance_scale above 1, or attach with half='conditional'."
                )
            concept.begin_call(call, self.host.progress(call))

    def _end_call(self) -> None:
        """Look, once in a run, whether every site was reached."""
        run = self._calls.run
        if run is not None and self._checked is run:
            return
        idle = [r.hook for r in self._registered if run is None or not r.hook.reached]
        missed = [place.site.path for hook in idle for place in hook.places]
        refilled = self._checked is not None and is_cached(self.host.model)  # a run that died leaves caches filled
        if missed and not refilled:
            raise InputError(
                f"{len(missed)} sites to be steered or read never ran, the first of them {missed[0]}: "
                f"{self.host.missing}"
            )
        self._checked = run

    def detach(self) -> None:
        """Take every hook out; the model is then bit for bit the one it was. Harmless when called again."""
        self._calls.remove()
        for registered in self._registered:  # at the modules themselves: another may stand in their place by now
            registered.remove()
        if self._registered and is_cached(self.host.model):
            reset_caches(self.host.model)
        self._registered.clear()


def checked_max_change(max_change: float | None) -> float | None:
    """Give the limit back, if it is one.

    Args:
        max_change: The longest change as a share of the activation's own length, or `None`.

    Raises:
        InputError: If it is not a number above 0.
    """
    if max_change is not None and not max_change > 0:
        raise InputError(f"max_change={max_change} must be above 0, such as 0.5; None sets no limit.")
    return max_change
