from launcher.commands.columns import told


def test_each_column_is_told_with_its_type() -> None:
    assert told({"path": "string", "size": "int64"}, "path") == ("columns (2): path: string, size: int64", "id: path")
    assert told({"x": "double"}, None)[1].startswith("id: row numbers")


def test_many_columns_are_cut_at_two_lines() -> None:
    text, _ = told({f"column{number}": "int64" for number in range(300)}, None)

    assert text.startswith("columns (300): column0: int64, column1: int64, ")
    assert text.endswith(" and 288 more")
    assert len(text) < 240


def test_a_long_type_does_not_hide_that_there_are_others() -> None:
    text, _ = told({"objects": f"list<{'x' * 1000}>", "other": "int64"}, None)

    assert len(text) < 240
    assert "other: int64" in text
