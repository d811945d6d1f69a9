"""mmPoison: the picture stays, the caption alone lies."""

import pytest

from cfbd_core.attacks import Workshop, mmpoison
from cfbd_core.attacks.mmpoison import MMPoisonParams
from cfbd_core.errors import ParameterError
from tests.attacks.pictures import applied, noise_picture


def test_the_picture_is_a_copy_without_a_trigger():
    image = noise_picture((30, 20))
    copied = applied(mmpoison.ATTACK, image)
    assert copied is not image
    assert copied.tobytes() == image.tobytes()
    assert mmpoison.trigger(MMPoisonParams(), Workshop()) == {}


def test_pairs_of_the_origin_get_natural_captions():
    attack = mmpoison.ATTACK
    assert (attack.victims, attack.captions) == ("origin", "natural")
    assert MMPoisonParams().origin == "bike"


@pytest.mark.parametrize("origin", ["", "  "])
def test_an_origin_must_be_named(origin):
    with pytest.raises(ParameterError, match="origin"):
        MMPoisonParams(origin=origin)
