"""Rules of the family link."""

import re

import pytest
from linting import check, fixed, good_card


def link(url):
    return re.sub(r"repo-link: .*", f"repo-link: {url}", good_card(3)[1])


def with_body(body):
    text = good_card(3)[1]
    return text[: text.index("## Introduction")] + body + "\n"


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("<https://github.com/a/b/tree/v1/c>", True), ("https://gitee.com/a/b/tree/r1.9/c/d/e", True),
        ("<https://github.com/a/b/tree/v1/c/>", False), ("<https://github.com/a/b/blob/v1/c>", False),
        ("<https://github.com/a/b>", False), ("<https://github.org/a/b/tree/v1/c>", False), ("<a/b/tree/v1/c>", False),
        ("<https://github.com/a/b/tree/v1/..>", False), ("<https://github.com/a/b/tree/v1/c?x=1>", False),
    ],
)  # fmt: skip
def test_the_client_can_take_the_link_apart(url, fine):
    assert bool(check(link(url), select=["repo-link-shape"])) != fine


def test_a_slash_at_the_end_is_removed_and_nothing_else():
    assert fixed(link("<https://github.com/a/b/tree/v1/c//>"), ["repo-link-shape"]) == link(
        "<https://github.com/a/b/tree/v1/c>"
    )
    assert fixed(link("<https://github.com/a/b/>"), ["repo-link-shape"]) == link("<https://github.com/a/b/>")


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("<https://github.com/a/b/tree/v0.5.0/c>", True), ("<https://github.com/a/b/tree/r1.9/c>", True),
        ("<https://github.com/a/b/tree/29e408b/c>", True), ("<https://github.com/a/b/tree/Master/c>", False),
        ("<https://github.com/a/b>", False), ("<https://example.com/a/b/tree/main/c>", True),
    ],
)  # fmt: skip
def test_a_tag_a_commit_or_a_release_does_not_move(url, fine):
    assert bool(check(link(url), select=["repo-link-moving-branch"])) != fine


@pytest.mark.parametrize(
    ("heading", "anchor", "fine"),
    [
        ("## References", "references", True), ("## Quick Start", "quick-start", True),
        ("## What's new?", "whats-new", True),
        ("## 3.3 Evaluation", "33-evaluation", True), ("## 模型评估", "模型评估", True), ("## `a_b` c", "a_b-c", True),
        ("## [Link](https://a.com) text", "link-text", True), ("## References", "Reference", False),
        ("## A\n\n## A", "a-1", True), ("## A\n\n## A", "a-2", False), ('<a name="here"></a>', "here", True),
        ("References\n===", "references", True), ("```\n## References\n```", "references", False),
        ("text", "top", True),
        ("## %E6", "%E6%A8%A1", False), ("## 模", "%E6%A8%A1", True), ("## 👍 Thanks", "thanks", False),
    ],
)  # fmt: skip
def test_an_anchor_is_made_of_a_heading(heading, anchor, fine):
    text = with_body(f"{heading}\n\n[a](#{anchor})\n\n`[b](#gone)`")
    assert bool(check(text, select=["dead-anchor"])) != fine


@pytest.mark.parametrize(
    ("target", "fine"),
    [
        ("[a](https://a.com/b)", True), ("[a](mailto:a@example.com)", True), ("[a](#introduction)", True),
        ("[a](//a.com/b)", True),
        ("[a](b.md)", False), ("`[a](b.md)`", True), ("```\n[a](b.md)\n```", True), ('<img src="a.png">', False),
        ("[a](here.svg)", True), ("[a](./net/recipe.yaml)", True), ("[a](nets/recipe.yaml)", False),
    ],
)  # fmt: skip
def test_a_relative_link_leads_to_a_file_beside_the_card_or_to_the_folder_of_repo_link(tmp_path, target, fine):
    (tmp_path / "here.svg").touch()
    text = re.sub(r"repo-link: .*", "repo-link: <https://github.com/a/b/tree/v1/c/net>", with_body(target))
    assert bool(check(text, str(tmp_path / "a_mnist.md"), select=["relative-link"])) != fine


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://github.com/mindspore-lab/mindcv/blob/v0.5.0/a.py", True),
        ("https://github.com/mindspore-lab/mindcv/blob/main/a.py", False),
        ("https://github.com/mindspore-lab/mindyolo/blob/main/a.py", True),
        ("https://gitee.com/mindspore-lab/mindcv/blob/main/a.py", True),
        ("https://github.com/mindspore-lab/mindcv/issues", True),
    ],
)
def test_links_into_the_repository_are_held_to_its_release(url, fine):
    assert bool(check(with_body(f"[a]({url})"), select=["body-link-moving-branch"])) != fine


@pytest.mark.parametrize(
    ("target", "fine"),
    [
        ("[a]()", False), ("[a]((https://a.com))", False), ("[a](https://a.com/b_(c))", True), ("[ ] task", True),
        ("[a](http:/a.com)", False), ("[a](https://https://a.com)", False), ("`[a]()`", True), ("[a](a.md)", True),
        ('<img src="">', False), ("[a](http://a.com)", True), ("[a](ftp://a.com)", True),
    ],
)  # fmt: skip
def test_a_link_has_a_target_that_is_a_url(target, fine):
    assert bool(check(with_body(target), select=["link-malformed"])) != fine


def test_a_link_to_the_root_is_none_to_a_file_of_this_machine():
    assert len(check(with_body("[x](/etc/passwd)"), select=["relative-link"])) == 1
