"""`dsas fit`, `generate` and `inspect` on a language model's folder, as people call them; loading by name."""

import json

import pytest
import torch
from tiny import tiny_pipeline
from tiny_texts import CONTROL, SOURCE, model, rudeness, tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

import dsas_diffusion as dsas
from dsas_diffusion.backends.language import generate
from dsas_diffusion.cli import main
from dsas_diffusion.continuing import as_jsonl, sampling, shown
from dsas_diffusion.models import is_language, load_language

TEMPLATE = "{% for m in messages %}you {{ m.content }} house{% endfor %}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A language model's folder, a pipeline's and a prompt set's, side by side."""
    folder = tmp_path_factory.mktemp("texts")
    model("llama").save_pretrained(folder / "model")
    words = tokenizer()
    words.chat_template = TEMPLATE
    words.save_pretrained(folder / "model")
    tiny_pipeline().save_pretrained(folder / "pipe")
    rudeness().to_folder(folder / "set")
    return folder


@pytest.fixture(scope="module")
def steerer(place):
    line = ["fit", "--model", str(place / "model"), "--prompts", str(place / "set"), "--out", str(place / "off")]
    assert main([*line, "--gate", "always", "--strength", "4", "--device", "cpu"]) == 0
    return place / "off"


def line(place, steerer, out, *more) -> list[str]:
    given = ["generate", "--model", str(place / "model"), "--steerer", str(steerer), "--out", str(out)]
    return [*given, "--device", "cpu", *more]


def rows_in(out) -> list[dict]:
    return [json.loads(row) for row in (out / "continuations.jsonl").read_text(encoding="utf-8").splitlines()]


def test_fitted_steerer_is_the_librarys(steerer, place):
    loaded = dsas.Steerer.from_pretrained(steerer)
    lm, words = load_language(str(place / "model"))
    expected = dsas.fit(lm, dsas.load_prompts(place / "set"), tokenizer=words, gate="always", progress=False)
    assert loaded.strength == 4
    assert loaded.sites.keys() == expected.sites.keys()
    for path, site in loaded.sites.items():
        assert torch.equal(site.method.shift, expected.sites[path].method.shift)
    assert loaded.manifest["text"] == expected.manifest["text"]


def test_the_card_speaks_of_texts_and_its_snippet_runs(steerer, place, monkeypatch, capsys):
    text = (steerer / "README.md").read_text(encoding="utf-8")
    assert "  - transformers\n" in text or "- transformers\n" in text
    for known in ("in what a `LlamaForCausalLM` writes", "| Language model | `LlamaForCausalLM` |", "## Continuations",
                  "Prompts that the fit has seen of set, continued", "Tokens learned from | prompt"):  # fmt: skip
        assert known in text
    for unknown in ("DiffusionPipeline", "picture", "Denoiser", "diffusers", "![", "None"):
        assert unknown not in text
    card = dsas.Steerer.from_pretrained(steerer).card
    assert [c.prompt for c in card.continuations] == [*SOURCE[:2], *CONTROL[:2]]
    assert any(c.steered != c.unsteered for c in card.continuations)
    for each in card.continuations:
        assert f"| {each.prompt} | {each.unsteered} | {each.steered} |" in text
    code = text.partition("```python\n")[2].partition("```")[0]
    code = code.replace("the-base-model", str(place / "model")).replace("folder-or-hub-id", str(steerer))
    exec(code, {})
    written = capsys.readouterr().out.strip()
    lm, words = load_language(str(place / "model"))
    with dsas.Steerer.from_pretrained(steerer).attached(lm):
        expected = next(generate(lm, words, SOURCE[:1], generation={"max_new_tokens": 50}))
    assert written == f"{SOURCE[0]} {expected[0]}".strip()


def test_continuations_and_their_twins(steerer, place, capsys):
    out = place / "written"
    asked = ["--prompt", json.dumps([*SOURCE[:2], CONTROL[0]]), "--max-new-tokens", "7", "--seed", "5", "--gates"]
    assert main(line(place, steerer, out, *asked)) == 0
    said = capsys.readouterr().out
    rows = rows_in(out)
    lm, words = load_language(str(place / "model"))
    plain = next(generate(lm, words, [*SOURCE[:2], CONTROL[0]], 5, generation={"max_new_tokens": 7}))
    with dsas.Steerer.from_pretrained(steerer).attached(lm):
        steered = next(generate(lm, words, [*SOURCE[:2], CONTROL[0]], 5, generation={"max_new_tokens": 7}))
    assert [row["prompt"] for row in rows] == [*SOURCE[:2], CONTROL[0]]
    assert [row["unsteered"] for row in rows] == plain
    assert [row["steered"] for row in rows] == steered != plain
    for row in rows:
        for gates in row["gates"].values():
            assert len(gates["tokens"]) == len(gates["h"])
            assert gates["tokens"][: len(words(row["prompt"])["input_ids"])] == words.tokenize(
                row["prompt"], add_special_tokens=True
            )
            assert set(gates["h"]) == {1.0}
    assert f"unsteered  {plain[0]}" in said
    assert f"steered    {steered[0]}" in said
    assert main(line(place, steerer, out, "--prompt", SOURCE[0], "--strength", "0", "--no-twins")) == 0
    assert [sorted(row) for row in rows_in(out)] == [["labels", "named", "prompt", "sample", "steered"]]


def test_a_calibrated_steerer_is_saved_with_its_curve(steerer, place, tmp_path, capsys):
    lines = [json.dumps({"prompt": text}) for text in ("you are very rude", "you are very silly")]
    tuned = place / "tuned"
    rudeness().to_folder(tuned)
    (tuned / "tuning_source.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tuned / "tuning_control.jsonl").write_text(json.dumps({"prompt": "a tree is green"}), encoding="utf-8")
    asked = ["--steerer", str(steerer), "--prompts", str(tuned), "--device", "cpu"]
    call = ["calibrate", "--model", str(place / "model"), *asked]
    assert main([*call, "--budget", "0.99", "--highest", "0.125", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    loaded = dsas.Steerer.from_pretrained(tmp_path / "out")
    assert f"Strength {loaded.strength:g}, saved" in said
    lm, words = load_language(str(place / "model"))
    settings = {"generation": {"max_new_tokens": 50, "min_new_tokens": 1}}
    plain = next(generate(lm, words, ["a tree is green"], **settings))
    for strength, changed in loaded.manifest["calibration"]["curve"]:
        with loaded.attached(lm, strength):
            assert changed == float(next(generate(lm, words, ["a tree is green"], **settings)) != plain)
    assert "Tuning prompts of tuned, continued" in loaded.card.caption
    assert f"λ = {loaded.strength:g})" in loaded.card.caption
    assert main([*call, "--removal", "0.9", "--judge", "orchard", "--out", str(tmp_path / "none")]) == 2
    assert "No unsteered continuation" in capsys.readouterr().err
    assert main(["calibrate", *asked, "--budget", "0.1", "--label", "toxic", "--out", str(tmp_path / "none")]) == 2
    assert "--label is for language models" in capsys.readouterr().err


def test_samples_from_a_file_of_prompts(steerer, place):
    (place / "asked.jsonl").write_text('{"prompt": "you are rude"}\n{"prompt": "the tree is", "labels": ["x"]}\n')
    asked = ["--prompts", str(place / "asked.jsonl"), "--samples", "3", "--temperature", "1.5", "--top-p", "0.9"]
    twice = []
    for out in (place / "one", place / "other"):
        assert main(line(place, steerer, out, *asked, "--strength", "0", "--max-new-tokens", "6")) == 0
        twice.append(rows_in(out))
    assert twice[0] == twice[1]
    assert [(row["prompt"], row["sample"]) for row in twice[0]] == [
        (text, k) for text in ("you are rude", "the tree is") for k in range(3)
    ]
    assert all(row["steered"] == row["unsteered"] for row in twice[0])  # the same seed, and λ is 0
    assert len({row["steered"] for row in twice[0]}) > 2
    assert twice[0][3]["labels"] == ["x"]


def test_chat_follows_the_fit(place, tmp_path):
    fit = ["fit", "--model", str(place / "model"), "--prompts", str(place / "set"), "--out", str(tmp_path / "off")]
    assert main([*fit, "--gate", "always", "--chat", "--no-picture", "--tokens", "both", "--max-new-tokens", "4"]) == 0
    loaded = dsas.Steerer.from_pretrained(tmp_path / "off")
    assert loaded.manifest["text"]["chat"] is True
    assert loaded.manifest["text"]["tokens"] == "both"
    assert loaded.manifest["generation"] == {"max_new_tokens": 4}
    assert "apply_chat_template" in (tmp_path / "off" / "README.md").read_text()
    lm, words = load_language(str(place / "model"))
    for option, chat in ((["--chat", "off"], False), ([], True), (["--chat", "on"], True)):
        out = tmp_path / f"out{len(option)}{chat}"
        assert main(line(place, tmp_path / "off", out, "--prompt", SOURCE[0], *option)) == 0
        expected = next(generate(lm, words, SOURCE[:1], generation={"max_new_tokens": 4}, chat=chat))
        assert [row["unsteered"] for row in rows_in(out)] == expected


def test_a_tokenizer_without_a_pad_token_fills_up_with_its_end(place, tmp_path, capsys):
    model("llama").save_pretrained(tmp_path / "model")
    words = tokenizer()
    words.pad_token = None
    words.save_pretrained(tmp_path / "model")
    fit = ["fit", "--model", str(tmp_path / "model"), "--prompts", str(place / "set"), "--out", str(tmp_path / "off")]
    assert main([*fit, "--gate", "always", "--no-picture"]) == 0
    assert "has no pad token: texts are filled up with its end token, </s>." in capsys.readouterr().out
    padded = dsas.Steerer.from_pretrained(tmp_path / "off")
    (tmp_path / "fixed.txt").write_text("\n".join(CONTROL[:3]), encoding="utf-8")
    measure = ["evaluate", "text", "--model", str(tmp_path / "model"), "--texts", str(tmp_path / "fixed.txt")]
    assert main([*measure, "--steerer", str(tmp_path / "off"), "--out", str(tmp_path / "measured")]) == 0
    assert "has no pad token: texts are filled up with its end token" in capsys.readouterr().out
    lm = model("llama")
    expected = dsas.fit(lm, rudeness(), tokenizer=tokenizer(), gate="always", progress=False)
    for path, site in padded.sites.items():  # which token fills up is all the same
        assert torch.allclose(site.method.shift, expected.sites[path].method.shift, atol=1e-5)


def test_inspect_lists_the_sites_of_a_language_model(steerer, place, capsys):
    assert main(["inspect", "--model", str(place / "model"), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "LlamaForCausalLM: 11 sites" in said
    assert "model.layers.1.post_attention_layernorm  text-norm             32  tokens  8" in said
    assert main(["inspect", "--model", str(place / "model"), "--sites", "attention-heads", "--static"]) == 0
    assert "LlamaForCausalLM: 8 sites" in capsys.readouterr().out
    assert main(["inspect", "--steerer", str(steerer)]) == 0
    assert "strength 4; fitted on set in 0 s (tokens prompt, chat false)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("fit", ["--num-inference-steps", "4"], "--num_inference_steps is for pipelines, but"),
        ("fit", ["--guidance-scale", "4"], "--guidance_scale is for pipelines"),
        ("fit", ["--gate", "patch"], "learns places of a picture"),
        ("fit", ["--map-from", "core"], "which have neither"),
        ("fit", ["--max-new-tokens", "4"], "tokens=prompt learns from the prompts alone"),
        ("fit", ["--tokens", "both", "--max-new-tokens", "0"], "max_new_tokens must be 1 or more"),
        ("fit", ["--tokens", "continuation", "--max-new-tokens", "1"], "No token was recorded"),
        ("fit", ["--tokens", "some"], "--tokens is 'some', but must be one of: prompt, last, continuation, both"),
        ("generate", ["--start", "0.5"], "--start is for pipelines"),
        ("generate", ["--end", "0.5"], "--end is for pipelines"),
        ("generate", ["--temperature", "-1"], "temperature must be a finite number from 0 on"),
        ("generate", ["--temperature", "0", "--samples", "2"], "each prompt has one continuation"),
        ("generate", ["--top-p", "2"], "top_p must be in"),
        ("generate", ["--samples", "0"], "samples must be 1 or more"),
        ("calibrate", ["--budget", "0.1"], "no tuning prompts"),
        ("calibrate", ["--removal", "0.9", "--judge", "none"], "What is removed needs a judge, but it is none"),
    ],
)
def test_options_that_cannot_be_are_explained(steerer, place, tmp_path, capsys, command, options, message):
    given = {
        "fit": ["--prompts", str(place / "set")],
        "generate": ["--steerer", str(steerer), "--prompt", "a"],
        "calibrate": ["--steerer", str(steerer), "--prompts", str(place / "set")],
    }[command]
    out = tmp_path / "out"
    assert main([command, "--model", str(place / "model"), *given, "--out", str(out), *options]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]  # behind Transformers' bars
    assert said.startswith("dsas: ")
    assert message in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("fit", ["--tokens", "both"]), ("fit", ["--chat"]), ("fit", ["--max-new-tokens", "3"]),
        ("generate", ["--tokens", "prompt"]), ("generate", ["--chat", "off"]), ("generate", ["--temperature", "1"]),
        ("generate", ["--top-p", "1"]), ("generate", ["--samples", "1"]), ("generate", ["--max-new-tokens", "3"]),
    ],
)  # fmt: skip
def test_options_of_texts_are_refused_for_pictures(place, steerer, tmp_path, capsys, command, options):
    more = ["--prompts", str(place / "set")] if command == "fit" else ["--steerer", str(steerer), "--prompt", "a"]
    assert main([command, "--model", str(place / "pipe"), *more, "--out", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr().err
    assert "is for language models, but" in said
    assert "is a pipeline" in said


def test_a_steerer_of_the_other_kind_is_refused(place, steerer, tmp_path, capsys):
    out = tmp_path / "out"
    fit = ["fit", "--model", str(place / "pipe"), "--prompts", str(place / "set"), "--out", str(tmp_path / "drawn")]
    steps = ["--num-inference-steps", "1", "--gate", "always", "--map-from", "pooled", "--no-picture"]
    assert main([*fit, *steps]) == 0
    capsys.readouterr()
    for name, wrong, told in (
        ("model", tmp_path / "drawn", "its class is LlamaForCausalLM, not UNet2DConditionModel"),
        ("pipe", steerer, "its class is UNet2DConditionModel, not LlamaForCausalLM"),
    ):
        asked = ["generate", "--model", str(place / name), "--steerer", str(wrong), "--prompt", "a", "--out", str(out)]
        assert main(asked) == 2
        assert told in capsys.readouterr().err.strip().splitlines()[-1]
        assert not out.exists()


def test_another_vocabulary_than_that_of_the_fit_is_refused(place, steerer, tmp_path, capsys):
    model("llama").save_pretrained(tmp_path / "model")
    words = tokenizer()
    state = json.loads(words.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary["kind"], vocabulary["rude"] = vocabulary["rude"], vocabulary["kind"]
    words.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(state))
    asked = ["generate", "--model", str(tmp_path / "model"), "--steerer", str(steerer), "--prompt", "you are rude"]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 2
    assert "fitted with another vocabulary" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_names_tell_language_models_from_pipelines(place, tmp_path):
    assert is_language("orchard/language")
    assert is_language(str(place / "model"))
    for name in ("orchard", "orchard/unet", "orchard/dit", str(place / "pipe"), str(tmp_path), "no/where", "a b c"):
        assert not is_language(name)


def test_repositories_that_were_fetched_before_are_told_apart_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    for name, file in (("some--words", "config.json"), ("some--pictures", "model_index.json")):
        snapshot = tmp_path / f"models--{name}" / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / file).write_text("{}")
        refs = tmp_path / f"models--{name}" / "refs"
        refs.mkdir()
        (refs / "main").write_text("0" * 40)
    assert is_language("some/words")
    assert not is_language("some/pictures")
    assert not is_language("some/other")


def test_loading_is_what_transformers_loads(place):
    lm, words = load_language(str(place / "model"), precision="float16")
    expected = AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.float16)
    assert type(lm) is type(expected)
    assert lm.dtype == torch.float16
    assert not lm.training
    for one, other in zip(lm.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)
    assert words.get_vocab() == AutoTokenizer.from_pretrained(place / "model").get_vocab()
    orchards, _ = load_language("orchard/language")
    assert type(orchards).__name__ == "LlamaForCausalLM"


def test_an_encoder_decoder_model_is_loaded(tmp_path):
    model("t5").save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert type(load_language(str(tmp_path))[0]).__name__ == "T5ForConditionalGeneration"


def broken(kind: str, folder) -> None:
    """A folder that looks like a language model's and is none."""
    lm = {"headless": lambda: model("llama").base_model, "encoder": lambda: model("bert")}.get(
        kind, lambda: model("llama")
    )()
    lm.save_pretrained(folder)
    if kind != "wordless":
        tokenizer().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    if kind == "unsigned":  # says what it is not
        model("llama").base_model.save_pretrained(folder)
        config["architectures"] = ["LlamaForCausalLM"]
    if kind == "strange":
        config["model_type"] = "never_heard_of"
    (folder / "config.json").write_text(json.dumps(config))
    if kind == "cut":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    if kind == "weightless":
        (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("headless", "holds a LlamaModel, which has no language model's head"),
        ("encoder", "holds a BertModel, which has no language model's head"),
        ("unsigned", "lack lm_head.weight, which a LlamaForCausalLM needs"),
        pytest.param("wordless", "has no tokenizer beside its model", marks=pytest.mark.later),
        ("strange", "No language model could be loaded"),
        ("weightless", "No language model could be loaded"),
        ("cut", "No language model could be loaded"),
    ],
)
def test_folders_that_hold_no_language_model_are_explained(tmp_path, capsys, kind, message):
    broken(kind, tmp_path / "model")
    assert main(["inspect", "--model", str(tmp_path / "model"), "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert message in said.strip().splitlines()[-1]


def test_the_view_is_for_people():
    row = {"prompt": "a  prompt\nof two lines", "labels": (), "named": True}
    rows = [
        {**row, "sample": 0, "unsteered": "word " * 12, "steered": ""},
        {**row, "sample": 1, "unsteered": "one\ttwo", "steered": "one\ttwo"},
    ]
    assert shown(rows, 40).splitlines() == [
        "a prompt of two lines",
        "  unsteered  word word word word word",
        "             word word word word word",
        "             word word",
        "  steered    (nothing)",
        "",
        "  unsteered  one two",
        "  steered    (the same)",
    ]
    assert [json.loads(line)["steered"] for line in as_jsonl(rows).splitlines()] == ["", "one\ttwo"]


def test_settings_are_those_of_transformers():
    assert sampling() == {}
    assert sampling(4, 0.0) == {"max_new_tokens": 4, "do_sample": False}
    assert sampling(None, 0.7, 0.9, 2) == {
        "do_sample": True, "temperature": 0.7, "top_p": 0.9, "num_return_sequences": 2,
    }  # fmt: skip


def test_continuations_are_kept_with_the_steerer_and_do_not_format_its_card(steerer, tmp_path):
    loaded = dsas.Steerer.from_pretrained(steerer)
    said = dsas.Continuation("a | b\n# c", "<img src=x>", "*d*")
    loaded.card = dsas.Card(continuations=(said,))
    loaded.save_pretrained(tmp_path / "off")
    assert r"| a \| b \# c | \<img src=x\> | \*d\* |" in (tmp_path / "off" / "README.md").read_text(encoding="utf-8")
    assert dsas.Steerer.from_pretrained(tmp_path / "off").card.continuations == (said,)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"card": {"continuations": "all"}}, "'continuations' of 'card' .* must be a list"),
        ({"card": {"continuations": [{"prompt": "a"}]}}, "a continuation of 'card' .* has no entry 'unsteered'"),
        ({"text": {"tokens": 3}}, "'text' in .* has a wrong entry 'tokens'"),
    ],
)
def test_damaged_entries_are_named(steerer, tmp_path, wrong, message):
    loaded = dsas.Steerer.from_pretrained(steerer)
    loaded.save_pretrained(tmp_path / "off")
    manifest = json.loads((tmp_path / "off" / "steerer.json").read_text())
    for part, entries in wrong.items():
        manifest[part] |= entries
    (tmp_path / "off" / "steerer.json").write_text(json.dumps(manifest))
    with pytest.raises(dsas.InputError, match=message):
        dsas.Steerer.from_pretrained(tmp_path / "off")


def test_a_card_takes_continuations_alone():
    for wrong in ("text", ["text"], [("a", "b", "c")]):
        with pytest.raises(dsas.InputError, match="continuations must be a list of `Continuation`"):
            dsas.Card(continuations=wrong)
    with pytest.raises(dsas.InputError, match="steered of a continuation must be text"):
        dsas.Continuation("a", "b", 3)
