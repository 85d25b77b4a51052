"""The command line that the package adds to ``airflow``: see :mod:`airflow_bulk.cli.commands`."""
