"""Typed properties of plugin versions and batch instances: one builder for every type (mediarithmics.md section 7.3).

The builders check the values. A value may hold a template: the rendered text is read when the task runs.
Values may be secrets, so neither a repr nor a message shows a value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

#: Keys of ``value`` by property type; the first key is the one that a value must have (section 7.3).
VALUE_KEYS: dict[str, tuple[str, ...]] = {
    "STRING": ("value",),
    "PIXEL_TAG": ("value",),
    "INT": ("value",),
    "DOUBLE": ("value",),
    "BOOLEAN": ("value",),
    "URL": ("url",),
    "DATA_FILE": ("uri", "last_modified"),
    "ASSET": ("asset_id", "original_file_name", "file_path"),
    "ASSET_FILE": ("asset_id", "original_name", "path"),
    "ASSET_FOLDER": ("asset_id", "original_name", "path"),
    "AD_LAYOUT": ("id", "version"),
    "STYLE_SHEET": ("id", "version"),
    "RECOMMENDER": ("recommender_id",),
    "NATIVE_DATA": ("required_display",),
    "NATIVE_TITLE": ("required_display",),
    "NATIVE_IMAGE": ("required_display",),
}
#: Section 7.3 [documented]: the value belongs to the version; it is copied to each instance; it can be set on an
#: instance.
ORIGINS = ("PLUGIN_STATIC", "PLUGIN", "INSTANCE")
#: Technical names that every version must have (section 7.2 [documented]).
REQUIRED = ("provider", "name")


class PropertyError(ValueError):
    """A declared property is wrong. The message names the property and the reason, never the value."""


@dataclasses.dataclass
class PluginProperty:
    """A property as a DAG declares it.

    :param technical_name: its name within the version or instance.
    :param property_type: one of :data:`VALUE_KEYS`.
    :param value: the value object; its keys follow from the type. Never shown.
    :param origin: one of :data:`ORIGINS`.
    :param writable: with None the origin decides, as in the vendor's samples.
    :param deletable: with None the origin decides.
    """

    #: Airflow renders these when the property stands in an operator's template field.
    template_fields: ClassVar[tuple[str, ...]] = ("value",)

    technical_name: str
    property_type: str
    value: dict[str, Any] = dataclasses.field(repr=False)
    origin: str = "PLUGIN"
    writable: bool | None = None
    deletable: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.technical_name, str) or not self.technical_name.strip():
            raise PropertyError("a property needs a technical_name")
        if self.property_type not in VALUE_KEYS:
            raise PropertyError(
                f"property {self.technical_name}: property_type must be one of {', '.join(VALUE_KEYS)}, "
                f"not {self.property_type!r}"
            )
        if self.origin not in ORIGINS:
            raise PropertyError(
                f"property {self.technical_name}: origin must be one of {', '.join(ORIGINS)}, not {self.origin!r}"
            )
        if not isinstance(self.value, Mapping):
            raise PropertyError(f"property {self.technical_name}: value must be an object")
        _read_value(self, rendered=False)

    def body(self) -> dict[str, Any]:
        """Return the property as the platform takes it; rendered text becomes a value of the property's type.

        :raises PropertyError: a rendered value does not fit the type.
        """
        static = self.origin == "PLUGIN_STATIC"
        return {
            "technical_name": self.technical_name,
            "property_type": self.property_type,
            "origin": self.origin,
            "writable": not static if self.writable is None else self.writable,
            "deletable": False if self.deletable is None else self.deletable,
            "value": _read_value(self, rendered=True),
        }

    def differences(
        self, found_type: str, found_origin: str | None, found_value: Mapping[str, Any] | None
    ) -> list[str]:
        """Return how a property on the platform differs from this one, without any value."""
        differences = []
        if found_type != self.property_type:
            differences.append(f"{self.technical_name}: type {found_type}, declared {self.property_type}")
        if found_origin is not None and found_origin != self.origin:
            differences.append(f"{self.technical_name}: origin {found_origin}, declared {self.origin}")
        if not differences and not self.same_value(found_value):
            differences.append(f"{self.technical_name}: another value")
        return differences

    def same_value(self, found: Mapping[str, Any] | None) -> bool:
        """Whether a value on the platform equals the declared one; keys that are not declared are not compared."""
        declared = {key: one for key, one in self.body()["value"].items() if one is not None}
        return all((found or {}).get(key) == one for key, one in declared.items())


def _is_template(value: object) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _number(value: Any) -> int | float:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, int):
        return value
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    raise ValueError


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


#: What the first key of a type must hold, and how a message calls that.
_KINDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "INT": (_whole, "a whole number"),
    "DOUBLE": (_number, "a number"),
    "BOOLEAN": (_boolean, "true or false"),
    "NATIVE_DATA": (_boolean, "true or false"),
    "NATIVE_TITLE": (_boolean, "true or false"),
    "NATIVE_IMAGE": (_boolean, "true or false"),
}


def _read_value(declared: PluginProperty, *, rendered: bool) -> dict[str, Any]:
    """Return the value object, with its first key as a value of the property's type.

    :param rendered: whether templates were rendered: then the text of a number or of a truth value becomes one.
    """
    key = VALUE_KEYS[declared.property_type][0]
    read, kind = _KINDS.get(declared.property_type, (_text, "a text"))
    value = dict(declared.value)
    if key not in value:
        raise PropertyError(
            f"property {declared.technical_name} ({declared.property_type}): its value has no {key}"
        )
    given = value[key]
    if not rendered and _is_template(given):
        return value
    try:
        if not rendered and isinstance(given, str) and read is not _text:
            raise ValueError
        value[key] = read(given)
    except (ValueError, TypeError, OverflowError):
        raise PropertyError(
            f"property {declared.technical_name} ({declared.property_type}): {key} must be {kind}"
        ) from None
    return value


# One builder a type. ``options`` are origin, writable and deletable of PluginProperty.


def string_property(technical_name: str, value: str, **options: Any) -> PluginProperty:
    """Declare a STRING."""
    return PluginProperty(technical_name, "STRING", {"value": value}, **options)


def pixel_tag_property(technical_name: str, value: str, **options: Any) -> PluginProperty:
    """Declare a PIXEL_TAG."""
    return PluginProperty(technical_name, "PIXEL_TAG", {"value": value}, **options)


def int_property(technical_name: str, value: int | str, **options: Any) -> PluginProperty:
    """Declare an INT; a text must be a template."""
    return PluginProperty(technical_name, "INT", {"value": value}, **options)


def double_property(technical_name: str, value: float | str, **options: Any) -> PluginProperty:
    """Declare a DOUBLE; a text must be a template."""
    return PluginProperty(technical_name, "DOUBLE", {"value": value}, **options)


def boolean_property(technical_name: str, value: bool | str, **options: Any) -> PluginProperty:
    """Declare a BOOLEAN; a text must be a template."""
    return PluginProperty(technical_name, "BOOLEAN", {"value": value}, **options)


def url_property(technical_name: str, url: str, **options: Any) -> PluginProperty:
    """Declare a URL."""
    return PluginProperty(technical_name, "URL", {"url": url}, **options)


def data_file_property(
    technical_name: str, uri: str, last_modified: int | None = None, **options: Any
) -> PluginProperty:
    """Declare a DATA_FILE.

    :param last_modified: ms since 1970, or None.
    """
    return PluginProperty(
        technical_name, "DATA_FILE", {"uri": uri, "last_modified": last_modified}, **options
    )


def asset_property(
    technical_name: str, asset_id: str, original_file_name: str, file_path: str, **options: Any
) -> PluginProperty:
    """Declare an ASSET (deprecated by the vendor)."""
    value = {"original_file_name": original_file_name, "asset_id": asset_id, "file_path": file_path}
    return PluginProperty(technical_name, "ASSET", value, **options)


def asset_file_property(
    technical_name: str, asset_id: str, original_name: str, path: str, **options: Any
) -> PluginProperty:
    """Declare an ASSET_FILE."""
    value = {"original_name": original_name, "asset_id": asset_id, "path": path}
    return PluginProperty(technical_name, "ASSET_FILE", value, **options)


def asset_folder_property(
    technical_name: str, asset_id: str, original_name: str, path: str, **options: Any
) -> PluginProperty:
    """Declare an ASSET_FOLDER."""
    value = {"original_name": original_name, "asset_id": asset_id, "path": path}
    return PluginProperty(technical_name, "ASSET_FOLDER", value, **options)


def ad_layout_property(
    technical_name: str, id: str, version: str | None = None, **options: Any
) -> PluginProperty:
    """Declare an AD_LAYOUT."""
    return PluginProperty(technical_name, "AD_LAYOUT", {"id": id, "version": version}, **options)


def style_sheet_property(
    technical_name: str, id: str, version: str | None = None, **options: Any
) -> PluginProperty:
    """Declare a STYLE_SHEET."""
    return PluginProperty(technical_name, "STYLE_SHEET", {"id": id, "version": version}, **options)


def recommender_property(technical_name: str, recommender_id: str, **options: Any) -> PluginProperty:
    """Declare a RECOMMENDER."""
    return PluginProperty(technical_name, "RECOMMENDER", {"recommender_id": recommender_id}, **options)


def native_property(
    technical_name: str,
    kind: str,
    required_display: bool,
    *,
    more: Mapping[str, Any] | None = None,
    **options: Any,
) -> PluginProperty:
    """Declare a NATIVE_DATA, NATIVE_TITLE or NATIVE_IMAGE (deprecated by the vendor).

    :param kind: ``DATA``, ``TITLE`` or ``IMAGE``.
    :param more: further keys of the value; the sources do not name them all.
    """
    value = {"required_display": required_display, **(more or {})}
    return PluginProperty(technical_name, f"NATIVE_{kind}", value, **options)
