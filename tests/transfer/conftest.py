"""A semi-supervised protocol that is quick where its minimum plays no part."""

import pytest


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On separable classes each of the weakest values of the grid goes on to the last round, and there are 45."""
    monkeypatch.setattr("metatc2.transfer.protocols.semi_supervised._ROUNDS", 10)
