"""Bulk and batch platforms for Apache Airflow. Importing this package imports nothing else."""
