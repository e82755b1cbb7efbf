"""`dsas inspect`: the sites of a pipeline or a language model, or what a steerer holds."""

from typing import Any

from ..backends.diffusion import quiet
from ..evaluation.report import format_table
from ..hooks.hosts import Host, host_of
from ..hooks.shapes import Shape, shapes_of
from ..hooks.sites import find_sites
from ..hooks.steerer import Steerer
from ..hooks.text_encoders import TextEncoders
from ..models import Precision, is_language
from .options import load_model


def inspect(
    model: str = "orchard",
    steerer: str | None = None,
    sites: list[str] | str | None = None,
    precision: Precision = "float32",
    device: str | None = None,
    static: bool = False,
) -> None:
    """List the sites of a pipeline or a language model with their shapes, or say what a steerer holds.

    Args:
        model: The pipeline (orchard, a folder in Diffusers' format, a hub id) or language model (orchard/language, a
            folder in Transformers' format, a hub id).
        steerer: A steerer's folder or hub id, instead.
        sites: A preset or pattern, or several as a list; by default every site but attention-heads, in the denoiser and
            in the text encoders.
        precision: The type of the model's weights.
        device: Where it runs; by default the GPU if there is one.
        static: Run nothing: list the sites without the shapes that one denoising step, or a few tokens, show.

    Raises:
        InputError: If something handed in can't be used.
    """
    if steerer is not None:
        print(described(Steerer.from_pretrained(steerer)))
        return
    language = is_language(model)
    pipe, _ = load_model(model, language, device, precision)
    if language:
        _list_sites(host_of(pipe, sites or "all"), sites or "all", static)
        return
    for wanted in [sites] if sites else ["all"] + ["text_encoder*"] * bool(TextEncoders.found_in(pipe)):
        with quiet(pipe):
            _list_sites(host_of(pipe, wanted), wanted, static)


def _list_sites(host: Host, wanted: list[str] | str, static: bool) -> None:
    found = find_sites(host.model, wanted)
    columns = {"site": "", "kind": "", "channels": "d", "layout": ""}
    rows = [[site.path, site.kind, site.channels, site.layout] for site in found]
    print(f"{host.name}: {len(found)} sites\n")
    if not static:
        columns |= {"grid": "", "beside the image": "", "image stream": ""} if host.draws else {"tokens": ""}
        shapes = shapes_of(host, found, {})
        for row, site in zip(rows, found, strict=True):
            row += _shown(shapes.get(site.path), host.draws)
    print(format_table(rows, columns), end="\n\n")


def _shown(shape: Shape | None, image: bool) -> list[Any]:
    if shape is None:
        return ["never ran", *["–"] * (2 * image)]
    return ["×".join(map(str, shape.grid)), shape.beside, shape.returned] if image else [shape.positions]


def described(steerer: Steerer) -> str:
    """Say what a steerer holds: its settings, its sites with what was measured there, and what looks wrong.

    Args:
        steerer: The steerer.
    """
    about = steerer.manifest
    settings = ", ".join(f"{key} {value}" for key, value in about["generation"].items())
    if text := about.get("text"):
        settings = ", ".join([f"tokens {text['tokens']}", f"chat {text['chat']}".lower(), *filter(None, [settings])])
    head = (
        f"{steerer.concept}: method {about['method']['name']}, gate {about['gate']['name']}, strength "
        f"{steerer.strength:g}; fitted on {about['prompts']['name']} in {about['fit']['seconds']:.0f} s ({settings})"
    )
    rows = [
        [r["path"], r["accuracy"], r["auroc"], r["weight"], r["gate_on_source"], r["gate_on_control"]]
        for r in steerer.diagnose().sites
    ]
    columns = {"site": "", "accuracy": ".3f", "AUROC": ".3f", "weight": ".2f", "h on source": ".3f"}
    elsewhere = {
        f"The gates read {factor} at {path}."
        for row in steerer.diagnose().sites
        for factor, path in row["reads"].items()
        if any(other["reads"].get(factor) == path != other["path"] for other in steerer.diagnose().sites)
    }
    trained = [_trained(steerer)] if about["fit"].get("training") else []
    failures = [f"{name}: {meaning}" for name, meaning in steerer.diagnose().failures.items()]
    return "\n\n".join(
        [head, format_table(rows, {**columns, "h on control": ".3f"}), *trained, *sorted(elsewhere), *failures]
    )


def _trained(steerer: Steerer) -> str:
    told = steerer.manifest["fit"]["training"]
    first, last = told["losses"][0], told["losses"][-1]
    terms = ", ".join(f"{name} {first[name]:.3g} to {last[name]:.3g}" for name in first)
    channels = sum(steered.site.channels for steered in steerer.sites.values())
    return (
        f"Trained end to end: {told['iterations']} iterations in {told['seconds']:.0f} s, {terms}; the maps change "
        f"{sum(told['touched'].values())} of {channels} channels."
    )
