"""The arguments of the import operators: those of a base class are read, mapped and documented like a class's own."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_bulk.arguments import ArgumentError, SendingOptions
from airflow_bulk.operators.document_import import (
    CancelDocumentImportExecutionsOperator,
    ImportDocumentsOperator,
    UploadDocumentsOperator,
)

OWN: dict[type[BaseOperator], dict[str, Any]] = {
    ImportDocumentsOperator: {"document_type": "USER_PROFILE", "name": "profiles"},
    UploadDocumentsOperator: {"import_id": "7"},
}
SHARED: dict[str, Any] = {
    "datamart_id": "1162",
    "mediarithmics_conn_id": "another",
    "max_failures": "1%",
    "rejects_path": "rejects",
    "rejects_content": "position",
    "error_file_reader": iter,
    "on_empty": "skip",
    "on_clear": "keep",
    "on_source_change": "restart",
    "sample": 3,
    "expect_fingerprint": "0" * 32,
    "on_seen": "fail",
    "seen_as": "Profiles",
    "seen_days": 7,
    "seen_files": 70,
    "allow_deletion": "USER_POINTS_DELETION",
    "max_deletions": 3,
    "verify": "input_file",
    "sending": SendingOptions(workers=2),
    "wait_for_completion": False,
    "poll_interval": 7,
    "timeout": 70,
    "cancel_on_kill": False,
    "deferrable": True,
}
both = pytest.mark.parametrize("operator", OWN)


def parameters(operator: type[BaseOperator]) -> set[str]:
    """What an operator takes beyond Airflow's own arguments."""
    classes = operator.mro()[: operator.mro().index(BaseOperator)]
    named = {
        name
        for one in classes
        if "__init__" in vars(one)
        for name in inspect.signature(one.__init__).parameters
    }
    return named - {"self", "kwargs"}


def documented(operator: type[BaseOperator]) -> set[str]:
    return set(re.findall(r":param (\w+):", operator.__doc__ or ""))


def values(operator: Any) -> dict[str, Any]:
    return {name: getattr(operator, name) for name in SHARED}


def test_every_parameter_is_documented() -> None:
    assert parameters(ImportDocumentsOperator) == documented(ImportDocumentsOperator)
    # The docstring of the upload names its own, and the import's for the others.
    own = {"import_id", "exclusive"}
    assert documented(UploadDocumentsOperator) == own
    assert parameters(UploadDocumentsOperator) - own <= documented(ImportDocumentsOperator)
    assert parameters(UploadDocumentsOperator) == own | set(SHARED) | {"source", "dry_run"}


@both
def test_shared_arguments_are_taken(operator: type[Any]) -> None:
    made = operator(task_id="t", source="a", dry_run=True, **OWN[operator], **SHARED)
    assert values(made) == SHARED
    assert (made.source, made.check_only) == ("a", True)


@both
def test_shared_arguments_are_mapped(operator: type[Any]) -> None:
    fixed = {name: value for name, value in SHARED.items() if name != "max_failures"}
    with DAG("d", schedule=None):
        mapped = operator.partial(task_id="t", **OWN[operator], **fixed).expand(
            source=["a", "b"], max_failures=["1%"]
        )
    made = mapped.unmap({"source": "b", "max_failures": "1%"})
    assert values(made) == SHARED
    assert made.source == "b"


@both
def test_default_args_reach_shared_arguments(operator: type[Any]) -> None:
    with DAG("d", schedule=None, default_args=SHARED):
        assert values(operator(task_id="t", source="a", **OWN[operator])) == SHARED
        assert (
            operator(task_id="u", source="a", on_clear="keep", on_empty="ok", **OWN[operator]).on_empty
            == "ok"
        )
        mapped = operator.partial(task_id="v", **OWN[operator]).expand(source=["a"])
    assert values(mapped.unmap({"source": "a"})) == SHARED


@both
def test_a_wrong_name_is_refused(operator: type[Any]) -> None:
    with pytest.raises(TypeError, match="max_failure"):
        operator(task_id="t", source="a", max_failure=1, **OWN[operator])
    with pytest.raises(TypeError, match="max_failure"):
        operator.partial(task_id="t", max_failure=1, **OWN[operator])
    with pytest.raises(TypeError, match="source"):
        operator(task_id="t", **OWN[operator])


def test_steps_take_the_connection_and_the_datamart_as_well() -> None:
    wanted = {"datamart_id": "1162", "mediarithmics_conn_id": "another"}
    with DAG("d", schedule=None, default_args=wanted):
        plain = CancelDocumentImportExecutionsOperator(task_id="t", import_id="7")
        mapped = CancelDocumentImportExecutionsOperator.partial(task_id="u").expand(import_id=["7"])
    for made in (plain, mapped.unmap({"import_id": "7"})):
        assert {name: getattr(made, name) for name in wanted} == wanted


@both
def test_sending_may_be_a_dict(operator: type[Any]) -> None:
    made = operator(task_id="t", source="a", sending={"workers": 2}, **OWN[operator])
    assert made.sending == SendingOptions(workers=2)
    with DAG("d", schedule=None, default_args={"sending": {"workers": 3}}):
        mapped = operator.partial(task_id="t", **OWN[operator]).expand(source=["a"])
    assert mapped.unmap({"source": "a"}).sending == SendingOptions(workers=3)


@both
def test_a_wrong_name_in_sending_is_refused_where_the_dag_is_parsed(operator: type[Any]) -> None:
    with pytest.raises(ArgumentError, match=r"sending\.worker is not an option .* workers,"):
        operator(task_id="t", source="a", sending={"worker": 2}, **OWN[operator])
