"""mediarithmics.md section 2: imports, their fields, filters and pages."""

import pytest

MINIMAL = {
    "document_type": "USER_PROFILE",
    "mime_type": "APPLICATION_X_NDJSON",
    "encoding": "utf-8",
    "name": "nightly",
}


def test_create_answers_the_object_with_its_defaults(api):
    answer = api.imports("POST", json=MINIMAL)
    assert answer.status_code == 200
    assert answer.headers["X-Bulk-Emulator"] == "airflow-provider-bulk"
    envelope = answer.json()
    import_id = envelope["data"].pop("id")
    assert import_id.isdigit()
    assert envelope == {
        "status": "ok",
        "data": {
            **MINIMAL,
            "datafarm_key": "DF_LOCAL_01",
            "datamart_id": "3300",
            "priority": "MEDIUM",
            "shuffle_lines": True,
            "use_processing_pipeline": False,
        },
    }
    assert api.imports("GET", f"/{import_id}/").json()["data"]["name"] == "nightly"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": None}, "name"),
        ({"name": "  "}, "name"),
        ({"encoding": None}, "encoding"),
        ({"document_type": "USER_THING"}, "document_type"),
        ({"mime_type": "text/csv"}, "mime_type"),
        ({"mime_type": "TEXT_CSV"}, "USER_SEGMENT"),
        ({"priority": "URGENT"}, "priority"),
        ({"shuffle_lines": "true"}, "shuffle_lines"),
        ({"use_processing_pipeline": 1}, "use_processing_pipeline"),
    ],
)
def test_a_broken_rule_is_400_and_names_the_field(api, change, word):
    body = {name: value for name, value in {**MINIMAL, **change}.items() if value is not None}
    assert word in api.error(api.imports("POST", json=body), 400)
    assert api.imports("GET").json()["total"] == 0


def test_a_wrapped_body_is_refused(api):
    assert "document_type" in api.error(api.imports("POST", json={"data": MINIMAL}), 400)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff"])
def test_a_body_that_is_no_json_object_is_400(api, body):
    api.error(api.imports("POST", data=body, headers={"Content-Type": "application/json"}), 400)


def test_a_body_of_another_type_is_415(api):
    api.error(api.imports("POST", data=b"{}", headers={"Content-Type": "text/plain"}), 415)


def test_lenient_takes_a_document_type_nobody_knows(api):
    api.emulator.settings(strict=False)
    import_id = api.create(document_type="USER_THING")
    assert api.imports("GET", f"/{import_id}").json()["data"]["document_type"] == "USER_THING"


@pytest.mark.parametrize(
    "document_type",
    [
        "USER_DEVICE_POINTS_DELETION",
        "USER_DEVICE_POINT_DELETION",
        "USER_POINTS_DELETION",
        "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS",
    ],
)
def test_the_later_types_exist(api, document_type):
    assert api.create(document_type=document_type)


def test_list_envelope_has_both_spellings_of_the_page_size(api):
    ids = [api.create(name=f"import {number}") for number in range(3)]
    envelope = api.imports("GET", params={"first_result": 1, "max_results": 1}).json()
    assert [one["id"] for one in envelope.pop("data")] == ids[1:2]
    assert envelope == {
        "status": "ok",
        "count": 1,
        "total": 3,
        "first_result": 1,
        "max_result": 1,
        "max_results": 1,
    }


def test_page_sizes(api):
    api.create()
    assert api.imports("GET").json()["max_results"] == 50
    assert api.imports("GET", params={"max_results": 10_000}).json()["max_results"] == 500
    api.emulator.settings(page_size=2, max_page_size=3)
    assert api.imports("GET").json()["max_results"] == 2
    assert api.imports("GET", params={"max_results": 4}).json()["max_results"] == 3
    beyond = api.imports("GET", params={"first_result": 7}).json()
    assert (beyond["data"], beyond["count"], beyond["total"]) == ([], 0, 1)


@pytest.mark.parametrize("params", [{"first_result": "-1"}, {"max_results": "many"}, {"max_results": "²"}])
def test_a_page_that_is_no_number_is_400(api, params):
    api.error(api.imports("GET", params=params), 400)


def test_filters(api):
    profiles = api.create(name="Profiles 100%")
    segments = api.create(name="segments", document_type="USER_SEGMENT", mime_type="TEXT_CSV")
    choices = api.create(name="choices", document_type="USER_CHOICE")

    def found(**params):
        return [one["id"] for one in api.imports("GET", params=params).json()["data"]]

    assert found() == [profiles, segments, choices]
    assert found(keywords="rofil") == [profiles]
    assert found(keywords="profiles") == []  # case sensitive
    assert found(keywords="%") == [profiles]  # nothing but a character
    assert found(mime_type="TEXT_CSV") == [segments]
    assert found(document_types="USER_SEGMENT,USER_CHOICE") == [segments, choices]
    assert found(order_by="name") == [profiles, choices, segments]
    assert found(label_ids="4") == []
    assert found(keywords="s", document_types="USER_CHOICE", mime_type="APPLICATION_X_NDJSON") == [choices]
    api.error(api.imports("GET", params={"order_by": "colour"}), 400)


def test_update_takes_a_part_or_the_whole(api):
    import_id = api.create()
    part = api.imports("PUT", f"/{import_id}", json={"name": "renamed"}).json()["data"]
    assert (part["name"], part["priority"]) == ("renamed", "MEDIUM")
    whole = api.imports("PUT", f"/{import_id}", json={**part, "priority": "HIGH"}).json()["data"]
    assert whole == {**part, "priority": "HIGH"} == api.imports("GET", f"/{import_id}").json()["data"]


def test_update_keeps_what_the_server_owns(api):
    import_id = api.create()
    for field in ("id", "datafarm_key", "datamart_id"):
        assert field in api.error(api.imports("PUT", f"/{import_id}", json={field: "1"}), 400)


def test_update_cannot_retype_an_import_that_has_executions(api):
    import_id = api.create()
    change = {"document_type": "USER_CHOICE"}
    assert api.imports("PUT", f"/{import_id}", json=change).status_code == 200
    api.uploaded(import_id, b"{}\n")
    api.error(api.imports("PUT", f"/{import_id}", json={"document_type": "USER_PROFILE"}), 409)
    api.emulator.settings(strict=False)
    assert api.imports("PUT", f"/{import_id}", json={"document_type": "USER_PROFILE"}).status_code == 200


def test_delete(api):
    import_id = api.create()
    assert api.imports("DELETE", f"/{import_id}").json()["data"]["id"] == import_id
    assert import_id in api.error(api.imports("GET", f"/{import_id}"), 404)
    api.error(api.imports("DELETE", f"/{import_id}"), 404)
    api.error(api.imports("GET", f"/{import_id}/executions"), 404)
    assert api.imports("GET").json()["total"] == 0
    assert api.emulator.imports() == []
    assert [one["id"] for one in api.emulator.imports(deleted=True)] == [import_id]


def test_delete_is_409_until_all_executions_are_over(api):
    api.emulator.clock.freeze()
    import_id = api.create()
    api.uploaded(import_id, b"{}\n")
    api.error(api.imports("DELETE", f"/{import_id}"), 409)
    api.emulator.clock.advance(0.3)
    api.error(api.imports("DELETE", f"/{import_id}"), 409)
    api.emulator.clock.advance(0.3)
    assert api.imports("DELETE", f"/{import_id}").status_code == 200


def test_lenient_deletes_under_running_executions(api):
    api.emulator.settings(strict=False, start_delay=100)
    import_id = api.create()
    api.uploaded(import_id, b"{}\n")
    assert api.imports("DELETE", f"/{import_id}").status_code == 200


@pytest.mark.parametrize("import_id", ["1", "0", "x", "99999999999999999999999", "²"])
def test_an_unknown_import_is_404(api, import_id):
    api.error(api.imports("GET", f"/{import_id}"), 404)


def test_ids_are_never_used_twice(api):
    import_id = api.create()
    api.emulator.reset()
    assert int(api.create()) > int(import_id)
