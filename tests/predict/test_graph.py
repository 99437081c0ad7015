"""Encodings say which architectures are the same graph."""

from random import Random

import pytest
import torch

from oche.errors import InputError
from oche.predict.graph import ABSENT, graph_form
from oche.spaces.module_space import ModuleSpace
from oche.spaces.registry import space


@pytest.mark.parametrize("name", ["nasbench201", "bench125", "darts", "rdarts-s3"])
def test_an_encoding_names_the_operation_of_every_edge(name: str) -> None:
    of = space(name)
    form = graph_form(of)
    rng = Random(0)
    drawn = [of.sample(rng) for _ in range(20)]
    rows = form.encode(drawn)
    assert rows.shape == (20, form.edges)
    for architecture, row in zip(drawn, rows.tolist(), strict=True):
        cells, column = of.cells(architecture), 0
        for cell in form.cells:
            for target, source, _ in cell.edges:
                found = form.operations[row[column] - 1] if row[column] != ABSENT else "none"
                assert cells[cell.kind][target - cell.inputs].get(source, "none") == found
                column += 1
        assert column == form.edges


def test_different_architectures_have_different_encodings() -> None:
    of = space("bench125")
    rows = graph_form(of).encode(list(of.enumerate()))
    assert len(torch.unique(rows, dim=0)) == 125


def test_outputs_are_what_leaves_a_cell() -> None:
    assert [cell.outputs for cell in graph_form(space("darts")).cells] == [(2, 3, 4, 5)] * 2
    assert [cell.outputs for cell in graph_form(space("nasbench201")).cells] == [(3,)]


def test_no_architectures_are_no_rows() -> None:
    assert graph_form(space("nasbench201")).encode([]).shape == (0, 6)


def test_a_space_without_an_encoding_is_refused() -> None:
    class Other(ModuleSpace):
        pass

    with pytest.raises(InputError, match=r"no graph encoding.*CellSpace, StagedSpace.*Uniform\(\)"):
        graph_form(object.__new__(Other))  # type: ignore[arg-type]
