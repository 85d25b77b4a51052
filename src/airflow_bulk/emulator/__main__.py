"""``python -m airflow_bulk.emulator``."""

import sys

from airflow_bulk.emulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
