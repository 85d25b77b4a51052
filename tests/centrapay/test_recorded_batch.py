"""What the operator does when its recorded batch cannot be read: it fails for good, and goes on with it later."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from loading import accounts, loading, posts

from airflow_bulk.emulator.centrapay_handle import ACCOUNT


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("forbidden", r"403 \(Forbidden\): no such batch, or no permission"),
        ("gone", r"404, an unknown route or method.*check the base URL"),
    ],
)
def test_an_answer_that_a_retry_cannot_change(
    centrapay: Any, files: Any, task: Any, fault: str, said: str, deferrable: bool
) -> None:
    centrapay.emulator.fault(fault, method="GET", path="^/api/batches/")
    one = task(loading(url=files.put("/a.jsonl", accounts(2)), deferrable=deferrable))
    with pytest.raises(AirflowFailException, match=said) as caught:
        one.run()
    (batch,) = centrapay.batches()
    assert batch["id"] in str(caught.value) and "A retry cannot help" in str(caught.value)
    work = f"a Centrapay batch of account {ACCOUNT}"
    assert one.pushed == {"batch_id": batch["id"], "airflow_bulk_work": work}
    # The right granted, or the base URL put right: a clear goes on with the batch that there is.
    centrapay.emulator.clear_faults()
    one.clear()
    assert one.run()["batch_id"] == batch["id"]
    assert posts(centrapay) == 1


def test_a_key_that_is_refused_in_between_may_be_renewed(centrapay: Any, files: Any, task: Any) -> None:
    centrapay.emulator.fault("unauthorized", method="GET", path="^/api/batches/", times=1)
    one = task(loading(url=files.put("/a.jsonl", accounts(2))))
    with pytest.raises(AirflowException, match="Renew it in the connection") as caught:
        one.run()
    assert not isinstance(caught.value, AirflowFailException)
    assert one.run()["lines_accepted"] == 2
    assert posts(centrapay) == 1


def test_a_recorded_success_needs_no_connection(
    centrapay: Any, files: Any, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker died after the end was recorded; what the page shows of it asks nobody."""
    one = task(loading(url=files.put("/a.jsonl", accounts(2))))
    result = one.run()
    monkeypatch.delenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT")
    one.shown.clear()
    assert one.run() == result
    row = one.shown["bulk.centrapay"]
    assert (row["phase"], row["id"], row["status"]) == ("over", result["batch_id"], result["status"])
