"""A platform's message becomes its kind: nothing in it may identify a person."""

from __future__ import annotations

import pytest

from airflow_bulk.platforms.errors import reduce_message

ERROR_ID = "0b8f3c52-6a0e-4f3a-8a57-3d7a5f0c9d11"


@pytest.mark.parametrize(
    ("message", "reduced"),
    [
        (f"Unknown compartment Error id = {ERROR_ID}.", "Unknown compartment Error id = *."),
        ("Unknown account jane@example.org in 4100", "Unknown account * in *"),
        ("Unknown account 'jane' of \"doe\"", "Unknown account * of *"),
        ("Token 5f4dcc3b5aa765d61d8327de is unknown", "Token * is unknown"),
        ('Not an object: {"user_account_id": "jane"', "Not an object: *"),
        ("Not a document: {jane doe\nSaved errors: 3", "Not a document: * Saved errors: *"),
        (f"A cell too many: Jane,Doe,Paris Error id = {ERROR_ID}.", "A cell too many:*Error id = *."),
        ("Something is wrong", "Something is wrong"),
    ],
)
def test_only_the_kind_is_left(message: str, reduced: str) -> None:
    assert reduce_message(message) == reduced


def test_a_message_of_many_errors() -> None:
    lines = [f"Not a JSON document: {{jane-{n} Error id = {ERROR_ID}." for n in range(50)]
    reduced = reduce_message("0 success, 50 failures\nSaved errors:\n" + "\n".join(lines))
    assert reduced.startswith("* success, * failures Saved errors: Not a JSON document: *")
    assert "jane" not in reduced
    assert len(reduced) <= 200
