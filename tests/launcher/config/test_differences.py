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


def test_a_param_that_is_null_or_empty_is_not_one_that_is_left_out() -> None:
    def params(**params: object) -> dict[str, object]:
        return {"job": {"params": params}}

    assert differences(params(a=None), params()) == ["job.params.a: null -> left out"]
    assert differences(params(), params(a=None)) == ["job.params.a: left out -> null"]
    assert differences(params(a={}), params(a=None)) == ["job.params.a: {} -> null"]
    assert differences(params(a={}), params()) == ["job.params.a: {} -> null"]
    assert differences(params(a={}), params(a={"b": 1})) == ["job.params.a.b: null -> 1"]
    assert differences(params(), params(a={"b": {}})) == ["job.params.a.b: null -> {}"]
    assert differences(params(a={"b": None}), params(a={"b": None})) == []
