"""The fuzz tests of this folder under atheris, which looks for inputs that reach new code: ``make fuzz``.

Nothing is written twice: hypothesis makes the input of a test out of atheris' bytes (``fuzz_one_input``), and the test judges it.
Each target runs in a process of its own, for atheris never returns; an input that fails lies in ``build/fuzz/`` then.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: By a short name: the file and the test.
TARGETS = {
    "lines": ("test_lines", "test_lines_of_any_bytes"),
    "rows": ("test_lines", "test_rows_of_any_cells"),
    "batches": ("test_batch_definitions", "test_any_definition"),
    "batch-files": ("test_batch_definitions", "test_any_text_of_a_file"),
    "answers": ("test_answers", "test_every_call_reads_every_answer"),
    "uploads": ("test_answers", "test_an_answer_to_an_upload_is_an_execution_or_a_value_error"),
    "bodies": ("test_bodies", "test_bodies_are_the_source_without_refused_lines"),
    "csv-bodies": ("test_bodies", "test_bodies_of_csv_are_rows_under_their_header"),
}
#: What atheris watches: the code under test, not the tests nor the libraries.
WATCHED = [f"airflow_bulk.{room}" for room in ("documents", "platforms", "extract_load", "emulator")]
NEEDS = """\
make fuzz needs atheris, which is not installed: version 3 has wheels for CPython 3.11 to 3.14 on Linux (x86-64).
Run it there. The same targets run everywhere under hypothesis alone, with
    make test PYTEST_ARGS=tests/fuzz"""


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    sys.path[:0] = [str(HERE), str(HERE.parent / "documents")]
    file, test = TARGETS[name]
    with atheris.instrument_imports(include=WATCHED):
        module = importlib.import_module(file)
    one_input = getattr(module, test).hypothesis.fuzz_one_input
    judged = 0

    def judge(data: bytes) -> None:
        nonlocal judged
        # None: hypothesis could make no input of these bytes.
        judged += one_input(data) is not None
        if judged % 100 == 0:
            print(f"judged: {judged}", flush=True)

    atheris.Setup([sys.argv[0], *options], judge)
    atheris.Fuzz()


def run(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; return whether all went well."""
    folder = ROOT / "build" / "fuzz" / name
    folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder}/",
        "-max_len=4096",
        "-print_final_stats=1",
    ]
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    # atheris begins with a byte or two, of which hypothesis makes the simplest inputs alone, and grows them slowly.
    dice = random.Random(name)
    for number in range(100):
        (corpus / f"begin-{number}").write_bytes(dice.randbytes(dice.randrange(100, 4000)))
    command = [sys.executable, __file__, "--only", name, "--", *options, str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    told = done.stdout + done.stderr
    ran, rate = (
        re.search(rf"stat::{what}: +(\d+)", told)
        for what in ("number_of_executed_units", "average_exec_per_sec")
    )
    judged = re.findall(r"judged: (\d+)", told)
    covered = re.findall(r"cov: (\d+)", told)
    good = done.returncode == 0 and ran is not None and int(judged[-1] if judged else 0) > 0
    print(
        f"{name:12} {ran[1] if ran else '?':>9} executions, {rate[1] if rate else '?':>6} a second, {judged[-1] if judged else 0:>8} or more judged, "
        f"{covered[-1] if covered else '?':>5} places of the code: {'well' if good else 'FAILED'}",
        flush=True,
    )
    if not good:
        print(told[-6000:], file=sys.stderr)
    return good


def main() -> int:
    """Fuzz all targets, one after the other, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: %(default)s)")
    parser.add_argument(
        "--only", choices=TARGETS, help="fuzz this one here; what follows are options of libFuzzer"
    )
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(NEEDS, file=sys.stderr)
        return 1
    if given.only:
        fuzz(given.only, given.options)
        return 0
    # All of them, so that one that fails does not hide the others.
    went_well = {name: run(name, given.seconds) for name in TARGETS}
    return 0 if all(went_well.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
