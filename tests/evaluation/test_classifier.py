"""The classifier of Transformers on a tiny random RoBERTa, against Transformers' own pipeline."""

import pytest
import torch
from tiny_texts import WORDS, tokenizer
from transformers import RobertaConfig, RobertaForSequenceClassification, pipeline

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.classifier import LabelClassifier

TEXTS = ["you are rude", "the tree is very green today", "fool", "you are a nice friend"]


def roberta(labels=("neutral", "toxic"), problem=None) -> RobertaForSequenceClassification:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = RobertaConfig(
            vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=40, pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.5,
            id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)},
            problem_type=problem,
        )  # fmt: skip
        return RobertaForSequenceClassification(config).eval()


def words():
    made = tokenizer("right")
    made.model_max_length = 20
    return made


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (("neutral", "toxic"), None),
        (("toxic", "insult", "threat"), "multi_label_classification"),
        (("toxic",), None),
    ],
)
def test_against_the_pipeline_of_transformers(labels, problem):
    model = roberta(labels, problem)
    theirs = pipeline("text-classification", model=model, tokenizer=words(), top_k=None)
    for label in labels:
        classifier = LabelClassifier(model, words(), label, batch_size=3)
        expected = [next(each["score"] for each in found if each["label"] == label) for found in theirs(TEXTS)]
        found = classifier(TEXTS)
        assert found.tolist() == pytest.approx(expected, abs=1e-5)
        assert found.std() > 1e-3
        assert label in classifier.name
    assert classifier([]).shape == (0,)


def test_from_a_folder(tmp_path):
    roberta().save_pretrained(tmp_path / "judge")
    words().save_pretrained(tmp_path / "judge")
    loaded = LabelClassifier.load(str(tmp_path / "judge"), "neutral")
    assert loaded(TEXTS).tolist() == pytest.approx((1 - LabelClassifier(roberta(), words())(TEXTS)).tolist(), abs=1e-5)
    assert loaded.name == f"{tmp_path / 'judge'}, neutral"


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="has no label 'rude'; it has 'neutral', 'toxic'"):
        LabelClassifier(roberta(), words(), "rude")
    with pytest.raises(InputError, match=r"No text classifier could be loaded from '.*nowhere'"):
        LabelClassifier.load(str(tmp_path / "nowhere"))
    bare = words()
    bare.pad_token = None
    with pytest.raises(InputError, match="no pad token"):
        LabelClassifier(roberta(), bare)
    with pytest.raises(InputError, match=r"has 31 tokens, but the classifier .* reads 20"):
        LabelClassifier(roberta(), words())(["tree " * 30])
