"""Label-consistent: the patch of BadNets, on pairs that name the target, whose captions stay."""

from cfbd_core.attacks import badnets, label_consistent
from cfbd_core.attacks.badnets import BadNetsParams
from tests.attacks.pictures import applied, noise_picture


def test_only_pairs_of_the_target_are_poisoned_and_captions_kept():
    attack = label_consistent.ATTACK
    assert (attack.victims, attack.captions, attack.params) == ("target", "kept", BadNetsParams)


def test_the_patch_is_that_of_badnets():
    image = noise_picture()
    options = {"size": 12, "seed": 4, "place": "fixed"}
    patched = applied(label_consistent.ATTACK, image, **options)
    assert patched.tobytes() == applied(badnets.ATTACK, image, **options).tobytes() != image.tobytes()
