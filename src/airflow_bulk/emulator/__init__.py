"""The platforms on loopback: for the demo, the tests, and users' own DAG tests.

It promises to answer like the platform as far as the platform is documented, to judge what it is sent by
rules of its own, and to be unable to leave this machine. It imports no other room of the package, so a
mistake on one side shows as a disagreement.

* start it: ``python -m airflow_bulk.emulator`` (:mod:`airflow_bulk.emulator.cli`);
* from Python and pytest: :class:`airflow_bulk.emulator.handle.Emulator` and the fixture ``bulk_emulator``;
* one router file per API (``document_imports_api``, ``data_files_api``, ``plugins_api``); all of them share
  the clock, the faults, the request log and the state of :mod:`airflow_bulk.emulator.world`.

Nothing is imported here: the handle must load with the standard library alone.
"""
