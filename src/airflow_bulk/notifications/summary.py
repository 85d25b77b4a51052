"""A notifier that posts the summary of bulk work to a webhook, and a text for any other notifier of Airflow.

``macros.bulk.summary(ti)`` is that text in every template that has the task instance: ``SlackNotifier(text="{{
macros.bulk.summary(ti) }}")``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseNotifier

from airflow_bulk.notifications.reading import summaries_of, text_of


class NotPosted(Exception):
    """The webhook did not take a notification. The message names neither URL nor body: a webhook's URL may be its secret."""


class BulkSummaryNotifier(BaseNotifier):
    """Post the summary of bulk tasks as JSON: counts, ids and URIs, after a success and after a failure alike.

    It fits ``on_success_callback``, ``on_failure_callback`` and ``on_retry_callback`` of a task, the first two of a DAG,
    and a ``DeadlineAlert`` with an ``AsyncCallback``. A ``SyncCallback`` may not read XCom (airflow.md section 12.3), so
    there the summaries are empty.

    The body is ``{"text": message, "bulk": summaries}``. A summary is a dictionary with ``task_id``, ``map_index``, ``kind``,
    ``phase`` (``over``, or how far the task came), ``name``, ``id``, ``status``, ``files``, ``parts``, ``executions``,
    ``bytes``, ``lines_read``, ``lines_rejected``, ``lines_accepted``, ``lines_failed``, ``lines_breaking_rules``, ``rejects_uri``, ``results_uri``, ``errors_uri``,
    ``console_url``, ``seconds`` and ``reason`` (why it failed); None is what is not known. No content of a line is in it.

    Templates have what Airflow's callback has, and ``bulk``, the list of summaries.

    :param http_conn_id: connection of type ``http``: the webhook's address, its headers, its credentials.
    :param endpoint: what follows the connection's address; a template.
    :param message: the text; a template. None says it in a few lines.
    :param payload: the body instead of the one above; a template at any depth.
    :param task_ids: whose summaries; None is the task of the callback, or all bulk tasks of the DAG where the DAG calls
        back. A deadline knows no task: name them. Of mapped tasks it reads nothing.
    :param timeout: seconds to wait for the webhook.
    """

    template_fields = ("endpoint", "message", "payload")

    def __init__(
        self,
        *,
        http_conn_id: str = "http_default",
        endpoint: str | None = None,
        message: str | None = None,
        payload: Any = None,
        task_ids: str | Sequence[str] | None = None,
        timeout: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.http_conn_id = http_conn_id
        self.endpoint = endpoint
        self.message = message
        self.payload = payload
        self.task_ids = [task_ids] if isinstance(task_ids, str) else task_ids
        self.timeout = timeout

    def __call__(self, *args: Any) -> None:
        """Read the summaries, render, post.

        :param args: the context.
        """
        super().__call__(self._with_summaries(args[0]))

    def __await__(self) -> Any:
        """The same, in the triggerer."""
        return self._in_triggerer().__await__()

    async def _in_triggerer(self) -> None:
        from asgiref.sync import sync_to_async

        context = await sync_to_async(self._with_summaries)(self.context)
        self.render_template_fields(context)
        await self.async_notify(context)

    def _with_summaries(self, context: Any) -> Any:
        try:
            found = summaries_of(context, self.task_ids)
        except Exception as error:  # noqa: BLE001  (a notification without a summary is better than none)
            self.log.warning("The summaries of bulk work cannot be read here: %s.", type(error).__name__)
            found = []
        return {**context, "bulk": found}

    def notify(self, context: Any) -> None:
        """Post.

        :raises NotPosted: the webhook did not answer, or not with a success.
        """
        import requests
        from airflow.providers.http.hooks.http import HttpHook

        hook = HttpHook("POST", self.http_conn_id)
        session = hook.get_conn()
        try:
            answer = session.post(
                hook.url_from_endpoint(self.endpoint), json=self._body(context), timeout=self.timeout
            )
        except requests.RequestException as error:
            kind = type(error).__name__
            raise NotPosted(
                f"The webhook of connection {self.http_conn_id!r} did not answer: {kind}."
            ) from None
        if not answer.ok:
            raise NotPosted(
                f"The webhook of connection {self.http_conn_id!r} answered {answer.status_code}; the summary was not taken."
            )

    async def async_notify(self, context: Any) -> None:
        """Post, from the triggerer."""
        from asgiref.sync import sync_to_async

        await sync_to_async(self.notify)(context)

    def _body(self, context: Mapping[str, Any]) -> Any:
        if self.payload is not None:
            return self.payload
        return {"text": self.message or text_of(context, context["bulk"]), "bulk": context["bulk"]}
