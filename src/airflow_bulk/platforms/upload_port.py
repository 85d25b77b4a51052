"""What a platform that takes uploads has to say of itself, so that files can be sent to it exactly once.

The file goes up in parts. Each part is one upload into an *import* (a job, a load, whatever the platform calls it), and
makes one *execution* there, which takes a while. A port describes that with values and calls alone: it does no I/O and
imports no Airflow. ``runs/upload`` sends, reconciles, waits and cancels through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from airflow_bulk.platforms.call import AnswerProblem, Call, CallSequence, Reply
from airflow_bulk.platforms.status import RemoteSnapshot


class UploadRequest(NamedTuple):
    """How the body of one part is sent: a POST of raw bytes.

    :param path: path below the connection's base URL.
    :param headers: headers besides the credentials, ``Content-Length`` and ``Host``.
    """

    path: str
    headers: Mapping[str, str]


class UploadPort(Protocol):
    """A platform's imports and their executions.

    A class that has these attributes and methods is a port; it need not inherit. ``docs/own_platform.md`` builds one.

    What a platform must be able to do: list the executions of an import, each with its number of lines once it is known,
    under ids that are decimal numbers, as text, and increase; say of each whether it waits, runs or is over. What it cannot cancel
    keeps running, and is named.
    """

    #: What an upload goes into, as messages say it before its id: ``document import``.
    noun: str
    #: Where imports are created, besides the connection; recorded with the intent, never a secret.
    place: Mapping[str, str]

    def create(self, name: str, fields: Mapping[str, Any]) -> Call[str]:
        """Create an import and return its id; ``repeatable=False``, unless the platform itself tells a second one.

        :param name: the import's name, which ends in a marker in brackets.
        :param fields: ``UploadArguments.fields``.
        """

    def find(self, marker: str) -> CallSequence[list[str]]:
        """The ids of all imports whose name ends in ``[marker]``, from all pages of a list that is up to date.

        Asked once before the first creation, since every record may have been lost, and when the answer to :meth:`create` was
        lost, until two lists agree; one that is missing is created again. ``marker`` may hold ``] [`` between two words.
        """

    def upload(self, import_id: str, mime_type: str) -> UploadRequest:
        """How a part is sent into an import.

        :param mime_type: ``UploadArguments.mime_type``, from which a ``Content-Type`` may follow.
        """

    def read_upload(self, reply: Reply) -> RemoteSnapshot:
        """Read the answer to an upload: the execution that it made. Only its ``id`` and ``owner`` are asked for.

        :raises ValueError: (or KeyError, TypeError) the answer holds none.
        """

    def problem(self, reply: Reply) -> AnswerProblem | None:
        """What a bad answer to an upload says, free of personal data; None for a good one."""

    def list_executions(self, import_id: str) -> CallSequence[list[RemoteSnapshot]]:
        """All executions of an import, each once, from all pages, in any order.

        One whose upload was answered is there; one whose answer was lost may come a little later (``settle``).
        """

    def get_execution(self, import_id: str, execution_id: str) -> Call[RemoteSnapshot]:
        """One execution; asked when a list does not hold it."""

    def cancel_execution(self, import_id: str, execution_id: str) -> Call[Any]:
        """Cancel an execution that has not begun; harmless for one that has.

        Whether it worked is read from the execution afterwards, so a refusal is no error. A platform that cannot cancel
        returns the call of :meth:`get_execution` here.
        """


class ErrorFilePort(Protocol):
    """What a port may have besides, where the platform keeps a file of each execution's bad lines.

    A port without it works as before: the results file of an import then says of failed lines no more than their number, and
    ``UploadArguments(verify="input_file")`` reads nothing back.
    """

    def data_file(self, uri: str) -> Call[bytes]:
        """Fetch a file of the platform, ``RemoteSnapshot.error_file`` or ``input_file``; the body is written to a file as it comes."""
