"""What the emulator holds: each good line of each execution that has started, as often as it came."""

import pytest

BAD = b"not a line\n"


@pytest.fixture
def frozen(api):
    api.emulator.clock.freeze()
    return api


def test_lines_are_held_from_running_on(frozen):
    import_id = frozen.create()
    frozen.uploaded(import_id, frozen.lines(1, 2) + BAD)
    assert frozen.emulator.held() == {}
    frozen.emulator.clock.advance(0.2)
    held = {frozen.profile(1): 1, frozen.profile(2): 1}
    assert frozen.emulator.held() == held
    frozen.emulator.clock.advance(60)
    assert frozen.emulator.held() == held


def test_lines_are_counted_over_executions_and_imports(frozen):
    first, second = frozen.create(), frozen.create()
    frozen.uploaded(first, frozen.lines(1, 1, 2))
    frozen.uploaded(first, frozen.lines(2))
    frozen.uploaded(second, frozen.lines(2))
    frozen.emulator.clock.advance(1)
    one, two = frozen.profile(1), frozen.profile(2)
    assert frozen.emulator.held(first) == {one: 2, two: 2}
    assert frozen.emulator.held(second) == {two: 1}
    assert frozen.emulator.held() == {one: 2, two: 3}
    assert frozen.emulator.held(1) == {}
    assert frozen.emulator.held_totals() == {"lines": 5, "different": 2, "more_than_once": 2, "executions": 3}
    assert frozen.emulator.held_totals(second)["lines"] == 1


def test_what_was_imported_stays_when_the_import_is_deleted(frozen):
    import_id = frozen.create()
    frozen.uploaded(import_id, frozen.lines(1))
    frozen.emulator.clock.advance(1)
    assert frozen.imports("DELETE", f"/{import_id}").status_code == 200
    assert frozen.emulator.held(import_id) == {frozen.profile(1): 1}


@pytest.mark.parametrize("line", ["é\u2028ü", "\\u0000", "a\\nb", "🙂", "\x85"])
def test_lines_come_back_letter_by_letter(frozen, line):
    import_id = frozen.create()
    text = f'{{"operation":"DELETE","user_account_id":"{line}"}}'
    frozen.uploaded(import_id, f"{text}\r\n{text} \n".encode())
    frozen.emulator.clock.advance(1)
    assert frozen.emulator.held() == {text: 1, text + " ": 1}


def test_many_lines(frozen):
    import_id = frozen.create()
    frozen.uploaded(import_id, frozen.lines(*range(12_345)))
    frozen.emulator.clock.advance(1)
    assert frozen.emulator.held(import_id) == {frozen.profile(number): 1 for number in range(12_345)}
