"""Score pictures against texts with a CLIP.

python examples/clip_scores.py

ClipJudge.load takes any open_clip model, such as "ViT-B-32:laion2b_s34b_b79k", or a folder; here it is Orchard's own.
"""

from dsas_diffusion import orchard
from dsas_diffusion.evaluation.clip_judge import ClipJudge

TEXTS = ["a photo of a banana", "a photo of an apple", "an empty table"]

judge = ClipJudge(*orchard.load_clip(), name="orchard")
scenes = [orchard.render(seed) for seed in range(3)]
chances = judge.zero_shot([scene.image for scene in scenes], TEXTS)
scores = judge.scores([scene.image for scene in scenes], [scene.caption for scene in scenes])
for scene, row, score in zip(scenes, chances, scores.flatten(), strict=True):
    shares = ", ".join(f"{text!r} {chance:.0%}" for text, chance in zip(TEXTS, row.tolist(), strict=True))
    print(f"{scene.caption!r}: CLIP score {float(score):.1f}; zero-shot {shares}")
