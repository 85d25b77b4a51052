"""What Airflow learns about this package without importing any of it: modules, connection types and forms, links.

The form of a connection type is declared here and nowhere else; the hook reads the same names out of
``Connection.extra`` (the token stands in the password, the API's base URL in the host).
"""

from __future__ import annotations

from typing import Any

_TEXT = ["string", "null"]


def _field(label: str, description: str, **schema: Any) -> dict[str, Any]:
    """One field of a connection form; ``schema`` is JSON Schema, ``type`` defaults to optional text."""
    return {"label": label, "description": description, "schema": {"type": _TEXT, **schema}}


# Fields that every connection type of this package has: how to reach a server, and how patiently.
_TRANSPORT_FIELDS: dict[str, dict[str, Any]] = {
    "connect_timeout": _field(
        "Connect timeout",
        "Seconds to wait for a connection.",
        type=["number", "null"],
        exclusiveMinimum=0,
        default=10,
    ),
    "read_timeout": _field(
        "Read timeout",
        "Seconds to wait for an answer, or for the next bytes of one.",
        type=["number", "null"],
        exclusiveMinimum=0,
        default=60,
    ),
    "verify": _field(
        "Verify TLS", "Check the server's certificate. Leave it on.", type=["boolean", "null"], default=True
    ),
    "ca_path": _field("CA path", "A file of certificate authorities to trust instead of the system's."),
    "requests_per_minute": _field(
        "Requests a minute",
        "At most so many calls a minute over this connection, by all tasks and triggers; empty: no limit of ours.",
        type=["integer", "null"],
        minimum=1,
    ),
    "limits_conn_id": _field(
        "Limits connection",
        "Id of a Redis connection in which several machines share the limits; empty: Celery's Redis, else each machine its own.",
    ),
}

# Of platforms that take file bodies.
_BODY_FIELDS: dict[str, dict[str, Any]] = {
    "max_uploads": _field(
        "Uploads at once",
        "At most so many file bodies on their way at once, by all tasks; empty: no limit of ours.",
        type=["integer", "null"],
        minimum=1,
    ),
    "max_bytes_per_second": _field(
        "Bytes a second",
        "At most so many bytes of file bodies a second, by all tasks; empty: no limit of ours.",
        type=["integer", "null"],
        minimum=1,
    ),
}

_MEDIARITHMICS: dict[str, Any] = {
    "connection-type": "mediarithmics",
    "hook-class-name": "airflow_bulk.hooks.mediarithmics.MediarithmicsHook",
    "hook-name": "mediarithmics",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "port"],
        "relabeling": {"host": "Base URL", "password": "API token"},
        "placeholders": {
            "host": "https://api.mediarithmics.com",
            "password": "an API token; session tokens and passwords do not work",
        },
    },
    "conn-fields": {
        # Numbers, since Airflow warns of a short text in an extra (airflow.md section 7.4).
        "datamart_id": _field(
            "Datamart",
            "Id of the datamart that operators use when they are given none.",
            type=["integer", "null"],
            minimum=1,
        ),
        "organisation_id": _field(
            "Organisation",
            "Id of the organisation; needed for links to the console.",
            type=["integer", "null"],
            minimum=1,
        ),
        "token_prefix": _field(
            "Token prefix", "Goes before the token in the Authorization header; empty: the token alone."
        ),
        "console_base_url": _field(
            "Console URL",
            "Base URL of the console (navigator).",
            format="url",
            default="https://navigator.mediarithmics.com",
        ),
        "computing_console_base_url": _field(
            "Computing console URL",
            "Base URL of the computing console, where batches are shown; empty: no links to batches.",
            format="url",
        ),
        **_TRANSPORT_FIELDS,
        **_BODY_FIELDS,
    },
}

_EXTRACT_LOAD: dict[str, Any] = {
    "connection-type": "extract_load",
    "hook-class-name": "airflow_bulk.hooks.extract_load.ExtractLoadHook",
    "hook-name": "Extract/load batches",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login"],
        "relabeling": {"host": "Base URL", "password": "Token"},
        "placeholders": {"password": "optional: no authentication of this API is documented"},
    },
    "conn-fields": {
        "api": _field(
            "API",
            "What answers there: a batch server, a source (quickbooks, json), or a destination (activecell).",
            enum=["batches", "quickbooks", "json", "activecell", None],
            values_display={"null": "not said: json for a source, activecell for a destination"},
        ),
        "prefix": _field("Prefix", "What stands before every path of the batch server."),
        "realm": _field("Realm", "The company of a QuickBooks source."),
        **_TRANSPORT_FIELDS,
    },
}

_CENTRAPAY: dict[str, Any] = {
    "connection-type": "centrapay",
    "hook-class-name": "airflow_bulk.hooks.centrapay.CentrapayHook",
    "hook-name": "Centrapay",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "port"],
        "relabeling": {"host": "Base URL", "password": "API key or user token"},
        "placeholders": {"host": "https://service.centrapay.com"},
    },
    "conn-fields": {
        "credentials": _field(
            "Credentials",
            "What the password is: an API key (default), or a user's token, which lives for an hour.",
            enum=["api-key", "user", None],
            default="api-key",
        ),
        "account_id": _field(
            "Account", "Account that operators use when they are given none; a user's token needs it."
        ),
        **_TRANSPORT_FIELDS,
        "requests_per_minute": _field(
            "Requests a minute",
            "At most so many calls a minute with these credentials, by all tasks and triggers; empty: 200, the platform's limit.",
            type=["integer", "null"],
            minimum=1,
        ),
    },
}


# What each integration offers. A module stands here when it defines a public class of its kind; a test compares.
_INTEGRATIONS: list[dict[str, Any]] = [
    {
        "integration-name": "mediarithmics",
        "external-doc-url": "https://developer.mediarithmics.io/",
        "how-to-guide": ["/docs/integration_batches.md"],
        "tags": ["service"],
    },
    {
        "integration-name": "Centrapay",
        "external-doc-url": "https://docs.centrapay.com/",
        "how-to-guide": ["/docs/centrapay.md"],
        "tags": ["service"],
    },
    {
        "integration-name": "Extract/load batches",
        "external-doc-url": "https://github.com/adamrneary/restful-etl",
        "how-to-guide": ["/docs/extract_load.md"],
        "tags": ["software"],
    },
    {
        # The bases of the three above, and of a platform of one's own.
        "integration-name": "Bulk",
        "how-to-guide": ["/docs/own_platform.md"],
        "tags": ["software"],
    },
]

_OPERATORS = {
    "mediarithmics": [
        "document_import",
        "document_import_steps",
        "integration_batch",
        "resend_lines",
        "spread_import",
    ],
    "Centrapay": ["centrapay_batch"],
    "Extract/load batches": [
        "extract_load",
        "extract_load_batch",
        "extract_load_documents",
        "extract_load_group",
        "extract_load_steps",
    ],
    "Bulk": ["base"],
}
_SENSORS = {
    "mediarithmics": ["document_import", "integration_batch"],
    "Centrapay": ["centrapay_batch"],
    "Extract/load batches": ["extract_load"],
    "Bulk": ["watching_sensor"],
}
_HOOKS = {
    "mediarithmics": ["mediarithmics", "mediarithmics_batches"],
    "Centrapay": ["centrapay"],
    "Extract/load batches": ["extract_load", "extract_load_endpoints"],
    "Bulk": ["platform_hook"],
}
_TRIGGERS = {
    "mediarithmics": ["document_import", "integration_batch"],
    "Centrapay": ["centrapay_batch"],
    "Extract/load batches": ["extract_load"],
    "Bulk": ["waiting"],
}


# No scheme for extract/load: its destinations are of any kind, and their own providers may have one.
_ASSET_URIS: list[dict[str, Any]] = [
    {
        "schemes": [platform],
        "handler": f"airflow_bulk.assets.{platform}.sanitize_uri",
        "factory": f"airflow_bulk.assets.{platform}.create_asset",
        "to_openlineage_converter": f"airflow_bulk.assets.{platform}.convert_asset_to_openlineage",
    }
    for platform in ("mediarithmics", "centrapay")
]


def _modules(room: str, names: dict[str, list[str]]) -> list[dict[str, Any]]:
    """The modules of one room, by integration, as Airflow's schema has them."""
    return [
        {
            "integration-name": integration,
            "python-modules": [f"airflow_bulk.{room}.{module}" for module in modules],
        }
        for integration, modules in names.items()
    ]


def get_provider_info() -> dict[str, Any]:
    """Metadata after Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-bulk",
        "name": "Bulk",
        "description": "Bulk imports and batches: everything accounted for, exactly once, waiting is free.",
        "integrations": _INTEGRATIONS,
        "operators": _modules("operators", _OPERATORS),
        "sensors": _modules("sensors", _SENSORS),
        "hooks": _modules("hooks", _HOOKS),
        "triggers": _modules("triggers", _TRIGGERS),
        "connection-types": [_MEDIARITHMICS, _EXTRACT_LOAD, _CENTRAPAY],
        "task-decorators": [
            {
                "name": "import_documents",
                "class-name": "airflow_bulk.operators.document_import_task.import_documents_task",
            }
        ],
        "extra-links": ["airflow_bulk.links.DocumentImportLink", "airflow_bulk.links.IntegrationBatchLink"],
        # Airflow itself finds the plugin by its entry point; by default it does not look here.
        "plugins": [{"name": "bulk", "plugin-class": "airflow_bulk.plugin.BulkPlugin"}],
        "cli": ["airflow_bulk.cli.commands.get_cli_commands"],
        "asset-uris": _ASSET_URIS,
        "notifications": ["airflow_bulk.notifications.summary.BulkSummaryNotifier"],
        # No "config": the code reads no option of its own.
    }
