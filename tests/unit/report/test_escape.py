# SPDX-License-Identifier: MIT
"""No observed text can leave its place, whatever the output is."""

from __future__ import annotations

import ipaddress
import json
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from leakstop.report import escape

# Half of the characters are those that mean something somewhere.
SIGNS = (
    "`|\\<>[]()*_~#:%&!@${}'\"-+=.,;/\n\r\t\x1b\x9b\x00\x7f\u202e\u2066\u200b\ufeff\u2028\ud800 "
)
hostile = st.text(
    st.one_of(st.sampled_from(SIGNS), st.characters(codec=None)), max_size=60
) | st.lists(
    st.sampled_from(
        [
            "::error title=x::",
            "##[error]",
            "```",
            "</details>",
            "<script>",
            "| x |",
            "\n\n# x\n",
            "\x1b[2J",
            "\\|",
            "![x](https://x.test)",
            "https://x.test",
            "www.x.test",
            "@someone",
            "${{ secrets.X }}",
            "::stop-commands::",
            "%0A::error::",
            "2001:db8::1",
            "-->",
            "&lt;",
            "`",
            "a",
            " ",
        ]
    ),
    max_size=8,
).map("".join)

fixed = settings(derandomize=True, database=None, deadline=None)

MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def leaves(tokens: list[Token]) -> list[Token]:
    """All tokens of all lines."""
    return [leaf for token in tokens for leaf in (token.children or [token])]


def is_tame(text: str) -> bool:
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return not any(unicodedata.category(char) in hidden for char in text)


@fixed
@given(hostile)
def test_printable_is_one_visible_line(text: str) -> None:
    line = escape.printable(text)
    assert is_tame(line)
    assert len(line) <= escape.LIMIT
    assert escape.printable(line) == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb", "a\\x09b"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\U000e0041", "\\U000e0041"),
        ("caf\u00e9", "caf\u00e9"),
        ("e\u0301", "e\u0301"),
        ("z" + 5 * "\u0300", "z\u0300\u0300" + 3 * "\\u0300"),
        ("\udcff", "\\udcff"),
        ("a\u00a0b", "a\\xa0b"),
    ],
)
def test_printable_shows_what_cannot_be_seen(text: str, expected: str) -> None:
    assert escape.printable(text) == expected


def test_long_text_is_cut_visibly() -> None:
    assert escape.printable("x" * 300) == "x" * 255 + "…"
    assert escape.printable("x" * 256) == "x" * 256


@fixed
@given(hostile)
@example(":::")
@example("###[x]")
@example(":#:#[")
def test_a_line_speaks_to_no_terminal_and_no_runner(text: str) -> None:
    line = escape.line(text)
    assert is_tame(line)
    assert "::" not in line
    assert "##[" not in line
    assert len(line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[2001:db8::1]:443", "[2001:db8:0:0:0:0:0:1]:443"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("::error::x", ": :error: :x"),
        ("std::string", "std: :string"),
        ("##[group]x", "# #[group]x"),
    ],
)
def test_a_line_keeps_addresses_readable(text: str, expected: str) -> None:
    assert escape.line(text) == expected


@fixed
@given(st.ip_addresses(v=6))
def test_addresses_keep_their_meaning(address: ipaddress.IPv6Address) -> None:
    assert ipaddress.ip_address(escape.line(str(address))) == address


@fixed
@given(st.recursive(hostile, lambda inner: st.lists(inner) | st.dictionaries(hostile, inner)))
def test_json_lines_decode_to_the_same_value(value: object) -> None:
    encoded = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    line = escape.json_line(encoded)
    assert "::" not in line
    assert "#" not in line
    assert line.isascii()
    assert is_tame(line)
    assert json.loads(line) == json.loads(encoded)


def undo(data: str) -> str:
    """What the runner makes of a command's data."""
    return data.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


@fixed
@given(st.lists(hostile, max_size=3), hostile)
def test_a_command_stays_one_command(lines: list[str], title: str) -> None:
    command = escape.command("error", lines, {"title": title})
    assert is_tame(command)
    match = re.fullmatch(r"::error(?: title=(?P<title>[^:,]*))?::(?P<data>.*)", command)
    assert match is not None
    assert "::" not in match["data"]
    assert "##[" not in command
    message = undo(match["data"])
    assert len(message) <= escape.MESSAGE_LIMIT
    assert message.count("\n") == max(0, len(lines) - 1)


def test_a_command_reads_as_written() -> None:
    lines = ("100% of a:b, c", "second")
    assert escape.command("notice", lines, {"title": "T: 1, 2", "file": ""}) == (
        "::notice title=T%3A 1%2C 2::100%25 of a:b, c%0Asecond"
    )


def test_a_long_message_is_cut_where_the_runner_would() -> None:
    command = escape.command("error", ["x" * 3000, "y" * 3000])
    assert len(undo(command.removeprefix("::error::"))) == escape.MESSAGE_LIMIT
    assert command.endswith("…")


@fixed
@given(hostile)
@example("`")
@example("a`")
@example(" a ")
@example("``` x")
def test_a_code_span_holds_its_text(text: str) -> None:
    tokens = MARKDOWN.parse(f"before {escape.code(text)} after")
    inner = leaves(tokens[1:-1])
    line = escape.printable(text)
    if not line.strip():
        assert [token.type for token in inner] == ["text"]
        return
    assert [token.type for token in inner] == ["text", "code_inline", "text"]
    assert inner[1].content == line


@fixed
@given(hostile)
def test_a_code_span_at_the_start_of_a_line_opens_no_block(text: str) -> None:
    tokens = MARKDOWN.parse(escape.code(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


@fixed
@given(hostile)
@example("a|b")
@example("a\\|b")
@example("\\")
@example("|")
@example("`|`")
def test_a_cell_stays_a_cell(text: str) -> None:
    table = f"| a | b | c |\n|---|---|---|\n| 1 | {escape.cell(text)} | 3 |"
    tokens = MARKDOWN.parse(table)
    rows = [token for token in tokens if token.type == "inline"][3:]
    assert [row.content for row in rows][0::2] == ["1", "3"]
    assert len(rows) == 3
    children = rows[1].children or []
    if escape.printable(text).strip():
        assert [child.type for child in children] == ["code_inline"]
        expected = re.sub(r"(?<=\\)\|", r"\\x7c", escape.printable(text))
        assert children[0].content == expected


@fixed
@given(hostile)
def test_prose_holds_only_words_and_code(text: str) -> None:
    table = f"| a | b |\n|---|---|\n| 1 | x {escape.prose(text)} |"
    tokens = MARKDOWN.parse(table)
    rows = [token for token in tokens if token.type == "inline"][2:]
    assert len(rows) == 2
    for child in rows[1].children or []:
        assert child.type in ("text", "code_inline")
        if child.type == "text":
            assert not re.search(r"[<>@\[\]|`\\]|://|www\.", child.content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Killed before its first byte.", "Killed before its first byte."),
        ("0 bytes of NPM_TOKEN left.", "0 bytes of `NPM_TOKEN` left."),
        ("See `a b`, then https://x.test/y.", "See `a b`, then `https://x.test/y`."),
        ("<b>bold</b>", "`<b>bold</b>`"),
        ("don't stop (really)", "don't stop (really)"),
        ("a ` b", "a `` ` `` b"),
        ("", ""),
    ],
)
def test_prose_reads_well(text: str, expected: str) -> None:
    assert escape.prose(text) == expected


@fixed
@given(hostile)
@example("javascript:alert(1)")
@example("https://x.test/) [y](https://z.test")
def test_a_link_goes_where_it_says(address: str) -> None:
    tokens = leaves(MARKDOWN.parse(f"a {escape.link('revoke', address)} b"))
    links = [token for token in tokens if token.type == "link_open"]
    for link in links:
        assert link.attrs["href"] == address
        assert address.startswith("https://")
    assert "html_inline" not in {token.type for token in tokens}


def test_only_https_pages_are_linked() -> None:
    assert (
        escape.link("revoke", "https://docs.x.test/a?b=c") == "[revoke](https://docs.x.test/a?b=c)"
    )
    assert escape.link("revoke", "http://docs.x.test") == "`http://docs.x.test`"


@fixed
@given(st.lists(hostile.map(escape.printable), max_size=4))
def test_a_fence_holds_its_lines(lines: list[str]) -> None:
    text = "\n".join(lines)
    tokens = MARKDOWN.parse(f"before\n{escape.fence(text, 'yaml')}\nafter")
    fences = [token for token in tokens if token.type == "fence"]
    assert len(fences) == 1
    assert fences[0].content == text + "\n"


@fixed
@given(hostile)
def test_comments_hold_no_expression(text: str) -> None:
    comment = escape.comment(text)
    assert is_tame(comment)
    assert not set(comment) & set("${}:#`\"'<>|\\&*!")


@fixed
@given(hostile)
@example("a.test\nb.test")
@example("${{ secrets.X }}")
@example("a.test # x")
def test_what_is_pasted_is_what_it_looks_like(text: str) -> None:
    if escape.pasteable_host(text):
        assert re.fullmatch(r"[a-z0-9._-]+", text)
    if escape.pasteable_variable(text):
        assert text.isidentifier()
        assert text.isascii()
    if escape.pasteable_rule(text):
        assert not set(text) & set("$ \n#&|<>'\"`\\,")


@pytest.mark.parametrize(
    "host", ["a.example.test", "_ldap._tcp.example.test", "postgres", "x-1.test"]
)
def test_ordinary_names_can_be_pasted(host: str) -> None:
    assert escape.pasteable_host(host)


@pytest.mark.parametrize(
    "host", ["", "-a.test", "a..test", "A.test", "a.test.", "b\u00fccher.test", "x" * 64, "a b"]
)
def test_other_names_cannot(host: str) -> None:
    assert not escape.pasteable_host(host)
