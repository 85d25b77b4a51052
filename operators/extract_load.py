"""Extract/load batches: expanded into tasks (``ExtractLoadTaskGroup``), or delegated to the server.

Import the classes from here. They stand in ``extract_load_group`` (the graph as a task group), ``extract_load_steps``
(extract, snapshot, apply, watermark), ``extract_load_documents`` (a document import as destination) and
``extract_load_batch`` (delegated).
"""

from airflow_bulk.operators.extract_load_batch import ExtractLoadBatchOperator
from airflow_bulk.operators.extract_load_documents import ApplyDocumentsOperator, DocumentImportDestination
from airflow_bulk.operators.extract_load_group import ExtractLoadTaskGroup
from airflow_bulk.operators.extract_load_steps import (
    ApplyOperator,
    ExtractOperator,
    SnapshotOperator,
    WatermarkOperator,
)

__all__ = [
    "ApplyDocumentsOperator",
    "ApplyOperator",
    "DocumentImportDestination",
    "ExtractLoadBatchOperator",
    "ExtractLoadTaskGroup",
    "ExtractOperator",
    "SnapshotOperator",
    "WatermarkOperator",
]
