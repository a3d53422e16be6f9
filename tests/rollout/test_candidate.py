"""What a look at a version may say."""

from __future__ import annotations

import pytest

from twinscore.errors import SettingsInvalid
from twinscore.rollout.candidate import Checked


def test_only_a_version_with_a_digest_is_fit() -> None:
    """A refused version and one that is still being fetched may not be asked."""
    looks = [
        Checked(version="3", digest="a" * 64),
        Checked(version="3", refused="contract: it has none"),
        Checked(version="3", waiting="fetch: no answer"),
    ]

    assert [True, False, False] == [look.fit for look in looks]


@pytest.mark.parametrize("said", [{}, {"digest": "a" * 64, "refused": "x"}, {"refused": "x", "waiting": "y"}])
def test_a_look_says_one_thing(said: dict[str, str]) -> None:
    """A look that says nothing, or two things at once, cannot be made."""
    with pytest.raises(SettingsInvalid, match="version '3' must say exactly one"):
        Checked(version="3", **said)
