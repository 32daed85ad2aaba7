"""Templates: a site's own script is kept, the config wins over it, and what cannot be meant is refused where it stands."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from launcher.config.sbatch_options import ALIASES, OPTIONS
from launcher.slurm.template import MARKER, Template, array_template, merge

SITE = """\
#!/bin/bash -l
#SBATCH -A lab --partition=long   # ours
#SBATCH --mem 4G
#SBATCH -c8 --exclusive
##SBATCH --time=1:00
# Our modules
module load python/3.11

source ~/venv/bin/activate
"""
OURS = {"array": "0-7", "output": "/runs/x y.log", "requeue": None}


def template(text: str) -> Template:
    return Template(text, "site.sbatch")


def rendered(text: str, over: dict[str, str | None], command: str = "exec run") -> list[str]:
    made = template(text)
    return made.render(merge(made.options, over), command).removesuffix("\n").split("\n")


def options_of(*lines: str) -> dict[str, str | None]:
    return template("\n".join(["#!/bin/bash", *lines])).options


def refusal(text: str) -> str:
    with pytest.raises(InputError) as refused:
        template(text)
    return str(refused.value)


def test_a_sites_script_is_kept_line_by_line() -> None:
    lines = rendered(SITE, OURS)
    assert lines[0] == "#!/bin/bash -l"
    kept = [line for line in SITE.splitlines()[1:] if not line.startswith("#SBATCH")]
    assert [line for line in lines[1:] if not line.startswith("#SBATCH")] == [*kept, "", "exec run"]


def test_bytes_that_are_no_utf8_are_kept_as_they_are(tmp_path: Path) -> None:
    lines = [b"#!/bin/bash", "# Universit\u00e9".encode("latin-1"), b"echo 'a\rb \x85'", b"exec run"]
    (tmp_path / "site.sbatch").write_bytes(b"\n".join([*lines[:-1], MARKER.encode(), b""]))
    made = array_template("site", tmp_path / "site.sbatch")
    script = made.render(made.options, "exec run").encode(errors="surrogateescape")
    assert script == b"\n".join([*lines, b""])


def test_directives_of_the_template_stay_and_others_are_added_before_the_first_command() -> None:
    lines = rendered(SITE, OURS)
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert directives == [
        "#SBATCH --account=lab",
        "#SBATCH --partition=long",
        "#SBATCH --mem=4G",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --exclusive",
        "#SBATCH --array=0-7",
        "#SBATCH --output='/runs/x y.log'",
        "#SBATCH --requeue",
    ]
    assert lines[1 : len(directives) + 1] == directives


def test_options_given_over_the_template_replace_its_own() -> None:
    lines = rendered(SITE, {"partition": "short", "account": "other"})
    assert "#SBATCH --partition=short" in lines
    assert "#SBATCH --account=other" in lines
    assert not any("long" in line or "lab" in line for line in lines)


def test_an_option_can_be_taken_out() -> None:
    assert "exclusive" not in merge(template(SITE).options, {}, without={"exclusive"})


def test_the_command_goes_where_the_marker_is() -> None:
    lines = rendered(f"#!/bin/sh\nbefore\n  {MARKER}  \nafter\n", {})
    assert lines == ["#!/bin/sh", "before", "exec run", "after"]


def test_without_a_marker_the_command_goes_to_the_end_of_the_file() -> None:
    assert rendered("#!/bin/sh\nbefore\n\n\n", {}) == ["#!/bin/sh", "before", "", "exec run"]


def test_dos_line_ends_are_mended() -> None:
    assert rendered(SITE.replace("\n", "\r\n"), OURS) == rendered(SITE, OURS)


def test_form_feeds_and_other_separators_in_a_line_do_not_break_it() -> None:
    assert "echo 'a\x0cb\u2028c'" in rendered("#!/bin/sh\necho 'a\x0cb\u2028c'\n", {})


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("#SBATCH -p long", {"partition": "long"}),
        ("#SBATCH -plong", {"partition": "long"}),
        ("#SBATCH -p long -t 1:00:00 -H", {"partition": "long", "time": "1:00:00", "hold": None}),
        ("#SBATCH --mem=4G --requeue", {"mem": "4G", "requeue": None}),
        ("#SBATCH --mem 4G --exclusive", {"mem": "4G", "exclusive": None}),
        ("#SBATCH --exclusive=user", {"exclusive": "user"}),
        ("#SBATCH --comment='it is \"mine\"'", {"comment": 'it is "mine"'}),
        ("#SBATCH --constraint=a100&nvlink # fast ones", {"constraint": "a100&nvlink"}),
        ("#SBATCH --cpus_per_task=3", {"cpus-per-task": "3"}),
        ("#SBATCH --part=long --acco=lab", {"partition": "long", "account": "lab"}),
        ("#SBATCH --tasks-per-node=1", {"ntasks-per-node": "1"}),
        ("#SBATCH -Q -v", {"quiet": None, "verbose": None}),
        ("#SBATCH --nice=-5", {"nice": "-5"}),
        ("#SBATCH", {}),
        ("#SBATCH # nothing yet", {}),
    ],
)
def test_directives_are_read_as_sbatch_reads_them(line: str, options: dict[str, Any]) -> None:
    assert options_of(line) == options


def test_an_option_that_later_versions_of_slurm_have_is_left_to_sbatch() -> None:
    assert options_of("#SBATCH --brand-new=1") == {"brand-new": "1"}


@pytest.mark.parametrize(
    ("older", "newer", "left"),
    [
        ("--mem=4G", {"mem-per-cpu": "1G"}, {"mem-per-cpu": "1G"}),
        ("--mem-per-cpu=1G", {"mem": "4G"}, {"mem": "4G"}),
        ("--mem-per-gpu=9G", {"mem": "4G"}, {"mem": "4G"}),
        ("--no-requeue", {"requeue": None}, {"requeue": None}),
        ("--gpus=2", {"gpus-per-task": "1"}, {"gpus-per-task": "1"}),
        ("--gres=gpu:a100:2", {"gpus-per-task": "1"}, {"gpus-per-task": "1"}),
        ("--gpus-per-task=1", {"gres": "gpu:2"}, {"gres": "gpu:2"}),
        ("--gres=lscratch:100", {"gpus-per-task": "1"}, {"gres": "lscratch:100", "gpus-per-task": "1"}),
        ("--gres=gpu:2,lscratch:100", {"gpus-per-node": "1"}, {"gres": "lscratch:100", "gpus-per-node": "1"}),
        ("--gpus-per-task=1", {"gres": "lscratch:100"}, {"gpus-per-task": "1", "gres": "lscratch:100"}),
        ("--ntasks-per-node=1", {"ntasks": "1"}, {"ntasks": "1"}),
        ("--cpus-per-gpu=8", {"cpus-per-task": "8"}, {"cpus-per-task": "8"}),
        ("--time=1:00", {"mem": "4G"}, {"time": "1:00", "mem": "4G"}),
    ],
)
def test_of_options_that_exclude_each_other_the_winner_stays(
    older: str, newer: dict[str, Any], left: dict[str, Any]
) -> None:
    assert merge(options_of(f"#SBATCH {older}"), newer) == left


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "site.sbatch:1: an sbatch script must begin with #!"),
        ("\n#!/bin/bash\n", "site.sbatch:1: an sbatch script must begin with #!"),
        ("#!/bin/bash\nmodule load x\n#SBATCH --mem=4G\n", "site.sbatch:3: '#SBATCH --mem=4G' comes after the first command"),
        ("#!/bin/bash\n#SBATCH --mem='4G\n", "site.sbatch:2: \"#SBATCH --mem='4G\": No closing quotation"),
        ("#!/bin/bash\n#SBATCH mem=4G\n", "site.sbatch:2: 'mem=4G' is no option"),
        ("#!/bin/bash\n\n#SBATCH hetjob\n", "site.sbatch:3: 'hetjob' is no option"),
        ("#!/bin/bash\n#SBATCH -y 3\n", "site.sbatch:2: '-y' is no option of sbatch"),
        ("#!/bin/bash\n#SBATCH --wrap='python x.py'\n", "site.sbatch:2: --wrap does not fit here: a template is a script"),
        ("#!/bin/bash\n#SBATCH --test-only\n", "site.sbatch:2: --test-only does not fit here: sbatch would submit nothing"),
        ("#!/bin/bash\n#SBATCH -W\n", "site.sbatch:2: --wait does not fit here: submitting would wait"),
        ("#!/bin/bash\n#SBATCH --parsable\n", "site.sbatch:2: --parsable does not fit here"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_file_and_line(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


def test_a_comment_before_the_directives_is_no_command() -> None:
    assert options_of("", "# who pays:", "#SBATCH --account=lab") == {"account": "lab"}


def test_the_place_of_an_option_is_known() -> None:
    assert template(SITE).where("mem") == "site.sbatch:3"


def test_a_template_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(
        InputError, match=r"'gpus' is not there; valid: apptainer, conda, cpu, gpu, modules, pyxis, spack, venv, or"
    ):
        array_template("gpus", None)


def test_a_template_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"slurm\.template: .*: cannot be read: Is a directory"):
        array_template("", tmp_path)


values = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=20).filter(
    str.strip
)
names = st.sampled_from(
    sorted(
        OPTIONS
        - ALIASES.keys()
        - {"wrap", "test-only", "help", "usage", "version", "wait", "parsable", "kill-on-invalid-dep"}
    )
)


@given(st.dictionaries(names, st.none() | values, max_size=8))
def test_what_was_rendered_is_read_back_as_it_was(options: dict[str, str | None]) -> None:
    wanted = merge({}, options)
    made = template("#!/bin/sh\n")
    again = template(made.render(wanted, "exec run")).options
    assert again == wanted


def test_an_option_by_its_other_name_has_the_same_rivals() -> None:
    assert options_of("#SBATCH --ntasks=4", "#SBATCH --tasks-per-node=2") == {"ntasks-per-node": "2"}
