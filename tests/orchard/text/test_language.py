"""The language model: its tokenizer, its loss, its training, and the arithmetic of its figures."""

import json
import signal
import subprocess
import sys

import pytest
import torch

from dsas_diffusion.cli import main
from dsas_diffusion.orchard import load_language_model, sample_text
from dsas_diffusion.orchard.text.lexicon import words
from dsas_diffusion.orchard.text.measures import (
    answers,
    continuations,
    language_figures,
    log_likelihoods,
    talk_prompts,
)
from dsas_diffusion.orchard.text.questions import four_way_questions
from dsas_diffusion.orchard.text.tokenizer import MAX_TOKENS, build_language_tokenizer
from dsas_diffusion.orchard.training import language
from dsas_diffusion.orchard.training.language import build_language_model, language_loss


@pytest.fixture(scope="module")
def tokenizer():
    return build_language_tokenizer()


@pytest.fixture(scope="module")
def model(tokenizer):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_language_model(tokenizer, 16, 2).eval()


def log_p(model, tokenizer, text):
    """(tokens,) log p of each token of a text and its end, one text alone."""
    ids = torch.tensor([[*tokenizer(text).input_ids, tokenizer.eos_token_id]])
    with torch.no_grad():
        told = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return told[torch.arange(len(told)), ids[0, 1:]]


def test_every_text_comes_back_and_every_word_is_one_token(tokenizer):
    for seed in range(3000):
        text = sample_text(seed).text
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert len(ids) == 1 + len(text.split()) < MAX_TOKENS
    assert all(len(tokenizer(word).input_ids) == 2 for word in words())


def test_other_words_fall_into_letters_and_come_back(tokenizer):
    assert tokenizer.decode(tokenizer("The zzyx, 42!").input_ids, skip_special_tokens=True) == "the zzyx , 42 !"
    assert tokenizer.unk_token_id in tokenizer("蕉").input_ids


def test_the_same_words_give_the_same_ids_in_another_process(tokenizer):
    program = (
        "import json; from dsas_diffusion.orchard.text.tokenizer import build_language_tokenizer;"
        "print(json.dumps(build_language_tokenizer().get_vocab()))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == tokenizer.get_vocab()


def test_the_loss_counts_answers_more_and_padding_not_at_all(model, tokenizer):
    texts = [sample_text(seed).text for seed in range(10)]
    lost = weights = 0.0
    for text in texts:
        said = [*text.split(), "</s>"]
        weight = torch.tensor([5.0 if said[max(0, i - 2) : i] == ["answer", ":"] else 1.0 for i in range(len(said))])
        lost -= float((weight * log_p(model, tokenizer, text)).sum())
        weights += float(weight.sum())
    assert any("answer" in text for text in texts)
    with torch.no_grad():
        assert float(language_loss(model, tokenizer, texts)) == pytest.approx(lost / weights, rel=1e-5)


def test_log_likelihoods_are_those_of_each_text_alone(model, tokenizer):
    texts = [sample_text(seed).text for seed in range(8)]
    said, tokens = log_likelihoods(model, tokenizer, texts)
    for row, text in enumerate(texts):
        alone = log_p(model, tokenizer, text)
        assert said[row] == pytest.approx(float(alone.sum()), rel=1e-5)
        assert tokens[row] == len(alone)


def test_the_likeliest_answer_is_chosen(model, tokenizer):
    questions = four_way_questions(30)
    for question, chosen in zip(questions, answers(model, tokenizer, questions), strict=True):
        likelihoods = [
            float(log_p(model, tokenizer, f"{question.prompt} {choice}")[:-1].sum()) for choice in question.choices
        ]
        assert likelihoods[chosen] == pytest.approx(max(likelihoods), abs=1e-4)


def test_continuations_are_a_function_of_their_seed_and_leave_the_random_state_alone(model, tokenizer):
    prompts = talk_prompts("scorn", 3)
    before = torch.random.get_rng_state()
    told = continuations(model, tokenizer, prompts, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert told == continuations(model, tokenizer, prompts, seed=1)
    assert told != continuations(model, tokenizer, prompts, seed=2)
    assert len(told) == 3


def test_an_untrained_model_misses_what_is_asked(model, tokenizer):
    figures = {figure.name: figure for figure in language_figures(model, tokenizer, 40)}
    asked = {name: figure.asked for name, figure in figures.items() if figure.asked != (0.0, 1.0)}
    assert sorted(asked.values()) == [(0.0, 0.05), (0.6, 1.0), (0.95, 1.0)]
    assert not any(figures[name].met for name in asked)
    excess = figures["perplexity on unseen descriptions above the grammar's own"]
    assert excess.interval[0] < excess.value < excess.interval[1]


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(language, "build_language_model", lambda tokenizer: build_language_model(tokenizer, 16, 1))
    command = ["orchard", "train", "language", "--steps", "5", "--batch_size", "8", "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    calls = []

    def interrupting(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return language_loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(language, "language_loss", interrupting)
        assert main([*command, str(tmp_path / "parts")]) == 130
    assert main([*command, str(tmp_path / "parts")]) == 2
    assert "Add --resume" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "parts"), "--resume"]) == 0
    whole, parts = (tmp_path / name / "language" / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    model, _ = load_language_model(folder=tmp_path / "whole" / "language")
    assert sum(p.numel() for p in model.parameters()) < 20_000


def test_training_goes_on_from_the_committed_weights(tmp_path):
    committed, _ = load_language_model()
    command = ["orchard", "train", "language", "--steps", "1", "--batch_size", "4", "--learning_rate", "0", "--resume"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    model, _ = load_language_model(folder=tmp_path / "language")
    for one, two in zip(model.parameters(), committed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_training_that_cannot_be_is_refused(tmp_path, capsys):
    assert main(["orchard", "train", "language", "--batch_size", "2", "--out", str(tmp_path / "run")]) == 2
    assert "batch_size must be at least 4" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_questions_are_written_as_a_task_file(tmp_path, capsys):
    file = tmp_path / "questions.jsonl"
    assert main(["orchard", "questions", "--out", str(file), "--n", "12"]) == 0
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert rows == [question.as_record() for question in four_way_questions(12)]
    assert set(rows[0]) == {"question", "prompt", "choices", "answer", "kind"}
    assert rows[0]["prompt"].startswith(rows[0]["question"])
    assert f'test: "{file}"' in file.with_suffix(".yaml").read_text()
    assert main(["orchard", "questions", "--out", str(tmp_path / "questions.json")]) == 2
    assert "must end in .jsonl" in capsys.readouterr().err
    assert main(["orchard", "questions", "--out", str(file), "--split", "train"]) == 2
    assert "no split of questions called 'train'" in capsys.readouterr().err
