"""Presence, removal, kept and invented objects against counting by hand."""

import math
import pickle

import pytest
import torch

from dsas_diffusion.errors import InputError
from dsas_diffusion.evaluation.presence import ObjectsShown, PresenceRate, present
from dsas_diffusion.evaluation.twins import NoInventedObject, ObjectsKept, Removal

# Four prompts with twins; what each picture shows, as a person would write it down.
LABELS = [("banana",), ("banana", "apple"), ("apple", "cup"), ()]
UNSTEERED = [{"banana"}, {"banana", "apple"}, {"apple"}, {"cup"}]
STEERED = [set(), {"apple", "cup"}, {"apple", "cup"}, {"cup"}]
OBJECTS = ("apple", "banana", "cup")


def probabilities(pictures):
    return {name: torch.tensor([0.9 if name in shown else 0.2 for shown in pictures]) for name in OBJECTS}


def test_present_means_more_than_a_half():
    assert present({"cup": torch.tensor([0.5, 0.500001, 1.0, 0.0])}, "cup").tolist() == [False, True, True, False]
    with pytest.raises(InputError, match="knows no 'mug'; it knows cup"):
        present({"cup": torch.ones(1)}, "mug")
    with pytest.raises(InputError, match="'cup' is not finite for picture 1"):
        present({"cup": torch.tensor([0.1, float("nan")])}, "cup")


def test_presence_rate():
    rate = PresenceRate("apple")
    rate.update(probabilities(UNSTEERED))
    assert rate.compute() == 2 / 4
    among = PresenceRate("cup")
    among.update(probabilities(UNSTEERED), torch.tensor([True, True, False, True]))
    assert among.compute() == 1 / 3


def test_objects_shown():
    shown = ObjectsShown()
    shown.update(LABELS, probabilities(UNSTEERED))
    asked = [(name, pictures) for wanted, pictures in zip(LABELS, UNSTEERED, strict=True) for name in wanted]
    assert shown.compute() == sum(name in pictures for name, pictures in asked) / len(asked) == 4 / 5


def test_removal():
    removal = Removal("banana")
    removal.update(probabilities(UNSTEERED), probabilities([set(), {"banana"}, {"banana"}, set()]))
    assert removal.compute() == 1 / 2  # the third picture never showed one


def test_objects_kept():
    everything, others = ObjectsKept(()), ObjectsKept(("banana",))
    for measure in (everything, others):
        measure.update(LABELS, probabilities(UNSTEERED), probabilities(STEERED))
    assert everything.compute() == 2 / 4
    assert others.compute() == 2 / 2  # the cup of prompt 3 was never drawn, that of prompt 4 never asked for


def test_no_invented_object():
    clean = NoInventedObject()
    clean.update(LABELS, probabilities(UNSTEERED), probabilities(STEERED))
    assert clean.compute() == 3 / 4  # only prompt 2's cup comes from nowhere


@pytest.mark.parametrize(
    "measure",
    [PresenceRate("cup"), ObjectsShown(), Removal("cup"), ObjectsKept(()), NoInventedObject()],
    ids=lambda m: type(m).__name__,
)
def test_batches_and_processes_add_up(measure):
    def update(target, rows):
        labels, before, after = LABELS[rows], probabilities(UNSTEERED[rows]), probabilities(STEERED[rows])
        arguments = {PresenceRate: (after,), ObjectsShown: (labels, after), Removal: (before, after)}
        target.update(*arguments.get(type(target), (labels, before, after)))

    fresh = pickle.dumps(measure)
    assert math.isnan(measure.compute())
    update(measure, slice(0, 4))
    one, other = pickle.loads(fresh), pickle.loads(fresh)
    update(one, slice(0, 1))
    update(other, slice(1, 3))
    update(one, slice(3, 4))
    assert one.merge(pickle.loads(pickle.dumps(other))) == measure
    assert type(measure).higher_is_better in (True, None)


def test_measures_of_different_things_do_not_add_up():
    with pytest.raises(InputError, match="own kind and settings"):
        Removal("cup").merge(Removal("apple"))


def test_labels_that_the_detector_does_not_know_are_refused():
    with pytest.raises(InputError, match="knows no 'mango'"):
        ObjectsKept(()).update([("mango",)], probabilities([set()]), probabilities([set()]))
