"""Code of a user that is wrong says so: a check of lines that fails or returns no list, an id that is no text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from one_task import Task

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.status import RemoteSnapshot
from depot.api import DepotLoads
from depot.operators import LoadIntoDepotOperator
from depot_server import Depot


class OtherCheck(LoadIntoDepotOperator):
    """Has its lines checked by another function."""

    check: ClassVar[str] = ""

    def upload_arguments(self, *given: Any) -> Any:
        return dataclasses.replace(super().upload_arguments(*given), line_check=self.check)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("depot.lines:no_such_check", r"'depot\.lines:no_such_check' cannot be imported .*Nothing was sent"),
        ("no.such.module:check", r"cannot be imported \(ModuleNotFoundError: No module named 'no'\)"),
        (".bad_checks:careless", "cannot be imported .* It must be package.module:function"),
        ("bad_checks:one_sentence", "returned str, and must return a list of sentences"),
        ("bad_checks:nothing", "returned NoneType, and must return a list of sentences"),
        ("bad_checks:no_sentences", "returned list, and must return a list of sentences"),
        ("depot.lines", "cannot be imported"),
        ("bad_checks:careless", "'bad_checks:careless' failed with KeyError"),
        ("", "line_check must name the function"),
    ],
)
def test_a_check_that_fails_says_so(
    depot: Depot, records: Path, monkeypatch: pytest.MonkeyPatch, check: str, said: str, workers: int
) -> None:
    monkeypatch.setattr(OtherCheck, "check", check)
    sending = SendingOptions(workers=workers)
    one = Task(lambda: OtherCheck(task_id="t", source=str(records), name="n", sending=sending))
    with pytest.raises(AirflowException, match=said) as raised:
        one.run()
    assert "sku-" not in str(raised.value)
    assert not depot.loads()


class Numbers(DepotLoads):
    """Hands on the numbers that JSON holds instead of text, where ``wrong`` says so."""

    wrong: ClassVar[str] = ""

    def create(self, name: str, fields: Any) -> Call[Any]:
        made = super().create(name, fields)
        return made.then(int) if self.wrong == "create" else made

    def read_upload(self, reply: Any) -> RemoteSnapshot:
        found = super().read_upload(reply)
        if self.wrong == "read_upload":
            return RemoteSnapshot(id=int(found.id), remote_status=found.remote_status, status=found.status)  # type: ignore[arg-type]
        return found


class LoadNumbers(LoadIntoDepotOperator):
    def port(self, hook: Any) -> Numbers:
        return Numbers()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("create", "What create returns for a load"), ("read_upload", "The id of a RemoteSnapshot")],
)
def test_an_id_that_is_no_text_is_told_at_once(
    depot: Depot, records: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, said: str
) -> None:
    """Not by the first crash: a good run would not have noticed."""
    monkeypatch.setattr(Numbers, "wrong", wrong)
    one = Task(lambda: LoadNumbers(task_id="t", source=str(records), name="n"))
    with pytest.raises(AirflowFailException, match=f"{said} must be text that is not empty, and is int"):
        one.run()
