"""Sweeps: which runs ``--sweep`` makes of a config, and what they are called."""

import json

import pytest

from jobs.errors import InputError
from launcher.config.sweeps import variants
from launcher.config.yaml_lines import parse_value, value_text


def named(*sweeps: str) -> dict[str, tuple[str, ...]]:
    """The values of each run, by its name."""
    found = variants("toy", sweeps)
    for one in found:
        assert one.overrides == (*one.values, f"name={json.dumps(one.name)}", 'sweep="toy"')
    return {one.name: one.values for one in found}


def test_each_value_makes_a_run_called_after_it() -> None:
    assert named("job.params.model=a,b") == {"toy-a": ("job.params.model=a",), "toy-b": ("job.params.model=b",)}
    assert list(named("node.workers=0, 2")) == ["toy-0", "toy-2"]
    assert list(named("job.params.lr=1e-3,1e-05,.5")) == ["toy-0.001", "toy-1e-05", "toy-0.5"]
    assert list(named("job.params.flag=true,false,null")) == ["toy-true", "toy-false", "toy-null"]


def test_several_sweeps_make_all_combinations() -> None:
    found = named("job.params.model=a,b", "data.shards=2,4")
    assert list(found) == ["toy-a-2", "toy-a-4", "toy-b-2", "toy-b-4"]
    assert found["toy-b-2"] == ("job.params.model=b", "data.shards=2")


def test_of_a_path_its_last_part_is_in_the_name_and_what_makes_no_name_is_numbered() -> None:
    assert list(named("job.params.model=org/small,org/large")) == ["toy-small", "toy-large"]
    assert list(named("job.params.model=a/x,b/x")) == ["toy-1", "toy-2"]
    assert named("job.params.sizes=[1, 2],[3]") == {
        "toy-1": ("job.params.sizes=[1, 2]",),
        "toy-2": ("job.params.sizes=[3]",),
    }
    assert list(named(f"job.params.text={'x' * 50},y")) == ["toy-1", "toy-2"]
    assert list(named("job.params.text='a b','ü'")) == ["toy-1", "toy-2"]


def test_text_that_would_read_back_as_something_else_is_in_quotes() -> None:
    assert named('job.params.end="...",x') == {"toy-...": ('job.params.end="..."',), "toy-x": ("job.params.end=x",)}
    assert named('job.params.switch="yes","true"') == {
        "toy-yes": ('job.params.switch="yes"',),
        "toy-true": ('job.params.switch="true"',),
    }


@pytest.mark.parametrize(
    "value",
    [
        '[.inf, -.inf, {"a": .nan, "1": []}]',
        '"a\\u0085b\\u2028"',
        '"\\ufeff\\ud800\\u007f"',
        "1e-05",
        '"~"',
        "10000000000000000000000",
    ],
)
def test_each_value_reads_back_as_it_is_written(value: str) -> None:
    assert value_text(parse_value(value)) == value


def test_what_sbatch_gets_is_as_it_is_written() -> None:
    assert named("slurm.account=0012,7") == {"toy-0012": ('slurm.account="0012"',), "toy-7": ("slurm.account=7",)}


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        (["node.workers"], "write it as key.sub=a,b,c"),
        (["=1,2"], "write it as key.sub=a,b,c"),
        (["node.workers="], "values are written with commas"),
        (["node.workers=1,1"], "a value is there twice"),
        (["node.workers=1,[2"], "--sweep node.workers=1,[2: not a YAML value"),
        (["name=a,b"], "the runs of a sweep are named by their values"),
        (["a.b=1", "a.b=2"], "--sweep a.b: is given twice"),
        (["a.b=" + ",".join(map(str, range(40))), "a.c=" + ",".join(map(str, range(40)))], "more than 1,000 runs"),
    ],
)
def test_what_is_no_sweep_is_refused(sweeps: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        variants("toy", sweeps)
    assert message in str(caught.value)
