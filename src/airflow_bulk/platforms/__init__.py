"""What each platform's API says: calls, records, statuses, errors. Pure: no I/O, no Airflow."""
