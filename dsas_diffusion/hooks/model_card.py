"""The model card of a steerer's folder: what it suppresses, how to use it, where it came from, and its limits."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from .. import __version__
from ..words import one_line
from .card import PICTURE, Card, Continuation
from .diagnosis import Diagnosis

#: How many sites the card lists.
_LISTED: Final = 40
_MARKS: Final = re.compile(r"([\\`*_\[\]<>#|~$&])")
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_SITE_COLUMNS: Final = ("weight", "accuracy", "auroc", "gate_on_source", "gate_on_control")


def model_card(manifest: Mapping[str, Any], diagnosis: Diagnosis, card: Card, source: str) -> str:
    """Write a steerer's README.md.

    Only what is known stands in it; what a manifest does not say is left out.

    Args:
        manifest: The steerer's, with its strength.
        diagnosis: What its fit measured.
        card: What its maker adds.
        source: Where the steerer can be loaded from: a hub id, or words for the place.

    Returns:
        Markdown with the hub's front matter.
    """
    parts = [
        _front_matter(manifest, card),
        f"# {_plain(manifest['concept']['label'])}: activation steering",
        _opening(manifest),
    ]
    if card.picture is not None:
        parts.append(f"![{_plain(card.caption) or 'Pictures drawn with this steerer'}]({PICTURE})")
        parts += [_plain(card.caption)] if card.caption else []
    if card.continuations:
        parts += ["## Continuations", *([_plain(card.caption)] if card.caption else []), _continued(card.continuations)]
    parts += ["## Use", _use_of_text(manifest, card, source) if _is_language(manifest) else _use(manifest, source)]
    if card.figures:
        parts += ["## Figures", *([_plain(card.about)] if card.about else []), _figures(card.figures)]
    parts += ["## Where it comes from", _origin(manifest)]
    if calibration := manifest.get("calibration"):
        parts += ["## Strength", _calibration(calibration)]
    parts += ["## Sites", _sites(diagnosis, _made(manifest))]
    failures = [f"- **{_plain(name)}**: {_plain(meaning)}" for name, meaning in diagnosis.failures.items()]
    parts += ["## Diagnosis", "\n".join(failures) or "`diagnose()` finds nothing wrong with the fit."]
    parts += ["## Limits", _limits(manifest, card)]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Mapping[str, Any], card: Card) -> str:
    from huggingface_hub import ModelCardData

    base = manifest["model"].get("id", "")
    data = ModelCardData(
        base_model=base if _HUB_ID.fullmatch(base) else None,
        library_name="dsas-diffusion",
        license=card.license,
        tags=["dsas-diffusion", "transformers" if _is_language(manifest) else "diffusers", "activation-steering"],
    )
    return f"---\n{data.to_yaml()}\n---"


def _opening(manifest: Mapping[str, Any]) -> str:
    concept, towards = manifest["concept"], manifest.get("towards")
    what = f"“{_plain(concept['label'])}”"
    if concept.get("text") and concept["text"] != concept["label"]:
        what += f" (“{_plain(concept['text'])}”)"
    does = f"moves {what} along the prompt set {_code(towards['name'])}" if towards else f"suppresses {what}"
    makes = "writes" if _is_language(manifest) else "draws"
    return (
        f"A steerer for [dsas-diffusion](https://arxiv.org/abs/2512.03661): it {does} in what a "
        f"{_code(manifest['model']['class'])} {makes}, by maps on its activations and gates that decide where "
        "they apply. The model's own weights stay as they are."
    )


def _is_language(manifest: Mapping[str, Any]) -> bool:
    """Whether the steerer is for a language model."""
    return "text" in manifest


def _use_of_text(manifest: Mapping[str, Any], card: Card, source: str) -> str:
    base, told = manifest["model"].get("id"), manifest["text"]
    auto = "AutoModelForSeq2SeqLM" if manifest["model"]["config"].get("is_encoder_decoder") else "AutoModelForCausalLM"
    name = _literal(base or "the-base-model")
    concept = manifest["concept"]
    prompt = _literal(card.continuations[0].prompt if card.continuations else concept.get("text") or concept["label"])
    lines = [
        "import dsas_diffusion as dsas",
        f"from transformers import {auto}, AutoTokenizer",
        "",
        f"model = {auto}.from_pretrained({name})  # the one it was fitted on",
        f"tokenizer = AutoTokenizer.from_pretrained({name})",
        f"steerer = dsas.Steerer.from_pretrained({_literal(source)})",
    ]
    if told.get("chat"):
        turn = f'[{{"role": "user", "content": {prompt}}}]'
        asked = "add_generation_prompt=True, return_dict=True"
        lines.append(f'inputs = tokenizer.apply_chat_template({turn}, {asked}, return_tensors="pt")')
    else:
        lines.append(f'inputs = tokenizer({prompt}, return_tensors="pt")')
    lines += [
        f"with steerer.attached(model, {manifest['strength']:g}):  # λ; 0 switches it off",
        f"    made = model.generate({', '.join(['**inputs', *(_settings(manifest) or ['max_new_tokens=50'])])})",
        "print(tokenizer.decode(made[0], skip_special_tokens=True))",
    ]
    return "\n".join(["```python", *lines, "```"])


def _made(manifest: Mapping[str, Any]) -> str:
    return "texts" if _is_language(manifest) else "pictures"


def _continued(continuations: Sequence[Continuation]) -> str:
    rows = [(_plain(c.prompt), _plain(c.unsteered), _plain(c.steered)) for c in continuations]
    return _table(("prompt", "unsteered", "steered"), rows)


def _settings(manifest: Mapping[str, Any]) -> list[str]:
    """The sampling settings of the fit as arguments of a call."""
    return [
        f"{name}={_literal(value) if isinstance(value, str) else value!r}"
        for name, value in manifest["generation"].items()
        if name.isidentifier() and isinstance(value, str | int | float | None)
    ]


def _use(manifest: Mapping[str, Any], source: str) -> str:
    concept, base = manifest["concept"], manifest["model"].get("id")
    asked = ", ".join([_literal(concept.get("text") or concept["label"]), *_settings(manifest)])
    lines = [
        "import dsas_diffusion as dsas",
        "from diffusers import DiffusionPipeline",
        "",
        f"pipe = DiffusionPipeline.from_pretrained({_literal(base or 'the-base-model')})  # the one it was fitted on",
        f"dsas.load_steering(pipe, {_literal(source)})",
        f"image = pipe({asked}).images[0]",
        "",
        f"dsas.set_steering(pipe, {{{_literal(concept['label'])}: {manifest['strength']:g}}})  # λ; 0 switches it off",
    ]
    return "\n".join(["```python", *lines, "```"])


def _figures(figures: Mapping[str, float | str]) -> str:
    return _table(("measured", "figure"), [(_plain(name), _number(value)) for name, value in figures.items()])


def _origin(manifest: Mapping[str, Any]) -> str:
    model, fit, text = manifest["model"], manifest["fit"], manifest.get("text", {})
    at = f" at revision {_code(model['revision'])}" if model.get("revision") else ""
    rows = [
        ("Base model", f"{_code(model['id'])}{at}" if model.get("id") else ""),
        ("Language model" if text else "Denoiser", _code(model["class"])),
        ("Digest of its settings", _code(model.get("config_digest", ""))),
        ("Steering method", _part(manifest["method"])),
        ("Gate", _part(manifest["gate"])),
        ("Strength λ", f"{manifest['strength']:g}"),
        ("Prompt set", _prompts(manifest["prompts"])),
        ("Maps lead towards", _prompts(manifest["towards"]) if manifest.get("towards") else ""),
        (f"Samples ({'a text' if text else 'a prompt at one denoising step'})", _listed(fit.get("samples", {}))),
        ("Tokens learned from", _plain(text.get("tokens", ""))),
        ("Chat template", ("yes" if text["chat"] else "no") if "chat" in text else ""),
        ("Sampling settings of the fit", _listed(manifest["generation"])),
        ("Settings of the fit", _listed({key: fit[key] for key in _FIT_SETTINGS if fit.get(key) is not None})),
        ("Time of the fit", f"{fit['seconds']:.0f} s"),
        ("Written by", f"dsas-diffusion {__version__}"),
    ]
    return _table(("", ""), [row for row in rows if row[1]])


_FIT_SETTINGS: Final = ("map_from", "weighting", "estimation", "tau", "top_k", "seed")


def _calibration(told: Mapping[str, Any]) -> str:
    (wanted, value), curve = next(iter(told["wanted"].items())), told["curve"]
    head = {"removal": "share removed", "budget": "change of control pictures, of 1"}.get(wanted, _plain(wanted))
    said = (
        f"`calibrate` chose λ = {told['strength']:g} for a {_plain(wanted)} of {value:g} on the tuning prompts of "
        f"{_prompts(told['prompts'])}. They chose it, so these are no independent figures."
    )
    return f"{said}\n\n{_table(('λ', head), [(f'{strength:g}', _number(found)) for strength, found in curve])}"


def _sites(diagnosis: Diagnosis, made: str) -> str:
    rows = [
        (_code(row["path"]), _plain(row["kind"]), *(f"{row[key]:.3f}" for key in _SITE_COLUMNS))
        for row in diagnosis.sites
    ]
    head = ("site", "kind", "weight", "accuracy", "AUROC", "gate on source", "gate on control")
    more = f"\n\n{len(rows) - _LISTED} more, less accurate ones are in `steerer.json`." if len(rows) > _LISTED else ""
    return (
        "Accuracy and AUROC are those of the gate's classifier on prompts of the fit that it had not seen; the gate's "
        f"value is its mean over source and over control {made}.\n\n{_table(head, rows[:_LISTED])}{more}"
    )


def _limits(manifest: Mapping[str, Any], card: Card) -> str:
    fit, tried = manifest["fit"], len(manifest["fit"].get("accuracy", {}))
    seen = _listed(manifest["generation"])
    limits = [
        f"Learned from the prompts of {_code(manifest['prompts']['name'])} alone"
        + (f", among them {fit['control_prompts']} control prompts" if fit.get("control_prompts") else "")
        + ". Other prompts, other languages and things that look alike were not seen.",
        (
            "The figures above hold for what they were measured on; removal on other prompts was not measured."
            if card.figures
            else f"Removal, and what happens to {_made(manifest)} without the concept, was not measured on other "
            "prompts."
        ),
        *([f"The fit saw one way of sampling: {seen}. With others the gates may answer otherwise."] if seen else []),
        *([f"{tried} sites were tried; those listed above are steered."] if tried else []),
        "It works on the model that it was fitted on; loading says what differs from another one.",
        (
            "It changes what is written and guarantees nothing: whoever runs the model can switch it off."
            if _is_language(manifest)
            else "It changes what is drawn and guarantees nothing: whoever runs the pipeline can switch it off."
        ),
    ]
    if before := manifest.get("fitted_on"):
        origin = _code(" at ".join(filter(None, (before.get("id"), before.get("revision")))) or before["class"])
        limits.insert(0, f"Fitted on other weights of the same architecture ({origin}), where its fit was measured.")
    return "\n".join(f"- {limit}" for limit in limits)


def _prompts(told: Mapping[str, Any]) -> str:
    return f"{_code(told['name'])}, SHA-256 {_code(told['digest'])}" if told.get("digest") else _code(told["name"])


def _part(told: Mapping[str, Any]) -> str:
    settings = _listed(told["settings"])
    return f"{_code(told['name'])} ({settings})" if settings else _code(told["name"])


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{_plain(str(key))} {_plain(str(value))}" for key, value in settings.items())


def _number(value: float | str) -> str:
    return _plain(value) if isinstance(value, str) else f"{value:.4g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _plain(text: str) -> str:
    """Text that a stranger wrote, on one line, with no mark that Markdown or HTML would act on."""
    return _MARKS.sub(r"\\\1", one_line(text))


def _code(text: str) -> str:
    """The same as code; a table takes a bar for its own even there."""
    bare = one_line(text).replace("`", "'").replace("|", "\\|")
    return f"`{bare}`" if bare else ""


def _literal(text: str) -> str:
    return json.dumps(one_line(text), ensure_ascii=False)
