import pytest

from oche.errors import InputError
from oche.nn.network import Stack
from oche.presets import PRESETS, TEXT_PRESETS, preset
from oche.training.protocol import protocol


def test_text_has_the_same_presets_with_protocols_of_its_own() -> None:
    assert PRESETS.keys() == TEXT_PRESETS.keys()
    for name in PRESETS:
        assert preset(name) is PRESETS[name]
        assert preset(name, text=True) is TEXT_PRESETS[name]
        assert protocol(preset(name).protocol).language is None
        assert protocol(preset(name, text=True).protocol).language is not None


def test_the_paper_preset_is_the_method_s_own_search_and_the_published_training() -> None:
    paper = preset("paper", text=True)
    assert (paper.supernet, paper.epochs, paper.batch, paper.protocol) == (None, None, None, "ptb")
    tiny = preset("tiny", text=True)
    assert tiny.supernet == Stack(cells=1, channels=64)


@pytest.mark.parametrize("text", [False, True])
def test_an_unknown_preset_is_refused(text: bool) -> None:
    with pytest.raises(InputError, match="did you mean 'tiny'"):
        preset("tinny", text)
