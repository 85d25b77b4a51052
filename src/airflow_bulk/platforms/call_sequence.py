"""Calls whose order depends on their answers, written once and sent by a worker or on an event loop.

A call sequence is a generator: it yields calls, and gets back the answer to each, or the platform's error as an
exception.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.errors import PlatformError

T = TypeVar("T")

CallSequence = Generator[Call[Any], Any, T]


def run_calls(calls: CallSequence[T], send: Callable[[Call[Any]], Any]) -> T:
    """Send the calls of a sequence with ``send``; return what the sequence returns."""
    try:
        call = next(calls)
        while True:
            try:
                answer = send(call)
            except PlatformError as error:
                call = calls.throw(error)
            else:
                call = calls.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun_calls(calls: CallSequence[T], asend: Callable[[Call[Any]], Awaitable[Any]]) -> T:
    """Do what :func:`run_calls` does, on the event loop."""
    try:
        call = next(calls)
        while True:
            try:
                answer = await asend(call)
            except PlatformError as error:
                call = calls.throw(error)
            else:
                call = calls.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
