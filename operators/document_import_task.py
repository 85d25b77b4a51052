"""``@task.import_documents``: the records that a function returns or yields are imported into mediarithmics, exactly once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from airflow_bulk import arguments as read
from airflow_bulk.operators.base import IMPORT_AGAIN, with_record
from airflow_bulk.operators.document_import import ImportDocumentsOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bulk.arguments import SendingOptions, UploadArguments
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.runs.upload.spool import Spool

#: How long a spool of a run that is over is kept.
KEEP_SPOOL = timedelta(days=7)
_NEEDED = ("document_type", "name", "spool_path")


class _ImportRecordsOperator(DecoratedOperator, ImportDocumentsOperator):
    """The task behind ``@task.import_documents``; :func:`import_documents_task` says what it takes."""

    custom_operator_name = "@task.import_documents"
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in ImportDocumentsOperator.template_fields if name != "source"),
        "spool_path",
        "keep_spool",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {**DecoratedOperator.template_fields_renderers}

    _spool: Spool | None = None

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        spool_path: str,
        keep_spool: timedelta | float | str = KEEP_SPOOL,
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, source="", **kwargs
        )
        self.spool_path = spool_path
        self.keep_spool = keep_spool

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function, or find the records of an earlier try; import them."""
        from airflow.sdk.exceptions import AirflowSkipException

        from airflow_bulk.runs.upload.spool import FunctionFailed

        raised: Exception
        try:
            result: dict[str, Any] = super().execute(context)
        except FunctionFailed as error:
            raised = error.error
        except AirflowSkipException:
            self._discard()  # nothing is in it
            raise
        except Exception:
            if self._spool is not None and self._spool.dry:
                self._discard()
            raise
        else:
            # A results file may tell bad lines by their place in the spool alone, and then they can be sent again from there.
            if not result.get("results_uri"):
                self._discard()
            return result
        raise raised

    def _discard(self) -> None:
        if self._spool is not None:
            self._spool.discard()

    def upload_arguments(
        self, given: Mapping[str, Any], sending: SendingOptions, hook: MediarithmicsHook
    ) -> UploadArguments:
        """Read the arguments; the source is not there yet."""
        return super().upload_arguments({**given, "source": "records"}, sending, hook)

    def _spool_of(self, args: UploadArguments, context: Context) -> Spool:
        from airflow_bulk.runs.upload.spool import Spool

        assert self._record is not None  # noqa: S101
        ti = context["ti"]
        self._spool = Spool(
            lambda: self._call(context),
            folder=read.text("spool_path", self.spool_path),
            # A run may still need its spool until its deadline.
            keep=read.duration("keep_spool", self.keep_spool) + args.timeout,
            record=self._record,
            place=self._identity(context).removeprefix(f"{ti.dag_id}.{ti.run_id}."),
            args=args,
        )
        return self._spool

    def _call(self, context: Context) -> Any:
        """Call the function, with what it asks for of Airflow's context."""
        kwargs = self.determine_kwargs({**context, **self.op_kwargs})
        return self.python_callable(*self.op_args, **kwargs)


def import_documents_task(
    python_callable: Callable[..., Any] | None = None, **arguments: Any
) -> TaskDecorator:
    """Import the records that the function returns or yields: ``@task.import_documents(document_type=..., ...)``.

    A record is a dict, a msgspec Struct, a pydantic, dataclass or attrs object, or a line (``str`` or ``bytes``, with or
    without its line end). The records go into a spool file one by one, so a generator of any length takes no memory. The
    spool is then checked, cut, sent and judged as any source of :class:`ImportDocumentsOperator` is, with the same
    arguments, the same result and the same promises.

    The function is called once for each run of the task: retries, and the task when it comes back from the triggerer,
    read the spool again. It is called again by a try that follows one that was killed before the spool was complete, by a
    clear while nothing was sent, and by a clear of a success. What it raises is raised as it is, and nothing is sent. Its arguments are
    those of any decorated task: values, templates, results of other tasks, names of Airflow's context; ``.expand()``,
    ``.partial()`` and ``.override()`` work as everywhere.

    The spool is removed once the import has ended well and that is recorded. After a failure it stays, for a retry or a clear; and where
    a results file tells of bad lines it stays, too, so that they can be sent again (``keep_spool``).

    :param document_type: one of the platform's types, such as ``USER_PROFILE``.
    :param name: name of the import.
    :param spool_path: folder or storage URI (``s3://conn_id@bucket/folder``) that every worker reads, for the spools of
        this task; templated. There is no default: a folder of one machine would be wrong where a retry runs on another.
    :param keep_spool: how long the spool of a run that is over stays there at least (a timedelta, or seconds): each run
        removes older ones of the same task, once this time and ``timeout`` have passed.
    :param arguments: all others of :class:`ImportDocumentsOperator` but ``source``, and of any task. With
        ``mime_type="TEXT_CSV"`` a record is a line, and the first one is the header.
    :raises TypeError: an argument is missing, or is none of this decorator; or the function is asynchronous.
    """
    if missing := [name for name in _NEEDED if arguments.get(name) is None]:
        raise TypeError(
            f"@task.import_documents needs {', '.join(missing)}: document_type and name as for ImportDocumentsOperator, "
            "spool_path a folder or a storage URI that every worker reads"
        )
    if arguments.get("on_seen", IMPORT_AGAIN) != IMPORT_AGAIN:
        raise TypeError("@task.import_documents has no on_seen: each run's records are a file of its own")
    if "source" in arguments:
        raise TypeError("@task.import_documents takes no source: the function's records are the source")
    if arguments.pop("multiple_outputs", None):
        raise TypeError(
            "@task.import_documents has one output, the dictionary of the result: leave multiple_outputs out"
        )
    if python_callable is None:
        return lambda function: import_documents_task(function, **arguments)  # type: ignore[return-value]
    if inspect.iscoroutinefunction(python_callable) or inspect.isasyncgenfunction(python_callable):
        raise TypeError("@task.import_documents calls a function or a generator, and no asynchronous one")
    # A mapped task is not constructed where its DAG is parsed: its inlet is given here.
    arguments["inlets"] = with_record(arguments.get("inlets") or [])
    return task_decorator_factory(
        python_callable,
        multiple_outputs=False,
        decorated_operator_class=_ImportRecordsOperator,
        **arguments,
    )
