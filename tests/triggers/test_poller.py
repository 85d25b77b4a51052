"""One look serves all who wait: counted in virtual time, so that hours cost nothing and nothing depends on the machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from virtual_time import run

from airflow_bulk import judging
from airflow_bulk.platforms.errors import Forbidden, TryLater, Unauthorized
from airflow_bulk.triggers.poller import AFTER_ERROR, JITTER, SLICE, Answers, Poller, SharedHooks

HOUR = 3600.0


def later(retry_after: float | None = None) -> TryLater:
    return TryLater("look", "it is down", retry="Later.", retry_after=retry_after)


class Looks:
    """What is looked at: notes when, answers with the number of the look or with an error.

    :param errors: the errors of the first looks; None answers.
    """

    def __init__(self, *errors: Exception | None) -> None:
        self.at: list[float] = []
        self._errors = list(errors)

    async def __call__(self, *_: Any) -> int:
        self.at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.01)  # no look is answered at once
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        return len(self.at)

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.at, self.at[1:], strict=False)]


async def take(answers: Answers[int] | Awaitable[Answers[int]], count: int) -> list[int]:
    """The first answers, then leave."""
    found: list[int] = []
    if not isinstance(answers, Answers):
        answers = await answers
    async with aclosing(answers):
        async for answer in answers:
            found.append(answer)
            if len(found) == count:
                break
    return found


def every(seconds: float) -> Callable[[Any], float]:
    return lambda _: seconds


def test_a_thousand_waiters_cost_one_look_an_interval() -> None:
    looks = Looks()

    async def main() -> list[list[int]]:
        poller: Poller[int] = Poller(looks)
        return await asyncio.gather(*(take(poller.answers(1, every(30)), 10) for _ in range(1000)))

    assert run(main()) == [list(range(1, 11))] * 1000
    assert len(looks.at) == 10
    assert all(30 * (1 - JITTER) <= gap <= 30 * (1 + JITTER) + 0.1 for gap in looks.gaps)


def test_answers_are_handed_on_in_slices() -> None:
    """The loop serves others in between: what is counted are its turns, not seconds."""
    served: Counter[int] = Counter()
    turn = 0

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def count() -> None:
            nonlocal turn
            turn += 1
            if served.total() < 1000:
                loop.call_soon(count)

        async def look() -> int:
            loop.call_soon(count)
            return 1

        async def wait(poller: Poller[int]) -> None:
            await take(poller.answers(1, every(30)), 1)
            served[turn] += 1

        poller: Poller[int] = Poller(look)
        await asyncio.gather(*(wait(poller) for _ in range(1000)))

    run(main())
    assert served.total() == 1000
    assert max(served.values()) <= SLICE


def test_who_does_not_heed_an_answer_is_not_woken_and_still_looked_for() -> None:
    looks = Looks()

    async def main() -> list[int]:
        poller: Poller[int] = Poller(looks)
        return await take(poller.answers(0, every(10), heeds=lambda answer: answer % 4 == 0), 3)

    assert run(main()) == [4, 8, 12]
    assert len(looks.at) == 12
    assert all(10 * (1 - JITTER) <= gap <= 10 * (1 + JITTER) + 0.1 for gap in looks.gaps)


def test_who_cannot_say_what_it_heeds_gets_everything() -> None:
    def heeds(answer: int) -> bool:
        raise ValueError("a bug")

    async def main() -> list[list[int]]:
        poller: Poller[int] = Poller(Looks())
        return await asyncio.gather(
            take(poller.answers(0, every(10), heeds=heeds), 2), take(poller.answers(0, every(10)), 2)
        )

    assert run(main()) == [[1, 2], [1, 2]]


def test_looks_are_close_at_first_and_far_apart_with_age() -> None:
    looks = Looks()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        rules = judging.WaitingRules(started=loop.time(), poll_interval=120)
        poller: Poller[int] = Poller(looks)
        until = loop.time() + 12 * HOUR
        answers = poller.answers(0, lambda _: judging.next_poll(rules, loop.time()))
        async with aclosing(answers):
            async for _ in answers:
                if loop.time() > until:
                    break

    run(main())
    assert max(looks.gaps[:5]) < 6
    assert min(looks.gaps[-300:]) >= 120 * (1 - JITTER)
    # Twelve hours at the full interval are 360 looks; the quick ones at first add little.
    assert 330 < len(looks.at) < 450


def test_whoever_is_in_a_hurry_shares_its_looks() -> None:
    looks = Looks()

    async def main() -> list[list[int]]:
        poller: Poller[int] = Poller(looks)
        return await asyncio.gather(
            take(poller.answers(0, every(600)), 5), take(poller.answers(100, every(10)), 20)
        )

    patient, hurried = run(main())
    # The first look was the patient one's; it also got the next four, which the other one asked for.
    assert patient[0] == 1
    assert hurried == list(range(hurried[0], hurried[0] + 20))
    assert len(looks.at) == hurried[-1]


def test_one_who_comes_later_wakes_the_poller() -> None:
    looks = Looks()

    async def main() -> None:
        poller: Poller[int] = Poller(looks)
        slow = asyncio.create_task(take(poller.answers(HOUR, every(HOUR)), 1))
        await asyncio.sleep(5)
        assert await take(poller.answers(1, every(1)), 1) == [1]
        # The other's poll serves both, but nobody hears of it before its own first poll would have been due.
        assert await slow == [1]
        assert asyncio.get_running_loop().time() == 1000 + HOUR

    run(main())
    assert looks.at == [1006.0]


def test_who_has_left_hears_nothing() -> None:
    looks = Looks()

    async def main() -> None:
        answers = Poller(looks).answers(0, every(10))
        assert await anext(answers) == 1
        waiting = asyncio.ensure_future(anext(answers))
        await asyncio.sleep(1)
        await answers.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await anext(answers)

    run(main())
    assert len(looks.at) == 1


def test_an_interval_that_cannot_be_reckoned_is_met_by_its_own_trigger() -> None:
    looks = Looks()

    def broken(_: int) -> float:
        raise ValueError("no interval")

    async def main() -> list[int]:
        poller: Poller[int] = Poller(looks)
        odd = asyncio.create_task(take(poller.answers(0, broken, heeds=lambda answer: False), 2))
        even = await take(poller.answers(0, every(10)), 3)
        with pytest.raises(ValueError, match="no interval"):
            await odd
        return even

    assert run(main()) == [1, 2, 3]


def test_nothing_is_looked_at_for_nobody() -> None:
    looks = Looks()

    async def main() -> None:
        poller: Poller[int] = Poller(looks)
        await take(poller.answers(0, every(10)), 3)
        assert poller.idle
        await asyncio.sleep(HOUR)
        # And it begins again for the next one.
        await take(poller.answers(0, every(10)), 2)

    run(main())
    assert len(looks.at) == 5


@pytest.mark.parametrize(
    "error",
    [
        Unauthorized("look", "401", retry="Renew."),
        Forbidden("look", "403", retry="No."),
        ValueError("a bug"),
        KeyError(),
    ],
)
def test_an_error_that_waiting_cannot_mend_is_told_to_everybody(error: Exception) -> None:
    looks = Looks(None, error)

    async def main() -> list[Any]:
        poller: Poller[int] = Poller(looks)
        waiting = [take(poller.answers(0, every(10)), 5) for _ in range(20)]
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert poller.idle
        # The next one may have more luck.
        assert await take(poller.answers(0, every(10)), 1) == [3]
        return told

    assert run(main()) == [error] * 20


@pytest.mark.parametrize("asked", [None, 1.0, 90.0, 3000.0])
def test_trouble_that_passes_is_waited_out(asked: float | None) -> None:
    looks = Looks(None, later(asked), later(asked))

    async def main() -> list[list[int]]:
        poller: Poller[int] = Poller(looks)
        return await asyncio.gather(*(take(poller.answers(0, every(10)), 2) for _ in range(50)))

    # Nobody heard of it, and all together asked no sooner than was asked for.
    assert run(main()) == [[1, 4]] * 50
    assert all(gap >= max(asked or 0, AFTER_ERROR) for gap in looks.gaps[1:])
    assert len(looks.at) == 4


def test_a_deadline_holds_while_the_platform_is_down() -> None:
    import time

    looks = Looks(*[later(HOUR)] * 100)

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        now, began = time.time(), loop.time()
        poller: Poller[int] = Poller(looks)
        patient = asyncio.create_task(take(poller.answers(0, every(10)), 1))
        hurried = asyncio.create_task(take(poller.answers(0, every(10), now + 100), 1))
        with pytest.raises(TryLater):
            await hurried
        assert 99 < loop.time() - began < 102
        assert not patient.done()
        patient.cancel()
        return []

    run(main())
    assert len(looks.at) == 2


def test_no_interval_goes_past_the_deadline() -> None:
    import time

    looks = Looks()

    async def main() -> None:
        poller: Poller[int] = Poller(looks)
        await take(poller.answers(0, every(500), time.time() + 600), 3)

    run(main())
    # The third look would be due at 1000; the deadline is at 600.
    assert 599 < looks.at[2] - looks.at[0] < 602


class Hook:
    """Counts what a connection's hook is asked for."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.closed = 0
        self.endpoint = "first"
        self.read = 0

    async def aprepare(self) -> None:
        pass

    async def arenew(self, refused: str) -> bool:
        if self.endpoint == refused:
            self.read += 1
            await asyncio.sleep(0.1)
            self.endpoint = "renewed"
        return self.endpoint != refused

    async def aclose(self) -> None:
        self.closed += 1


def test_one_hook_a_connection_and_the_last_one_closes_it() -> None:
    Hook.made = 0
    looks = {name: Looks() for name in "abc"}

    async def main() -> Hook:
        shared = SharedHooks()
        waiting = [
            take(shared.watch("conn", name, Hook, looks[name], 0, every(10)), 3)
            for name in looks
            for _ in range(5)
        ]
        tasks = [asyncio.create_task(one) for one in waiting]
        await asyncio.sleep(1)
        hook: Hook = shared.hook("conn", Hook)
        await asyncio.gather(*tasks)
        # Everything is forgotten: a triggerer lives for months.
        assert not shared._hooks and not shared._pollers and not shared._users
        return hook

    hook = run(main())
    assert (Hook.made, hook.closed) == (1, 1)
    assert [len(one.at) for one in looks.values()] == [3, 3, 3]


def test_renewed_credentials_serve_everybody_who_was_refused() -> None:
    asked: list[tuple[str, str]] = []

    def look_at(name: str) -> Any:
        async def look(hook: Hook) -> int:
            used = hook.endpoint
            asked.append((name, used))
            await asyncio.sleep(0.01)
            if used == "first":
                raise Unauthorized("look", "401", retry="Renew.")
            return 1

        return look

    async def main() -> tuple[Hook, list[Any]]:
        shared = SharedHooks()
        tasks = [
            asyncio.create_task(take(shared.watch("conn", name, Hook, look_at(name), 0, every(10)), 2))
            for name in "abcdefgh"
        ]
        await asyncio.sleep(1)
        return shared.hook("conn", Hook), await asyncio.gather(*tasks)

    hook, answers = run(main())
    assert answers == [[1, 1]] * 8
    # The connection was read again by one of them, and each repeated its look once.
    assert hook.closed == 1
    assert sorted(asked) == sorted(
        [(name, used) for name in "abcdefgh" for used in ("first", "renewed", "renewed")]
    )


def test_credentials_that_stay_refused_are_told() -> None:
    looks = Looks(*[Unauthorized("look", "401", retry="Renew.")] * 9)

    class Stubborn(Hook):
        async def arenew(self, refused: str) -> bool:
            return False

    async def main() -> None:
        with pytest.raises(Unauthorized):
            await take(SharedHooks().watch("conn", "a", Stubborn, looks, 0, every(10)), 1)

    run(main())
    assert len(looks.at) == 1
