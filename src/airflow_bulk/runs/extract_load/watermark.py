"""From which time of change on an extract reads: the watermark that ``WatermarkOperator`` moves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_bulk.extract_load.times import read_time

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


def read_watermark(context: Context, asset: Asset, node: str, overlap: timedelta) -> datetime | None:
    """Return from which time of change on to read; ``None`` (everything) before the first success."""
    kept = read_time(context["asset_state_store"][asset].get(node))
    return None if kept is None else kept - overlap
