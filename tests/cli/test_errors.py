"""An error ends in one sentence for a shell: no retry, no DAG, no traceback, no content."""

import argparse
import logging
import sys

import pytest

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.cli.errors import Ended, ended_by, for_a_shell
from airflow_bulk.cli.output import command
from airflow_bulk.platforms.errors import Forbidden, NotFound, Refused, TryLater, Unauthorized


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (
            "a.ndjson: no such file. Nothing was sent; a retry looks again.",
            "a.ndjson: no such file. Nothing was sent.",
        ),
        (
            "5 of 9 lines break a rule, more than max_failures=0. First: a line 1: bad. A retry cannot help until the source or max_failures is changed.",
            "5 of 9 lines break a rule, more than --max-failures 0. First: a line 1: bad. Running this again cannot help until the source or --max-failures is changed.",
        ),
        (
            "Nothing more was sent. Put the files back, or say on_source_change='restart' to cancel what can be cancelled.",
            "Nothing more was sent. Put the files back, or say --on-source-change restart to cancel what can be cancelled.",
        ),
        (
            "Check these lines; SendingOptions(resend_failed_parts=True) and a clear send them once more.",
            "Check these lines.",
        ),
        (
            "The source holds no line. Nothing was sent, and a retry is left out. Say on_empty='skip' or on_empty='ok'.",
            "The source holds no line. Say --on-empty skip or --on-empty ok.",
        ),
        (
            "No datamart: give datamart_id, or set the field datamart_id of connection 'x'.",
            "No datamart: give --datamart-id, or set the field datamart_id of connection 'x'.",
        ),
        ("datamart_id must be made of digits.", "--datamart-id must be made of digits."),
        ("x.csv: say SendingOptions(check_extension=False).", "x.csv: say --no-check-extension."),
        (
            "It is late. Airflow does not retry it; clearing the task waits anew; a longer timeout waits longer.",
            "It is late. A longer --timeout waits longer.",
        ),
        (
            "6 deletions. Nothing was sent; a retry cannot help until the source or max_deletions is changed.",
            "6 deletions. Nothing was sent; running this again cannot help until the source or --max-deletions is changed.",
        ),
        ("Clear the task to look again.", "Clear the task to look again."),
    ],
)
def test_what_only_a_task_has_is_left_out(said, heard):
    assert for_a_shell(said) == heard


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (
            ArgumentError("sending.max_part_bytes", "must be a number"),
            "--max-part-bytes must be a number.",
            2,
        ),
        (ArgumentError("source", "must be a text"), "FILE must be a text.", 2),
        (
            Forbidden(
                "list it",
                "the platform answered 403",
                retry="A retry cannot help until the right is granted.",
            ),
            "Could not list it: the platform answered 403. Running this again cannot help until the right is granted.",
            1,
        ),
        (
            NotFound("list it", "there is none", retry="A retry cannot help: check the id."),
            "Could not list it: there is none. Check the id.",
            1,
        ),
        (
            Unauthorized("list it", "refused", retry="Renew it in the connection; a retry then goes on."),
            "Could not list it: refused. Renew it in the connection.",
            1,
        ),
        (
            TryLater(
                "list it",
                "no answer",
                retry="Check it. A retry asks again; nothing that was recorded is repeated.",
            ),
            "Could not list it: no answer. Check it.",
            1,
        ),
        (
            Refused(
                "send it",
                "too large",
                retry="A retry cannot help; lower SendingOptions(max_part_bytes), for a new DAG run.",
            ),
            "Could not send it: too large. Lower --max-part-bytes.",
            1,
        ),
        (FileNotFoundError(2, "No such file or directory", "x"), "x: No such file or directory.", 1),
        (Ended("so", 7), "so", 7),
    ],
)
def test_a_sentence_and_a_code(error, text, code):
    ended = ended_by(error)
    assert (ended.text, ended.code) == (text, code)


def test_a_fault_of_the_program_tells_its_place_and_nothing_else(capsys):
    @command
    def broken(args, output):
        raise KeyError("Grace Hopper")

    with pytest.raises(SystemExit) as end:
        broken(argparse.Namespace(json=True))
    out, err = capsys.readouterr()
    assert end.value.code == 1
    assert err.startswith("This is a fault of the program: KeyError ")
    assert "Grace" not in out + err
    assert "Traceback" not in out + err
    assert out.startswith('{"ok": false, ')


def test_what_others_print_is_no_result(capsys):
    @command
    def noisy(args, output):
        print("a library speaks")
        output.document({"ok": True})

    noisy(argparse.Namespace(json=True))
    out, err = capsys.readouterr()
    assert (out, err) == ('{"ok": true}\n', "a library speaks\n")


def test_airflows_console_log_is_no_result(capsys):
    # Its handler holds on to the standard output that was there when logging was set up.
    handler = logging.StreamHandler(sys.stdout)
    given = handler.stream

    @command
    def logging_one(args, output):
        logging.getLogger("some.library").error("a log line")
        output.document({"ok": True})

    logging.getLogger().addHandler(handler)
    try:
        logging_one(argparse.Namespace(json=True))
    finally:
        logging.getLogger().removeHandler(handler)
    out, err = capsys.readouterr()
    assert out == '{"ok": true}\n'
    assert "a log line" in err
    assert handler.stream is given
