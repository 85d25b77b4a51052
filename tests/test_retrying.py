"""The retry policy's decisions: each error of the package, how long is waited, and what a page says of both."""

from __future__ import annotations

import importlib
import pkgutil
import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, RetryAction, RetryDecision
from airflow.sdk.exceptions import AirflowFailException
from hypothesis import given
from hypothesis import strategies as st

import airflow_bulk
from airflow_bulk.arguments import ArgumentError
from airflow_bulk.hooks.sending.children import ChildLost
from airflow_bulk.operators.document_import import ImportDocumentsOperator
from airflow_bulk.platforms.errors import TryLater
from airflow_bulk.retrying import LONGEST_DELAY, BulkRetryPolicy
from airflow_bulk.runs.failures import TryFailed, as_airflow_errors
from airflow_bulk.runs.reconcile import SeveralFit

RESCHEDULES = hasattr(RetryAction, "RESCHEDULE")
before_3_4 = pytest.mark.skipif(RESCHEDULES, reason="from Airflow 3.4 on, a wait uses no retry")
from_3_4 = pytest.mark.skipif(not RESCHEDULES, reason="Airflow 3.3 cannot wait without using a retry")
#: What the page's words mean, on Airflow 3.3 and from 3.4 on.
WORDS = {"fails": ("fail", "fail"), "waits": ("retry", "reschedule"), "default": ("default", "default")}


def every_error() -> dict[str, type[BaseException]]:
    """Each exception class that the package defines, but for emulator and command line, which are no part of a task."""
    found: dict[str, type[BaseException]] = {}
    for one in pkgutil.walk_packages(airflow_bulk.__path__, "airflow_bulk."):
        if one.name.split(".")[1] in ("cli", "emulator", "pytest_plugin") or one.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(one.name)).items():
            if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == one.name:
                found[name] = value
    return found


def rows(page: str) -> dict[str, tuple[str, str]]:
    """The page's table: an error's name, and what becomes of the task on Airflow 3.3 and from 3.4 on."""
    section = page.partition("## Every error\n")[2].partition("\n## ")[0]
    table: dict[str, tuple[str, str]] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            names, old, new, why = (cell.strip() for cell in line.strip("|").split("|"))
            assert why
            for name in re.findall(r"`(\w+)`", names):
                assert name not in table
                table[name] = (old.split()[0].rstrip(","), new.split()[0].rstrip(","))
    return table


@pytest.fixture(scope="module")
def table(repository: Path) -> dict[str, tuple[str, str]]:
    return rows((repository / "docs" / "retries.md").read_text(encoding="utf-8"))


def asked(error: BaseException, *, retries: int = 3, try_number: int = 1, **task: Any) -> RetryDecision:
    """What the policy says of an error of a task."""
    given = {"retries": retries, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": 0}
    given |= {"max_retry_delay": None, **task}
    policy = BulkRetryPolicy(least_wait=timedelta(minutes=1), wait_at_most=timedelta(hours=2))
    context: Any = {"ti": SimpleNamespace(task=SimpleNamespace(**given))}
    return policy.evaluate(error, try_number, retries, context)


def busy(retry_after: float | None = None, **more: Any) -> TryLater:
    return TryLater("list imports", "busy", retry="Later.", retry_after=retry_after, **more)


def test_every_error_of_the_package_has_a_row(table: dict[str, tuple[str, str]]) -> None:
    errors = {name for name in every_error() if not name.startswith("_")}
    assert len(errors) > 30
    assert set(table) == errors


def test_the_policy_decides_as_the_page_says(table: dict[str, tuple[str, str]]) -> None:
    decided = {}
    for name, kind in every_error().items():
        error = busy() if kind is TryLater else kind.__new__(kind)
        error = ValueError() if kind is TryFailed else error  # it stands for the error that it holds
        decided[name] = asked(error).action.value
    told = {name: WORDS[words[RESCHEDULES]][RESCHEDULES] for name, words in table.items()}
    # A name that begins with an underscore never leaves its module: the page is for people.
    inner = {name: "default" for name in decided if name.startswith("_")}
    assert decided == told | inner


def test_the_rows_of_both_versions_say_the_same(table: dict[str, tuple[str, str]]) -> None:
    assert {name for name, (old, new) in table.items() if old != new} == set()


def test_a_wrapped_error_is_decided_by_what_it_holds() -> None:
    with pytest.raises(TryFailed) as caught, as_airflow_errors():
        raise busy(900)
    assert asked(caught.value) == asked(busy(900))
    assert caught.value.__suppress_context__  # the layers below stay out of the log


def test_a_lost_process_ends_a_try_like_any_other_error() -> None:
    with pytest.raises(TryFailed, match="goes on") as caught, as_airflow_errors():
        raise ChildLost("A retry goes on from the record.")
    assert asked(caught.value) == asked(ValueError())
    assert caught.value.__suppress_context__


def test_what_only_a_person_can_tell_is_not_retried_without_the_policy() -> None:
    with pytest.raises(AirflowFailException, match="two fit"), as_airflow_errors():
        raise SeveralFit("tell which is ours", "two fit", retry="Look.")


def test_a_subclass_is_decided_like_its_base() -> None:
    class OwnArgument(ArgumentError):
        pass

    assert asked(OwnArgument("source", "is wrong")).action is RetryAction.FAIL


@pytest.mark.parametrize("error", [ValueError("no"), OSError(), SystemExit(1), busy(900, passing=False)])
def test_the_rest_is_left_to_airflow(error: BaseException) -> None:
    assert asked(error) == RetryDecision.default()


def test_a_reason_names_the_kind_and_no_text() -> None:
    for error in (
        ArgumentError("secret", "secret"),
        TryLater("secret", "secret", retry="secret", status=503),
    ):
        reason = asked(error).reason
        assert reason
        assert type(error).__name__ in reason
        assert "secret" not in reason


@given(
    retry_after=st.none() | st.floats(0, 1e300),
    delay=st.timedeltas(timedelta(0), timedelta(days=2)),
    factor=st.sampled_from([0, 1.0, 2.0, 1e9]),
    longest=st.none() | st.timedeltas(timedelta(seconds=1), timedelta(days=2)),
    number=st.integers(1, 400),
)
def test_a_wait_is_never_shorter_than_asked(
    retry_after: float | None, delay: timedelta, factor: float, longest: timedelta | None, number: int
) -> None:
    """None is the task's own delay, which must then be long enough."""
    decision = asked(
        busy(retry_after),
        try_number=number,
        retry_delay=delay,
        retry_exponential_backoff=factor,
        max_retry_delay=longest,
    )
    needed = max(timedelta(minutes=1), min(timedelta(seconds=min(retry_after or 0, 1e6)), LONGEST_DELAY))
    if decision.retry_delay is not None:
        assert decision.retry_delay >= needed
    elif factor in (0, 1.0):
        assert delay >= needed
    else:
        assert longest is None or longest >= needed


@before_3_4
def test_exponential_backoff_is_not_cut_short() -> None:
    growing = {"retry_delay": timedelta(minutes=1), "retry_exponential_backoff": 2.0}
    assert asked(busy(900), try_number=1, **growing).retry_delay == timedelta(seconds=900)
    assert asked(busy(900), try_number=5, **growing).retry_delay is None  # 16 minutes at least
    few = timedelta(minutes=10)
    assert asked(busy(900), try_number=5, max_retry_delay=few, **growing).retry_delay == timedelta(
        seconds=900
    )


@from_3_4
def test_a_wait_without_a_retry_is_bounded() -> None:
    decision: Any = asked(busy(900))
    assert (decision.action.value, decision.retry_delay) == ("reschedule", timedelta(seconds=900))
    assert decision.reschedule_timeout == timedelta(hours=2)
    assert asked(busy(), retry_delay=timedelta(hours=1)).retry_delay == timedelta(hours=1)


@from_3_4
def test_the_pokes_of_a_sensor_do_not_use_up_the_wait() -> None:
    decision: Any = asked(busy(), reschedule=True, timeout=3600.0)
    assert decision.reschedule_timeout == timedelta(hours=3)


def test_no_retries_are_no_further_run() -> None:
    """A reschedule would run the task again, which an author with ``retries=0`` did not ask for."""
    assert asked(busy(900), retries=0).action is RetryAction.RETRY
    assert BulkRetryPolicy().evaluate(busy(900), 1, 0).action is RetryAction.RETRY


@pytest.mark.parametrize("name", ["least_wait", "wait_at_most"])
def test_a_wait_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        BulkRetryPolicy(**{name: timedelta(0)})


def test_a_policy_outlives_json() -> None:
    policy = BulkRetryPolicy(least_wait=timedelta(seconds=7), wait_at_most=timedelta(hours=1))
    assert vars(BulkRetryPolicy.deserialize(policy.serialize())) == vars(policy)


def test_dags_with_the_policy_can_be_serialized() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    arguments = {"document_type": "USER_PROFILE", "name": "profiles"}
    with DAG("policies", schedule=None, default_args={"retry_policy": BulkRetryPolicy()}) as dag:
        ImportDocumentsOperator(task_id="plain", source="a.ndjson", **arguments)
        ImportDocumentsOperator.partial(task_id="mapped", **arguments).expand(source=["a.ndjson"])
        ImportDocumentsOperator(task_id="none", source="a.ndjson", retry_policy=None, **arguments)
    read = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    kept = {task_id: bool(read.get_task(task_id).has_retry_policy) for task_id in read.task_dict}
    assert kept["plain"]
    assert kept["mapped"]
    assert not kept["none"]
