"""``hubpkg lint`` and ``hubpkg explain`` as commands: output, configuration, fixes, baseline, hostile input."""

import dataclasses
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys

import jsonschema
import pytest
from conftest import CORPUS, ROOT
from linting import good_card, line_of
from test_imports import HEAVY, command, run_and_list_modules

from hubpkg.lint import engine
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.rules import Edit, Finding, Fix, replace, rules
from hubpkg.lint.source import Card

NAME, GOOD = good_card(7)
BAD = re.sub(r"^license: .*$", "license: Apache2.0", GOOD, flags=re.MULTILINE).replace("## Training", "## Training:")
MESSAGE = "expected an SPDX licence identifier, found 'Apache2.0'; it is 'Apache-2.0'"
TITLE = "title=S008 licence-not-spdx"
LINE = line_of(BAD, "license: ")
PATH = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def run(*arguments, cwd, text=None, timeout=60, **options):
    """Run lint; standard input and output are bytes."""
    return subprocess.run(
        [sys.executable, "-m", "hubpkg", *map(str, arguments)],
        cwd=cwd,
        input=text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        check=False,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": PATH},
        **options,
    )


def lint(*arguments, cwd, **options):
    done = run("lint", *arguments, cwd=cwd, **options)
    assert b"Traceback" not in done.stderr, done.stderr
    return done


def found(*arguments, cwd, **options):
    """The findings, as JSON has them."""
    return json.loads(lint(*arguments, "--format", "json", cwd=cwd, **options).stdout)


@pytest.fixture
def folder(tmp_path):
    """A folder with a bad card and a good one."""
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / NAME).write_text(BAD, encoding="utf-8")
    other, text = good_card(8)
    (tmp_path / "cards" / other).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_good_card_gives_status_0_and_a_bad_one_1(folder):
    done = lint(f"cards/{good_card(8)[0]}", cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"1 card: nothing found\n")
    assert lint("cards", cwd=folder).returncode == 1


def test_text_names_the_place_and_shows_it(folder):
    lines = lint("cards", cwd=folder).stdout.decode().splitlines()
    assert lines[:3] == [
        f"cards/{NAME}:{LINE}:10: S008 {MESSAGE} [licence-not-spdx]",
        "  license: Apache2.0",
        "           ^^^^^^^^^",
    ]
    assert lines[-1] == "2 cards: 1 error and 1 warning on 1 of them; 2 can be fixed with --fix"


def test_the_caret_stands_under_wide_characters_and_escapes_steer_nothing(tmp_path):
    text = GOOD.replace("summary: ", "summary: 模型\x1b[31m: ")
    shown = lint("-", "--select", "colon-in-value", cwd=tmp_path, text=text).stdout.decode().splitlines()
    assert "\x1b" not in "".join(shown)
    assert shown[1].startswith("  summary: 模型\\x1b[31m:")
    assert shown[2] == " " * 2 + " " * (len("summary: ") + 4 + len("\\x1b[31m")) + "^"


def test_json_is_a_list_of_findings(folder):
    first, second = found("cards", cwd=folder)
    assert first == {
        "path": f"cards/{NAME}",
        "line": LINE,
        "column": 10,
        "code": "S008",
        "rule": "licence-not-spdx",
        "severity": "warning",
        "message": MESSAGE,
        "fixable": True,
    }
    assert (second["rule"], second["severity"]) == ("heading-colon", "error")
    assert json.loads(lint("cards", "--json", cwd=folder).stdout) == [first, second]
    assert found(f"cards/{good_card(8)[0]}", cwd=folder) == []


def test_sarif_fits_its_schema(folder):
    (folder / "cards" / "broken ü%.md").write_bytes(b"# a\n\n---\nevaluation: -\nsummary: \xff\n---\n")
    for arguments in (["cards"], [f"cards/{good_card(8)[0]}"], [str(folder / "cards")]):
        log = json.loads(lint(*arguments, "--format", "sarif", cwd=folder).stdout)
        schema = json.loads((ROOT / "tests" / "data" / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
        jsonschema.validators.validator_for(schema)(schema).validate(log)
        [one] = log["runs"]
        ids = [each["id"] for each in one["tool"]["driver"]["rules"]]
        assert ids == list(rules())
        assert all(ids[result["ruleIndex"]] == result["ruleId"] for result in one["results"])
    log = json.loads(lint("cards", "--format", "sarif", "--select", "S008", cwd=folder).stdout)
    [result] = log["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == f"cards/{NAME}"
    assert place["region"] == {"startLine": LINE, "startColumn": 10, "endLine": LINE, "endColumn": 19}
    [change] = result["fixes"][0]["artifactChanges"]
    assert change["replacements"][0]["insertedContent"]["text"] == "Apache-2.0"


def test_github_annotations_escape_what_they_must(folder):
    (folder / "cards" / "a,b:c%.md").write_text(BAD, encoding="utf-8")
    lines = lint("cards/a,b:c%.md", "--format", "github", "--select", "S008", cwd=folder).stdout.decode().splitlines()
    assert lines == [
        f"::warning file=cards/a%2Cb%3Ac%25.md,line={LINE},endLine={LINE},col=10,endColumn=19,{TITLE}::{MESSAGE}"
    ]


def test_statistics_count_by_rule(folder):
    (folder / "cards" / "again.md").write_text(BAD, encoding="utf-8")
    arguments = ("cards", "--select", "S008,T001", "--statistics")
    assert lint(*arguments, cwd=folder).stdout.decode().splitlines() == [
        "2  S008  warning  licence-not-spdx (2 fixable)",
        "2  T001  error    heading-colon (2 fixable)",
    ]
    assert json.loads(lint(*arguments, "--json", cwd=folder).stdout)[0] == {
        "code": "S008", "rule": "licence-not-spdx", "severity": "warning", "count": 2, "fixable": 2,
    }  # fmt: skip


def test_a_summary_of_many_findings_names_the_rules_that_found_most(folder):
    some = {"license: ": "licence: ", "module-type: cv": "module-type: vision", "## Training": "## Training: "}
    for old, new in some.items():
        for index in range(20):
            (folder / f"{index}{new[:3]}.md").write_text(BAD.replace(old, new), encoding="utf-8")
    *_, count, most = lint(".", "--select", "schema,style", cwd=folder).stdout.decode().splitlines()
    assert re.fullmatch(r"62 cards: \d+ errors and \d+ warnings on 61 of them; \d+ can be fixed with --fix", count)
    assert most.startswith("most: 61 heading-colon, 41 licence-not-spdx, ")
    *_, last = lint("cards", cwd=folder).stdout.decode().splitlines()
    assert last.startswith("2 cards: ")


def test_a_readme_in_a_folder_is_no_card(folder):
    for name in ("README.md", "README_CN.md"):
        (folder / "cards" / name).write_text("# Cards\n", encoding="utf-8")
    assert {finding["path"] for finding in found("cards", cwd=folder)} == {f"cards/{NAME}"}
    assert found("cards/README.md", cwd=folder)


def test_where_nothing_is_checked_nothing_is_said_to_be_found(folder):
    done = lint("missing.md", cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    (folder / "empty").mkdir()
    done = lint("empty", cwd=folder)
    assert (done.returncode, done.stdout) == (0, b"no card: nothing checked\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--select", "S008"], {"S008"}),
        (["--select", "licence-not-spdx,heading-colon"], {"S008", "T001"}),
        (["--select", "style"], {"T001"}),
        (["--select", "S", "--select", "T0"], {"S008", "T001"}),
        (["--ignore", "S008"], {"T001"}),
        (["--select", "ALL", "--ignore", "schema,T001"], set()),
    ],
)
def test_rules_are_selected_and_ignored_by_code_name_family_and_beginning(folder, arguments, expected):
    assert {each["code"] for each in found("cards", *arguments, cwd=folder)} == expected


@pytest.mark.parametrize("arguments", [["--select", "S999"], ["--ignore", "no-such-rule"], ["--select", "S008,"]])
def test_an_unknown_rule_is_refused(folder, arguments):
    done = lint("cards", *arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"hubpkg explain --all" in done.stderr


@pytest.mark.parametrize("arguments", [["--select", "H001"], ["--select", "S", "--target", "hub"]])
def test_a_selection_of_the_other_targets_rules_is_refused(folder, arguments):
    done = lint("cards", *arguments, cwd=folder)
    assert done.returncode == 2
    assert b"to be selected, found none" in done.stderr


def test_standard_input_is_a_card(tmp_path):
    done = lint("-", "--select", "S008", cwd=tmp_path, text=BAD)
    assert done.returncode == 1
    assert done.stdout.decode().startswith(f"-:{LINE}:10: S008 ")
    done = lint("-", "--fix", "--select", "S008", cwd=tmp_path, text=BAD)
    assert done.returncode == 0
    assert done.stdout.decode() == BAD.replace("Apache2.0", "Apache-2.0")
    data = BAD.encode().replace(b"Images", b"\xff\xfe")
    assert lint("-", "--fix", cwd=tmp_path, text=data).stdout.count(b"\xff\xfe") == 1


@pytest.mark.parametrize("kind", ["pyproject.toml", "hubpkg.toml"])
def test_a_configuration_file_above_is_found(folder, kind):
    head = "[tool.hubpkg.lint]\n" if kind == "pyproject.toml" else ""
    (folder / kind).write_text(f'{head}select = ["S008", "T"]\nignore = ["heading-colon"]\n', encoding="utf-8")
    (folder / "cards" / "deep").mkdir()
    assert {each["code"] for each in found("..", cwd=folder / "cards" / "deep")} == {"S008"}
    assert {each["code"] for each in found("..", "--select", "T001", cwd=folder / "cards" / "deep")} == set()


def test_ignores_by_file_severities_and_exclusions(folder):
    (folder / "cards" / "draft.md").write_text("# no card\n", encoding="utf-8")
    (folder / "cards" / "again.md").write_text(BAD, encoding="utf-8")
    (folder / "hubpkg.toml").write_text(
        'select = ["schema", "style"]\nexclude = ["draft.md"]\n'
        f'[per-file-ignores]\n"cards/{NAME}" = ["T001"]\n"*/again.md" = ["schema"]\n[severity]\nS008 = "error"\n',
        encoding="utf-8",
    )
    expected = [(f"cards/{NAME}", "S008", "error"), ("cards/again.md", "T001", "error")]
    shown = [(each["path"], each["code"], each["severity"]) for each in found("cards", cwd=folder)]
    assert sorted(shown) == sorted(expected)
    shown = [(each["path"], each["code"]) for each in found(folder / "cards", cwd=folder / "cards")]
    assert sorted(shown) == sorted((str(folder / path), code) for path, code, _ in expected)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("selct = []", "selct"),
        ("select = 'S008'", "select"),
        ("select = [1]", "select"),
        ("target = 'gitee'", "gitee"),
        ("[severity]\nS008 = 'fatal'", "fatal"),
        ("[severity]\nS999 = 'error'", "S999"),
        ("ignore = ['S999']", "S999"),
        ("per-file-ignores = 1", "per-file-ignores"),
        ("baseline = 1", "baseline"),
        ("= broken", "TOML"),
    ],
)
def test_a_wrong_configuration_is_refused(folder, text, part):
    (folder / "hubpkg.toml").write_text(text, encoding="utf-8")
    done = lint("cards", cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert part.encode() in done.stderr
    assert b"hubpkg.toml" in done.stderr


def test_a_pyproject_without_the_table_is_passed_over(folder):
    (folder / "pyproject.toml").write_text('[project]\nname = "hubpkg-cards"\n', encoding="utf-8")
    assert len(found("cards", cwd=folder)) == 2


def test_fix_changes_what_it_says_and_nothing_else(folder):
    path = folder / "cards" / NAME
    path.chmod(0o640)
    done = lint("cards", "--fix", cwd=folder)
    assert done.returncode == 0
    assert done.stderr == b"hubpkg: fixed 2 findings in 1 card\n"
    assert path.read_text(encoding="utf-8") == BAD.replace("Apache2.0", "Apache-2.0").replace("Training:", "Training")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    before = path.stat()
    assert lint("cards", "--fix", cwd=folder).returncode == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert len(list(path.parent.iterdir())) == 2


def test_fix_keeps_a_symbolic_link(folder):
    path = folder / "cards" / NAME
    (folder / "link.md").symlink_to(path)
    assert lint("link.md", "--fix", "--select", "S008", cwd=folder).returncode == 0
    assert (folder / "link.md").is_symlink()
    assert "Apache-2.0" in path.read_text(encoding="utf-8")


def test_fix_of_a_file_that_was_changed_meanwhile_is_refused(folder):
    path = folder / "cards" / NAME
    before = Card(str(path), path.read_bytes())
    [fixed] = engine.fix([before], Configuration(), engine.Options())
    path.write_text("other", encoding="utf-8")
    with pytest.raises(engine.HubpkgError, match="found it changed"):
        engine.write(fixed)
    assert path.read_text(encoding="utf-8") == "other"


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_diff_is_what_patch_applies(folder, end):
    path = folder / "cards" / NAME
    text = BAD.replace("\n", end or "\n")
    path.write_bytes((text if end else text.rstrip("\n")).encode() if end != "\r\n" else text.encode())
    arguments = ("cards", "--ignore", "line-endings,final-newline")
    done = lint(*arguments, "--diff", cwd=folder)
    assert done.returncode == 1
    assert "Apache2.0" in path.read_text(encoding="utf-8")
    patched = subprocess.run(
        [shutil.which("patch") or "patch", "--binary", "-p0"],
        cwd=folder,
        input=done.stdout,
        capture_output=True,
        check=False,
    )
    assert patched.returncode == 0, patched.stdout
    assert lint(*arguments, "--diff", cwd=folder).returncode == 0
    patched = path.read_bytes()
    path.write_bytes(text.encode() if end else text.rstrip("\n").encode())
    lint(*arguments, "--fix", cwd=folder)
    assert path.read_bytes() == patched


@pytest.mark.parametrize("number", [299, 301])
def test_many_cards_are_checked_as_few_are(number, monkeypatch):
    cards = [Card(f"{index}_{good_card(index)[0]}", (BAD if index % 3 else GOOD).encode()) for index in range(number)]
    cards[5], cards[-1] = (Card(name, b"# \xff\n\n---\nevaluation: -\n---\n") for name in ("b.md", "a.md"))
    several = engine.lint(cards, Configuration(), engine.Options())
    monkeypatch.setattr(engine.os, "cpu_count", lambda: 1)
    assert several == engine.lint(cards, Configuration(), engine.Options())
    assert len({report.card.path for report in several}) > number / 2


def test_an_error_in_a_rule_is_not_lost_in_the_second_process(monkeypatch):
    cards = [Card(f"{index}.md", GOOD.encode()) for index in range(400)]

    def broken(card):
        assert card.path != "399.md", "a broken rule"
        yield from ()

    rule = dataclasses.replace(rules()["F001"], check=broken)
    monkeypatch.setattr(Configuration, "rules", [rule])
    with pytest.raises(AssertionError, match="a broken rule"):
        engine.lint(cards, Configuration(), engine.Options())


def test_a_chinese_card_is_paired_with_the_english_one_beside_it(tmp_path):
    seen = []

    def twins(cards):
        seen.append([card.path for card in cards])
        yield cards[-1], Finding(0, 1, "on the English card")

    rule = dataclasses.replace(rules()["F001"], collection=True, check=twins)
    (tmp_path / "a.md").write_text(GOOD, encoding="utf-8")
    (tmp_path / "a_cn.md").write_text(GOOD, encoding="utf-8")
    settings = Configuration()
    settings.__dict__["rules"] = [rule]
    chinese = engine.read(str(tmp_path / "a_cn.md"))
    assert engine.lint([chinese], settings, engine.Options()) == []
    assert seen == [[str(tmp_path / "a_cn.md"), str(tmp_path / "a.md")]]


def test_fixes_that_touch_are_made_one_after_the_other():
    first, second = replace(0, 2, "x"), replace(1, 3, "y")
    apart = Fix((Edit(4, 4, "+"), Edit(5, 6, "")))
    findings = [Finding(0, 1, "", fix) for fix in (second, apart, first, None)]
    assert engine.apply("abcdef", findings) == ("xcd+e", 2)


def test_a_baseline_hides_what_is_known_and_nothing_new(folder):
    arguments = ("cards", "--baseline", "known.json")
    done = lint(*arguments, cwd=folder)
    assert done.returncode == 2
    assert b"--update-baseline" in done.stderr
    assert lint(*arguments, "--update-baseline", cwd=folder).returncode == 0
    assert lint(*arguments, cwd=folder).returncode == 0
    path = folder / "cards" / NAME
    path.write_text(f"{BAD.replace('## Intro', 'A line.' + chr(10) * 2 + '## Intro')}\n## More:\n", encoding="utf-8")
    assert [each["line"] for each in found(*arguments, cwd=folder)] == [BAD.count("\n") + 4]
    assert [each["rule"] for each in found(str(folder / "cards"), *arguments[1:], cwd=folder)] == ["heading-colon"]
    (folder / "hubpkg.toml").write_text('baseline = "known.json"\n', encoding="utf-8")
    assert len(found(folder / "cards", cwd=folder / "cards")) == 1
    for text in ("[]", "{", '{"version": 2, "findings": {}}', '{"version": 1, "findings": []}'):
        (folder / "known.json").write_text(text, encoding="utf-8")
        assert lint(*arguments, cwd=folder).returncode == 2


def test_update_baseline_needs_a_baseline(folder):
    assert lint("cards", "--update-baseline", cwd=folder).returncode == 2


def test_explain_tells_a_rule_by_code_and_by_name(tmp_path):
    by_code = run("explain", "S006", cwd=tmp_path).stdout.decode()
    assert by_code == run("explain", "version-loses-digits", cwd=tmp_path).stdout.decode()
    assert by_code.startswith("# S006 version-loses-digits\n")
    for part in ("1.1", "Bad:", "mindspore-version: 1.10", "Good:", 'mindspore-version: "1.10"'):
        assert part in by_code
    [entry] = json.loads(run("explain", "S006", "--json", cwd=tmp_path).stdout)
    assert entry["name"] == "version-loses-digits"
    for arguments in (["no-such"], []):
        assert run("explain", *arguments, cwd=tmp_path).returncode == 2


def test_the_page_of_rules_is_up_to_date(tmp_path):
    page = run("explain", "--all", cwd=tmp_path).stdout.decode()
    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == page, "run: hubpkg explain --all > docs/rules.md"


def test_the_pre_commit_hook_runs_lint():
    import yaml

    hook, fixing = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert (hook["entry"], fixing["entry"]) == ("hubpkg lint", "hubpkg lint --fix")
    assert hook["language"] == "python"
    assert re.search(hook["files"], "cards/xcit_imagenet2012.md")
    assert re.search(hook["exclude"], "cards/README.md")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_the_options_of_lint(tmp_path, shell):
    pytest.importorskip("shtab")
    done = run("completion", shell, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"update-baseline" in done.stdout


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hubpkg lint --update-b", "--update-baseline"), ("hubpkg lint --target hubp", "hubpkg"),
        ("hubpkg lint --format sa", "sarif"), ("hubpkg expl", "explain"), ("hubpkg lint ca", "cards"),
        ("hubpkg lint --baseline ca", "cards"), ("hubpkg lint --assets ca", "cards"), ("hubpkg verify ca", "cards"),
    ],
)  # fmt: skip
def test_bash_completes_commands_options_and_paths(folder, line, expected):
    pytest.importorskip("shtab")
    (folder / "completion").write_bytes(run("completion", "bash", cwd=folder).stdout)
    *before, last = line.split()
    script = (
        f"source completion; COMP_WORDS=({line}); COMP_CWORD={len(before)}; "
        f"_shtab_hubpkg hubpkg {last} {before[-1]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run([shutil.which("bash"), "--norc", "-c", script], cwd=folder, capture_output=True, check=True)
    assert done.stdout.decode().split() == [expected], done.stderr


def test_lint_imports_nothing_heavy(folder):
    code = command("lint", str(folder / "cards"), "--format", "sarif") + "assert status == 1"
    program = f"import io\nreal, sys.stdout = sys.stdout, io.StringIO()\n{code}\nsys.stdout = real"
    loaded = run_and_list_modules(program, folder)
    assert not (HEAVY | {"jsonschema", "urllib3"}) & loaded
    assert "argparse" in loaded


HOSTILE = {
    "bomb": "# a\n\n---\nb0: &b0 [x]\n" + "".join(f"b{i}: &b{i} [*b{i - 1}, *b{i - 1}]\n" for i in range(1, 60)),
    "deep": "# a\n\n---\nsummary: " + "[" * 200_000 + "\n---\n",
    "deep mapping": "# a\n\n---\n" + "".join(" " * i + "a:\n" for i in range(1000)) + "---\n",
    "deep links": "# a\n\n---\nmodel-name: a\n---\n" + "[" * 100_000 + "](" * 100_000,
    "backticks": "# a\n\n---\nmodel-name: a\n---\n" + "` " * 200_000,
    "backtick runs": "# a\n\n---\nmodel-name: a\n---\n" + "".join("`" * (i % 9 + 1) + " a " for i in range(50_000)),
    "tags": "# a\n\n---\nmodel-name: a\n---\n" + "<a " * 200_000,
    "comments": "# a\n\n---\nmodel-name: a\n---\n" + "<!-- " * 150_000,
    "pipes": "# a\n\n---\nmodel-name: a\n---\n" + "|" * 400_000 + "\n" + "|-" * 200_000 + "\n" + "|" * 100_000,
    "table rows": "# a\n\n---\nmodel-name: a\n---\n|a|b|\n|-|-|\n" + "|1|2|\n" * 100_000,
    "spaces": "# a\n\n---\nmodel-name:" + " " * 500_000 + "a\n---\n" + " " * 400_000 + "a\n",
    "hashes": "# a\n\n---\nmodel-name: a\n---\n" + "#" * 500_000 + "\n# " + "# " * 200_000,
    "dashes": "---\n" * 200_000,
    "keys": "# a\n\n---\n" + "".join(f"k{i}: a\n" for i in range(80_000)) + "---\n",
    "assets": "# a\n\n---\nasset:\n" + "- file-format: ckpt\n" * 50_000 + "---\n",
    "headings": "# a\n\n---\nmodel-name: a\n---\n" + "## a\n" * 150_000,
    "one line": "# a\n\n---\nsummary: " + "a: " * 300_000 + "\n---\n",
    "evaluation": "# a\n\n---\nmodel-name: a\nevaluation: " + "top1acc77 | " * 80_000 + "\n---\n",
    "digits": "# a\n\n---\nmodel-version: " + "9" * 900_000 + "\nupdate-time: " + "1" * 9 + "\n---\n",
    "brackets": "# a\n\n---\nmodel-name: a\n---\n" + "[a](" * 200_000,
    "links": "# a\n\n---\nmodel-name: a\n---\n" + "[a](#b)\n" * 120_000,
    "images": "# a\n\n---\nmodel-name: a\n---\n" + "[![" * 250_000,
    "schemes": "# a\n\n---\nmodel-name: a\n---\n" + "<a href='" * 100_000,
    "emphasis": "# a\n\n---\nmodel-name: a\n---\n" + "(a" * 300_000 + ")[" * 100_000,
    "letters": "# a\n\n---\nmodel-name: a\n---\n" + "a" * 1_000_000,
    "setext": "# a\n\n---\nmodel-name: a\n---\n" + "a\n=\n" * 200_000,
    "quotes": "# a\n\n---\nsummary: " + "'" * 500_001 + "\n---\n",
    "licence": "# a\n\n---\nlicense: " + "(" * 500_000 + "\n---\n",
    "repo": "# a\n\n---\nrepo-link: <" + "https://a.com/" * 50_000 + ">\n---\n",
    "null": "# a\n\n---\nmodel-name: \x00\n---\n\x00",
    "surrogates": "# a\n\n---\nsummary: \udced\udca0\udc80 \udcff\n---\n",
    "binary": bytes(range(256)) * 2000,
    "escape": '# a\n\n---\nsummary: "\\UFFFFFFFF"\n---\n',
    "bad tag": "# a\n\n---\nsummary: !!python/object:os.system x\nauthor: !!timestamp x\n---\n",
    "recursive": "# a\n\n---\nasset: &a [*a]\n---\n",
    "null keys": "# a\n\n---\n? [a]\n: b\n---\n",
    "empty": "",
    "break": "\n",
    "delimiter": "---",
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_gives_findings_in_bounded_time_and_memory(tmp_path, kind):
    text = HOSTILE[kind]
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    (tmp_path / "a.md").write_bytes(data)

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (1500 << 20,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = lint("a.md", "--format", "sarif", cwd=tmp_path, preexec_fn=limit)
    assert done.returncode == 1, (done.returncode, done.stderr[-500:])
    assert json.loads(done.stdout)["runs"][0]["results"]
    done = lint("a.md", "--fix", cwd=tmp_path, preexec_fn=limit)
    assert done.returncode in (0, 1), (done.returncode, done.stderr[-500:])
    once = (tmp_path / "a.md").read_bytes()
    lint("a.md", "--fix", cwd=tmp_path, preexec_fn=limit)
    assert (tmp_path / "a.md").read_bytes() == once


def test_a_line_of_100_mb_is_read_no_further_than_needed(tmp_path):
    with (tmp_path / "a.md").open("wb") as file:
        file.write(b"# a\n")
        for _ in range(100):
            file.write(b"a" * 1_000_000)

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2)

    done = lint("a.md", "--fix", cwd=tmp_path, preexec_fn=limit)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[0].endswith("[card-too-large]")
    assert (tmp_path / "a.md").stat().st_size == 100_000_004
    with (tmp_path / "a.md").open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "hubpkg", "lint", "-"], stdin=file, cwd=tmp_path, capture_output=True, check=False,
            env={**os.environ, "PYTHONPATH": PATH}, preexec_fn=limit,
        )  # fmt: skip
    assert done.returncode == 1, done.stderr


def test_paths_that_can_not_be_read_are_told_and_the_others_checked(folder):
    os.mkfifo(folder / "pipe.md")
    (folder / "loop.md").symlink_to("loop.md")
    (folder / "cards" / "loop").symlink_to("..", target_is_directory=True)
    (folder / "cards" / "away.md").symlink_to("nowhere.md")
    secret = folder / "secret.md"
    secret.write_text(BAD, encoding="utf-8")
    secret.chmod(0)
    paths = ["pipe.md", "loop.md", "missing.md", "secret.md", "a\udcffb.md"]
    done = lint(*paths, "cards", cwd=folder)
    assert done.returncode == 2
    told = done.stderr.decode().splitlines()
    for path in ("pipe.md", "loop.md", "missing.md", "cards/away.md"):
        assert any(path in line for line in told), (path, told)
    assert f"cards/{NAME}:{LINE}:10" in done.stdout.decode()


def test_a_pipe_named_in_a_folder_does_not_hang(folder):
    os.mkfifo(folder / "cards" / "pipe.md")
    assert lint("cards", cwd=folder, timeout=20).returncode == 2


def test_closed_output_is_no_fault(folder):
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, "-m", "hubpkg", "lint", "cards"],
        cwd=folder,
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PATH},
    )
    os.close(writer)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (141, b"")


def test_a_folder_that_is_none_is_refused(folder):
    for option in ("--assets", "--checkout"):
        done = lint("cards", option, "nowhere", cwd=folder)
        assert done.returncode == 2
        assert b"nowhere" in done.stderr


def test_fuzzing_finds_no_traceback_in_any_rule():
    from hypothesis import given, settings
    from hypothesis import strategies as st
    from test_lint_source import PIECES

    words = st.one_of(
        PIECES,
        st.sampled_from([f"{key}: " for key in ("license", "evaluation", "update-time", "repo-link", "train-dataset")]),
    )
    texts = st.lists(words, max_size=50).map(lambda parts: "# a\n\n---\n" + "".join(parts))

    @settings(max_examples=300)
    @given(texts, st.integers(0, 40), st.text(max_size=6))
    def check(text, at, change):
        good = GOOD[: at * 40] + change + GOOD[at * 40 + 3 :]
        cards = [
            Card("a.md", text.encode("utf-8", "surrogateescape")),
            Card("a_cn.md", good.encode("utf-8", "replace")),
        ]
        for report in engine.lint(cards, Configuration(), engine.Options()):
            assert 0 <= report.finding.start <= report.finding.end <= len(report.card.text)
            if report.finding.fix is not None:
                assert all(0 <= edit.start <= edit.end <= len(report.card.text) for edit in report.finding.fix.edits)
                assert report.rule.fixable
        for fixed in engine.fix(cards, Configuration(), engine.Options()):
            [again] = engine.fix([fixed.after], Configuration(), engine.Options())
            assert again.after.text == fixed.after.text

    check()


@pytest.mark.corpus
def test_fixing_the_corpus_twice_is_fixing_it_once():
    cards = [Card(str(path), path.read_bytes()) for path in sorted(CORPUS.rglob("*.md"))]
    for fixed in engine.fix(cards, Configuration(), engine.Options()):
        [again] = engine.fix([fixed.after], Configuration(), engine.Options())
        assert again.count == 0
        assert again.after.data == fixed.after.data
