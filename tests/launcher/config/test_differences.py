from launcher.config.differences import differences


def test_differences_tell_a_share_from_a_number_and_text_from_null() -> None:
    assert differences({"a": {"b": 1}}, {"a": {"b": 1.0}}) == ["a.b: 1 -> 1.0"]
    assert differences({"a": 64}, {"a": 32}) == ["a: 64 -> 32"]
    assert differences({"a": None}, {}) == []
    assert differences({"a": None}, {"a": "null"}) == ['a: null -> "null"']
    assert differences({"a": [1]}, {"a": [1, 2], "b": {"c": True}}) == [
        "a: [1] -> [1, 2]",
        "b.c: null -> true",
    ]
