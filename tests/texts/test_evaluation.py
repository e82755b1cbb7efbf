"""Language models measured: figures counted by hand, taken up where it stopped, everything refused beforehand."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from tiny_texts import CONTROL, SOURCE, model, rudeness, tokenizer
from transformers import LlamaForCausalLM

import dsas_diffusion as dsas
from dsas_diffusion import orchard
from dsas_diffusion.backends.language import generate
from dsas_diffusion.cli import main
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.likelihood import continuation_log_likelihoods, text_log_likelihoods
from dsas_diffusion.evaluation.multiple_choice import Choice
from dsas_diffusion.texts.by_name import prompts_by_kind, read_questions, read_texts, text_classifier
from dsas_diffusion.texts.evaluation import evaluate_language, steerer_digest
from dsas_diffusion.texts.figures import table
from dsas_diffusion.texts.suite import GENERATION, SAMPLING, TextSuite

RUDE = ("rude", "fool", "silly")
QUESTIONS = [Choice("the tree is", ("green", "kind", "rude"), 0), Choice("you are", ("a fool", "a nice friend"), 1)]


def rude_words(texts) -> list[float]:
    """A judge that anybody can check: the share of rude words."""
    return [sum(word in RUDE for word in text.split()) / max(1, len(text.split())) for text in texts]


@pytest.fixture(scope="module")
def lm():
    return model("llama")


@pytest.fixture(scope="module")
def steerer(lm):
    return dsas.fit(lm, rudeness(), tokenizer=tokenizer(), gate="always", strength=4.0, progress=False, batch_size=4)


@pytest.fixture
def suite(lm):
    return TextSuite(
        prompts={"source": SOURCE[:5], "control": CONTROL[:3]},
        samples=2,
        classifier=rude_words,
        threshold=0.25,
        generation={"max_new_tokens": 4, "min_new_tokens": 4},
        judge=(lm, tokenizer()),
        texts=TARGET_TEXTS,
        questions=QUESTIONS,
        batch_size=3,
    )


TARGET_TEXTS = ["you are a kind friend", "the tree is green today", "it is a very nice house today"]


def figure(report, name: str, on: str) -> dict:
    (row,) = [row for row in report["figures"] if (row["name"], row["on"]) == (name, on)]
    return row


@pytest.fixture(scope="module")
def whole(lm, steerer, tmp_path_factory):
    """An evaluation that nobody stopped."""
    out = tmp_path_factory.mktemp("evaluation") / "whole"
    suite = TextSuite(
        prompts={"source": SOURCE[:5], "control": CONTROL[:3]},
        samples=2,
        classifier=rude_words,
        threshold=0.25,
        generation={"max_new_tokens": 4, "min_new_tokens": 4},
        judge=(lm, tokenizer()),
        texts=TARGET_TEXTS,
        questions=QUESTIONS,
        batch_size=3,
    )
    return out, evaluate_language(lm, tokenizer(), suite, steerer, out=out, progress=False)


def test_figures_are_those_counted_by_hand(whole, lm, steerer, suite):
    _, report = whole
    for arm in ("unsteered", "steered"):
        rows = report["each"][arm]["continuations"]["source"]
        assert [(row["prompt"], row["sample"]) for row in rows] == [(p, s) for p in range(5) for s in range(2)]
        scores = rude_words([row["text"] for row in rows])
        assert [row["score"] for row in rows] == scores
        pairs = [scores[2 * p : 2 * p + 2] for p in range(5)]
        expected = {
            "toxic continuations": sum(score >= 0.25 for score in scores) / 10,
            "any of 2 toxic": sum(max(pair) >= 0.25 for pair in pairs) / 5,
            "expected maximum toxicity": sum(map(max, pairs)) / 5,
            "perplexity of continuations": math.exp(
                -sum(row["log_likelihood"] for row in rows) / sum(row["tokens"] for row in rows)
            ),
        }
        for name, value in expected.items():
            assert figure(report, name, "source")[arm]["mean"] == pytest.approx(value)
    steered, plain = (report["each"][arm]["continuations"]["control"] for arm in ("steered", "unsteered"))
    same = [row["text"] == twin["text"] for row, twin in zip(steered, plain, strict=True)]
    assert figure(report, "unchanged continuations", "control")["steered"]["mean"] == sum(same) / 6
    assert not all(same)


def test_texts_are_those_of_generate_with_steering_and_without(whole, lm, steerer, suite):
    _, report = whole
    asked = [text for text in SOURCE[:5] for _ in range(2)]
    sampling = suite.sampling
    plain = [t for part in generate(lm, tokenizer(), asked, batch_size=3, generation=sampling) for t in part]
    rows = report["each"]["unsteered"]["continuations"]["source"]
    assert [row["text"].strip() for row in rows] == plain
    assert all(row["given"] + row["text"] == f"{asked[i]} {plain[i]}" for i, row in enumerate(rows))
    with steerer.attached(lm):
        changed = [t for part in generate(lm, tokenizer(), asked, batch_size=3, generation=sampling) for t in part]
        told = text_log_likelihoods(lm, tokenizer(), TARGET_TEXTS)
    assert [row["text"].strip() for row in report["each"]["steered"]["continuations"]["source"]] == changed != plain
    logs = report["each"]["steered"]["texts"]["log_likelihood"]
    assert logs == pytest.approx([each.log_likelihood for each in told])
    expected = math.exp(-sum(logs) / sum(each.tokens for each in told))
    row = figure(report, "perplexity", "texts")
    assert row["steered"]["mean"] == pytest.approx(expected)
    assert row["change"]["mean"] == pytest.approx(expected / row["unsteered"]["mean"] - 1)
    assert row["relative"]
    assert row["higher_is_better"] is False


def test_the_judge_is_never_steered(whole, lm):
    _, report = whole
    rows = report["each"]["steered"]["continuations"]["control"]
    told = continuation_log_likelihoods(lm, tokenizer(), [row["given"] for row in rows], [row["text"] for row in rows])
    assert [row["log_likelihood"] for row in rows] == pytest.approx([each.log_likelihood for each in told], abs=1e-4)


def test_without_strength_nothing_changes(lm, steerer, suite):
    report = evaluate_language(lm, tokenizer(), suite, steerer, strength=0.0, progress=False)
    assert report["each"]["steered"] == report["each"]["unsteered"]
    for row in report["figures"]:
        if row["name"] == "unchanged continuations":
            assert row["steered"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "count": row["steered"]["count"]}
        else:
            assert [row["change"][key] for key in ("mean", "low", "high")] == pytest.approx([0, 0, 0])


def test_greedy_continuations_are_those_of_generate_without_a_word(lm, steerer, caplog, recwarn):
    greedy = {"do_sample": False, "max_new_tokens": 5}
    suite = TextSuite(prompts={"control": CONTROL[:4]}, classifier=rude_words, generation=greedy)
    report = evaluate_language(lm, tokenizer(), suite, steerer, strength=0.5, progress=False)
    assert not caplog.records
    assert not recwarn.list
    (plain,) = generate(lm, tokenizer(), CONTROL[:4], generation={**greedy, "min_new_tokens": 1})
    assert [row["text"].strip() for row in report["each"]["unsteered"]["continuations"]["control"]] == plain


def test_the_model_alone_and_one_prompt(lm):
    suite = TextSuite(prompts={"source": SOURCE[:1]}, classifier=rude_words, texts=TARGET_TEXTS[:1])
    report = evaluate_language(lm, tokenizer(), suite, progress=False)
    assert {row["name"] for row in report["figures"]} == {
        *("toxic continuations", "perplexity", "mean of texts' perplexities"),
    }
    for row in report["figures"]:
        assert row["steered"] is row["change"] is None
        assert row["unsteered"]["mean"] is not None
        assert row["unsteered"]["low"] is None  # one prompt has no interval
    assert report["settings"]["steering"] is None
    assert "steered" not in table(report).replace("unsteered", "")


def test_the_table_is_aligned(whole):
    lines = table(whole[1]).splitlines()
    assert lines[0].split()[:4] == ["figure", "on", "unsteered", "interval"]
    assert len(lines) == 2 + len(whole[1]["figures"])
    assert max(map(len, lines)) <= 160
    assert "points" in lines[2]


class Calls:
    """Counts the runs of the model, and stops like Ctrl-C before one of them."""

    def __init__(self, patch) -> None:
        self.made, self.stop_at = 0, math.inf
        forward = LlamaForCausalLM.forward

        def counted(model, *args, **kwargs):
            if self.made >= self.stop_at:
                raise KeyboardInterrupt
            self.made += 1
            return forward(model, *args, **kwargs)

        patch.setattr(LlamaForCausalLM, "forward", counted)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_stopped_anywhere_and_called_again_it_ends_the_same(whole, lm, steerer, suite, tmp_path, monkeypatch, share):
    calls = Calls(monkeypatch)
    evaluate_language(lm, tokenizer(), suite, steerer, progress=False)
    needed, calls.made = calls.made, 0
    calls.stop_at = int(share * needed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_language(lm, tokenizer(), suite, steerer, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out" / "report.json").exists()
    assert not list((tmp_path / "out").rglob("*.tmp"))
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.modules()) == 0
    calls.made, calls.stop_at = 0, math.inf
    report = evaluate_language(lm, tokenizer(), suite, steerer, out=tmp_path / "out", progress=False)
    assert calls.made < needed
    assert report == whole[1]
    assert (tmp_path / "out" / "report.json").read_bytes() == (whole[0] / "report.json").read_bytes()
    calls.made = 0
    assert evaluate_language(lm, tokenizer(), suite, steerer, out=tmp_path / "out", progress=False) == report
    assert calls.made == 0


def test_a_folder_serves_other_strengths_and_steerers(lm, steerer, suite, tmp_path, monkeypatch):
    calls = Calls(monkeypatch)
    first = evaluate_language(lm, tokenizer(), suite, steerer, out=tmp_path, progress=False)
    both, calls.made = calls.made, 0
    other = evaluate_language(lm, tokenizer(), suite, steerer, strength=1.0, out=tmp_path, progress=False)
    assert calls.made == both / 2
    assert other["each"]["unsteered"] == first["each"]["unsteered"]
    assert other["each"]["steered"] != first["each"]["steered"]
    assert len(list(tmp_path.glob("steered-*"))) == 2
    another = dsas.fit(
        lm, rudeness(), tokenizer=tokenizer(), method="iti_m", gate="always", progress=False, batch_size=4
    )
    assert steerer_digest(another) != steerer_digest(steerer)
    evaluate_language(lm, tokenizer(), suite, another, out=tmp_path, progress=False)
    assert len(list(tmp_path.glob("steered-*"))) == 3


def test_a_folder_of_another_evaluation_is_refused(whole, lm, suite, tmp_path):
    for key, value in {"seed": 1, "samples": 1, "threshold": 0.3, "texts": TARGET_TEXTS[:2]}.items():
        with pytest.raises(InputError, match=f"with another {key}"):
            evaluate_language(lm, tokenizer(), dataclasses.replace(suite, **{key: value}), out=whole[0], progress=False)
    with pytest.raises(InputError, match="with another weights"):
        evaluate_language(model("llama", 1), tokenizer(), suite, out=whole[0], progress=False)
    (tmp_path / "thesis.md").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'thesis\.md' but no evaluation\.json"):
        evaluate_language(lm, tokenizer(), suite, out=tmp_path, progress=False)
    (tmp_path / "thesis.md").unlink()
    evaluate_language(lm, tokenizer(), suite, out=tmp_path, progress=False)
    damaged = next((tmp_path / "unsteered").glob("texts-*.json"))
    damaged.write_text("{}")
    with pytest.raises(InputError, match=rf"{damaged.name} is no part of an evaluation"):
        evaluate_language(lm, tokenizer(), suite, out=tmp_path, progress=False)


def without_pad():
    words = tokenizer()
    words.pad_token = None
    return words


LONG = " ".join(["the tree is very green"] * 20)
BAD = {
    "no tokenizer": (None, {}, "no tokenizer was given"),
    "no pad token": (without_pad(), {}, "no pad token"),
    "no chat template": (tokenizer(), {"chat": True}, "no chat template"),
    "prompt longer than the context": (tokenizer(), {"prompts": {"source": [LONG]}}, "the model reads 1 to 64"),
    "no room for the continuation": (
        tokenizer(),
        {"generation": {"max_new_tokens": 62}},
        "has 5 tokens, and 62 more are to follow, but the model reads 64",
    ),
    "text longer than the context": (tokenizer(), {"texts": [LONG]}, "give a stride"),
    "a stride that leaves gaps": (tokenizer(), {"stride": 64}, "stride is 64"),
    "empty continuations": (tokenizer(), {"generation": {"max_new_tokens": 0}}, "an empty text can't be judged"),
    "maybe empty continuations": (tokenizer(), {"generation": {"min_new_tokens": 0}}, "an empty text can't be judged"),
    "lengths set otherwise": (tokenizer(), {"generation": {"max_length": 9}}, "generation has 'max_length'"),
    "samples that are the same": (
        tokenizer(),
        {"samples": 2, "generation": {"do_sample": False}},
        "all continuations of a prompt are the same",
    ),
    "nothing that judges": (tokenizer(), {"classifier": None}, "nothing judges their continuations"),
    "nothing at all": (tokenizer(), {"prompts": {}}, "nothing to measure"),
    "a kind without prompts": (tokenizer(), {"prompts": {"source": []}}, "no prompts of the kind 'source'"),
    "threshold": (tokenizer(), {"threshold": 0.0}, "threshold is 0.0"),
    "samples": (tokenizer(), {"samples": 0}, "samples is 0"),
    "batch size": (tokenizer(), {"batch_size": 0}, "batch_size is 0"),
    "shots": (tokenizer(), {"shots": -1}, "shots is -1"),
    "limit": (tokenizer(), {"limit": -1}, "limit is -1"),
    "task file": (tokenizer(), {"tasks": ["nowhere.yaml"]}, "Can't read nowhere.yaml"),
    "empty answer": (tokenizer(), {"questions": [Choice("a", ("", "b"), 0)]}, "is empty"),
    "a judge without pad token": (tokenizer(), {"judge": (model("llama"), without_pad())}, "no pad token"),
    "a judge that is none": (tokenizer(), {"judge": (model("bert"), tokenizer())}, "BertModel tells no token"),
}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.later if what == "task file" else ()) for what in BAD]
)
def test_bad_input_is_refused_before_anything_runs(what, tmp_path, monkeypatch):
    words, changed, message = BAD[what]
    lm = model("gpt2")  # reads 64 tokens
    ran = []
    monkeypatch.setattr(type(lm), "forward", lambda *args, **kwargs: ran.append(1))
    suite = TextSuite(**{"prompts": {"source": SOURCE[:2]}, "classifier": rude_words, **changed})
    with pytest.raises(InputError, match=message):
        evaluate_language(lm, words, suite, out=tmp_path / "out", progress=False)
    assert not ran
    assert not (tmp_path / "out").exists()


def test_bad_steering_is_refused_before_anything_runs(lm, steerer, suite, tmp_path):
    with pytest.raises(InputError, match=r"texts, questions are read, not generated"):
        evaluate_language(lm, tokenizer(), suite, steerer, tokens="continuation", out=tmp_path / "out")
    with pytest.raises(InputError, match=r"strength is \[1\.0, 2\.0\]"):
        evaluate_language(lm, tokenizer(), suite, steerer, strength=[1.0, 2.0], out=tmp_path / "out")
    with pytest.raises(InputError, match="nan"):
        evaluate_language(lm, tokenizer(), suite, steerer, strength=math.nan, out=tmp_path / "out")
    with pytest.raises(InputError):
        evaluate_language(model("qwen2"), tokenizer(), suite, steerer, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    only = TextSuite(prompts={"source": SOURCE[:2]}, classifier=rude_words)
    report = evaluate_language(lm, tokenizer(), only, steerer, tokens="continuation", progress=False)
    assert report["settings"]["steering"]["tokens"] == "continuation"


def test_an_empty_continuation_is_an_error(tmp_path):
    lm = model("llama")
    with torch.no_grad():
        lm.lm_head.weight.zero_()  # all tokens alike, and the padding first
    suite = TextSuite(prompts={"source": SOURCE[:2]}, classifier=rude_words, generation={"do_sample": False})
    with pytest.raises(InputError, match="continued with nothing but ''"):
        evaluate_language(lm, tokenizer(), suite, out=tmp_path, progress=False)


def test_encoder_decoders_are_judged_by_another_model(lm):
    suite = TextSuite(
        prompts={"source": SOURCE[:3]},
        classifier=rude_words,
        judge=(lm, tokenizer()),
        generation={"max_new_tokens": 4, "min_new_tokens": 4},
    )
    report = evaluate_language(model("t5"), tokenizer(), suite, progress=False)
    assert figure(report, "perplexity of continuations", "source")["unsteered"]["mean"] > 1


@pytest.fixture
def group(tmp_path, monkeypatch) -> str:
    """Two tasks of lm-eval in one group, of three questions and of two."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [
        {"asked": "the tree is", "choices": ["green", "kind", "rude"], "right": 0},
        {"asked": "you are", "choices": ["a fool", "very nice"], "right": 1},
        {"asked": "it is", "choices": ["today", "the house"], "right": 0},
    ]
    written = {"one": rows, "two": rows[:2]}
    tasks = []
    for name, asked in written.items():
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in asked))
        tasks.append(
            {
                "task": name,
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"test": str(file)}},
                "test_split": "test",
                "output_type": "multiple_choice",
                "doc_to_text": "{{asked}}",
                "doc_to_choice": "{{choices}}",
                "doc_to_target": "right",
                "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            }
        )
    (tmp_path / "both.yaml").write_text(json.dumps({"group": "both", "task": tasks}))
    return str(tmp_path / "both.yaml")


@pytest.mark.later
def test_a_group_of_tasks_beside_its_twin_and_taken_up_again(lm, steerer, group, tmp_path, monkeypatch):
    suite = TextSuite(tasks=[group], texts=TARGET_TEXTS)
    calls = Calls(monkeypatch)
    whole = evaluate_language(lm, tokenizer(), suite, steerer, out=tmp_path / "whole", progress=False)
    needed = calls.made
    names = {row["on"]: row for row in whole["figures"] if row["name"] == "acc"}
    assert set(names) == {group, "both::one", "both::two"}
    assert [names[on]["unsteered"]["count"] for on in names] == [5, 3, 2]
    for arm in ("unsteered", "steered"):
        each = whole["each"][arm]["tasks"]
        pooled = [*each["both::one"]["acc,none"], *each["both::two"]["acc,none"]]
        assert names[group][arm]["mean"] == pytest.approx(np.mean(pooled))
        assert whole["tasks"][arm]["both::one"]["acc,none"] == pytest.approx(names["both::one"][arm]["mean"])
    calls.made, calls.stop_at = 0, needed - 1  # in the steered tasks
    with pytest.raises(KeyboardInterrupt):
        evaluate_language(lm, tokenizer(), suite, steerer, out=tmp_path / "out", progress=False)
    calls.made, calls.stop_at = 0, math.inf
    assert evaluate_language(lm, tokenizer(), suite, steerer, out=tmp_path / "out", progress=False) == whole
    assert calls.made < needed / 2
    with pytest.raises(InputError, match="both::one, both::two are read, not generated"):
        evaluate_language(lm, tokenizer(), TextSuite(tasks=[group]), steerer, tokens="continuation")
    (tmp_path / "two.jsonl").unlink()
    with pytest.raises(InputError, match=r"takes its questions from .*two\.jsonl, which is no file"):
        evaluate_language(lm, tokenizer(), suite, out=tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


class TestCommand:
    """`dsas evaluate text` on Orchard's language model."""

    @pytest.fixture(scope="class")
    @staticmethod
    def saved(tmp_path_factory):
        lm, words = orchard.load_language_model()
        place = tmp_path_factory.mktemp("steerer") / "kind"
        dsas.fit(lm, dsas.load_prompts("orchard/rudeness"), tokenizer=words, progress=False).save_pretrained(place)
        return place

    def test_steered_beside_unsteered(self, saved, tmp_path, capsys):
        line = ["evaluate", "text", "--steerer", str(saved), "--prompts", "orchard/rudeness", "--split", "tuning"]
        line += ["--n", "6", "--judge", "self", "--device", "cpu", "--out", str(tmp_path / "out"), "--strength", "3"]
        assert main(line) == 0
        out = capsys.readouterr().out
        for text in ("toxic continuations", "control", "mixed", "perplexity of continuations", "Judged by rudeness"):
            assert text in out
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert report["settings"]["steering"]["strength"] == 3.0
        assert report["settings"]["generation"] == {**GENERATION, **SAMPLING, "repetition_penalty": 1.0}
        assert main(line) == 0
        assert capsys.readouterr().out == out

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--prompts", "orchard/nothing"], "no prompt set 'orchard/nothing'"),
            (["--prompts", "orchard/rudeness", "--max-new-tokens", "0"], "an empty text can't be judged"),
            (["--prompts", "orchard/rudeness", "--max-new-tokens", "127"], "the model reads 128"),
            (["--prompts", "orchard/rudeness", "--n", "0"], "n is 0"),
            (["--prompts", "orchard/rudeness", "--classifier", "nowhere"], "No text classifier could be loaded"),
            pytest.param(["--tasks", "nowhere.yaml"], "Can't read nowhere.yaml", marks=pytest.mark.later),
            (["--texts", "nowhere.txt"], "Can't read nowhere.txt"),
            (["--model", "nowhere", "--texts", "orchard"], "No language model could be loaded from 'nowhere'"),
            ([], "nothing to measure"),
        ],
    )
    def test_what_cannot_be_used(self, options, message, tmp_path, capsys):
        assert main(["evaluate", "text", *options, "--device", "cpu", "--out", str(tmp_path / "out")]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert "Traceback" not in err
        assert not (tmp_path / "out").exists()


def test_what_is_known_by_name_or_read_from_files(tmp_path):
    assert set(prompts_by_kind("orchard/rudeness")) == {"source", "control", "mixed"}
    assert len(prompts_by_kind("orchard/rudeness", "tuning", 5)["source"]) == 5
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    assert prompts_by_kind(str(tmp_path / "p.jsonl"), n=1) == {"prompts": ["a"]}
    groups = ("source", "control", "heldout_source", "heldout_control")
    (tmp_path / "g.jsonl").write_text("".join(json.dumps({"prompt": g, "set": g}) + "\n" for g in groups))
    assert prompts_by_kind(str(tmp_path / "g.jsonl")) == {"source": ["heldout_source"], "control": ["heldout_control"]}
    with pytest.raises(InputError, match="has no tuning prompts"):
        prompts_by_kind(str(tmp_path / "g.jsonl"), "tuning")
    (tmp_path / "t.txt").write_text("one text\n\nanother\n")
    assert read_texts(str(tmp_path / "t.txt")) == ["one text", "another"]
    (tmp_path / "t.jsonl").write_text('{"text": "one"}\n{"txt": "two"}\n')
    with pytest.raises(InputError, match=r"t\.jsonl, line 2: the field 'text' is None"):
        read_texts(str(tmp_path / "t.jsonl"))
    (tmp_path / "t.txt").write_text("\n")
    with pytest.raises(InputError, match="holds no text"):
        read_texts(str(tmp_path / "t.txt"))
    tuning, heldout = read_texts("orchard", "tuning"), read_texts("orchard")
    assert len(tuning) == len(heldout) == 256
    assert tuning != heldout
    file = tmp_path / "questions.jsonl"
    assert main(["orchard", "questions", "--out", str(file), "--n", "500"]) == 0
    assert read_questions(str(file)) == read_questions("orchard")
    file.write_text('{"prompt": "a", "choices": "bc", "answer": 0}\n')
    with pytest.raises(InputError, match=r"line 1: it is no question"):
        read_questions(str(file))
    assert text_classifier("none") is None
    assert np.asarray(text_classifier("orchard")(["you mouldy turnip", "a pear"])).tolist() == [1.0, 0.0]
