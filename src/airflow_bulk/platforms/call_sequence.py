"""Calls whose order depends on their answers, written once and carried out by a worker or on an event loop.

A sequence is a generator: it yields calls, gets each answer back, and has each platform error thrown in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.errors import PlatformError

T = TypeVar("T")

CallSequence = Generator[Call[Any], Any, T]


def run_calls(steps: CallSequence[T], send: Callable[[Call[Any]], Any]) -> T:
    """Carry steps out with ``send`` and return what they return."""
    try:
        call = next(steps)
        while True:
            try:
                answer = send(call)
            except PlatformError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun_calls(steps: CallSequence[T], asend: Callable[[Call[Any]], Awaitable[Any]]) -> T:
    """:func:`run_calls` on the event loop."""
    try:
        call = next(steps)
        while True:
            try:
                answer = await asend(call)
            except PlatformError as error:
                call = steps.throw(error)
            else:
                call = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
