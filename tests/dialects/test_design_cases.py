"""Holds that each case of the dialects' design, 1 to 64, is a test or a golden file."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "golden"
#: The folders whose files carry the number of their case, by the numbers they are for.
FOLDERS = {
    "same-dialect": range(1, 16),
    "messages-to-chat": range(16, 38),
    "chat-to-messages": range(38, 52),
    "responses-to-chat": range(52, 58),
}
_MESSAGES, _PASSED = "web/test_messages.py", "dialects/test_golden_passed.py"
_REFUSED = "dialects/translations/responses_to_chat/test_responses_refused.py"
_MEDIA = "scenarios/test_media.py"
#: Cases that need more than a file: another candidate, a clock, a window, an SDK.
ALSO = {
    1: (_MESSAGES, "a_recorded_turn_arrives_value_for_value"),
    2: (_MESSAGES, "a_recorded_turn_arrives_value_for_value"),
    4: (_MESSAGES, "a_stream_fails_over_before_its_first_content"),
    5: (_PASSED, "no_clock_rings_while_a_model_thinks"),
    6: (_MESSAGES, "a_cut_is_an_error_event"),
    10: (_MESSAGES, "a_refusal_keeps_its_bytes"),
    11: (_MESSAGES, "an_account_without_credit_is_not_asked_again"),
    12: (_MESSAGES, "our_own_refusals_are_in_anthropics_words"),
    13: (_MESSAGES, "the_version_and_the_credential"),
    14: (_MESSAGES, "models_have_the_form_of_the_client"),
    15: (_MESSAGES, "counting_leaves_the_window_alone"),
    16: ("dialects/translations/test_messages_to_chat.py", "turns_share_their_beginning_byte_for_byte"),
    33: (
        "dialects/translations/test_messages_to_chat.py",
        "arguments_that_break_behind_content_are_an_error_event",
    ),
    34: (
        "dialects/translations/test_messages_to_chat.py",
        "a_long_prompt_is_refused_in_the_words_that_clients_know",
    ),
    50: (
        "dialects/translations/test_chat_to_messages.py",
        "an_error_behind_text_ends_the_stream_without_its_last_event",
    ),
    52: (_REFUSED, "codex_first_turn_loses_its_web_search_alone"),
    53: (_REFUSED, "codex_second_turn_has_its_call_and_the_result"),
    56: (_REFUSED, "state_is_refused_whatever_the_settings_say"),
    59: ("web/test_error_handlers.py", "a_websocket_is_answered_426"),
    62: (_MEDIA, "the_model_is_found_behind_the_file_and_sent_before_it"),
    63: (_MEDIA, "the_next_candidate_gets_the_same_bytes"),
    64: (_MEDIA, "a_cut_of_sound_closes_the_connection_without_the_last_chunk"),
}


def files(number: int) -> list[Path]:
    """The golden files of a case: a name that begins with its number, or a note that does."""
    folder = next((name for name, numbers in FOLDERS.items() if number in numbers), "same-dialect")
    notes = [
        path for path in (GOLDEN / folder).glob("*/note.md") if path.read_text().startswith(f"{number}:")
    ]
    return [*(GOLDEN / folder).glob(f"{number:02}-*.json"), *notes]


@pytest.mark.parametrize("number", range(1, 65))
def test_a_case_of_the_design_is_a_test(number: int) -> None:
    if number in ALSO:
        path, name = ALSO[number]
        assert f"\ndef test_{name}(" in (TESTS / path).read_text()
    else:
        assert files(number)
