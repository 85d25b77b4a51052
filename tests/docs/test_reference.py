"""Every public class of operators, sensors, triggers and hooks is on a page of the reference."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("hooks", "operators", "sensors", "triggers")
#: What no DAG author and no platform of one's own meets: the insides of transport, sending and polling.
INSIDES = {
    "hooks.limits.bodies.BodyLimits",
    "hooks.limits.bodies.BodyTurns",
    "hooks.limits.bodies.NoPlace",
    "hooks.limits.rate.Departure",
    "hooks.limits.rate.RateBudget",
    "hooks.limits.store.MachineStore",
    "hooks.limits.store.ProcessStore",
    "hooks.limits.store.RedisStore",
    "hooks.limits.store.Store",
    "hooks.limits.store.StoreAddress",
    "hooks.limits.store.StoreUnreachable",
    "hooks.download.Download",
    "hooks.network.Address",
    "hooks.network.HowFar",
    "hooks.answers.Again",
    "hooks.endpoint.Endpoint",
    "hooks.transport.Transport",
    "triggers.looks.Look",
    "triggers.looks.Looks",
    "triggers.one_wait.OneWait",
    "triggers.poller.Answers",
    "triggers.poller.Poller",
    "triggers.poller.SharedHooks",
    "triggers.shown.ShownWaiting",
}
#: Public, and in other rooms.
BESIDES = {
    "arguments.SendingOptions",
    "documents.error_files.ErrorRow",
    "extract_load.mapping.LoadMapping",
    "links.DocumentImportLink",
    "links.IntegrationBatchLink",
    "platforms.mediarithmics.plugin_properties.PluginProperty",
    "pytest_plugin.bulk_emulator",
    "retrying.BulkRetryPolicy",
    "assets.centrapay.create_asset",
    "assets.mediarithmics.create_asset",
    "notifications.summary.BulkSummaryNotifier",
    "notifications.summary.NotPosted",
    "plugin.summary",
}


def shown() -> Counter[str]:
    """What the pages of the reference show, without the package's name."""
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    return Counter(
        name
        for page in pages
        for name in re.findall(
            r"^::: airflow_bulk\.([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    )


def public_classes() -> set[str]:
    """The classes of the four rooms whose names have no leading underscore, but for how bodies are sent."""
    found = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if module.startswith("hooks.sending."):
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found |= {
                f"{module}.{node.name}"
                for node in tree.body
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
            }
    return found


def test_every_public_class_is_on_a_page() -> None:
    classes = public_classes()
    assert len(classes) > 40
    assert classes - INSIDES - set(shown()) == set()
    assert INSIDES - classes == set(), "a class that is gone"
    assert INSIDES & set(shown()) == set()


def test_what_is_public_elsewhere_is_on_a_page() -> None:
    assert BESIDES - set(shown()) == set()


def test_each_is_shown_once_and_exists() -> None:
    assert [name for name, times in shown().items() if times > 1] == []
    for name in shown():
        module, _, member = name.rpartition(".")
        assert hasattr(importlib.import_module(f"airflow_bulk.{module}"), member), name
