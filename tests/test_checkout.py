"""Cards on a branch of a checkout of the hub: what is made there, what is refused, and that nothing else is touched."""

import json
import os
import shutil
from pathlib import Path

import pytest
import stopping
import tiny
from forging import reseal
from handmade import git

from hubpkg import checkout, publication
from hubpkg.errors import HubpkgError
from hubpkg.transport import Policy

CARD = "mshub_res/assets/publisher/2.10/tiny_digits.md"
CHINESE = "mshub_res/assets/publisher/2.10/tiny_digits_cn.md"
BRANCH = "add-publisher-2.10-tiny_digits"


def make(folder, **card):
    """A package whose links do not lie under a name that leads nowhere."""
    return tiny.make(folder, **{"asset_base_url": "https://localhost/assets/", **card})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("dist"))


@pytest.fixture
def package(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A checkout of a hub with another card; git knows who commits."""
    for name, value in {"GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "gitconfig").write_text("[user]\n\tname = A\n\temail = a@example.com\n")
    folder = tmp_path / "hub"
    write(folder, "mshub_res/assets/other/1.0/net_x.md", "# Another's\n")
    write(folder, "README.md", "The hub\n")
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def write(folder, name, text):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def commit(folder):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=a commit")


def publish(package, hub, **options):
    given = {"branch": None, "replace": False, "to": None, "base": None, "policy": Policy(), "report": print}
    checked, result = publication.publish(publication.Order(package, hub, **{**given, **options}))
    assert checked.ok
    return result


def state(folder):
    """All of a checkout that its user sees, but for the new branch: files, index, HEAD, branches, stash, settings."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "objects" not in path.relative_to(folder).parts and BRANCH not in path.parts
    }
    return {name: data for name, data in files.items() if not name.endswith(f"/{BRANCH}")}


def test_the_card_is_on_a_new_branch_and_nothing_else_is_touched(package, hub):
    git(hub, "checkout", "--quiet", "--detach")
    write(hub, "README.md", "changed, and not staged\n")
    write(hub, "staged.md", "new, and staged\n")
    git(hub, "add", "staged.md")
    write(hub, "untracked.md", "new\n")
    (hub / "mshub_res/assets/other/1.0/net_x.md").unlink()
    before = state(hub)
    result = publish(package, hub)
    assert state(hub) == before
    assert git(hub, "rev-parse", BRANCH) == result["commit"]
    assert git(hub, "rev-parse", f"{BRANCH}^") == git(hub, "rev-parse", "HEAD")
    assert git(hub, "diff", "--name-status", "HEAD", BRANCH).split() == ["A", CARD, "A", CHINESE]
    assert git(hub, "show", f"{BRANCH}:{CARD}") == (package / "tiny_digits.md").read_text().rstrip("\n")
    assert git(hub, "log", "-1", "--format=%an <%ae> %s", BRANCH) == (
        "A <a@example.com> Add the card publisher/2.10/tiny_digits"
    )
    assert git(hub, "fsck", "--strict", "--no-dangling") == ""


def test_the_pull_request_holds_what_verify_found(package, hub):
    text = Path(publish(package, hub)["pull_request"]).read_text()
    assert "top-1 10.00 %, top-5 50.00 % of 20 images" in text
    assert "| bom | yes |" in text
    assert "not yet read back" in text
    assert "models/tree/main/tiny>, a name reserved for examples, so that the hub's own client finds none" in text
    for kind in ("hub", "cn"):
        assert f"\nhubpkg cards tiny_digits --for {kind} --out mshub_res/assets/publisher/2.10 --check\n" in text


def test_a_second_run_changes_nothing_and_says_the_same(package, hub):
    first = publish(package, hub)
    before = state(hub)
    assert publish(package, hub) == first
    assert state(hub) == before


def test_a_card_that_is_in_the_hub_already_needs_no_branch(package, hub):
    publish(package, hub)
    git(hub, "merge", "--quiet", BRANCH)
    git(hub, "branch", "--delete", BRANCH)
    assert publish(package, hub)["commit"] is None
    assert git(hub, "branch", "--list", BRANCH) == ""


def test_a_checkout_of_another_user_s_is_told_by_the_folder_that_git_has_to_trust(package, hub, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.chdir(hub)
    with pytest.raises(HubpkgError, match=f"another user's, .*: git config --global --add safe.directory {hub}$"):
        publish(package, Path("mshub_res"))


def refused(package, hub, pattern, **options):
    before = state(hub)
    with pytest.raises(HubpkgError, match=pattern):
        publish(package, hub, **options)
    assert state(hub) == before
    assert not list(package.parent.glob("*.pull-request.txt"))


def test_another_s_card_is_never_overwritten(package, hub):
    write(hub, CARD, "# T\n\n---\n\nuser-id: somebody\n\n---\n\nTheirs.\n")
    commit(hub)
    refused(package, hub, "another's, whose user-id is somebody", replace=True)
    write(hub, CARD, "no card at all\n")
    commit(hub)
    refused(package, hub, "another's, whose user-id is not told", replace=True)


def test_one_s_own_card_is_replaced_only_when_that_is_said(package, hub, tmp_path):
    publish(package, hub)
    git(hub, "merge", "--quiet", BRANCH)
    git(hub, "branch", "--delete", BRANCH)
    newer = make(tmp_path / "newer", summary="Tiny classifies more images")
    refused(newer, hub, "set another model-version in model.yaml.*--replace")
    publish(newer, hub, replace=True)
    assert "more images" in git(hub, "show", f"{BRANCH}:{CARD}")
    assert git(hub, "log", "-1", "--format=%s", BRANCH) == "Update the card publisher/2.10/tiny_digits"


def test_a_chinese_card_of_another_s_is_not_overwritten_either(package, hub):
    write(hub, CHINESE, "# Theirs\n")
    commit(hub)
    refused(package, hub, "another's", replace=True)
    git(hub, "rm", "--quiet", CHINESE)
    commit(hub)
    Path(publish(package, hub)["pull_request"]).unlink()
    git(hub, "merge", "--quiet", BRANCH)
    git(hub, "branch", "--delete", BRANCH)
    write(hub, CHINESE, "# T\n\n---\nuser-id: somebody\n---\n")
    commit(hub)
    refused(package, hub, "found somebody's; hubpkg overwrites none", replace=True)


def test_a_branch_that_is_another_is_left_alone(package, hub):
    git(hub, "branch", BRANCH, "HEAD")
    refused(package, hub, f"expected no branch {BRANCH}.*git branch -D")
    git(hub, "branch", "a/b")
    for name, other in ((f"{BRANCH}/too", BRANCH), ("a", "a/b")):
        refused(package, hub, f"expected no branch {other}, beside which git can't have {name}", branch=name)
    publish(package, hub, branch="mine")
    for name in ("../x", "a..b", "-x"):
        with pytest.raises(HubpkgError, match="--branch: expected a name that a branch may have"):
            publish(package, hub, branch=name)


def test_git_must_know_who_commits(package, hub, monkeypatch, tmp_path):
    (tmp_path / "gitconfig").write_text("")
    monkeypatch.setenv("EMAIL", "guessed@example.com")  # with which git would make do
    refused(package, hub, "who commits.*git config --global user.name")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "B")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "b@example.com")
    publish(package, hub)


@pytest.mark.usefixtures("hub")
def test_a_checkout_of_something_else_is_refused(package, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for prepare in (lambda: None, lambda: git(other, "init", "--quiet")):
        prepare()
        with pytest.raises(HubpkgError, match="expected a checkout of the hub, with mshub_res/assets"):
            publish(package, other)
    with pytest.raises(HubpkgError, match="expected a checkout of the hub, found nothing"):
        publish(package, tmp_path / "nowhere")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_another_user_s_checkout_is_told_as_one(package, hub):
    os.chown(hub, 1, 1)
    with pytest.raises(HubpkgError, match=r"expected a checkout of your own, .* --add safe.directory /"):
        publish(package, hub)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mshub_res/assets/Publisher/1.0/x.md", "expected no other name for publisher, found Publisher"),
        ("mshub_res/assets/publisher", "expected a folder publisher, found something else"),
        (f"{CARD}/x.md", "expected a file tiny_digits.md, found something else"),
    ],
)
def test_names_that_collide_are_refused(package, hub, name, found):
    write(hub, name, "# A card\n")
    commit(hub)
    refused(package, hub, found)


def test_what_the_hub_would_reject_is_refused(hub, tmp_path):
    refused(make(tmp_path / "dist", train_dataset="no such dataset"), hub, "the hub would reject it")


@pytest.mark.parametrize("base", ["https://example.com/assets/", "https://models.example.org/", "https://a.invalid/"])
def test_a_card_whose_links_lead_nowhere_is_refused(hub, tmp_path, base):
    package = make(tmp_path / "dist", asset_base_url=base)
    refused(
        package, hub, f"below {base}, a name reserved for examples; upload them with --to.*build MODEL --asset-base"
    )
    with pytest.raises(HubpkgError, match=r"^--asset-base-url: expected links by which consumers reach the assets"):
        publish(package, hub, to=str(tmp_path / "assets"))
    assert not (tmp_path / "assets").exists()


def test_a_package_that_does_not_verify_is_not_published(package, hub, hubpkg):
    (package / "evidence" / "predictions.csv").write_text("image\n")
    before = state(hub)
    done = hubpkg("publish", package, "--hub", hub)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not published, since it does not verify" in done.stderr
    assert state(hub) == before


def test_the_uid_leads_out_of_no_checkout(hub, tmp_path):
    package = make(tmp_path / "dist")
    contents = json.loads((package / "hubpkg.json").read_text())
    del contents["digests"]
    contents["uid"] = "../../x"
    reseal(package, contents)
    refused(package, hub, "uid: expected a file's path inside its folder")


def test_a_partial_clone_without_a_work_tree_will_do(package, hub, tmp_path):
    git(hub, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--no-checkout", "--filter=blob:none", f"file://{hub}", str(clone))
    shutil.move(hub, tmp_path / "gone")  # nothing more can be fetched
    publish(package, clone)
    assert git(clone, "diff-tree", "-r", "--name-only", "HEAD", BRANCH).split() == [CARD, CHINESE]


def test_a_repository_that_runs_hubpkg_in_a_hook_is_not_mistaken_for_the_hub(package, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    publish(package, hub)
    assert not (tmp_path / "index").exists()
    monkeypatch.undo()


STOPPED = """
import os, sys
from pathlib import Path
import stopping
from hubpkg import publication, verification
from hubpkg.lint import engine, rules
from hubpkg.transport import Policy

package, hub, number, every = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
verification.verify(package), rules.rules()  # so that each process need not import what these do
order = publication.Order(package, hub, None, False, None, None, Policy(), print)
starts_git = lambda event, _: event == "subprocess.Popen"
for count, done in stopping.everywhere(lambda: publication.publish(order), starts_git, number, every):
    branches = os.popen(f"git -C '{hub}' for-each-ref --format='%(refname)'").read().split()
    assert done or branches == ["refs/heads/main"], (count, branches)
print(count)
"""


@pytest.mark.parametrize(("number", "every"), [(2, 4), (9, 1)], ids=["interrupted", "killed"])
def test_stopped_before_any_call_of_git_it_leaves_the_checkout_as_it_was(package, hub, number, every):
    before = state(hub)
    assert int(stopping.run(STOPPED, package, hub, number, every)) > 15
    assert state(hub) == before  # the last one, which was not stopped, made the branch
    assert git(hub, "rev-parse", f"{BRANCH}^") == git(hub, "rev-parse", "main")
    assert git(hub, "fsck", "--strict", "--no-dangling") == ""


def test_of_two_that_make_the_branch_at_once_one_makes_it(hub, monkeypatch):
    first, second = (checkout.Checkout(hub, BRANCH) for _ in range(2))
    tree = first.check({CARD: b"# T\n"}, "publisher", replace=False)
    monkeypatch.setattr(second, "_branches", dict)  # it looked before the first one had made it
    made = first.commit(tree, "first")
    with pytest.raises(HubpkgError, match="expected git update-ref to work"):
        second.commit(tree, "second, whose commit is another")
    assert git(hub, "rev-parse", BRANCH) == made
