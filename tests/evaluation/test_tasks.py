"""lm-eval in process: local tasks, equal to our own multiple choice; steering reaches them and leaves no trace."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_texts import model, rudeness, tokenizer
from transformers import LlamaForCausalLM

import dsas_diffusion as dsas
from dsas_diffusion import orchard
from dsas_diffusion.cli import main
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation import tasks as module
from dsas_diffusion.evaluation.multiple_choice import Choice, MultipleChoiceAccuracy, choose
from dsas_diffusion.evaluation.tasks import check_tasks, digest_of, run_tasks


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """What the library `datasets` keeps goes to a folder of the tests."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        yield


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    assert main(["orchard", "questions", "--out", str(out), "--n", "48", "--split", "tuning"]) == 0
    return str(out.with_suffix(".yaml"))


@pytest.fixture(scope="module")
def questions() -> list[Choice]:
    return [Choice(q.prompt, q.choices, q.answer) for q in orchard.four_way_questions(48, "tuning")]


def untrained(seed: int) -> LlamaForCausalLM:
    """Orchard's language model before its training, so that it is wrong three times of four."""
    config = orchard.load_language_model()[0].config
    config.initializer_range = 0.3
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float().eval()


def test_accuracy_is_that_of_our_own_multiple_choice(task, questions):
    lm, words = untrained(0), orchard.load_language_model()[1]
    found = run_tasks(lm, words, [task], batch_size=7, progress=False)["orchard_questions"]
    chosen = choose(lm, words, questions, batch_size=9)
    right = [float(made == asked.answer) for made, asked in zip(chosen, questions, strict=True)]
    assert found.each["acc,none"] == right
    own = MultipleChoiceAccuracy()
    own.update(questions, chosen)
    assert found.results["acc,none"] == own.compute() == pytest.approx(np.mean(right))
    assert 0 < own.compute() < 0.6


def test_the_trained_model_answers_and_a_limit_limits(task):
    lm, words = orchard.load_language_model()
    found = run_tasks(lm, words, [task], limit=10, progress=False)["orchard_questions"]
    assert len(found.each["acc,none"]) == 10
    assert found.results["acc,none"] >= 0.9


def test_steering_reaches_the_task_and_leaves_no_trace(task, capfd):
    lm, words = orchard.load_language_model()
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.modules())
    plain = run_tasks(lm, words, [task], progress=False)["orchard_questions"]
    steerer = dsas.fit(lm, dsas.load_prompts("orchard/rudeness"), tokenizer=words, gate="always", progress=False)
    capfd.readouterr()
    with steerer.attached(lm, 0.0):
        assert run_tasks(lm, words, [task], progress=False)["orchard_questions"] == plain
    with steerer.attached(lm, 60.0):
        steered = run_tasks(lm, words, [task], progress=False)["orchard_questions"]
    assert steered.results["acc,none"] < plain.results["acc,none"] - 0.2
    assert run_tasks(lm, words, [task], progress=False)["orchard_questions"] == plain
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.modules()) == hooks
    assert words.padding_side == "left"
    assert capfd.readouterr().err == ""


def test_the_random_state_is_left_alone(task):
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    run_tasks(*orchard.load_language_model(), [task], limit=2, progress=False)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    assert before == after


def test_tasks_that_generate(tmp_path):
    rows = [{"asked": "you are", "told": "kind"}, {"asked": "the tree is", "told": "green"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = tmp_path / "say.yaml"
    task.write_text(
        f"""
        task: say_it
        dataset_path: json
        dataset_kwargs: {{data_files: {{test: {tmp_path / "rows.jsonl"}}}}}
        test_split: test
        output_type: generate_until
        doc_to_text: "{{{{asked}}}}"
        doc_to_target: "{{{{told}}}}"
        generation_kwargs: {{until: ["today"], max_gen_toks: 4}}
        metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
        """
    )
    assert check_tasks([str(task)]) == {"say_it": "generate_until"}
    lm, words = model("llama"), tokenizer()
    found = run_tasks(lm, words, [str(task)], progress=False)["say_it"]
    assert found.each["exact_match,none"] == [0.0, 0.0]
    steerer = dsas.fit(lm, rudeness(), tokenizer=words, gate="always", progress=False, batch_size=4)
    with steerer.attached(lm, tokens="continuation"):
        assert run_tasks(lm, words, [str(task)], progress=False)["say_it"].each == found.each


def test_questions_longer_than_the_context_are_refused_before_the_model_runs(tmp_path, monkeypatch):
    lm, words = model("gpt2"), tokenizer()  # reads 64 tokens
    ran = []
    forward = type(lm).forward
    monkeypatch.setattr(type(lm), "forward", lambda *args, **kwargs: ran.append(1) or forward(*args, **kwargs))
    for output, fits, message in (
        ("multiple_choice", 63, "has 67 tokens, answered ones before it included, but the model reads 64"),
        ("generate_until", 59, r"has 62 tokens, .*, and 4 are to follow, but the model reads 64"),
    ):
        for count in (fits, fits + 2):
            file = tmp_path / f"{output}{count}.jsonl"
            row = {"asked": " ".join(["tree"] * count), "choices": ["green", "kind"], "right": 0, "told": "kind"}
            file.write_text(json.dumps(row) + "\n")
            task = {
                "task": "long",
                "dataset_path": "json",
                "dataset_kwargs": {"data_files": {"test": str(file)}},
                "test_split": "test",
                "output_type": output,
                "doc_to_text": "{{asked}}",
            }
            if output == "multiple_choice":
                task |= {"doc_to_choice": "{{choices}}", "doc_to_target": "right"}
            else:
                task |= {"doc_to_target": "{{told}}", "generation_kwargs": {"until": ["today"], "max_gen_toks": 4}}
                task |= {"metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]}
            (tmp_path / "long.yaml").write_text(json.dumps(task))
            ran.clear()
            if count == fits:
                run_tasks(lm, words, [str(tmp_path / "long.yaml")], progress=False)
                assert ran
            else:
                with pytest.raises(InputError, match=message):
                    run_tasks(lm, words, [str(tmp_path / "long.yaml")], progress=False)
                assert not ran


def test_a_task_file_and_its_data_are_told_apart_by_their_digest(task, tmp_path):
    copy = tmp_path / "copy.yaml"
    data = tmp_path / "data.jsonl"
    data.write_text(Path(task).with_suffix(".jsonl").read_text())
    copy.write_text(Path(task).read_text().replace(str(Path(task).with_suffix(".jsonl")), str(data)))
    first = digest_of(str(copy))
    assert digest_of(str(copy)) == first
    data.write_text(data.read_text() + data.read_text())
    assert digest_of(str(copy)) != first
    assert digest_of("mmlu").startswith("lm-eval 0.")


def test_what_is_not_there_is_refused(tmp_path, monkeypatch):
    assert check_tasks([]) == {}
    with pytest.raises(InputError, match=r"Can't read .*nowhere\.yaml"):
        check_tasks([str(tmp_path / "nowhere.yaml")])
    broken = tmp_path / "broken.yaml"
    broken.write_text("task: [")
    with pytest.raises(InputError, match="not valid YAML"):
        check_tasks([str(broken)])
    broken.write_text("- a\n")
    with pytest.raises(InputError, match="it names no task"):
        check_tasks([str(broken)])
    broken.write_text("task: a\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: missing.jsonl\n")
    with pytest.raises(InputError, match=r"takes its questions from missing\.jsonl, which is no file"):
        check_tasks([str(broken)])
    (tmp_path / "rows.jsonl").write_text("{\n")
    files = f"dataset_kwargs:\n  data_files:\n    test: {tmp_path}/rows.jsonl\n"
    broken.write_text(f"task: a\ndataset_path: json\ntest_split: test\n{files}")
    with pytest.raises(InputError, match="can't be loaded"):
        check_tasks([str(broken)])
    with pytest.raises(InputError, match=r"lm-eval knows no task 'mmlx'.* Did you mean 'mmlu'"):
        check_tasks(["mmlx"])
    with pytest.raises(InputError, match="no tokenizer"):
        run_tasks(model("llama"), None, [str(broken)])
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"need lm-eval, which is not installed.*dsas-diffusion\[tasks\]"):
        check_tasks(["mmlu"])


def test_lm_eval_is_loaded_only_when_asked_for():
    code = "import sys, dsas_diffusion.texts.by_name; sys.exit('lm_eval' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
