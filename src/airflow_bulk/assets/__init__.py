"""Asset URIs of the platforms: how Airflow reads them, and how they look in OpenLineage."""
