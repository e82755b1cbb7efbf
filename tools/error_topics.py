"""What the errors of the package are about, why they come, and what to do; tools/error_page.py lists them by topic."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """A group of messages.

    Args:
        title: What they are about.
        why: Why they come, and what to do.
        places: Files of the package, as patterns, each alone or with `: ` and a part of the message's text.
    """

    title: str
    why: str
    places: tuple[str, ...]


TOPICS = (
    Topic(
        "Commands and their options",
        "A word after `dsas` is no command, an option has another name or type, or two options exclude one "
        "another. `dsas --help` lists the commands, `dsas COMMAND --help` the options.",
        (
            "cli.py",
            "commands/*.py",
            "demo/demo.py",
            "core/registry.py: There is no … …",
        ),
    ),
    Topic(
        "Prompt sets",
        "A set is refused where a figure built on it would mislead: a side is missing, a prompt stands twice, or "
        "a text is both in the fit and held out. [A concept of your own](own-concept.md) has the format; the "
        "message names file and line.",
        ("prompts.py", "prompt_set.py", "records.py", "evaluation/layers.py: The prompt set"),
    ),
    Topic(
        "Files and folders",
        "Files are written whole or not at all, and nothing is overwritten that the same command did not write. "
        "Mend the path, make room, or allow overwriting.",
        ("files.py", "claims.py"),
    ),
    Topic(
        "Loading models",
        "A name is neither Orchard's, nor a folder in Diffusers' or Transformers' format, nor a repository that "
        "can be reached; or the device is not there. Offline, only what was fetched before can be loaded.",
        ("models.py", "hooks/guidance.py: There is no denoiser", "hooks/call_reader.py: There is no scheduler"),
    ),
    Topic(
        "Settings of a fit",
        "A setting of `fit` or `Training` is out of range, or two of them exclude one another: the method needs "
        "targets that the set lacks, a gate that sees places has no twins to learn them from, or a setting for "
        "pictures came with a language model. Refused before anything is drawn.",
        (
            "fitting/settings.py",
            "fitting/fit.py: map_from",
            "fitting/fit.py: A steerer has one strength",
            "fitting/fit.py: regions says",
            "fitting/training.py",
            "fitting/training_loop.py: gamma",
            "fitting/training_loop.py: resume",
            "core/descent.py",
            "gates/calibrated.py",
            "gates/image_mean.py",
            "gates/patch.py: 0 < control_mean",
            "gates/mlp.py",
            "gates/cast.py",
            "core/probe.py",
            "fitting/texts.py",
            "methods/*.py: must be",
        ),
    ),
    Topic(
        "What a fit can't learn",
        "The pictures were drawn, and there is nothing in them to learn: source looks like control, source like "
        "target, no recorded place shows the concept, or a half-precision model overflows. Look at what the model "
        "draws for the source prompts first. Then more prompts, other sites, or another gate.",
        (
            "fitting/learning.py",
            "fitting/fit.py: NaN",
            "fitting/recording.py",
            "methods/*.py",
            "gates/*.py",
            "core/features.py",
        ),
    ),
    Topic(
        "Trainings",
        "A training goes on only from its own state, and stops with the last good maps when its loss runs away: "
        "give a lower learning rate or more prompts a batch.",
        ("fitting/training_state.py", "fitting/training_loop.py"),
    ),
    Topic(
        "Sites",
        "A pattern matches nothing, or what it matches can't be steered. `dsas inspect` lists a model's sites "
        "with their kinds.",
        ("hooks/sites.py", "hooks/text_encoders.py", "hooks/hosts.py"),
    ),
    Topic(
        "Attaching",
        "A model carries one steering at a time, and it must be there before a cache is enabled. Several concepts "
        "are loaded as adapters.",
        ("hooks/attachment.py", "hooks/attached_concept.py", "hooks/guidance.py", "hooks/calls.py"),
    ),
    Topic(
        "Compiled models",
        "A compiled model may pass hooks by, so that a fit or a record would be empty. Fit and record before "
        "`torch.compile`; steering itself works compiled.",
        (
            "fitting/fit.py: compiled",
            "hooks/recorder.py",
            "hooks/attachment.py: compiled",
            "hooks/attention_maps.py: compiled",
        ),
    ),
    Topic(
        "While a pipeline or a model runs",
        "Which rows follow the prompt, or which step it is, can't be told: a cache skips rows, the latents change "
        "their size, another pipeline runs the denoiser, or a module that is steered never ran or was replaced.",
        (
            "hooks/call_reader.py",
            "hooks/site_hook.py",
            "hooks/language.py",
            "hooks/attachment.py: never ran",
            "hooks/attachment.py: no unconditional rows",
            "backends/diffusion.py",
        ),
    ),
    Topic(
        "A steerer on another model",
        "Gates that were learned on one set of weights may stay shut on another, and nothing would show it. So a "
        "steerer is refused where class, settings, sites or weights differ. Load the base that it names, fit "
        "again, or take it there on purpose with `taken_to`.",
        ("hooks/fingerprint.py",),
    ),
    Topic(
        "A steerer's files",
        "`steerer.json` or `steerer.safetensors` is missing, cut off, edited, or of a newer format. Copy or save "
        "it again.",
        ("hooks/storage.py",),
    ),
    Topic(
        "The hub and model cards",
        "A steerer can't be fetched (`There is no folder …, and no steerer could be fetched under that id …`) or "
        "uploaded (`The steerer can't be uploaded to …`): the hub can't be reached, has no such repository or "
        "asks for a token. Or the card holds something that is neither a number nor text.",
        ("hooks/hub.py", "hooks/card.py"),
    ),
    Topic(
        "Adapters",
        "A name is unknown on this pipeline, or taken already.",
        ("adapters.py",),
    ),
    Topic(
        "Gates and attention that were recorded",
        "Nothing was recorded, or what was recorded is no map: attach with `record_gates=True`, and run something "
        "inside the context. Attention can be looked at where its processor attends by torch's own function.",
        (
            "hooks/gate_record.py",
            "hooks/attachment.py: Gates were not recorded",
            "hooks/attention_maps.py",
            "hooks/attention_processor.py",
            "hooks/seen_through.py",
            "evaluation/gate_pictures.py",
        ),
    ),
    Topic(
        "Texts and tokenizers",
        "A language model needs its own tokenizer, a pad token, and prompts that leave room in the context.",
        (
            "backends/language.py",
            "continuing.py",
            "generating.py",
            "evaluation/token_heat.py",
            "evaluation/heat_*.py",
            "evaluation/steered_twins.py",
        ),
    ),
    Topic(
        "Calibration",
        "Ask for one of `removal` and `budget`, on a set with tuning prompts whose pictures show the concept. If "
        "no λ removes enough, `steerer.diagnose()` says why.",
        ("calibration.py",),
    ),
    Topic(
        "Evaluating pictures",
        "Pictures, prompts and twins must match one to one, and judges be able to judge: Orchard's know nothing "
        "but Orchard.",
        (
            "judges.py",
            "commands/evaluate_images.py",
            "eval_unlearn.py",
            "evaluation/images.py",
            "evaluation/judge.py",
            "evaluation/pairs.py",
            "evaluation/row*.py",
            "evaluation/clip_judge.py",
            "evaluation/clip_models.py",
            "evaluation/presence.py",
        ),
    ),
    Topic(
        "Measures by themselves",
        "A tensor has another shape, type or range than the measure takes.",
        (
            "evaluation/base.py",
            "evaluation/calibration_error.py",
            "evaluation/clip_similarity.py",
            "evaluation/feature_sets.py",
            "evaluation/fid.py",
            "evaluation/localisation.py",
            "evaluation/perceptual.py",
            "evaluation/pixels.py",
            "evaluation/regions.py",
            "evaluation/ssim.py",
            "evaluation/touched.py",
            "evaluation/report.py",
        ),
    ),
    Topic(
        "Intervals and fronts",
        "Paired values are those of the same prompts in one order, with NaN where one has none; an interval needs "
        "two prompts or more.",
        ("evaluation/bootstrap.py", "evaluation/pareto.py"),
    ),
    Topic(
        "Evaluating texts",
        "There is nothing to measure, a text does not fit into the context, or a continuation came out empty and "
        "can't be judged.",
        (
            "texts/*.py",
            "evaluation/classifier.py",
            "evaluation/likelihood.py",
            "evaluation/multiple_choice.py",
            "evaluation/tasks.py",
            "evaluation/toxicity.py",
        ),
    ),
    Topic(
        "Sweeps",
        "A folder holds a sweep with other settings, a plan names what is not there, or the disk can't hold what "
        "is asked for.",
        ("sweeps/*.py",),
    ),
    Topic(
        "Recipes and studies",
        "A YAML file of `examples/paper` names something that is not there, or asks for more prompts than the "
        "data hold.",
        ("recipes/*.py", "settings_files.py"),
    ),
    Topic(
        "Entry points of other distributions",
        "A distribution brings a method or gate that can't be loaded, or whose name is taken.",
        ("core/registry.py",),
    ),
    Topic(
        "Orchard",
        "Orchard's names, splits and weights; its trainings say so themselves where a folder holds another one.",
        ("orchard/*.py",),
    ),
)
