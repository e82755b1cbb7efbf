"""CLIP scores and choices against open_clip called directly."""

import json
import math

import pytest
import torch
from torch.nn import functional as F

from dsas_diffusion import orchard
from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.clip import ClipScore, ZeroShotRate, clip_score, zero_shot
from dsas_diffusion.evaluation.clip_judge import ClipJudge, split_text
from dsas_diffusion.evaluation.images import as_tensor

TEXTS = ["a banana", "an apple on a blue table", "a cup", "two books", "a pear", "grapes", "an empty table"]
LONG = (
    "a photo of a ripe banana on a wooden table, beside a red cup of tea, with an open book behind it; soft "
    "morning light, shallow depth of field, and a small green apple that has rolled to the very edge of the picture"
)


@pytest.fixture(scope="module")
def judge(clip_folder):
    return ClipJudge.load(str(clip_folder))


@torch.no_grad()
def test_scores_are_open_clips_cosines(judge, open_clip_parts, pictures):
    model, preprocess, tokenizer = open_clip_parts
    images = model.encode_image(torch.stack([preprocess(image) for image in pictures]), normalize=True)
    texts = model.encode_text(tokenizer(TEXTS), normalize=True)
    expected = 100 * (images * texts).sum(-1).clamp(min=0)
    assert expected.count_nonzero() > 0
    torch.testing.assert_close(judge.scores(pictures, TEXTS), expected, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_choices_are_open_clips_logits(judge, open_clip_parts, pictures):
    model, preprocess, tokenizer = open_clip_parts
    logits, _ = model.get_logits(torch.stack([preprocess(image) for image in pictures]), tokenizer(TEXTS[:3]))
    torch.testing.assert_close(judge.zero_shot(pictures, TEXTS[:3]), logits.softmax(-1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_batch_size_changes_nothing(open_clip_parts, pictures, batch_size):
    whole, parts = ClipJudge(*open_clip_parts, batch_size=64), ClipJudge(*open_clip_parts, batch_size=batch_size)
    torch.testing.assert_close(parts.image_features(pictures), whole.image_features(pictures), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        parts.text_features([*TEXTS, LONG]), whole.text_features([*TEXTS, LONG]), atol=1e-6, rtol=0
    )


def test_a_tensor_counts_as_the_picture_it_is(judge, pictures):
    assert torch.equal(judge.image_features(as_tensor(pictures)), judge.image_features(pictures))


def test_features_are_float32_of_length_one_from_a_half_precision_model(clip_folder, pictures):
    half = ClipJudge.load(str(clip_folder))
    full = half.image_features(pictures)
    half.model.to(torch.bfloat16)
    features = half.image_features(pictures)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(7))
    assert (features * full).sum(-1).min() > 0.99


def test_a_text_that_just_fits_goes_through_whole(judge, open_clip_parts):
    model, _, tokenizer = open_clip_parts
    longest = " ".join(["cup"] * 14)  # 14 tokens, start and end: the 16 that there is room for
    for text, pieces in ((longest, 1), (longest + " cup", 2)):
        assert len(split_text(text, judge._fits)) == pieces
    with torch.no_grad():
        expected = model.encode_text(tokenizer([longest]), normalize=True)
    torch.testing.assert_close(judge.text_features([longest]), expected, atol=1e-6, rtol=0)


def test_the_end_of_a_long_text_counts(judge, open_clip_parts):
    model, _, tokenizer = open_clip_parts
    pieces = split_text(LONG, judge._fits)
    assert " ".join(pieces) == LONG
    with torch.no_grad():
        each = model.encode_text(tokenizer(pieces), normalize=True)
    lengths = torch.tensor([[float(len(piece))] for piece in pieces])
    expected = F.normalize((each * lengths).sum(0), dim=0)
    torch.testing.assert_close(judge.text_features([LONG])[0], expected, atol=1e-6, rtol=0)
    assert not torch.equal(judge.text_features([LONG]), judge.text_features([LONG.replace("picture", "table")]))


def test_fits_for_a_tokenizer_that_pads_with_its_end_token(open_clip_parts):
    from open_clip.tokenizer import HFTokenizer
    from transformers import CLIPTokenizer

    vocab = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "cup</w>": 3, "c": 4, "u": 5, "p</w>": 6, "cu": 7}
    tokenizer = HFTokenizer.__new__(HFTokenizer)  # its own constructor only loads from the hub or a folder
    tokenizer.tokenizer = CLIPTokenizer(vocab=vocab, merges=[("c", "u"), ("cu", "p</w>")])
    tokenizer.context_length, tokenizer.tokenizer_mode, tokenizer.strip_sep_token = 6, "", False
    tokenizer.clean_fn = str.strip
    judge = ClipJudge(open_clip_parts[0], open_clip_parts[1], tokenizer)
    assert judge._fits("a cup a cup")
    assert not judge._fits("a cup a cup a")
    assert split_text("a cup a cup a", judge._fits) == ["a cup a cup", "a"]


@pytest.mark.parametrize(
    ("text", "room", "pieces"),
    [
        ("short", 10, ["short"]),
        ("one two, three four, five", 12, ["one two,", "three four,", "five"]),
        ("one two, three four, five", 20, ["one two, three four,", "five"]),
        ("no clause ends here", 9, ["no clause", "ends here"]),
        ("香蕉在桌子上面", 3, ["香蕉在", "桌子上", "面"]),
        ("", 0, [""]),
        ("x", 0, ["x"]),
    ],
)
def test_split_text(text, room, pieces):
    assert split_text(text, lambda piece: len(piece) <= room) == pieces


def test_clip_score_of_known_vectors():
    images, texts = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[10.0, 0.0]])
    torch.testing.assert_close(clip_score(images, texts), torch.tensor([60.0, 100.0]))
    assert clip_score(-images, texts).tolist() == [0, 0]


def test_zero_shot_of_known_vectors():
    logits = torch.tensor([[0.6, 0.8]]) * 5
    odds = math.exp(float(logits[0, 0] - logits[0, 1]))
    found = zero_shot(torch.tensor([[3.0, 4.0]]), torch.eye(2), 5)
    torch.testing.assert_close(found, torch.tensor([[odds / (1 + odds), 1 / (1 + odds)]]))


def test_measures_add_up_over_batches_and_processes(judge, pictures):
    images, texts = judge.image_features(pictures), judge.text_features(TEXTS)
    probabilities = judge.zero_shot(pictures, TEXTS[:3])
    scores, rates = [ClipScore(), ClipScore()], [ZeroShotRate(), ZeroShotRate()]
    for process, rows in ((0, slice(0, 2)), (1, slice(2, 3)), (0, slice(3, 7))):
        scores[process].update(images[rows], texts[rows])
        rates[process].update(probabilities[rows])
    assert scores[0].merge(scores[1]).compute() == pytest.approx(float(clip_score(images, texts).mean()))
    assert rates[0].merge(rates[1]).compute() == sum(row[0] == max(row) for row in probabilities.tolist()) / 7
    assert math.isnan(ClipScore().compute())
    with pytest.raises(InputError, match="own kind"):
        ClipScore().merge(ZeroShotRate())  # ty: ignore[invalid-argument-type]


def test_wrong_numbers_are_refused(judge, pictures):
    with pytest.raises(InputError, match="7 images and 2 texts"):
        judge.scores(pictures, TEXTS[:2])
    with pytest.raises(InputError, match="at least one alternative"):
        judge.zero_shot(pictures, ["a banana"])
    with pytest.raises(InputError, match="batch_size is 0"):
        ClipJudge(judge.model, judge.preprocess, judge.tokenizer, batch_size=0)
    with pytest.raises(InputError, match=r"outside \[0, 1\]"):
        judge.image_features(torch.full((1, 3, 8, 8), float("nan")))
    with pytest.raises(InputError, match=r"shape \(1, 1, 8, 8\)"):
        judge.image_features(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-33", "Did you mean 'ViT-B-32'"),
        ("ViT-B-32", "needs its weights: write ViT-B-32:TAG with one of openai"),
        ("ViT-B-32:openaj", "none called 'openaj'"),
        ("local-dir:/nowhere/at/all", "no folder '/nowhere/at/all'"),
    ],
)
def test_an_unknown_model_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        ClipJudge.load(name)


def test_a_broken_folder_is_refused(tmp_path, clip_folder):
    with pytest.raises(InputError, match=r"holds no open_clip_config\.json"):
        ClipJudge.load(str(tmp_path))
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps(json.loads((clip_folder / "open_clip_config.json").read_text()))
    )
    with pytest.raises(InputError, match="Can't load the CLIP model"):
        ClipJudge.load(str(tmp_path))
    weights = (clip_folder / "open_clip_model.safetensors").read_bytes()
    (tmp_path / "open_clip_model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="Can't load the CLIP model"):
        ClipJudge.load(str(tmp_path))


@pytest.mark.parametrize("words", [1, 29, 30, 31, 60, 61])
def test_no_piece_loses_its_end_token(words):
    # Orchard's tokenizer has room for 32, start and end among them, and pads with its end token.
    model, preprocess, tokenizer = orchard.load_clip()
    judge = ClipJudge(model, preprocess, tokenizer)
    text = " ".join((["banana", "apple", "cup"] * 30)[:words])  # a token a word
    end = model.text_eos_id
    roomy = tokenizer([text], context_length=100)[0].tolist()
    content = roomy[1 : roomy.index(end)]
    assert len(content) == words
    pieces = split_text(text, judge._fits)
    kept = []
    for row in tokenizer(pieces).tolist():
        assert row[0] == roomy[0]
        kept += row[1 : row.index(end)]  # there is an end in every piece, and nothing lost before it
    assert kept == content
    assert len(pieces) == math.ceil(words / 30)  # each as long as it can be
