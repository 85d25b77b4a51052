"""A session that several threads share."""

from __future__ import annotations

from airflow_bulk.hooks.network import shared_cookies


def test_one_thread_may_read_the_cookies_while_another_ones_answer_sets_one() -> None:
    """As requests does for each call of several threads that share a session."""
    jar = shared_cookies()
    for number in range(3):
        jar.set(f"c{number}", "1", domain="h.test", path="/")
    for place, cookie in enumerate(jar):
        jar.set(f"{cookie.name}-more", "1", domain="h.test", path="/")
        jar.set("one", "1", domain=f"h{place}.test", path="/")
    assert len(jar) == 3 + 3 + 3
