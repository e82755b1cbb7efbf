"""The CLIP's captions: right ones are right, wrong ones are wrong in one thing."""

import random

from dsas_diffusion.orchard.specs import sample_spec
from dsas_diffusion.orchard.training.captions import _render_chunk, part_of, with_wrong_look, with_wrong_object


def specs(n):
    rng = random.Random(5)
    return [(sample_spec(rng), rng) for _ in range(n)]


def test_a_part_of_a_scene_is_in_the_scene():
    for spec, rng in specs(300):
        part = part_of(spec, rng)
        assert set(part.objects) <= set(spec.objects)
        assert (part.ground, part.look) == (spec.ground, spec.look)
        assert bool(part.objects) == bool(spec.objects)


def test_a_wrong_object_is_wrong_and_the_rest_is_right():
    for spec, rng in specs(300):
        wrong = with_wrong_object(spec, rng)
        assert len(set(wrong.names) - set(spec.names)) == 1
        assert len(wrong.objects) == max(1, len(spec.objects))
        assert len(wrong.names) == max(1, len(spec.names))
        assert (wrong.ground, wrong.look) == (spec.ground, spec.look)
        assert [o.place for o in wrong.objects][: len(spec.objects)] == [o.place for o in spec.objects]


def test_a_wrong_look_is_another_one_of_the_same_objects():
    for spec, rng in specs(300):
        wrong = with_wrong_look(spec, rng)
        assert wrong.names == spec.names
        assert (wrong.look, [o.blurred for o in wrong.objects]) != (spec.look, [o.blurred for o in spec.objects])


def test_chunks_hold_what_they_say():
    chunk = _render_chunk(range(20_000_000, 20_000_020))
    assert chunk.images.shape == (20, 64, 64, 3)
    assert chunk.captions.shape == (20, 4)
    assert chunk.wrong.shape == (20, 2, 3)
    for right, wrong in zip(chunk.captions, chunk.wrong, strict=True):
        assert not set(right) & set(wrong.ravel())
