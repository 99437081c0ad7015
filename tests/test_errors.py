from oche.errors import InputError, unknown


def test_unknown_names_the_nearest_and_all() -> None:
    error = unknown("method", "dart", ["darts", "drnas", "gdas"])
    assert isinstance(error, InputError)
    assert isinstance(error, ValueError)
    assert "unknown method 'dart'" in str(error)
    assert "did you mean 'darts'" in str(error)
    assert str(error).endswith("known: darts, drnas, gdas")


def test_unknown_guesses_nothing_far_away() -> None:
    assert "did you mean" not in str(unknown("method", "xyz", ["darts"]))
