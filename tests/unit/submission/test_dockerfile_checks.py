"""What a Dockerfile would fetch or stand on is found however its lines are written."""

import pytest

from harness.submission.dockerfile import fetched, instructions, is_readable, parents


@pytest.mark.parametrize(
    "text",
    [
        "ADD http://127.0.0.1/x /x",
        "add https://host/x /x",
        "ADD --chown=1:1 http://host/x /x",
        'ADD ["http://host/x", "/x"]',
        'ADD ["\\u0068ttp://host/x", "/x"]',
        "ADD a http://host/x b /x/",
        "ADD git@host:x.git /x",
        "ADD git://host/x /x",
        'ADD ht"t"p://host/x /x',
        "ADD http:\\//host/x /x",
        "ADD ${URL} /x",
        "ADD $URL /x",
        "ADD \\\n  http://host/x /x",
        "AD\\\nD http://host/x /x",
        "ADD \\\n\n# comment\nhttp://host/x /x",
        "  ADD\thttp://host/x /x",
        "ADD http://host/x /x\r\n",
        "ONBUILD ADD http://host/x /x",
        "\ufeffADD http://host/x /x",
        "# escape=`\nADD `\nhttp://host/x /x",
    ],
)
def test_what_the_engine_would_fetch_is_found(text):
    expected = text != "RUN a\\\nADD"
    assert (
        bool(fetched(instructions(f"FROM a\n{text}" if not text.startswith(("#", "\ufeff")) else text)))
        is expected
    )


def test_under_the_other_escape_a_line_may_be_another():
    text = "RUN echo \\\nADD http://host/x /x"
    assert not fetched(instructions(text, escape="\\"))
    assert fetched(instructions(text, escape="`"))


@pytest.mark.parametrize(
    "text",
    ["ADD a.tar /x", "ADD . /x", 'ADD ["a b", "/x"]', "COPY http /x", "RUN curl http://x", "# ADD http://x"],
)
def test_files_of_the_folder_are_nothing_to_fetch(text):
    assert fetched(instructions(text)) == ()


def test_parents_by_mounts_and_triggers_are_found():
    text = "FROM a\nRUN --mount=type=bind,from=b:1,target=/x true\nONBUILD COPY --from=c /x /x"
    assert parents(text, {}) == ("a", "b:1", "c")


@pytest.mark.parametrize("name", ["${X}", "a$b", '"a"', "a\\b", "a`b", "a}"])
def test_names_with_more_than_a_name_in_them_cannot_be_read(name):
    assert not is_readable(name)
    assert is_readable("registry.example:5000/a/b_c-d.e@sha256:0")
