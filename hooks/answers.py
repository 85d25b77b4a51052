"""What an answer means, or that there is none: the record, the error, and whether the call may be sent again.

No message holds a header, and none quotes the credentials of the connection.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

from airflow_bulk.hooks.endpoint import Endpoint, without_credentials
from airflow_bulk.hooks.network import HowFar, address_of, origin
from airflow_bulk.hooks.retry_after import parse_retry_after, say_retry, say_wait
from airflow_bulk.judging import how_many
from airflow_bulk.platforms.call import AnswerProblem, Call, Reply
from airflow_bulk.platforms.errors import (
    FateUnknown,
    Forbidden,
    NotFound,
    PlatformError,
    Refused,
    TryLater,
    Unauthorized,
)

T = TypeVar("T")

#: Answers that pass by themselves (mediarithmics.md section 1.6, centrapay.md section 7).
PASSING = frozenset({429, 500, 502, 503, 504})

LOOK_FIRST = "A retry looks at the platform first and does not repeat what was carried out."
ASK_AGAIN = "A retry asks again; nothing that was recorded is repeated."


class Again(Exception):
    """An attempt failed in a way that may be repeated; carries the error to raise when tries run out."""

    def __init__(self, error: PlatformError, retry_after: float | None = None) -> None:
        super().__init__()
        self.error = error
        self.retry_after = retry_after


def asks_for_silence(call: Call[Any], reply: Reply, endpoint: Endpoint) -> float | None:
    """Seconds for which the platform wants to be left alone; None: it does not say."""
    asked = parse_retry_after(reply.headers.get("retry-after"))
    if asked is None:
        return None
    problem = _problem(call, reply, endpoint)
    return asked if (problem.status if problem else reply.status) in PASSING else None


def _problem(call: Call[Any], reply: Reply, endpoint: Endpoint) -> AnswerProblem | None:
    """What a bad answer says, without our credentials; a good answer, which may be long, is not searched for them."""
    problem = call.problem(reply)
    if problem is None:
        return None
    return call.problem(without_credentials(reply, endpoint)) or AnswerProblem(problem.status, "")


def settle(call: Call[T], reply: Reply, endpoint: Endpoint) -> T:
    """Turn an answer into the record, or into the error it means."""
    problem = _problem(call, reply, endpoint)
    if problem is None and reply.status < 300:
        with suppress(PlatformError):  # it may quote the answer
            return _parsed(call, reply)
        _parsed(call, without_credentials(reply, endpoint))  # the same error
        raise _unreadable(call, reply)
    problem = problem or AnswerProblem(reply.status, "")
    raise _failure(call, problem, reply, endpoint)


def _parsed(call: Call[T], reply: Reply) -> T:
    try:
        return call.parse(reply)
    except (ValueError, KeyError, TypeError):  # msgspec's and json's decode errors are ValueErrors
        raise _unreadable(call, reply) from None


def _unreadable(call: Call[Any], reply: Reply) -> Exception:
    kind = reply.headers.get("content-type", "no content type").partition(";")[0]
    why = f"the answer ({how_many(len(reply.body), 'byte')} of {kind}) cannot be read"
    return _lost(call, why, reply.status)


def _failure(call: Call[Any], problem: AnswerProblem, reply: Reply, endpoint: Endpoint) -> Exception:
    """The error that a bad answer means."""
    status = problem.status
    said = f" ({problem.message})" if problem.message else ""
    asked = parse_retry_after(reply.headers.get("retry-after"))
    if status == 429:
        why = f"the platform answered 429, too many requests{said}{say_wait(429, asked)}"
        error = TryLater(call.what, why, retry=say_retry(ASK_AGAIN, asked), status=429, retry_after=asked)
        # A 429 was not carried out, so even a call that creates may be repeated.
        return Again(error, asked)
    if status >= 500:
        why = f"the platform answered {status}{said}{say_wait(status, asked)}"
        return _lost(call, why, status, passing=status in PASSING, retry_after=asked)
    if status in (401, 403) and not (address := address_of(endpoint.base_url, call.path, call.url)).trusted:
        return Forbidden(
            call.what,
            f"{origin(address.url)} answered {status}{said}: it is another place than the connection's,"
            f" {origin(endpoint.base_url)}, and gets none of its credentials",
            retry="A retry cannot help: let the source name its pages at the connection's place, or the connection name theirs.",
            status=status,
        )
    if status == 401:
        return Unauthorized(
            call.what,
            f"the platform answered 401{said}: it does not accept the {endpoint.credentials} of the connection",
            retry="Renew it in the connection; a retry then goes on where this try stopped.",
            status=401,
        )
    if status == 403:
        return Forbidden(
            call.what,
            f"the platform answered 403{said}: "
            + (
                problem.meaning
                or f"it knows the {endpoint.credentials} of the connection, but no right on this object goes with it"
            ),
            retry="A retry cannot help until the right is granted.",
            status=403,
        )
    if status == 404:
        return NotFound(
            call.what,
            f"the platform answered 404, {problem.meaning or 'no such object'}{said}",
            retry="A retry cannot help: check the id, and that the connection leads to where it is.",
            status=404,
        )
    moved = ", a redirect, which is never followed with credentials: check the base URL"
    return Refused(
        call.what,
        f"the platform answered {status}{moved if 300 <= status < 400 else ''}{said}",
        retry="A retry cannot help: it sends the same.",
        status=status,
    )


def _lost(
    call: Call[Any], why: str, status: int | None, *, passing: bool = True, retry_after: float | None = None
) -> Exception:
    """The error for an answer that does not tell whether the call was carried out."""
    if not call.repeatable:
        return FateUnknown(
            call.what,
            f"{why}, so it is unknown whether it was done",
            retry=call.when_lost or LOOK_FIRST,
            status=status,
        )
    error = TryLater(
        call.what,
        why,
        retry=say_retry(ASK_AGAIN, retry_after),
        status=status,
        retry_after=retry_after,
        passing=passing,
    )
    return Again(error, retry_after) if passing else error


def unanswered(call: Call[Any], error: Exception, far: HowFar, endpoint: Endpoint) -> Exception:
    """Return the error for a call that got no answer.

    :param error: what the library raised; only its kind is told.
    :param far: how far the call had come.
    """
    # Only the kind of the error: its text may hold the URL with its query.
    where = endpoint.base_url if call.url is None else origin(call.url)
    why = f"no answer from {where} ({type(error).__name__})"
    if far is HowFar.UNKNOWN:
        return _lost(call, why, None)
    if far is HowFar.NOT_CONNECTED:
        return Again(TryLater(call.what, f"{why}: {far.value}", retry=ASK_AGAIN))
    # Repeating it within seconds cannot help, nor does a retry before somebody has acted.
    check = "Check the server's certificate, and the fields verify and ca_path of the connection."
    return TryLater(
        call.what,
        f"{why}: {far.value}",
        retry=f"{check} {ASK_AGAIN} It cannot help before that.",
        passing=False,
    )
